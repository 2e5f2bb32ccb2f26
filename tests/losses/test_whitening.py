import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

import jaxstyle as js
from jaxstyle.losses.whitening import whitened_square, whitening
from jaxstyle.objective.evaluate import compiled_value_and_grad


def symmetric(seed, size, positive=False):
    a = np.random.default_rng(seed).normal(size=(size, size))
    return a @ a.T if positive else a + a.T


def slow_square(residual, gram, power, floor):
    """In float64, by a sum over pairs of eigenvectors."""
    values, basis = np.linalg.eigh(gram)
    total = 0.0
    for i, one in enumerate(basis.T):
        for j, other in enumerate(basis.T):
            gain = (2 * floor / ((values[i] + values[j]) / values.max() + floor)) ** power
            total += gain * (one @ residual @ other) ** 2
    return total


@given(seed=st.integers(0, 2**32 - 2), size=st.integers(1, 7), power=st.sampled_from([0.0, 0.5, 1.0]))
def test_against_a_slow_sum(seed, size, power):
    gram, residual = symmetric(seed, size, positive=True), symmetric(seed + 1, size)
    metric = whitening({"relu1_1": jnp.asarray(gram, jnp.float32)}, power, 0.1)["relu1_1"]
    found = whitened_square(jnp.asarray(residual, jnp.float32), metric)
    np.testing.assert_allclose(found, slow_square(residual, gram, power, 0.1), rtol=1e-3)


def test_the_gain_undoes_what_the_eigenvalues_do():
    """A change Z of the features moves the Gram matrix by Z G + G Z, entry by entry of the eigenbasis."""
    gram, change = symmetric(0, 5, positive=True), symmetric(1, 5)
    values, basis = np.linalg.eigh(gram)
    moved = basis.T @ (change @ gram + gram @ change) @ basis
    np.testing.assert_allclose(moved, (values[:, None] + values) * (basis.T @ change @ basis), rtol=1e-10)
    floor = 1e-6
    metric = whitening({"relu1_1": jnp.asarray(gram, jnp.float32)}, 1.0, floor)["relu1_1"]
    np.testing.assert_allclose(metric.gain * (values[:, None] + values) / (2 * floor * values.max()), 1, rtol=1e-3)


def test_a_black_style_has_a_finite_metric():
    metric = whitening({"relu1_1": jnp.zeros((4, 4))})["relu1_1"]
    assert np.all(np.isfinite(metric.basis))
    assert np.all(np.isfinite(metric.gain))


@pytest.fixture
def problem(tiny_params):
    objective = js.Objective()
    photo, painting = js.white_noise(0, 32, 48), js.white_noise(1, 40, 32) ** 2
    return js.white_noise(2, 32, 48), tiny_params, js.make_targets(tiny_params, photo, [painting], objective), objective


@pytest.mark.parametrize("normalization", ["notebook", "paper"])
def test_power_zero_is_the_loss_itself(problem, normalization):
    image, params, targets, _ = problem
    objective, weights = js.Objective(normalization=normalization), js.LossWeights(style=1e3, tv=2.0)
    plain, slope = js.value_and_grad(image, params, targets, weights, objective)
    assert plain.surrogate == plain.total
    turned, turned_slope = js.value_and_grad(image, params, js.whiten(targets, 0.0), weights, objective)
    np.testing.assert_allclose(turned.surrogate, plain.total, rtol=1e-5)
    np.testing.assert_allclose(turned_slope, slope, atol=1e-4 * float(jnp.max(jnp.abs(slope))))


@pytest.mark.parametrize("normalization", ["notebook", "paper"])
def test_the_surrogate_against_the_reference(problem, normalization):
    """Only the style is measured anew; the loss stays."""
    image, params, targets, _ = problem
    objective, weights = js.Objective(normalization=normalization), js.LossWeights(content=2.0, style=1e3, tv=3.0)
    plain, _ = js.value_and_grad(image, params, targets, weights, objective)
    losses, gradient = js.value_and_grad(image, params, js.whiten(targets), weights, objective)
    for field in ("total", "content", "style", "tv"):
        np.testing.assert_allclose(getattr(losses, field), getattr(plain, field), rtol=1e-6)
    taps = reference.features(reference.float64(params), np.float64(image), objective.style_layers)
    style = 0.0
    for layer in objective.style_layers:
        flat = taps[layer].reshape(-1, taps[layer].shape[-1])
        aim, channels = np.float64(targets.style[layer]), flat.shape[1]
        scale = channels**-4.0 if normalization == "notebook" else channels**-2.0 / 4 / len(objective.style_layers)
        style += 1e3 * scale * slow_square(flat.T @ flat / len(flat) - aim, aim, 1.0, 0.03)
    np.testing.assert_allclose(losses.surrogate, losses.content + losses.tv + style, rtol=1e-3)

    def surrogate(pixels):
        return js.value_and_grad(pixels, params, js.whiten(targets), weights, objective)[0].surrogate

    direction = gradient / jnp.linalg.norm(gradient.ravel())
    step = 1e-3
    slope = (surrogate(image + step * direction) - surrogate(image - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, jnp.sum(gradient * direction), rtol=0.02)


def test_the_power_is_traced(problem):
    image, params, targets, objective = problem
    count = compiled_value_and_grad._cache_size
    js.value_and_grad(image, params, js.whiten(targets, 0.3), js.LossWeights(), objective)
    before = count()
    js.value_and_grad(image, params, js.whiten(targets, 0.7), js.LossWeights(), objective)
    assert count() == before


def test_the_best_image_is_selected_by_the_loss_not_the_surrogate(problem):
    image, params, targets, objective = problem
    arguments = (params, js.whiten(targets), js.LossWeights(), objective, js.lbfgs(5))
    state = js.init(image, *arguments)
    totals = []
    for _ in range(15):
        state = js.step(state, *arguments)
        totals.append(float(state.losses.total))
    assert float(state.best_loss) == min(totals)
    assert totals[-1] < 0.5 * totals[0]
    found = js.value_and_grad(state.best_image, params, targets, js.LossWeights(), objective)[0].total
    np.testing.assert_allclose(found, state.best_loss, rtol=1e-4)


def test_a_converged_surrogate_is_replaced_by_the_loss(tiny_params):
    """A large tolerance ends the whitened descent after 40 evaluations, and then the plain one after 40 more."""
    photo, painting = js.white_noise(0, 32, 48), js.white_noise(1, 40, 32)
    options = {"params": tiny_params, "steps": 100, "scales": 1, "tolerance": 0.9}
    assert js.stylize(photo, painting, whitening=0.0, **options, preset="gram").evaluations == 40
    assert js.stylize(photo, painting, **options, preset="gram").evaluations == 80


@pytest.mark.parametrize("whitening", [-0.1, 1.1, float("nan")])
def test_wrong_powers_are_refused(tiny_params, whitening):
    photo = js.white_noise(0, 32, 48)
    with pytest.raises(js.InputError, match=r"whitening is .*, expected a number from 0 to 1"):
        js.stylize(photo, photo, params=tiny_params, whitening=whitening, preset="gram")


def test_jit_of_whiten(problem):
    metric = jax.jit(js.whiten)(problem[2]).metric
    assert metric is not None
    assert set(metric) == set(problem[3].style_layers)
