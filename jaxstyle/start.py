"""Where a run starts: the content with a mosaic of the style mixed in, white noise, or a given picture.

The content picture itself is a poor start. The gradient of a Gram matrix moves features that are there; where the
content is flat, a clear sky, none of the style's are, and one pixel has the same gradient as the next: a saddle, which
a descent leaves only slowly. Pieces of the style, faint and at random places, are seeds that strokes can grow from.
Measured: docs/optimisers.md.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxstyle.errors import InputError
from jaxstyle.image import check_image, check_range, fit, white_noise
from jaxstyle.typing import AnyImage, Image

# Side of the mosaic's pieces in pixels of the full size: smaller than the strokes of most paintings, so that its grid
# does not show. Coarse scales have smaller ones, down to the least that still holds an edge.
PIECE = 16
LEAST_PIECE = 4


def first_image(
    init: str | AnyImage,
    content: AnyImage,
    styles: Sequence[AnyImage],
    height: int,
    width: int,
    mosaic: float = 0.0,
    shares: Sequence[float] | None = None,
    seed: int = 0,
    factor: float = 1.0,
) -> Image:
    """The picture that a run starts from.

    Args:
        init: `"content"`, `"noise"`, or a picture, which is taken as it is.
        content: `(h, w, 3)` in [0, 1].
        styles: one or more such pictures, at the scale of the start.
        height: of the start, in pixels.
        width: of the start, in pixels.
        mosaic: share of the style's mosaic in a start from the content, 0 to 1.
        shares: of the pieces, one number a style, with a sum of 1; equal if None.
        seed: of the noise and of the mosaic, 0 to 2^32 - 1.
        factor: of the start's sides to those of the full size.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for an unknown name, or a picture that cannot be used.
    """
    if not isinstance(init, str):
        init = jnp.asarray(init)
        check_image(init, "init")
        check_range(init, "init")
        return fit(init, height, width)
    if init == "noise":
        return white_noise(seed, height, width)
    if init != "content":
        raise InputError(f"unknown init {init!r}, expected 'content', 'noise' or a picture")
    picture = fit(content, height, width)
    if mosaic == 0:
        return picture
    piece = max(LEAST_PIECE, round(factor * PIECE))
    return (1 - mosaic) * picture + mosaic * style_mosaic(seed, styles, height, width, shares, piece)


def style_mosaic(
    seed: int,
    styles: Sequence[AnyImage],
    height: int,
    width: int,
    shares: Sequence[float] | None = None,
    piece: int = PIECE,
) -> Image:
    """Square pieces of the styles from random places, side by side.

    Args:
        seed: 0 to 2^32 - 1; the same seed, styles and size give the same mosaic.
        styles: one or more `(h, w, 3)`.
        height: in pixels.
        width: in pixels.
        shares: of the pieces, one number a style, with a sum of 1; equal if None.
        piece: side of a piece in pixels, or the shortest side of the styles, if that is less.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for a seed out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> style_mosaic(0, [jnp.full((20, 30, 3), 0.5)], 40, 50).shape
        (40, 50, 3)
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}, expected 0 to {2**32 - 1}")
    random = np.random.default_rng(seed)
    shares = [1 / len(styles)] * len(styles) if shares is None else shares
    piece = min(piece, *(side for style in styles for side in style.shape[:2]))
    grid = -(-height // piece), -(-width // piece)
    owner = random.choice(len(styles), grid, p=shares)
    # Which piece a pixel is in, and where in it.
    row, column = np.arange(height)[:, None] // piece, np.arange(width)[None, :] // piece
    down, right = np.arange(height)[:, None] % piece, np.arange(width)[None, :] % piece
    mosaic = np.empty((height, width, 3), np.float32)
    for index, style in enumerate(styles):
        top, left = (random.integers(0, side - piece + 1, grid) for side in style.shape[:2])
        cut = np.asarray(style)[top[row, column] + down, left[row, column] + right]
        mosaic = np.where((owner == index)[row, column][:, :, None], cut, mosaic)
    return jnp.asarray(mosaic, jnp.float32)
