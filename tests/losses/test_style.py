import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.losses.style import RELATIVE_RIDGE, VARIANCE_FLOOR, Moments, style_distance, wasserstein
from jaxstyle.losses.whitening import whitening

LOSSES = ("gram", "covariance", "mean+std", "wasserstein")
seeds = st.integers(0, 2**32 - 1)


def samples(seed, positions=50, channels=5, scale=1.0):
    random = np.random.default_rng(seed)
    return random.normal(random.normal(0, 1, channels), scale, (positions, channels)) @ random.normal(
        0, 1, (channels,) * 2
    )


def moments(x):
    return Moments(jnp.asarray(x.T @ x / len(x), jnp.float32), jnp.asarray(x.mean(axis=0), jnp.float32))


def psd_root(matrix):
    values, basis = np.linalg.eigh(matrix)
    return (basis * np.sqrt(values.clip(0))) @ basis.T


def slow(style_loss, x, y, normalization, ridge=None):
    """The module's table in float64, from samples."""
    C = x.shape[1]
    k = 1 / C**4 if normalization == "notebook" else 1 / (4 * C**2)
    means, covariances = [each.mean(axis=0) for each in (x, y)], [np.cov(each.T, bias=True) for each in (x, y)]
    if style_loss == "gram":
        return k * np.sum((x.T @ x / len(x) - y.T @ y / len(y)) ** 2)
    if style_loss == "covariance":
        outer = [np.outer(each, each) for each in means]
        return k * (np.sum((covariances[0] - covariances[1]) ** 2) + np.sum((outer[0] - outer[1]) ** 2))
    if style_loss == "mean+std":
        deviations = [np.sqrt(np.diag(each) + VARIANCE_FLOOR) for each in covariances]
        return np.mean((means[0] - means[1]) ** 2) + np.mean((deviations[0] - deviations[1]) ** 2)
    ridge = RELATIVE_RIDGE * np.linalg.norm(covariances[1]) if ridge is None else ridge
    a, b = (each + ridge * np.eye(C) for each in covariances)
    inner = psd_root(psd_root(b) @ a @ psd_root(b))
    return (np.sum((means[0] - means[1]) ** 2) + np.trace(a) + np.trace(b) - 2 * np.trace(inner)) / C


@pytest.mark.parametrize("normalization", ["notebook", "paper"])
@pytest.mark.parametrize("style_loss", LOSSES)
@given(seed=seeds)
def test_against_the_table_in_float64(style_loss, normalization, seed):
    x, y = samples(seed), samples(seed + 1, 70)
    found, surrogate = style_distance(moments(x), moments(y), style_loss, normalization)
    np.testing.assert_allclose(found, slow(style_loss, x, y, normalization), rtol=2e-4)
    assert float(found) == float(surrogate)


@pytest.mark.parametrize("style_loss", LOSSES)
@given(seed=seeds)
def test_the_gradient_against_differences(style_loss, seed):
    """Along a random direction of the samples, in float64 by the slow formula."""
    x, y = samples(seed), samples(seed + 1)
    direction = np.random.default_rng(seed).normal(0, 1, x.shape)

    def loss(z):
        z = jnp.asarray(z, jnp.float32)
        here = Moments(jnp.einsum("pc,pd->cd", z, z) / len(z), jnp.mean(z, axis=0))
        return style_distance(here, moments(y), style_loss)[0]

    gradient = np.asarray(jax.grad(loss)(jnp.asarray(x, jnp.float32)), "f8")
    step = 1e-5
    expected = (
        slow(style_loss, x + step * direction, y, "notebook") - slow(style_loss, x - step * direction, y, "notebook")
    ) / (2 * step)
    size = np.linalg.norm(gradient) * np.linalg.norm(direction)
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize("style_loss", LOSSES)
@given(seed=seeds)
def test_zero_at_the_style_and_only_there(style_loss, seed):
    x = samples(seed)
    far, _ = style_distance(moments(samples(seed + 1)), moments(x), style_loss)
    same, _ = style_distance(moments(x), moments(x), style_loss)
    assert abs(float(same)) < 2e-4 * float(far)


def test_only_the_gram_loss_mixes_up_brightness_and_contrast():
    """Two positions at 1 and -1, and two at 1: the same Gram matrix, another mean."""
    spread, flat = np.array([[1.0], [-1.0]]), np.array([[1.0], [1.0]])
    assert float(style_distance(moments(spread), moments(flat), "gram")[0]) == 0
    for style_loss in LOSSES[1:]:
        assert float(style_distance(moments(spread), moments(flat), style_loss)[0]) > 0.1


