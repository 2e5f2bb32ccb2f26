"""3x3 convolution and 2x2 pooling, written so that they and their gradients compile well."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.typing import Features
from jaxstyle.vgg.winograd import TILE, winograd

Pooling = Literal["max", "avg", "l2"]
Precision = Literal["highest", "default", "bfloat16"]
Algorithm = Literal["auto", "direct", "winograd"]

# Where Winograd's form is the faster one on 2 CPU cores: below, its transforms cost more than the products save.
MIN_CHANNELS, MIN_TILES = 64, 64


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolution(
    x: Features,
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"],
    relu: bool,
    precision: Precision,
    algorithm: Algorithm,
) -> Float[Array, "h w d"]:
    """3x3 convolution, `y[i, j, d] = bias[d] + sum over u, v, c of x[i+u-1, j+v-1, c] kernel[u, v, c, d]`.

    Zeros lie around `x`.

    Its gradient with respect to `x` is the same convolution with the flipped, transposed kernel. Written so, XLA on
    CPU keeps its fast path inside compiled loops, which plain automatic differentiation loses (3 times slower). With
    the ReLU as a part of it, the result is all that is kept for the gradient.

    Args:
        x: `(h, w, c)` float32.
        kernel: `(3, 3, c, d)` float32.
        bias: `(d,)` float32.
        relu: whether `max(y, 0)` is wanted instead of `y`.
        precision: see `features`.
        algorithm: likewise.

    Returns:
        `(h, w, d)` float32.
    """

    def direct(x, kernel, bias):
        y = _convolve(x, kernel, precision) + bias[None, None]
        return jnp.maximum(y, 0.0) if relu else y

    def by_winograd(x, kernel, bias):
        return winograd(x, kernel, bias, relu)

    return _choose(x, kernel, precision, algorithm, direct, by_winograd)(x, kernel, bias)


def _forward(x, kernel, bias, relu, precision, algorithm):
    y = convolution(x, kernel, bias, relu, precision, algorithm)
    return y, (x, kernel, y if relu else None)


def _backward(relu, precision, algorithm, residuals, cotangent):
    x, kernel, y = residuals
    if relu:
        cotangent = jnp.where(y > 0, cotangent, 0.0)

    def direct(cotangent, kernel):
        return _convolve(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), precision)

    def by_winograd(cotangent, kernel):
        return winograd(cotangent, kernel, transpose=True)

    x_gradient = _choose(x, kernel, precision, algorithm, direct, by_winograd)(cotangent, kernel)
    # Exact too, for whoever trains the network; XLA removes it where only the pixels' gradient is used.
    _, transpose = jax.vjp(lambda k: _convolve(x, k, "highest"), kernel)
    return x_gradient, transpose(cotangent)[0], jnp.sum(cotangent, axis=(0, 1))


convolution.defvjp(_forward, _backward)


def _choose(x, kernel, precision, algorithm, direct, by_winograd):
    """One of two functions, if need be when it is known for which platform they are compiled."""
    tiles = -(-x.shape[0] // TILE) * -(-x.shape[1] // TILE)
    small = min(kernel.shape[2:]) < MIN_CHANNELS or tiles < MIN_TILES
    if algorithm == "direct" or (algorithm == "auto" and (small or precision == "bfloat16")):
        return direct
    if algorithm == "winograd":
        return by_winograd
    return lambda *args: lax.platform_dependent(*args, cpu=by_winograd, default=direct)


def _convolve(x, kernel, precision):
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    return lax.conv_general_dilated(
        x[None].astype(dtype),
        kernel.astype(dtype),
        window_strides=(1, 1),
        padding=((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST if precision == "highest" else lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )[0]


def pool(x: Features, pooling: Pooling) -> Float[Array, "{x.shape[0]//2} {x.shape[1]//2} c"]:
    """2x2 pooling with stride 2; an odd last row or column is dropped.

    Written as four strided slices: `reduce_window` needs up to 1.7 times the temporary memory at 1024x1024. The
    gradient is written out because that of the slices makes four maps of the input's size and adds them.

    Args:
        x: `(h, w, c)`.
        pooling: see `features`.

    Returns:
        `(h // 2, w // 2, c)`.
    """
    return _pool(x, pooling)


def _pooled(x: Features, pooling: Pooling) -> Float[Array, "_ _ c"]:
    a, b, c, d = _corners(x)
    if pooling == "max":
        return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    if pooling == "avg":
        return (a + b + c + d) / 4
    return jnp.sqrt((a * a + b * b + c * c + d * d) / 4)


def _corners(x):
    height, width = 2 * (x.shape[0] // 2), 2 * (x.shape[1] // 2)
    return [x[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _pool_forward(x, pooling):
    y = _pooled(x, pooling)
    return y, (x, y)


def _pool_backward(pooling, residuals, cotangent):
    x, y = residuals

    def spread(small):
        """Each value to its four pixels; zeros where a last row or column was dropped."""
        height, width, channels = small.shape
        wide = jnp.broadcast_to(small[:, None, :, None], (height, 2, width, 2, channels))
        wide = wide.reshape(2 * height, 2 * width, channels)
        return jnp.pad(wide, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)))

    if pooling == "avg":
        return (spread(cotangent / 4),)
    if pooling == "max":
        # Equal ones share it.
        equal = jnp.maximum(sum((corner == y).astype(jnp.float32) for corner in _corners(x)), 1.0)
        return (jnp.where(x == spread(y), spread(cotangent / equal), 0.0),)
    # The root has no gradient at zero, where whole windows of a ReLU's output lie: there the gradient is zero.
    return (x * spread(jnp.where(y > 0, cotangent / (4 * jnp.where(y > 0, y, 1.0)), 0.0)),)


_pool = jax.custom_vjp(_pooled, nondiff_argnums=(1,))
_pool.defvjp(_pool_forward, _pool_backward)
