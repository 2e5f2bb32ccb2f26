"""The neighbor loss: every feature of the image should look like some feature of the style.

A bank holds features `b` of the style, and their mean `m`. The loss of a position with feature `f` is its distance to
the nearest feature of the bank,

    d(f) = 1 - max over b of cos(f - m, b - m),

and that of a layer is the mean over positions. The bank is a constant of the run, and so is its mean: the loss is a sum
over positions, in windows and over devices as well. The choice of the nearest feature is piecewise constant, so the
gradient is that of the distance to the one chosen.

Nearest neighbors of centered features by cosine follow Kolkin et al., "Neural Neighbor Style Transfer" (2022); the sum
over patches of one layer is Li and Wand, "Combining Markov Random Fields and Convolutional Neural Networks for Image
Synthesis" (CVPR 2016).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.sharding_types import vary_like
from jaxstyle.typing import Features
from jaxstyle.vgg.layers import at_least_float32

# Positions whose similarities to the whole bank are in memory at once: 256 x 4096 numbers are 4 MB.
BLOCK = 256
# Length that a feature at the center counts as, to divide by; its gradient is finite.
MIN_LENGTH = 1e-6
# Fractions of the plastic number, whose multiples are spread evenly over a square (Roberts 2018).
ROW_STEP, COLUMN_STEP = 0.7548776662466927, 0.5698402909980532


class Bank(NamedTuple):
    """Features of a style at one layer.

    Attributes:
        directions: `(n, c)`, features minus the center, of length 1; with regions one bank for each, `(regions, n, c)`.
        center: `(c,)` or `(regions, c)`, the mean of the features.
    """

    directions: Float[Array, "*regions n c"]
    center: Float[Array, "*regions c"]

    @property
    def size(self) -> int:
        """Number of features, of each region."""
        return self.directions.shape[-2]


def make_bank(features: Float[Array, "n c"]) -> Bank:
    """Make a bank of feature vectors of the style.

    Args:
        features: `(n, c)`.
    """
    center = jnp.mean(features, axis=0)
    offsets = features - center[None, :]
    return Bank(offsets / _lengths(offsets)[:, None], center)


def resize_bank(bank: Bank, size: int) -> Bank:
    """Return a bank of at least its size that repeats its first features, which changes no distance."""
    return bank._replace(directions=jnp.take(bank.directions, np.arange(size) % bank.size, axis=-2))


def neighbor_distances(features: Features, bank: Bank) -> Float[Array, "h w"]:
    """Compute the distance of every position to its nearest neighbor in the bank: `d` of the module's text.

    Args:
        features: `(h, w, c)` of the image.
        bank: of one style: see `make_bank`.

    Returns:
        `(h, w)`, 0 to 2; differentiable in reverse mode with respect to the features. Memory for similarities is that
        of a block of positions.
    """
    height, width, channels = features.shape
    return _distances(*vary_like((features.reshape(-1, channels), bank))).reshape(height, width)


def spread_positions(mask: Bool[np.ndarray, "h w"], count: int) -> Int[np.ndarray, "n 2"]:
    """Choose positions that are spread evenly, and irregularly, over a mask; the same ones every time.

    Args:
        mask: `(h, w)`, True for positions to choose from.
        count: number of positions.

    Returns:
        `(n, 2)`, rows and columns, each at most once; fewer than `count` if the mask has no more.
    """
    positions = np.argwhere(mask)
    order = np.argsort(positions @ np.array([ROW_STEP, COLUMN_STEP]) % 1.0, kind="stable")
    return np.asarray(positions[np.sort(order[:count])], np.int32)


@jax.custom_vjp
def _distances(features: Float[Array, "p c"], bank: Bank) -> Float[Array, " p"]:
    return _search(features, bank)[0]


def _search(features: Float[Array, "p c"], bank: Bank) -> tuple[Float[Array, " p"], Int[Array, " p"]]:
    """Distance of every position to its nearest neighbor, and the neighbor's index in the bank."""
    count, channels = features.shape
    block = min(BLOCK, count)
    blocks = jnp.pad(features, ((0, -count % block), (0, 0))).reshape(-1, block, channels)
    indices = jnp.arange(len(bank.directions), dtype=jnp.int32)[None, :]

    def search_block(features: Float[Array, "block c"]) -> tuple[Float[Array, " block"], Int[Array, " block"]]:
        offsets = at_least_float32(features) - bank.center[None, :]
        similarities = jnp.einsum("pc,nc->pn", offsets, bank.directions, precision=lax.Precision.HIGHEST)
        largest = jnp.max(similarities, axis=1)
        # Two plain maxima: XLA compiles argmax to a loop that is three times slower on a CPU.
        nearest = jnp.max(jnp.where(similarities == largest[:, None], indices, 0), axis=1)
        return 1.0 - largest / _lengths(offsets), nearest

    distances, nearest = lax.map(search_block, blocks)
    return distances.reshape(-1)[:count], nearest.reshape(-1)[:count]


def _distances_forward(features, bank):
    distances, nearest = _search(features, bank)
    return distances, (features, bank, distances, nearest)


def _distances_backward(residuals, cotangent):
    features, bank, distances, nearest = residuals
    offsets = at_least_float32(features) - bank.center[None, :]
    lengths = _lengths(offsets)[:, None]
    # The part of the neighbor's direction across the feature's own; along it the cosine is constant.
    neighbors = bank.directions.at[nearest].get(out_sharding=_rows_like(nearest))
    across = neighbors - (1.0 - distances)[:, None] * offsets / lengths
    return (-cotangent[:, None] * across / lengths).astype(features.dtype), None


def _rows_like(indices: Int[Array, " p"]) -> NamedSharding | None:
    """Sharding of rows that are gathered at indices; None unless a mesh has Explicit axes."""
    sharding = jax.typeof(indices).sharding
    return None if sharding.mesh.empty else NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec, None))


_distances.defvjp(_distances_forward, _distances_backward)


def _lengths(offsets: Float[Array, "p c"]) -> Float[Array, " p"]:
    return jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(offsets), axis=-1), MIN_LENGTH**2))