@given(seed=seeds)
def test_wasserstein_between_gaussians_that_commute_is_that_of_their_axes(seed):
    """Diagonal covariances: the squared distances of means and deviations."""
    random = np.random.default_rng(seed)
    means, deviations = random.normal(0, 1, (2, 4)), random.uniform(0.5, 2, (2, 4))
    here, style = (
        Moments(jnp.asarray(np.diag(s**2) + np.outer(m, m), jnp.float32), jnp.asarray(m, jnp.float32))
        for m, s in zip(means, deviations, strict=True)
    )
    # Both variances have the ridge.
    ridged = np.sqrt(deviations**2 + RELATIVE_RIDGE * np.linalg.norm(deviations[1] ** 2))
    expected = (np.sum((means[0] - means[1]) ** 2) + np.sum((ridged[0] - ridged[1]) ** 2)) / 4
    np.testing.assert_allclose(wasserstein(here, style), expected, rtol=1e-3)


@pytest.mark.parametrize("matrix_root", ["eigh", "newton-schulz"])
@pytest.mark.parametrize("positions", [1, 2, 4])
def test_wasserstein_of_layers_with_fewer_positions_than_channels(positions, matrix_root):
    x, y = samples(0, positions, 8), samples(1, positions, 8)

    def loss(z):
        here = Moments(jnp.einsum("pc,pd->cd", z, z) / len(z), jnp.mean(z, axis=0))
        return wasserstein(here, moments(y), matrix_root)

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(x, jnp.float32))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@pytest.fixture
def accelerator(monkeypatch):
    """Let "auto" choose what it chooses on devices other than CPUs."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, default, **_: default(*arrays))


def wasserstein_and_gradient(here, style, *options):
    return jax.value_and_grad(lambda gram: wasserstein(here._replace(gram=gram), style, *options))(here.gram)


def check_equal_losses(found, expected, loss_tolerance, gradient_tolerance):
    np.testing.assert_allclose(found[0], expected[0], rtol=loss_tolerance)
    assert jnp.linalg.norm(found[1] - expected[1]) < gradient_tolerance * jnp.linalg.norm(expected[1])


@pytest.mark.parametrize("matrix_root", ["auto", "newton-schulz"])
@pytest.mark.parametrize("seed", range(3))
def test_the_root_method_does_not_change_the_loss(accelerator, matrix_root, seed):
    here, style = moments(samples(seed, channels=16)), moments(samples(seed + 1, channels=16))
    exact = wasserstein_and_gradient(here, style, "eigh")
    check_equal_losses(wasserstein_and_gradient(here, style, matrix_root), exact, 1e-4, 2e-3)


@pytest.mark.parametrize("contrast", [0.0, 1e-3, 0.1, 10.0])
def test_auto_is_the_same_loss_on_every_device_for_styles_of_any_contrast(accelerator, contrast):
    """Newton-Schulz needs more iterations the weaker the style's covariance is beside the image's."""
    here, style = moments(samples(0, channels=16)), moments(samples(1, channels=16, scale=contrast))
    exact = wasserstein_and_gradient(here, style, "eigh")
    check_equal_losses(wasserstein_and_gradient(here, style, "auto"), exact, 1e-4, 2e-2)


@pytest.mark.parametrize("ridge", [1e-2, 1.0])
@pytest.mark.parametrize("matrix_root", ["auto", "eigh", "newton-schulz"])
def test_the_ridge_is_added_to_both_covariances(matrix_root, ridge):
    x, y = samples(0), samples(1)
    expected = slow("wasserstein", x, y, "notebook", ridge)
    np.testing.assert_allclose(wasserstein(moments(x), moments(y), matrix_root, ridge), expected, rtol=1e-3)


@pytest.mark.parametrize("style_loss", ["gram", "covariance"])
def test_a_metric_changes_the_surrogate_alone(style_loss):
    here, style = moments(samples(0)), moments(samples(1))
    power = {each: whitening({"a": style.gram}, each)["a"] for each in (0.0, 1.0)}
    plain, _ = style_distance(here, style, style_loss)
    for each, metric in power.items():
        loss, surrogate = style_distance(here, style, style_loss, "notebook", metric)
        assert float(loss) == float(plain)
        assert (abs(float(surrogate / loss) - 1) < 1e-5) == (each == 0.0)
