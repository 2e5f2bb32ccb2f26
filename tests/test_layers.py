"""Convolution and pooling against float64 references and plain automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax

from jaxstyle.layers import convolution, pool


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


def test_the_convolution_gradients_are_those_of_automatic_differentiation():
    x, kernel, cotangent = draw(0, 7, 6, 3) - 0.5, draw(1, 3, 3, 3, 5) - 0.5, draw(2, 7, 6, 5) - 0.5

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x[None],
            kernel,
            (1, 1),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )[0]

    ours, our_vjp = jax.vjp(lambda x, kernel: convolution(x, kernel, "highest"), x, kernel)
    theirs, their_vjp = jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(ours, reference.convolve(np.asarray(x, "f8"), np.asarray(kernel, "f8")), atol=1e-6)
    for mine, other in zip(our_vjp(cotangent), their_vjp(cotangent), strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-6)


def test_the_convolution_has_second_derivatives():
    x, kernel = draw(0, 4, 5, 2), draw(1, 3, 3, 2, 3) - 0.5

    def energy(x):
        return jnp.sum(convolution(x, kernel, "highest") ** 2)

    # A quadratic: the gradient of (gradient . d) is twice the energy's own form at d.
    direction = draw(2, 4, 5, 2)
    product = jax.grad(lambda x: jnp.sum(jax.grad(energy)(x) * direction))(x)
    np.testing.assert_allclose(jnp.sum(product * direction), 2 * energy(direction), rtol=1e-5)


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
