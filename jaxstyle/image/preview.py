"""JPEGs of images to look at while they grow: quickly encoded, without profile and recipe."""

import io

import numpy as np
import PIL.Image
from jax.typing import ArrayLike
from jaxtyping import UInt8

from jaxstyle.image.encode import quantized

QUALITY = 88


def levels(image: ArrayLike) -> UInt8[np.ndarray, "height width 3"]:
    """Round an image, `(H, W, 3)` floats in [0, 1], to 8 bits."""
    return quantized("image", image, (None, None, 3), "(H, W, 3)", 8)


def preview(pixels: UInt8[np.ndarray, "height width 3"], max_side: int | None = None) -> bytes:
    """Encode 8-bit pixels as a JPEG; reduced to `max_side` pixels on the long side if they have more.

    Example:
        >>> preview(np.zeros((40, 60, 3), np.uint8), 30)[:2]
        b'\\xff\\xd8'
    """
    image = PIL.Image.fromarray(pixels)
    if max_side is not None and max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        image = image.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
