"""3x3 convolution and 2x2 pooling with hand-written gradients, for speed and memory."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.typing import Features
from jaxstyle.vgg.winograd import TILE, winograd_convolution

Pooling = Literal["max", "avg", "l2"]
Padding = Literal["zeros", "replicate"]
Precision = Literal["highest", "default", "bfloat16"]
Algorithm = Literal["auto", "direct", "winograd"]

# From these numbers of channels and tiles, Winograd convolution is faster than direct convolution on 2 CPU cores:
# below, its transforms cost more than it saves in multiplications.
MIN_CHANNELS, MIN_TILES = 64, 64


class Options(NamedTuple):
    """Static options of the forward pass, with the names and meanings of the parameters of `features`."""

    pooling: Pooling = "max"
    padding: Padding = "zeros"
    precision: Precision = "highest"
    algorithm: Algorithm = "auto"


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolution(
    x: Features,
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"],
    relu: bool,
    precision: Precision,
    algorithm: Algorithm,
) -> Float[Array, "h w d"]:
    """3x3 convolution with zero padding, bias and optional ReLU.

        y[i, j, d] = bias[d] + sum_{u, v, c} x[i + u - 1, j + v - 1, c] kernel[u, v, c, d]

    The input gradient is the convolution of the output's cotangent with the flipped, transposed kernel. In this form,
    XLA on CPU keeps its fast path inside compiled loops; with plain automatic differentiation it is 3 times slower.
    With the ReLU included, the backward pass stores the result instead of the values before the ReLU.

    Args:
        x: `(h, w, c)` float32.
        kernel: `(3, 3, c, d)` float32.
        bias: `(d,)` float32.
        relu: if True, return `max(y, 0)`.
        precision: see `features`.
        algorithm: see `features`.

    Returns:
        `(h, w, d)` float32.
    """

    def direct(x, kernel, bias):
        y = _direct_convolution(x, kernel, precision) + bias[None, None]
        return jnp.maximum(y, 0.0) if relu else y

    winograd = functools.partial(winograd_convolution, relu=relu)
    return _select(x, kernel, precision, algorithm, direct, winograd)(x, kernel, bias)


def _convolution_forward(x, kernel, bias, relu, precision, algorithm):
    y = convolution(x, kernel, bias, relu, precision, algorithm)
    return y, (x, kernel, y if relu else None)


def _convolution_backward(relu, precision, algorithm, residuals, cotangent):
    x, kernel, y = residuals
    if relu:
        cotangent = jnp.where(y > 0, cotangent, 0.0)

    def direct(cotangent, kernel):
        return _direct_convolution(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), precision)

    winograd = functools.partial(winograd_convolution, transpose=True)
    input_gradient = _select(x, kernel, precision, algorithm, direct, winograd)(cotangent, kernel)
    # For training the network; XLA removes the weight gradient where only the input gradient is used.
    _, weight_vjp = jax.vjp(lambda kernel: _direct_convolution(x, kernel, "highest"), kernel)
    return input_gradient, weight_vjp(cotangent)[0], jnp.sum(cotangent, axis=(0, 1))


convolution.defvjp(_convolution_forward, _convolution_backward)


def _select(x, kernel, precision, algorithm, direct, winograd):
    """Return the function of the algorithm; `"auto"` may leave the choice to the platform of the compiled program."""
    num_tiles = -(-x.shape[0] // TILE) * -(-x.shape[1] // TILE)
    is_small = min(kernel.shape[2:]) < MIN_CHANNELS or num_tiles < MIN_TILES
    if algorithm == "direct" or (algorithm == "auto" and (is_small or precision == "bfloat16")):
        return direct
    if algorithm == "winograd":
        return winograd
    return lambda *args: lax.platform_dependent(*args, cpu=winograd, default=direct)


def _direct_convolution(x, kernel, precision):
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

    With `a, b, c, d` the four values of a window, the result is

        max: max(a, b, c, d)      avg: (a + b + c + d) / 4      l2: sqrt((a^2 + b^2 + c^2 + d^2) / 4)

    Four strided slices need less temporary memory than `reduce_window`, which takes up to 1.7 times as much at
    1024x1024. The gradient of the slices would add four maps of the input's size, so it is written by hand. It divides
    equally among equal maxima, and is zero where an l2 result is zero.

    Args:
        x: `(h, w, c)`.
        pooling: `"max"`, `"avg"` or `"l2"`.

    Returns:
        `(h // 2, w // 2, c)`.
    """
    # A function of its own, because the type of a custom_vjp is unknown.
    return _pool(x, pooling)


def _pool_windows(x: Features, pooling: Pooling) -> Float[Array, "_ _ c"]:
    a, b, c, d = _window_values(x)
    if pooling == "max":
        return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    if pooling == "avg":
        return (a + b + c + d) / 4
    return jnp.sqrt((a * a + b * b + c * c + d * d) / 4)


def _window_values(x):
    """The four values of every window, as four maps."""
    height, width = 2 * (x.shape[0] // 2), 2 * (x.shape[1] // 2)
    return [x[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _pool_forward(x, pooling):
    y = _pool_windows(x, pooling)
    return y, (x, y)


def _pool_backward(pooling, residuals, cotangent):
    x, y = residuals

    def upsample(small):
        """Copy each value to the four positions of its window; zeros in a dropped row or column."""
        height, width, channels = small.shape
        large = jnp.broadcast_to(small[:, None, :, None], (height, 2, width, 2, channels))
        large = large.reshape(2 * height, 2 * width, channels)
        return jnp.pad(large, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)))

    if pooling == "avg":
        return (upsample(cotangent / 4),)
    if pooling == "max":
        # At least 1, because NaN equals nothing.
        num_maxima = jnp.maximum(sum((value == y).astype(jnp.float32) for value in _window_values(x)), 1.0)
        return (jnp.where(x == upsample(y), upsample(cotangent / num_maxima), 0.0),)
    # The square root has no derivative at zero, and after a ReLU whole windows are zero: their gradient is zero.
    return (x * upsample(jnp.where(y > 0, cotangent / (4 * jnp.where(y > 0, y, 1.0)), 0.0)),)


_pool = jax.custom_vjp(_pool_windows, nondiff_argnums=(1,))
_pool.defvjp(_pool_forward, _pool_backward)
