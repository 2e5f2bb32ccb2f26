"""3x3 convolution by Winograd's F(4x4, 3x3): a quarter of the multiplications of the direct form.

A 4x4 tile of the result is a product of polynomials, taken at six points a side:

    y = A^T [(G g G^T) * (B^T d B)] A

with `d` the tile's 6x6 inputs, `g` the kernel and `*` element by element. Summed over channels before `A`, that makes
36 products of matrices, tiles by channels and channels by channels.

The points are 0, p, -p, infinity, q, -q with p = sqrt(1/2), q = sqrt(2), for two reasons. The rounding error is half of
that with the usual 0, 1, -1, 2, -2, and no larger than the direct form's in float32. And 1/p = q: the flipped kernel,
which the gradient needs, has the same values at the reciprocal points, so the same transformed kernel serves both.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; Barabasz, Anderson, Soodhalter and
Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", ACM TOMS 2020.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.typing import Features, Scalar

# Results and inputs of a tile, a side.
TILE, REACH = 4, 6
# About so many tiles at a time: enough for each time that the kernels are read, few enough for the cache.
STRIP = 256
# Multiplications of one product of matrices from which XLA on CPU uses all threads for it.
PARALLEL = 2**24

_P, _Q = math.sqrt(1 / 2), math.sqrt(2)
# Rows of G: each point's powers, divided so that reciprocal points have the same divisor but for the powers.
_G = np.array(
    [
        [1, 0, 0],
        [-2 / 3, -2 / 3 * _P, -1 / 3],
        [-2 / 3, 2 / 3 * _P, -1 / 3],
        [0, 0, 1],
        [-1 / 3, -1 / 3 * _Q, -2 / 3],
        [-1 / 3, 1 / 3 * _Q, -2 / 3],
    ],
    np.float32,
)
_POINTS = [0, 1, 2, 3, 4, 5]
_RECIPROCALS = [3, 4, 5, 0, 1, 2]


def winograd(
    x: Float[Array, "h w _"],
    kernel: Float[Array, "3 3 _ _"],
    bias: Float[Array, " _"] | None = None,
    relu: bool = False,
    transpose: bool = False,
) -> Float[Array, "h w out"]:
    """3x3 convolution with zero padding, as `convolution` says it.

    Args:
        x: `(h, w, c)` float32; `(h, w, d)` for the transpose.
        kernel: `(3, 3, c, d)` float32.
        bias: `(d,)` float32; None adds none.
        relu: whether negative results become zero.
        transpose: convolve with the flipped kernel, from its `d` channels to its `c`: the gradient of the convolution
            with respect to its input.

    Returns:
        `(h, w, d)` float32; `(h, w, c)` of the transpose.

    Example:
        >>> import jax.numpy as jnp
        >>> winograd(jnp.ones((5, 7, 2)), jnp.ones((3, 3, 2, 1)))[:2, :3, 0].round().astype(int).tolist()
        [[8, 12, 12], [12, 18, 18]]
    """
    height, width, _ = x.shape
    down, across = -(-height // TILE), -(-width // TILE)
    rows = -(-down // min(down, -(-down * across // STRIP)))
    strips = -(-down // rows)
    parts = 1 if rows * across * math.prod(kernel.shape[2:]) >= PARALLEL else 2
    zero = _late_zero(lax.stop_gradient(x))
    transformed = _of_kernel(kernel, parts, zero)
    x = jnp.pad(x, ((1, TILE * rows * strips - height + 1), (1, TILE * across - width + 1), (0, 0)))

    def strip(k):
        y = _strip(lax.dynamic_slice_in_dim(x, TILE * rows * k, TILE * rows + 2), transformed, transpose)
        y = y if bias is None else y + bias[None, None]
        return jnp.maximum(y, 0.0) if relu else y

    def put(k, y):
        return lax.dynamic_update_slice_in_dim(y, strip(k), TILE * rows * k, 0)

    if strips == 1:
        return strip(0)[:height, :width]
    out = kernel.shape[2 if transpose else 3]
    empty = jnp.broadcast_to(zero, (TILE * rows * strips, TILE * across, out))
    return lax.fori_loop(0, strips, put, empty)[:height, :width]


@jax.custom_batching.custom_vmap
def _late_zero(x: Features) -> Scalar:
    """A zero that is known only when `x` is.

    XLA on CPU starts whatever it can at once: without it the transformed kernels of all layers, and the results'
    buffers, would be in memory before the first layer is done.
    """
    return jnp.where(jnp.isfinite(x[0, 0, 0]), 0.0 * x[0, 0, 0], 0.0)


@_late_zero.def_vmap
def _late_zero_of_many(_size, _batched, x):
    # One for all, so that all have the same kernels.
    return _late_zero(x[0]), False


def _of_kernel(kernel: Float[Array, "3 3 c d"], parts: int, zero: Scalar) -> list[Float[Array, "_ c d"]]:
    """`G g G^T`: 36 matrices, in so many parts."""
    flat = kernel.reshape(9, -1)
    both = np.kron(_G, _G).reshape(parts, 36 // parts, 9)
    return [
        jnp.dot(part + zero[None, None], flat, precision=lax.Precision.HIGHEST).reshape(-1, *kernel.shape[2:])
        for part in both
    ]


def _strip(x: Features, transformed: Sequence[Float[Array, "_ _ _"]], transpose: bool) -> Float[Array, "_ _ out"]:
    """Rows of tiles; `x` has one more row and column on every side than the result."""
    down, across, channels = (x.shape[0] - 2) // TILE, (x.shape[1] - 2) // TILE, x.shape[2]
    order = _RECIPROCALS if transpose else _POINTS
    rows = jnp.stack(_of_input([x[i::TILE][:down] for i in range(REACH)], order))
    columns = []
    # XLA on CPU runs a small batched product in one thread, but several products at once: hence parts.
    for part, u in zip(jnp.split(rows, len(transformed)), transformed, strict=True):
        v = jnp.stack(_of_input([part[:, :, j::TILE][:, :, :across] for j in range(REACH)], order), axis=1)
        v = v.reshape(-1, down * across, channels)
        contract = ((2,), (2 if transpose else 1,)), ((0,), (0,))
        m = lax.dot_general(v, u, contract, precision=lax.Precision.HIGHEST)
        m = m.reshape(len(part), REACH, down * across, -1)
        y = jnp.stack(_of_product([m[:, j] for j in order]), axis=2)
        columns += [column.reshape(down, TILE * across, -1) for column in y]
    y = jnp.stack(_of_product([columns[i] for i in order]), axis=1)
    return y.reshape(TILE * down, TILE * across, -1)


def _of_input(d: Sequence[Array], order: Sequence[int]) -> list[Array]:
    """`B^T d` along one side, for the points in this order."""
    p, p_odd = d[4] - 2 * d[2], _P * (d[3] - 2 * d[1])
    q, q_odd = 0.25 * d[2] - 0.5 * d[4], (0.5 * _Q) * (0.5 * d[1] - d[3])
    found = [
        d[0] - 2.5 * d[2] + d[4],
        p + p_odd,
        p - p_odd,
        d[1] - 2.5 * d[3] + d[5],
        q + q_odd,
        q - q_odd,
    ]
    return [found[point] for point in order]


def _of_product(m: Sequence[Array]) -> list[Array]:
    """`A^T m` along one side."""
    p, p_odd, q, q_odd = m[1] + m[2], m[1] - m[2], m[4] + m[5], m[4] - m[5]
    return [m[0] + p + q, _P * p_odd + _Q * q_odd, 0.5 * p + 2 * q, 0.5 * _P * p_odd + 2 * _Q * q_odd + m[3]]
