"""Structure of the content: where it is flat, strokes of the style may take the place of its features.

The structure of a cell of 4x4 pixels is `d / (d + 0.1)` for the average `d` of `edge_share` over the 5x5 cells around
it, with binomial weights: 0 in a flat area, 0.9 where all of them are edges.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.image.canvas import Canvas, Dim, Placement, mask_outside, sides
from jaxstyle.losses.edges import CELL, edge_share, laplacian
from jaxstyle.typing import AnyFeatures, Extent, Image
from jaxstyle.vgg.network import stride

BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# Average of the cells around that counts half.
DENSITY = 0.1


@functools.partial(jax.jit, static_argnames="layers")
def content_structure(content: Canvas, layers: tuple[str, ...]) -> dict[str, Float[Array, "*batch _ _ 1"]]:
    """Compute the structure of the content at the positions of each layer; with a leading axis for several images."""

    def structure(pixels: Image, extent: Extent | None) -> dict[str, AnyFeatures]:
        height, width = sides(pixels.shape, extent)
        edges = edge_share(laplacian(pixels, extent))
        inside = jnp.ones_like(edges)
        if extent is not None:
            inside = mask_outside(inside, Placement(0, 0, height // CELL, width // CELL))
        density = _smoothed(edges) / jnp.maximum(_smoothed(inside), BINOMIAL[0] ** 2)
        cells = density / (density + DENSITY)
        return {layer: _at_positions(cells, stride(layer), pixels.shape[:2], (height, width)) for layer in layers}

    pixels = jnp.asarray(content.pixels)
    return (jax.vmap(structure) if pixels.ndim == 4 else structure)(pixels, content.extent)


def _smoothed(cells: AnyFeatures) -> AnyFeatures:
    """Sums over 5x5 cells with binomial weights; there is nothing outside."""
    for axis in (0, 1):
        count, ends = cells.shape[axis], [(2, 2) if other == axis else (0, 0) for other in range(3)]
        padded = jnp.pad(cells, ends)
        parts = [lax.slice_in_dim(padded, shift, shift + count, axis=axis) for shift in range(len(BINOMIAL))]
        cells = functools.reduce(jnp.add, [weight * part for weight, part in zip(BINOMIAL, parts, strict=True)])
    return cells


def _at_positions(cells: AnyFeatures, spacing: int, shape: tuple[int, ...], size: tuple[Dim, Dim]) -> AnyFeatures:
    """Averages over the cells of each position, or the position's cell where that is larger."""
    rows, columns = (side // spacing for side in shape)
    if spacing >= CELL:
        count = spacing // CELL
        blocks = cells[: rows * count, : columns * count].reshape(rows, count, columns, count, 1)
        return jnp.mean(blocks, axis=(1, 3))
    for axis, (positions, side) in enumerate(zip((rows, columns), size, strict=True)):
        # Positions of an incomplete cell have that of the last whole one.
        own = jnp.minimum(jnp.arange(positions, dtype=jnp.int32) * spacing // CELL, side // CELL - 1)
        cells = jnp.take(cells, own, axis=axis)
    return cells
