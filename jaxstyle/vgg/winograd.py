"""3x3 convolution by Winograd's minimal filtering F(4x4, 3x3), with a quarter of the direct form's multiplications.

A 4x4 tile of the output is a product of polynomials, evaluated at six points per axis and interpolated:

    Y = A^T [(G g G^T) * (B^T d B)] A

`d` is the 6x6 tile of the input, `g` the 3x3 kernel, `*` the elementwise product, `B^T` the input transform, `G` the
kernel transform and `A^T` the output transform. The output transform is linear, so the sum over input channels can be
taken before it. The elementwise products then become 36 matrix products, (tiles x input channels) by (input channels x
output channels).

The points are 0, p, -p, infinity, q, -q with p = sqrt(1/2), q = sqrt(2), for two reasons:

- The rounding error is half of that with the usual points 0, 1, -1, 2, -2, infinity, and no larger than the error of
  direct convolution in float32.
- 1 / p = q: evaluating the flipped kernel at the reciprocal points gives the same values up to scaling, so one
  transformed kernel serves both the convolution and its input gradient; only the order of the points differs.

References:
    S. Winograd, "Arithmetic Complexity of Computations", SIAM 1980. A. Lavin and S. Gray, "Fast Algorithms for
    Convolutional Neural Networks", CVPR 2016. B. Barabasz, A. Anderson, K. Soodhalter and D. Gregg, "Error Analysis
    and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", ACM TOMS 46 (4), 2020.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.typing import Features, Scalar

# Side lengths of the tiles of the output and of the input; neighboring input tiles overlap by two.
TILE, INPUT_TILE = 4, 6
# Approximate number of tiles evaluated at a time: enough to amortize reading the kernels, few enough for the cache.
TILES_PER_STRIP = 256
# XLA on CPU uses all threads for a matrix product with at least this many multiplications.
MIN_PARALLEL_MULTIPLICATIONS = 2**24

_P, _Q = math.sqrt(1 / 2), math.sqrt(2)
# Kernel transform: each row holds multiples c of the powers (1, t, t^2) of a point t, that of infinity the last power
# only. Reciprocal points have reversed rows.
_FINITE_POINTS = ((1, 0), (-2 / 3, _P), (-2 / 3, -_P), (-1 / 3, _Q), (-1 / 3, -_Q))
_G = np.insert([[c, c * t, c * t**2] for c, t in _FINITE_POINTS], 3, [0, 0, 1], axis=0).astype(np.float32)
# Order of the points for the convolution, and of their reciprocals for its transpose.
_POINTS = [0, 1, 2, 3, 4, 5]
_RECIPROCAL_POINTS = [3, 4, 5, 0, 1, 2]


def winograd_convolution(
    x: Float[Array, "h w _"],
    kernel: Float[Array, "3 3 _ _"],
    bias: Float[Array, " _"] | None = None,
    relu: bool = False,
    transpose: bool = False,
) -> Float[Array, "h w out"]:
    """3x3 convolution with zero padding, as defined by `convolution` in `layers.py`.

    Args:
        x: `(h, w, c_in)` float32; `(h, w, c_out)` with `transpose`.
        kernel: `(3, 3, c_in, c_out)` float32.
        bias: `(out,)` float32; None is zero.
        relu: if True, return `max(y, 0)`.
        transpose: if True, convolve with the flipped, transposed kernel: the input gradient of the convolution.

    Returns:
        `(h, w, c_out)` float32; `(h, w, c_in)` with `transpose`.

    Example:
        >>> import jax.numpy as jnp
        >>> y = winograd_convolution(jnp.ones((5, 7, 2)), jnp.ones((3, 3, 2, 1)))
        >>> y[:2, :3, 0].round().astype(int).tolist()
        [[8, 12, 12], [12, 18, 18]]
    """
    height, width, _ = x.shape
    tile_rows, tile_columns = -(-height // TILE), -(-width // TILE)
    strip_rows = -(-tile_rows // min(tile_rows, -(-tile_rows * tile_columns // TILES_PER_STRIP)))
    num_strips = -(-tile_rows // strip_rows)
    num_parts = 1 if strip_rows * tile_columns * math.prod(kernel.shape[2:]) >= MIN_PARALLEL_MULTIPLICATIONS else 2
    zero = _zero_depending_on(lax.stop_gradient(x)[0, 0, 0])
    kernels = _transform_kernel(kernel, num_parts, zero)
    bottom, right = TILE * strip_rows * num_strips - height + 1, TILE * tile_columns - width + 1
    x = jnp.pad(x, ((1, bottom), (1, right), (0, 0)))

    def convolve_strip(k):
        x_strip = lax.dynamic_slice_in_dim(x, TILE * strip_rows * k, TILE * strip_rows + 2)
        y = _convolve_tiles(x_strip, kernels, transpose)
        y = y if bias is None else y + bias[None, None]
        return jnp.maximum(y, 0.0) if relu else y

    def store_strip(k, y):
        return lax.dynamic_update_slice_in_dim(y, convolve_strip(k), TILE * strip_rows * k, 0)

    if num_strips == 1:
        return convolve_strip(0)[:height, :width]
    channels_out = kernel.shape[2 if transpose else 3]
    y = jnp.broadcast_to(zero, (TILE * strip_rows * num_strips, TILE * tile_columns, channels_out))
    return lax.fori_loop(0, num_strips, store_strip, y)[:height, :width]


@jax.custom_batching.custom_vmap
def _zero_depending_on(value: Scalar) -> Scalar:
    """Return 0.0 with a data dependency on `value`, so that nothing computed from it can be scheduled before it.

    XLA on CPU schedules every operation as early as possible. Without this dependency, the transformed kernels and the
    output buffers of all layers would be allocated before the first layer is finished.
    """
    return jnp.where(jnp.isfinite(value), 0.0 * value, 0.0)


@_zero_depending_on.def_vmap
def _zero_depending_on_batch(_size, _batched, value):
    # Return an unbatched zero so that the transformed kernels stay unbatched too.
    return _zero_depending_on(jnp.max(value)), False


def _transform_kernel(
    kernel: Float[Array, "3 3 c_in c_out"], num_parts: int, zero: Scalar
) -> list[Float[Array, "_ c_in c_out"]]:
    """Compute `G g G^T`: 36 (c_in x c_out) matrices, split into groups by vertical evaluation point."""
    flat = kernel.reshape(9, -1)
    transforms = np.kron(_G, _G).reshape(num_parts, 36 // num_parts, 9)
    return [
        jnp.dot(transform + zero[None, None], flat, precision=lax.Precision.HIGHEST).reshape(-1, *kernel.shape[2:])
        for transform in transforms
    ]


def _convolve_tiles(x: Features, kernels: Sequence[Float[Array, "_ _ _"]], transpose: bool) -> Float[Array, "_ _ out"]:
    """Convolve `x`, padded by one on every side, with transformed kernels."""
    tile_rows, tile_columns = (x.shape[0] - 2) // TILE, (x.shape[1] - 2) // TILE
    points = _RECIPROCAL_POINTS if transpose else _POINTS
    rows = jnp.stack(_transform_input([x[i::TILE][:tile_rows] for i in range(INPUT_TILE)], points))
    outputs = []
    # XLA on CPU computes one small batched product with a single thread, but several products in parallel: hence parts.
    for part, u in zip(jnp.split(rows, len(kernels)), kernels, strict=True):
        columns = [part[:, :, j::TILE][:, :, :tile_columns] for j in range(INPUT_TILE)]
        v = _merge(_merge(jnp.stack(_transform_input(columns, points), axis=1), 2), 0)
        contract = ((2,), (2 if transpose else 1,)), ((0,), (0,))
        m = lax.dot_general(v, u, contract, precision=lax.Precision.HIGHEST)
        m = m.reshape(len(part), INPUT_TILE, *m.shape[1:])
        y = jnp.stack(_transform_output([m[:, j] for j in points]), axis=2)
        outputs += [_merge(output.reshape(tile_rows, tile_columns, *output.shape[1:]), 1) for output in y]
    return _merge(jnp.stack(_transform_output([outputs[i] for i in points]), axis=1), 0)


def _merge(x: Array, axis: int) -> Array:
    """Merge an axis with the next one. JAX knows the sharding of the result of one merge, but not of several."""
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _transform_input(d: Sequence[Array], points: Sequence[int]) -> list[Array]:
    """Compute `B^T d` along one axis, with the results in the order of `points`."""
    p_even, p_odd = d[4] - 2 * d[2], _P * (d[3] - 2 * d[1])
    q_even, q_odd = 0.25 * d[2] - 0.5 * d[4], (0.5 * _Q) * (0.5 * d[1] - d[3])
    values = [
        d[0] - 2.5 * d[2] + d[4],
        p_even + p_odd,
        p_even - p_odd,
        d[1] - 2.5 * d[3] + d[5],
        q_even + q_odd,
        q_even - q_odd,
    ]
    return [values[point] for point in points]


def _transform_output(m: Sequence[Array]) -> list[Array]:
    """Compute `A^T m` along one axis."""
    p_even, p_odd, q_even, q_odd = m[1] + m[2], m[1] - m[2], m[4] + m[5], m[4] - m[5]
    return [
        m[0] + p_even + q_even,
        _P * p_odd + _Q * q_odd,
        0.5 * p_even + 2 * q_even,
        0.5 * _P * p_odd + 2 * _Q * q_odd + m[3],
    ]
