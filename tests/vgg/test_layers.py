"""Convolution and pooling against float64 references and plain automatic differentiation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax

from jaxstyle.vgg.layers import MIN_CHANNELS, MIN_TILES, convolution, pool


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
def test_convolution_gradients_equal_automatic_differentiation(algorithm, relu):
    x, kernel, cotangent = draw(0, 7, 6, 3) - 0.5, draw(1, 3, 3, 3, 5) - 0.5, draw(2, 7, 6, 5) - 0.5
    bias = draw(3, 5) - 0.5

    def plain(x, kernel, bias):
        y = lax.conv_general_dilated(
            x[None],
            kernel,
            (1, 1),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )[0]
        y = y + bias[None, None]
        return jnp.where(y > 0, y, 0.0) if relu else y

    ours, our_vjp = jax.vjp(lambda *args: convolution(*args, relu, "highest", algorithm), x, kernel, bias)
    theirs, their_vjp = jax.vjp(plain, x, kernel, bias)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    slow = reference.convolve(np.asarray(x, "f8"), np.asarray(kernel, "f8")) + np.asarray(bias, "f8")
    np.testing.assert_allclose(ours, np.maximum(slow, 0) if relu else slow, atol=1e-6)
    for mine, other in zip(our_vjp(cotangent), their_vjp(cotangent), strict=True):
        np.testing.assert_allclose(mine, other, atol=5e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_in_bfloat16_only_the_rounding_differs(relu):
    """Products of rounded numbers, added exactly; each result is rounded twice: without and with the bias."""
    x, kernel, bias = draw(0, 7, 6, 3) - 0.5, draw(1, 3, 3, 3, 5) - 0.5, draw(3, 5) - 0.5
    cotangent = draw(2, 7, 6, 5) - 0.5

    def rounded(array):
        return np.asarray(jnp.asarray(array, jnp.bfloat16), "f8")

    y, vjp = jax.vjp(lambda x: convolution(x, kernel, bias, relu, "bfloat16", "auto"), x)
    assert y.dtype == jnp.bfloat16
    slow = rounded(reference.convolve(rounded(x), rounded(kernel))) + rounded(bias)
    slow = rounded(np.maximum(slow, 0) if relu else slow)
    # Both are rounded: a sum that is almost between two numbers may go either way.
    np.testing.assert_allclose(np.asarray(y, "f8"), slow, atol=2**-7 * np.abs(slow).max())
    assert np.mean(np.asarray(y, "f8") == slow) > 0.95
    (gradient,) = vjp(jnp.asarray(cotangent, jnp.bfloat16))
    assert gradient.dtype == x.dtype
    masked = rounded(cotangent) * (slow > 0 if relu else 1.0)
    transposed = rounded(kernel)[::-1, ::-1].swapaxes(2, 3)
    expected = rounded(reference.convolve(masked, transposed))
    np.testing.assert_allclose(gradient, expected, atol=2**-7 * np.abs(expected).max())


@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
def test_pools_of_bfloat16_are_rounded_once(pooling):
    x = jnp.asarray(draw(0, 8, 6, 3), jnp.bfloat16)
    y, vjp = jax.vjp(lambda x: pool(x, pooling), x)
    assert y.dtype == jnp.bfloat16
    expected = jnp.asarray(pool(x.astype(jnp.float32), pooling), jnp.bfloat16)
    np.testing.assert_array_equal(y, expected)
    (gradient,) = vjp(jnp.ones_like(y))
    assert gradient.dtype == jnp.bfloat16
    _, exact_vjp = jax.vjp(lambda x: pool(x, pooling), x.astype(jnp.float32))
    (exact,) = exact_vjp(jnp.ones(y.shape))
    np.testing.assert_allclose(np.asarray(gradient, "f4"), exact, rtol=0.02)


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_the_convolution_has_second_derivatives(algorithm):
    x, kernel = draw(0, 4, 5, 2), draw(1, 3, 3, 2, 3) - 0.5

    def energy(x):
        return jnp.sum(convolution(x, kernel, jnp.zeros(3), False, "highest", algorithm) ** 2)

    # A quadratic: the gradient of (gradient . d) is twice the energy's own form at d.
    direction = draw(2, 4, 5, 2)
    product = jax.grad(lambda x: jnp.sum(jax.grad(energy)(x) * direction))(x)
    np.testing.assert_allclose(jnp.sum(product * direction), 2 * energy(direction), rtol=1e-5)


def compiled_convolution(shape, channels, precision="highest", algorithm="auto"):
    """Text of the program compiled for this platform."""
    x, kernel, bias = jnp.zeros(shape), jnp.zeros((3, 3, shape[2], channels)), jnp.zeros(channels)
    return jax.jit(convolution, static_argnums=(3, 4, 5)).lower(x, kernel, bias, True, precision, algorithm).as_text()


def is_winograd(text):
    """True for Winograd, False for direct convolution; fails for neither or both."""
    direct = "stablehlo.convolution" in text
    assert direct != ("stablehlo.dot_general" in text)
    return not direct


def test_auto_is_winograd_in_wide_float32_layers_only():
    side = 4 * math.isqrt(MIN_TILES)
    wide = (side, side, MIN_CHANNELS)
    assert is_winograd(compiled_convolution(wide, MIN_CHANNELS))
    assert is_winograd(compiled_convolution(wide, MIN_CHANNELS, "default"))
    for text in (
        compiled_convolution(wide, MIN_CHANNELS, "bfloat16"),
        compiled_convolution(wide, MIN_CHANNELS, algorithm="direct"),
        compiled_convolution(wide, MIN_CHANNELS - 1),
        compiled_convolution((side, side, 3), MIN_CHANNELS),
        compiled_convolution((side - 4, side, MIN_CHANNELS), MIN_CHANNELS),
    ):
        assert not is_winograd(text)


def test_auto_is_direct_on_other_platforms():
    x, kernel, bias = jnp.zeros((32, 32, 64)), jnp.zeros((3, 3, 64, 64)), jnp.zeros(64)
    traced = jax.jit(convolution, static_argnums=(3, 4, 5)).trace(x, kernel, bias, True, "highest", "auto")
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.convolution" in text
        assert "stablehlo.dot_general" not in text


@pytest.mark.parametrize("shape", [(5, 8, 2), (4, 7, 3), (2, 2, 1), (3, 3, 2)])
@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
def test_pool_and_its_gradient(pooling, shape):
    x = draw(0, *shape)
    np.testing.assert_allclose(pool(x, pooling), reference.pool(np.asarray(x, "f8"), pooling), atol=1e-6)
    weights = np.random.default_rng(1).normal(size=(shape[0] // 2, shape[1] // 2, shape[2]))
    gradient = jax.grad(lambda x: jnp.sum(pool(x, pooling) * jnp.asarray(weights, jnp.float32)))(x)
    for index in np.ndindex(shape):
        one = np.zeros(shape)
        one[index] = 1.0
        slow = reference.derivative(lambda x: np.sum(reference.pool(x, pooling) * weights), np.asarray(x, "f8"), one)
        assert abs(gradient[index] - slow) < 1e-5


@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
def test_pool_at_zero_has_a_finite_gradient(pooling):
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(pool(x, pooling)))(jnp.zeros((4, 4, 2)))
    assert value == 0
    assert jnp.all(jnp.isfinite(gradient))
    if pooling == "l2":
        np.testing.assert_array_equal(gradient, 0)
