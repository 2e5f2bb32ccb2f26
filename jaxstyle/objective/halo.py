"""A feature map as blocks, one for each device of a mesh, with margins of the neighbors' values.

Plain reshapes and shifts. On a map that is sharded over a mesh the partitioner turns a shift by one block into an
exchange between neighbors, and removes the rest.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.typing import AnyFeatures

# Row and column of the block, then the block itself.
Blocks = Float[Array, "rows columns _ _ c"]


def split(x: AnyFeatures, shards: tuple[int, int], margins: tuple[int, int] = (0, 0)) -> Blocks:
    """Split a map into equal blocks with margins.

    Args:
        x: `(h, w, c)`.
        shards: numbers of blocks in a column and in a row; they divide height and width.
        margins: numbers of rows above and below a block, and of columns on both sides, that are added, at most as many
            as a block has. At the map's border they repeat its outermost values.

    Returns:
        `(rows, columns, h // rows + 2 margin, w // columns + 2 margin, c)`.
    """
    height, width, channels = x.shape
    rows, columns = shards
    blocks = x.reshape(rows, height // rows, columns, width // columns, channels).swapaxes(1, 2)
    for axis, margin in enumerate(margins):
        if margin:
            blocks = _with_margins(blocks, axis, margin)
    return blocks


def join(blocks: Blocks) -> AnyFeatures:
    """Join blocks `(rows, columns, h, w, c)` without margins to a map `(rows h, columns w, c)`."""
    rows, columns, height, width, channels = blocks.shape
    return blocks.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def _with_margins(blocks: Blocks, axis: int, margin: int) -> Blocks:
    """Add the neighbors' margins along an axis."""
    along, count = axis + 2, blocks.shape[axis]
    index = jnp.expand_dims(jnp.arange(count, dtype=jnp.int32), [other for other in range(5) if other != axis])

    def edge(begin: int, length: int) -> Blocks:
        start = begin % (blocks.shape[along] - length + 1)
        return jax.lax.slice_in_dim(blocks, start, start + length, axis=along)

    # A rotation keeps the shape, so that the partitioner can exchange whole parts; wrapped values are replaced.
    before = jnp.roll(edge(-1, margin), 1, axis)
    before = jnp.where(index == 0, jnp.repeat(edge(0, 1), margin, along), before)
    after = jnp.roll(edge(0, margin), -1, axis)
    after = jnp.where(index == count - 1, jnp.repeat(edge(-1, 1), margin, along), after)
    return jnp.concatenate([before, blocks, after], axis=along)
