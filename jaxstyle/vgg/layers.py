"""3x3 convolution and 2x2 pooling with hand-written gradients, for speed and memory."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.sharding_types import vary_like
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
    With the ReLU included, the backward pass stores the result instead of the values before the ReLU. Gradients of the
    kernel and the bias are computed, and the input is stored, only where they are asked for.

    Args:
        x: `(h, w, c)`; with precision bfloat16 of that type or float32, otherwise float32.
        kernel: `(3, 3, c, d)` float32.
        bias: `(d,)` float32.
        relu: if True, return `max(y, 0)`.
        precision: see `features`.
        algorithm: see `features`.

    Returns:
        `(h, w, d)`, bfloat16 with that precision, otherwise float32; differentiable in reverse mode.
    """
    return _differentiable(*vary_like((x, kernel, bias)), relu, precision, algorithm)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _convolution(x, kernel, bias, relu, precision, algorithm):
    def direct(x, kernel, bias):
        y = _direct_convolution(x, kernel, precision)
        # In the type of the map, as XLA makes one cuDNN kernel of convolution, bias and ReLU only then.
        y = y + bias.astype(y.dtype)[None, None]
        return jnp.maximum(y, 0.0) if relu else y

    winograd = functools.partial(winograd_convolution, relu=relu)
    return _select(x, kernel, precision, algorithm, direct, winograd)(x, kernel, bias)


def _convolution_forward(x, kernel, bias, relu, precision, algorithm):
    y = _convolution(x.value, kernel.value, bias.value, relu, precision, algorithm)
    # An argument is perturbed if its gradient is asked for. JAX needs one structure of residuals for all cases, so an
    # empty array takes the place of one that is not needed; that of the input has the type of its gradient.
    empty = jnp.zeros(0)
    return y, (
        y if relu else empty,
        kernel.value if x.perturbed else empty,
        x.value if kernel.perturbed else jnp.zeros(0, x.value.dtype),
        bias.value if bias.perturbed else empty,
    )


def _convolution_backward(relu, precision, algorithm, residuals, cotangent):
    y, kernel, x, bias = residuals
    if relu:
        cotangent = jnp.where(y > 0, cotangent, 0.0)

    def direct(cotangent, kernel):
        return _direct_convolution(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), precision)

    def input_gradient():
        winograd = functools.partial(winograd_convolution, transpose=True)
        return _select(cotangent, kernel, precision, algorithm, direct, winograd)(cotangent, kernel).astype(x.dtype)

    return (
        input_gradient() if kernel.size else None,
        _kernel_gradient(x, cotangent) if x.size else None,
        jnp.sum(at_least_float32(cotangent), axis=(0, 1)) if bias.size else None,
    )


_convolution.defvjp(_convolution_forward, _convolution_backward, symbolic_zeros=True)
# Only in compiled code does `jax.shard_map` know which gradients are asked for. Inlined: outer programs stay the same.
_differentiable = jax.jit(_convolution, static_argnums=(3, 4, 5), inline=True)


def _kernel_gradient(x: Features, cotangent: Float[Array, "h w d"]) -> Float[Array, "3 3 c d"]:
    """Compute the kernel's gradient: nine matrix products, whose batch may be sharded, unlike a convolution's."""
    height, width, _ = x.shape
    x, cotangent = at_least_float32(x), at_least_float32(cotangent)
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    products = [
        jnp.einsum("hwc,hwd->cd", padded[u : u + height, v : v + width], cotangent, precision=lax.Precision.HIGHEST)
        for u in range(3)
        for v in range(3)
    ]
    return jnp.stack(products).reshape(3, 3, *products[0].shape)


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
    # Products are added in float32; a result in bfloat16 is rounded once.
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    return lax.conv_general_dilated(
        x[None].astype(dtype),
        kernel.astype(dtype),
        window_strides=(1, 1),
        padding=((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST if precision == "highest" else lax.Precision.DEFAULT,
        preferred_element_type=dtype,
    )[0]


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return an array in a type for sums: bfloat16 becomes float32."""
    return x.astype(sum_type(x.dtype))


def sum_type(dtype: Any) -> Any:
    """Return the type for sums of numbers of a type."""
    return jnp.dtype(jnp.float32) if dtype == jnp.bfloat16 else dtype


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
    a, b, c, d = map(at_least_float32, (a, b, c, d))
    y = (a + b + c + d) / 4 if pooling == "avg" else jnp.sqrt((a * a + b * b + c * c + d * d) / 4)
    return y.astype(x.dtype)


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
        # One axis at a time: the only form in which JAX knows the sharding of the result.
        large = jnp.repeat(jnp.repeat(small, 2, axis=0), 2, axis=1)
        return jnp.pad(large, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)))

    if pooling == "avg":
        return (upsample(cotangent / 4),)
    if pooling == "max":
        # At least 1, because NaN equals nothing.
        num_maxima = jnp.maximum(sum((value == y).astype(x.dtype) for value in _window_values(x)), 1.0)
        return (jnp.where(x == upsample(y), upsample(cotangent / num_maxima), 0.0),)
    # The square root has no derivative at zero, and after a ReLU whole windows are zero: their gradient is zero.
    return (x * upsample(jnp.where(y > 0, cotangent / (4 * jnp.where(y > 0, y, 1.0)), 0.0)),)


_pool = jax.custom_vjp(_pool_windows, nondiff_argnums=(1,))
_pool.defvjp(_pool_forward, _pool_backward)
