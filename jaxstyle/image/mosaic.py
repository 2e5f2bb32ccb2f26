"""The initial image of a run: the content with a mosaic of the styles mixed in, white noise, gray, or a given image.

The content image alone is a poor start. The gradient of the Gram-matrix loss only amplifies or attenuates features that
are already present. A flat area of the content, such as a clear sky, has none of the style's features, and all of its
pixels have the same gradient: a saddle point, which gradient descent escapes only slowly. Faint pieces of the style at
random positions are seeds for strokes. Measurements: docs/optimizers.md.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxstyle.errors import InputError, check_integer, check_number, check_sequence
from jaxstyle.guards import permissive
from jaxstyle.image.ops import MAX_SIDE, check_image, check_seed, check_size, fit, is_key, white_noise
from jaxstyle.typing import AnyImage, Image

# Side of the mosaic's pieces in pixels at the full size: smaller than the strokes of most paintings. Pieces shrink in
# proportion at coarser scales, but not below MIN_PIECE, the smallest that can still contain an edge.
PIECE = 16
MIN_PIECE = 4


def initial_image(
    init: str | AnyImage,
    content: AnyImage,
    styles: Sequence[AnyImage],
    mosaic: float = 0.0,
    shares: Sequence[float] | None = None,
    seed: int = 0,
    factor: float = 1.0,
) -> Image:
    """Return the initial image of a run.

    Args:
        init: `"content"`, `"noise"`, `"gray"`, or an image, which is resized to the content's size.
        content: `(height, width, 3)` in [0, 1].
        styles: one or more `(h, w, 3)` images, already resized to the scale of the initial image.
        mosaic: blend weight, 0 to 1, of the mosaic of the styles if `init` is `"content"`.
        shares: fraction of the pieces from each style, with a sum of 1; equal if None.
        seed: seed of the noise and of the mosaic, 0 to 2^32 - 1.
        factor: size of the initial image relative to the full size.

    Returns:
        `(height, width, 3)`.
    """
    height, width = content.shape[:2]
    if not isinstance(init, str):
        return fit(init, height, width)
    if init == "noise":
        return white_noise(seed, height, width)
    if init in ("gray", "grey"):
        # Noise within one gray level: exactly equal pixels would have equal gradients.
        return 0.5 + (white_noise(seed, height, width) - 0.5) / 255
    content = jnp.asarray(content)
    if mosaic == 0:
        return content
    piece = max(MIN_PIECE, round(factor * PIECE))
    return (1 - mosaic) * content + mosaic * style_mosaic(seed, styles, height, width, shares=shares, piece=piece)


@permissive()
def style_mosaic(
    seed: int | Key[Array, ""],
    styles: Sequence[AnyImage],
    height: int,
    width: int,
    *,
    shares: Sequence[float] | None = None,
    piece: int = PIECE,
) -> Image:
    """Tile an image with irregular pieces from random positions in the styles.

    The pieces approximate the cells of a Voronoi diagram. Each grid cell contains one random point (a jittered grid),
    and a pixel belongs to the nearest of the points in its own cell and the eight neighboring cells. The straight edges
    of square pieces would remain visible in the result.

    Pure: with a key as the seed it can be compiled, and batched by `jax.vmap`.

    Args:
        seed: 0 to 2^32 - 1, or a random key of JAX, whose mosaics are others; the same seed, styles and size give the
            same mosaic.
        styles: one or more `(h, w, 3)`; a piece that extends past the border is filled by reflection.
        height: height of the mosaic in pixels, 1 to 65536.
        width: width of the mosaic in pixels, 1 to 65536.
        shares: fraction of the pieces from each style, with a sum of 1; equal if None.
        piece: side of the grid cells in pixels, 1 to 65536.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for an argument of the wrong type or out of range.

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
    shares = [1 / len(styles)] * len(styles) if shares is None else shares
    check_sequence(shares, "shares", "numbers, one for each style")
    if len(shares) != len(styles):
        raise InputError(f"shares has {len(shares)} numbers, expected one for each of {len(styles)} styles")
    for share in shares:
        check_number(share, "a share", 0, 1)
    # The tolerance of NumPy's `choice`.
    if abs(sum(shares) - 1) > 1e-8:
        raise InputError(f"shares have a sum of {sum(shares):g}, expected 1: divide them by it")
    # Pad the grid by one cell on every side: the point nearest to a pixel may lie outside the image.
    grid = -(-height // piece) + 2, -(-width // piece) + 2
    sizes = [style.shape[:2] for style in styles]
    if is_key(seed):
        return _tile(_draw_from_key(seed, grid, shares, sizes), styles, height, width, piece, jnp)
    draws = _draw(np.random.default_rng(seed), grid, shares, sizes)
    return jnp.asarray(_tile(draws, styles, height, width, piece, np), jnp.float32)


class _Draws(NamedTuple):
    """Random numbers of a mosaic, for each cell of the grid.

    Attributes:
        points: `(rows, columns, 2)`, a position within the cell, in [0, 1).
        style: `(rows, columns)`, index of the style.
        offsets: for each style `(rows, columns)` twice: a row and a column of the style.
    """

    points: Any
    style: Any
    offsets: Any


def _draw(
    random: np.random.Generator, grid: tuple[int, int], shares: Sequence[float], sizes: Sequence[tuple[int, ...]]
) -> _Draws:
    points, style = random.random((*grid, 2)), random.choice(len(sizes), grid, p=shares)
    return _Draws(points, style, [[random.integers(0, side, grid) for side in size] for size in sizes])


def _draw_from_key(
    key: Any, grid: tuple[int, int], shares: Sequence[float], sizes: Sequence[tuple[int, ...]]
) -> _Draws:
    point_key, style_key, offset_key = jax.random.split(key, 3)
    points = jax.random.uniform(point_key, (*grid, 2), jnp.float32)
    style = jax.random.choice(style_key, len(sizes), grid, p=jnp.asarray(shares, jnp.float32))
    keys = jax.random.split(offset_key, (len(sizes), 2))
    return _Draws(
        points,
        style,
        [
            [jax.random.randint(keys[k, axis], grid, 0, side) for axis, side in enumerate(size)]
            for k, size in enumerate(sizes)
        ],
    )


def _tile(draws: _Draws, styles: Sequence[Any], height: int, width: int, piece: int, xp: Any) -> Any:
    """Cut the pieces out of the styles and join them, with NumPy or with JAX as `xp`."""
    rows, columns = draws.style.shape
    points = (np.moveaxis(np.indices((rows, columns)), 0, -1) - 1).astype(draws.points.dtype) + draws.points
    row, column = _nearest(points * piece, height, width, piece, xp)
    mosaic = xp.zeros((height, width, 3), np.float32)
    for index, (style, (row_offset, column_offset)) in enumerate(zip(styles, draws.offsets, strict=True)):
        # Offset of a position in the style from its position in the mosaic.
        style_rows = _reflect_indices(
            np.arange(height).astype(row_offset.dtype)[:, None] + row_offset[row, column], style.shape[0], xp
        )
        style_columns = _reflect_indices(
            np.arange(width).astype(column_offset.dtype)[None, :] + column_offset[row, column], style.shape[1], xp
        )
        is_from_style = (draws.style == index)[row, column][:, :, None]
        mosaic = xp.where(is_from_style, xp.asarray(style)[style_rows, style_columns], mosaic)
    return mosaic


def _nearest(points: Any, height: int, width: int, piece: int, xp: Any = np) -> tuple[Any, Any]:
    """Row and column of the cell with the nearest point, among each pixel's own cell and its eight neighbors."""
    row, column = (np.arange(side, dtype=np.int32) // piece + 1 for side in (height, width))
    row, column, points = row[:, None], column[None, :], points.astype(np.float32)
    smallest = xp.full((height, width), np.inf, np.float32)
    nearest = xp.zeros((2, height, width), np.int32)
    for step in itertools.product((-1, 0, 1), repeat=2):
        cell = row + step[0], column + step[1]
        row_distance = points[cell][:, :, 0] - np.arange(height, dtype=np.float32)[:, None]
        column_distance = points[cell][:, :, 1] - np.arange(width, dtype=np.float32)[None, :]
        squared_distance = row_distance**2 + column_distance**2
        nearest = xp.where(squared_distance < smallest, np.stack(np.broadcast_arrays(*cell)), nearest)
        smallest = xp.minimum(smallest, squared_distance)
    return nearest[0], nearest[1]


def _reflect_indices(index: Any, length: int, xp: Any = np) -> Any:
    """Fold integers to 0 .. length - 1 by reflection."""
    index = index % (2 * length)
    return xp.minimum(index, 2 * length - 1 - index)
