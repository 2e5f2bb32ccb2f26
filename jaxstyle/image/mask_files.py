"""Mask files to pictures: the numbers of the file, without color management, and shapes in the alpha channel."""

import jax.numpy as jnp
import numpy as np

from jaxstyle.errors import check_integer
from jaxstyle.guards import permissive
from jaxstyle.image.decode import color_and_alpha, upright
from jaxstyle.image.io import MAX_PIXELS
from jaxstyle.image.masks import flat_colors
from jaxstyle.image.source import Source, check_one_frame, name_of, opened
from jaxstyle.typing import Image

# Of 255: pixels with more alpha are visible.
VISIBLE = 127
# The largest 8-bit level, in pixels of 16 bits.
DARK = 255 / 257


@permissive()
def load_mask(path: Source, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a mask for `regions_of`.

    Color profiles are not applied, since the numbers are no colors to be seen. If the visible pixels are a photo, or
    of one gray, the shape is in the alpha channel: it becomes white, and what is transparent black. Flat colors are
    shown on black. Label maps of 16 bits become those of 8.

    Args:
        path: the file, or a file that is opened in binary mode, or an image of Pillow.
        max_pixels: largest number of pixels in the file, 1 to 2^31 - 1; checked in its header, before decoding.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: as `load_image`.

    Example:
        >>> import PIL.Image
        >>> shape = PIL.Image.new("RGBA", (40, 40), (0, 0, 0, 0))
        >>> shape.paste((0, 0, 0, 255), (0, 0, 20, 40))
        >>> load_mask(shape)[0, ::10, 0].tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    check_integer(max_pixels, "max_pixels", 1, 2**31 - 1)
    name = name_of(path)
    with opened(path, max_pixels) as file:
        check_one_frame(name, file)
        image = upright(file)
    color, alpha = color_and_alpha(name, image)
    planes = [np.asarray(band, np.float32) for band in (color if color.mode in "LF" else color.convert("RGB")).split()]
    pixels = np.stack(planes * (3 // len(planes)), axis=-1)
    if color.mode == "F" and pixels.max() <= DARK:
        pixels *= 257
    if alpha is not None:
        pixels = _on_black(pixels, np.asarray(alpha))
    return jnp.asarray(pixels / 255)


def _on_black(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pixels of flat colors on black; otherwise the shape, white on black. All on the scale of 0 to 255."""
    visible = np.rint(pixels[alpha > VISIBLE]).astype(np.int64)
    colors = flat_colors(visible) if len(visible) else None
    opacity = alpha[:, :, None] / np.float32(255)
    is_shape = colors is None or (len(colors) == 1 and np.ptp(visible, axis=1).max() == 0)
    return opacity * (np.float32(255) if is_shape else pixels) * np.ones_like(pixels)
