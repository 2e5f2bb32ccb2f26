"""The start image of a run: the content with a mosaic of the styles mixed in, white noise, gray, or a given image.

The content image alone is a poor start. The gradient of a Gram matrix scales features that the image already has. Where
the content is flat, such as a clear sky, it has none of the style's, and all pixels have the same gradient: a saddle
point, which a descent leaves only slowly. Faint pieces of the style at random positions are seeds for strokes.
Measured: docs/optimizers.md.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxstyle.errors import InputError, check_integer, check_number, check_sequence
from jaxstyle.image.ops import MAX_SIDE, check_image, check_range, check_seed, check_size, fit, white_noise
from jaxstyle.typing import AnyImage, Image

# Side of the mosaic's pieces in pixels of the full size: smaller than the strokes of most paintings. Coarse scales have
# smaller pieces, down to the smallest that still contains an edge.
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
    """Make the image that a run starts from.

    Args:
        init: `"content"`, `"noise"`, `"gray"`, or an image, which is used as it is.
        content: `(h, w, 3)` in [0, 1].
        styles: one or more such images, at the scale of the start.
        height: of the start image in pixels.
        width: of the start image in pixels.
        mosaic: weight of the styles' mosaic in a start from the content, 0 to 1.
        shares: fraction of the pieces from each style, with a sum of 1; equal if None.
        seed: of the noise and of the mosaic, 0 to 2^32 - 1.
        factor: size of the start image relative to the full size.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for an unknown name, or an image that cannot be used.
    """
    if not isinstance(init, str):
        check_image(init, "init")
        check_range(init, "init")
        return fit(init, height, width)
    if init == "noise":
        return white_noise(seed, height, width)
    if init in ("gray", "grey"):
        # Noise within one gray level: exactly equal pixels would have equal gradients.
        return 0.5 + (white_noise(seed, height, width) - 0.5) / 255
    if init != "content":
        raise InputError(f"unknown init {init!r}, expected 'content', 'noise', 'gray' or an image")
    image = fit(content, height, width)
    if mosaic == 0:
        return image
    piece = max(MIN_PIECE, round(factor * PIECE))
    return (1 - mosaic) * image + mosaic * style_mosaic(seed, styles, height, width, shares, piece)


def style_mosaic(
    seed: int,
    styles: Sequence[AnyImage],
    height: int,
    width: int,
    shares: Sequence[float] | None = None,
    piece: int = PIECE,
) -> Image:
    """Tile an image with irregular pieces from random positions in the styles.

    The pieces are nearly the cells of a Voronoi diagram: a pixel belongs to the nearest of nine points, one at a random
    position in the pixel's own square of a grid and in each of the eight squares around it. The straight edges of
    square pieces would remain visible in a result.

    Args:
        seed: 0 to 2^32 - 1; the same seed, styles and size give the same mosaic.
        styles: one or more `(h, w, 3)`; a piece that reaches beyond the border continues mirrored.
        height: in pixels, 1 to 65536.
        width: in pixels, 1 to 65536.
        shares: fraction of the pieces from each style, with a sum of 1; equal if None.
        piece: side of the grid's squares in pixels, 1 to 65536.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for an argument of another type or out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> style_mosaic(0, [jnp.full((20, 30, 3), 0.5)], 40, 50).shape
        (40, 50, 3)
    """
    check_seed(seed)
    check_size(height, width)
    check_integer(piece, "piece", 1, MAX_SIDE)
    check_sequence(styles, "styles", "images, such as [style]", least=1)
    for style in styles:
        check_image(style, "style")
    if shares is not None:
        _check_shares(shares, len(styles))
    random = np.random.default_rng(seed)
    shares = [1 / len(styles)] * len(styles) if shares is None else shares
    # One square more on each side: the nearest point of a pixel may be outside of the image.
    grid = -(-height // piece) + 2, -(-width // piece) + 2
    points = (np.moveaxis(np.indices(grid), 0, -1) - 1 + random.random((*grid, 2))) * piece
    owner = random.choice(len(styles), grid, p=shares)
    row, column = _nearest(points, height, width, piece)
    mosaic = np.empty((height, width, 3), np.float32)
    for index, style in enumerate(styles):
        # Offset of a position in the style from its position in the mosaic.
        down, right = (random.integers(0, side, grid) for side in style.shape[:2])
        top = _mirrored(np.arange(height)[:, None] + down[row, column], style.shape[0])
        left = _mirrored(np.arange(width)[None, :] + right[row, column], style.shape[1])
        mosaic = np.where((owner == index)[row, column][:, :, None], np.asarray(style)[top, left], mosaic)
    return jnp.asarray(mosaic, jnp.float32)


def _check_shares(shares: Sequence[float], count: int) -> None:
    check_sequence(shares, "shares", "numbers, one for each style")
    if len(shares) != count:
        raise InputError(f"shares has {len(shares)} numbers, expected one for each of {count} styles")
    for share in shares:
        check_number(share, "a share", 0, 1)
    # The tolerance of NumPy's `choice`.
    if abs(sum(shares) - 1) > 1e-8:
        raise InputError(f"shares have a sum of {sum(shares):g}, expected 1: divide them by it")


def _nearest(
    points: Float[np.ndarray, "rows columns 2"], height: int, width: int, piece: int
) -> tuple[Int[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Row and column of the nearest point in a pixel's own square and the eight around it, for each pixel."""
    row, column = (np.arange(side, dtype=np.int32) // piece + 1 for side in (height, width))
    row, column, points = row[:, None], column[None, :], points.astype(np.float32)
    smallest = np.full((height, width), np.inf, np.float32)
    nearest = np.zeros((2, height, width), np.int32)
    for step in itertools.product((-1, 0, 1), repeat=2):
        square = row + step[0], column + step[1]
        down = points[square][:, :, 0] - np.arange(height, dtype=np.float32)[:, None]
        right = points[square][:, :, 1] - np.arange(width, dtype=np.float32)[None, :]
        distance = down**2 + right**2
        nearest = np.where(distance < smallest, np.stack(np.broadcast_arrays(*square)), nearest)
        smallest = np.minimum(smallest, distance)
    return nearest[0], nearest[1]


def _mirrored(index: Int[np.ndarray, "..."], length: int) -> Int[np.ndarray, "..."]:
    """Fold integers to 0 .. length - 1 by reflection."""
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
