import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.losses.gatys import content_loss, content_scale, gram_matrix, style_loss, total_variation

seeds = st.integers(0, 2**32 - 1)
normalizations = st.sampled_from(["paper", "notebook"])


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).normal(0.3, 1.0, shape)))


def test_gram_matrix_divides_by_positions():
    features = draw(0, 4, 6, 5)
    expected = sum(np.outer(f, f) for row in np.asarray(features, "f8") for f in row) / 24
    np.testing.assert_allclose(gram_matrix(features), expected, rtol=1e-5, atol=1e-6)


def test_content_loss_as_published():
    features, target = draw(0, 4, 6, 5), draw(1, 4, 6, 5)
    difference = np.asarray(features, "f8") - np.asarray(target, "f8")
    np.testing.assert_allclose(content_loss(features, target), np.mean(difference**2), rtol=1e-6)
    np.testing.assert_allclose(content_loss(features, target, "paper"), np.sum(difference**2) / 2, rtol=1e-6)


def test_style_loss_as_published():
    features, target = draw(0, 4, 6, 5), draw(1, 4, 6, 5)
    G, A = (reference.raw_gram(np.asarray(f, "f8")) for f in (features, target))
    N, M = 5, 24
    ours = style_loss(gram_matrix(features), gram_matrix(target), "paper")
    np.testing.assert_allclose(ours, np.sum((G - A) ** 2) / (4 * N**2 * M**2), rtol=1e-5)
    # The notebook: nn.MSELoss of Grams divided by positions, and a weight of 1 / channels^2.
    ours = style_loss(gram_matrix(features), gram_matrix(target))
    np.testing.assert_allclose(ours, np.mean((G / M - A / M) ** 2) / N**2, rtol=1e-5)


def test_total_variation_as_written():
    image = draw(0, 5, 7, 3)
    pixels = np.asarray(image, "f8")
    expected = (np.sum(np.diff(pixels, axis=0) ** 2) + np.sum(np.diff(pixels, axis=1) ** 2)) / 35
    np.testing.assert_allclose(total_variation(image), expected, rtol=1e-6)
    assert total_variation(jnp.full((5, 7, 3), 0.3)) == 0


@given(seed=seeds, normalization=normalizations)
def test_losses_are_zero_with_zero_gradient_at_the_target_and_positive_elsewhere(seed, normalization):
    features, other = draw(seed, 4, 3, 5), draw(seed + 1, 4, 3, 5)
    gram = gram_matrix(features)

    def style(f):
        return style_loss(gram_matrix(f), gram, normalization)

    def content(f):
        return content_loss(f, features, normalization)

    value, gradient = jax.value_and_grad(content)(features)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    # Gram matrices round differently inside differentiation.
    value, gradient = jax.value_and_grad(style)(features)
    assert value < 1e-12 * style(other)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert content(other) > 0
    assert style(other) > 1e-4


@given(seed=seeds, normalization=normalizations, scale=st.sampled_from([0.5, 2.0, 8.0]))
def test_losses_scale_as_their_powers(seed, normalization, scale):
    f, p = draw(seed, 4, 3, 5), draw(seed + 1, 4, 3, 5)
    np.testing.assert_allclose(
        content_loss(scale * f, scale * p, normalization), scale**2 * content_loss(f, p, normalization), rtol=1e-5
    )
    np.testing.assert_allclose(
        style_loss(gram_matrix(scale * f), gram_matrix(scale * p), normalization),
        scale**4 * style_loss(gram_matrix(f), gram_matrix(p), normalization),
        rtol=1e-5,
    )


@pytest.mark.parametrize("normalization", ["paper", "notebook"])
def test_gradients_against_central_differences(normalization):
    f, p = draw(0, 3, 4, 5), draw(1, 3, 4, 5)
    F, P = np.asarray(f, "f8"), np.asarray(p, "f8")
    A = reference.raw_gram(P) / 12
    style_factor = {"paper": 1 / (4 * 25), "notebook": 1 / 25**2}[normalization]
    content_factor = {"paper": 0.5, "notebook": 1 / 60}[normalization]
    cases = (
        (
            lambda f: style_loss(gram_matrix(f), gram_matrix(p), normalization),
            lambda F: style_factor * np.sum((reference.raw_gram(F) / 12 - A) ** 2),
        ),
        (lambda f: content_loss(f, p, normalization), lambda F: content_factor * np.sum((F - P) ** 2)),
    )
    for ours, slow in cases:
        gradient = np.asarray(jax.grad(ours)(f), "f8")
        for seed in range(5):
            direction = np.random.default_rng(seed).normal(size=F.shape)
            expected = reference.derivative(slow, F, direction, 1e-4)
            np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-4)


def test_the_papers_own_gradient():
    """Gatys et al., equations 2 and 6: for positive features, F - P and (F^T (G - A))^T / (N^2 M^2)."""
    f, p = jnp.abs(draw(0, 3, 4, 5)), jnp.abs(draw(1, 3, 4, 5))
    np.testing.assert_allclose(jax.grad(content_loss)(f, p, "paper"), f - p, atol=1e-6)
    F = np.asarray(f, "f8").reshape(-1, 5)
    G, A = (reference.raw_gram(np.asarray(x, "f8")) for x in (f, p))
    gradient = jax.grad(lambda f: style_loss(gram_matrix(f), gram_matrix(p), "paper"))(f)
    np.testing.assert_allclose(gradient.reshape(-1, 5), F @ (G - A) / (5**2 * 12**2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(1024, 1024, 512), (8192, 8192, 64), (23, 17, 5)])
def test_counts_do_not_overflow(shape):
    """A Python integer would become an int32 inside JAX, and wrap."""
    scale = content_scale(shape, "notebook")
    assert type(scale) is float
    assert scale == pytest.approx(1 / float(np.prod(np.array(shape, "f8"))), rel=1e-15)
    assert content_scale(shape, "paper") == 0.5
    # The scale as the losses use it, with its gradient.
    value, slope = jax.value_and_grad(lambda error: content_scale(shape, "notebook") * error)(jnp.float32(2.0))
    assert value == pytest.approx(2 * scale, rel=1e-6)
    assert slope == pytest.approx(scale, rel=1e-6)
