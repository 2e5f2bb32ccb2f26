"""A map as blocks, one for each device of a mesh: each with a margin of its neighbors' values.

Plain reshapes and shifts. On a map that is spread over a mesh the partitioner turns a shift by one block into an
exchange between neighbors, and the rest into nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.typing import AnyFeatures

# Row and column of the block, then the block itself.
Blocks = Float[Array, "rows columns _ _ c"]


def split(x: AnyFeatures, shards: tuple[int, int], margins: tuple[int, int] = (0, 0)) -> Blocks:
    """A map cut into equal blocks, with the rows and columns around each.

    Args:
        x: `(h, w, c)`.
        shards: how many blocks there are in a column and in a row; they divide the sides.
        margins: rows above and below a block, and columns beside it, that are added; at most a block's own. At the
            map's border they repeat the outermost.

    Returns:
        `(rows, columns, h // rows + 2 margin, w // columns + 2 margin, c)`.
    """
    height, width, channels = x.shape
    rows, columns = shards
    blocks = x.reshape(rows, height // rows, columns, width // columns, channels).swapaxes(1, 2)
    for axis, margin in enumerate(margins):
        if margin:
            blocks = _with_neighbors(blocks, axis, margin)
    return blocks


def join(blocks: Blocks) -> AnyFeatures:
    """The map that was split, without margins.

    Args:
        blocks: `(rows, columns, h, w, c)`.

    Returns:
        `(rows h, columns w, c)`.
    """
    rows, columns, height, width, channels = blocks.shape
    return blocks.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def _with_neighbors(blocks: Blocks, axis: int, margin: int) -> Blocks:
    """Each block with its neighbors' margins along an axis."""
    along, count = axis + 2, blocks.shape[axis]
    place = jnp.expand_dims(jnp.arange(count), [other for other in range(5) if other != axis])

    def end(begin: int, length: int) -> Blocks:
        start = begin % (blocks.shape[along] - length + 1)
        return jax.lax.slice_in_dim(blocks, start, start + length, axis=along)

    # A rotation keeps the shape, so that the partitioner can exchange whole parts; what came around is replaced.
    before = jnp.roll(end(-1, margin), 1, axis)
    before = jnp.where(place == 0, jnp.repeat(end(0, 1), margin, along), before)
    after = jnp.roll(end(0, margin), -1, axis)
    after = jnp.where(place == count - 1, jnp.repeat(end(-1, 1), margin, along), after)
    return jnp.concatenate([before, blocks, after], axis=along)
