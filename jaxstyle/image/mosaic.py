"""Where a run starts: the content with a mosaic of the style mixed in, white noise, or a given picture.

The content picture itself is a poor start. The gradient of a Gram matrix moves features that are there; where the
content is flat, a clear sky, none of the style's are, and one pixel has the same gradient as the next: a saddle, which
a descent leaves only slowly. Pieces of the style, faint and at random places, are seeds that strokes can grow from.
Measured: docs/optimizers.md.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.ops import check_image, check_range, fit, white_noise
from jaxstyle.typing import AnyImage, Image

# The mosaic's pieces are about so many pixels of the full size across: smaller than the strokes of most paintings.
# Coarse scales have smaller ones, down to the least that still holds an edge.
PIECE = 16
MIN_PIECE = 4


def initial_image(
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
        init: `"content"`, `"noise"`, `"gray"`, or a picture, which is taken as it is.
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
    if init in ("gray", "grey"):
        # Within a gray level: of exactly equal pixels all have equal gradients.
        return 0.5 + (white_noise(seed, height, width) - 0.5) / 255
    if init != "content":
        raise InputError(f"unknown init {init!r}, expected 'content', 'noise', 'gray' or a picture")
    picture = fit(content, height, width)
    if mosaic == 0:
        return picture
    piece = max(MIN_PIECE, round(factor * PIECE))
    return (1 - mosaic) * picture + mosaic * style_mosaic(seed, styles, height, width, shares, piece)


def style_mosaic(
    seed: int,
    styles: Sequence[AnyImage],
    height: int,
    width: int,
    shares: Sequence[float] | None = None,
    piece: int = PIECE,
) -> Image:
    """Pieces of the styles from random places, side by side.

    The pieces are irregular, nearly the cells of a Voronoi diagram: a pixel belongs to the nearest of nine points,
    which lie at random in its own square of a grid and in the eight around it. The straight edges of square pieces can
    still be seen in a result.

    Args:
        seed: 0 to 2^32 - 1; the same seed, styles and size give the same mosaic.
        styles: one or more `(h, w, 3)`; where a piece reaches beyond the border it continues mirrored.
        height: in pixels.
        width: in pixels.
        shares: of the pieces, one number a style, with a sum of 1; equal if None.
        piece: side of the grid's squares in pixels.

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
    # A square more on each side: the point nearest to a pixel may lie outside of the picture.
    grid = -(-height // piece) + 2, -(-width // piece) + 2
    points = (np.moveaxis(np.indices(grid), 0, -1) - 1 + random.random((*grid, 2))) * piece
    owner = random.choice(len(styles), grid, p=shares)
    row, column = _nearest(points, height, width, piece)
    mosaic = np.empty((height, width, 3), np.float32)
    for index, style in enumerate(styles):
        # What to add to a place in the mosaic to come to its place in the style.
        down, right = (random.integers(0, side, grid) for side in style.shape[:2])
        top = _mirrored(np.arange(height)[:, None] + down[row, column], style.shape[0])
        left = _mirrored(np.arange(width)[None, :] + right[row, column], style.shape[1])
        mosaic = np.where((owner == index)[row, column][:, :, None], np.asarray(style)[top, left], mosaic)
    return jnp.asarray(mosaic, jnp.float32)


def _nearest(
    points: Float[np.ndarray, "rows columns 2"], height: int, width: int, piece: int
) -> tuple[Int[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Row and column, for each pixel, of the nearest point in the pixel's own square and the eight around it."""
    row, column = (np.arange(side, dtype=np.int32) // piece + 1 for side in (height, width))
    row, column, points = row[:, None], column[None, :], points.astype(np.float32)
    least = np.full((height, width), np.inf, np.float32)
    nearest = np.zeros((2, height, width), np.int32)
    for step in itertools.product((-1, 0, 1), repeat=2):
        place = row + step[0], column + step[1]
        down = points[place][:, :, 0] - np.arange(height, dtype=np.float32)[:, None]
        right = points[place][:, :, 1] - np.arange(width, dtype=np.float32)[None, :]
        distance = down**2 + right**2
        nearest = np.where(distance < least, np.stack(np.broadcast_arrays(*place)), nearest)
        least = np.minimum(least, distance)
    return nearest[0], nearest[1]


def _mirrored(index: Int[np.ndarray, "..."], length: int) -> Int[np.ndarray, "..."]:
    """Any whole numbers to 0 .. length - 1, going back and forth."""
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
