"""Extreme input: a run improves the image or reports why it does not."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import jaxstyle as js
from jaxstyle.minimize.status import COMPLETED

# For optax's own Adam.
pytestmark = pytest.mark.usefixtures("lenient_promotion")

SIZE = 48, 56
FLAT, BLACK, WHITE = (jnp.full((*SIZE, 3), value, jnp.float32) for value in (0.5, 0.0, 1.0))
NOISE, OTHER = js.white_noise(1, *SIZE), js.white_noise(2, *SIZE)
# Only pure colors, every pixel on the bounds.
SATURATED = jnp.round(js.white_noise(3, *SIZE))
OPTIMIZERS = {
    "lbfgs": js.lbfgs(memory_size=4),
    "adam": js.adam(),
    "sgd": optax.sgd(1.0),
    "average": js.averaged(js.adam()),
    # Wrapped, with an infinity in its state, and with zero as its answer to a gradient that is not finite.
    "chain": optax.chain(js.lbfgs(memory_size=4), optax.identity()),
    "average in a chain": optax.chain(js.averaged(js.adam()), optax.identity()),
    "plateau": optax.chain(optax.adam(0.02), optax.contrib.reduce_on_plateau(patience=5, accumulation_size=10)),
    "if finite": optax.apply_if_finite(js.adam(), 3),
}


def assert_improved(result, allowed=()):
    """Check for a finite image in [0, 1] with a lower loss than the start, unless the status is one of `allowed`."""
    totals = np.asarray(result.losses.total)
    assert np.isfinite(result.image).all()
    assert result.image.min() >= 0
    assert result.image.max() <= 1 + 1e-6
    # A loss of rounding alone, or of 0, cannot fall.
    optimal = 0 <= totals[0] < 1e-12
    if result.status in allowed or (optimal and result.status is js.Status.STUCK):
        return
    assert result.status in (js.Status.STEP_LIMIT, js.Status.CONVERGED)
    # By more than rounding.
    assert optimal or np.nanmin(totals) < 0.9 * totals[0]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "average"])
@pytest.mark.parametrize(
    ("content", "style"),
    [
        (FLAT, NOISE),
        (NOISE, FLAT),
        (FLAT, FLAT),
        (BLACK, WHITE),
        (WHITE, BLACK),
        (NOISE, OTHER),
        (SATURATED, SATURATED),
    ],
    ids=["flat noise", "noise flat", "flat flat", "black white", "white black", "noise noise", "saturated"],
)
def test_extreme_images(tiny_params, content, style, optimizer):
    options = {"params": tiny_params, "steps": 40, "scales": 1, "optimizer": OPTIMIZERS[optimizer]}
    assert_improved(js.stylize(content, style, **options, preset="gram"))


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize(
    "weight", [1e-30, *(pytest.param(weight, marks=pytest.mark.long) for weight in (1e12, 1e25, 1e36)), 3e38]
)
def test_huge_and_tiny_weights(tiny_params, weight, optimizer):
    options = {"params": tiny_params, "steps": 90, "scales": 1, "optimizer": OPTIMIZERS[optimizer]}
    result = js.stylize(NOISE, OTHER, weights=js.LossWeights(weight, weight), **options, preset="gram")
    # Squares of gradients overflow float32, or are below Adam's smallest denominator.
    extreme = weight > 1e36 if optimizer == "lbfgs" else weight > 1e20 or weight < 1e-20
    assert_improved(result, (js.Status.NOT_FINITE, js.Status.STUCK) if extreme else ())


@pytest.mark.long
@pytest.mark.parametrize(("content", "style"), [("china", "starry"), ("flat", "noise")])
def test_bfloat16_with_the_real_network(real_params, china, starry, content, style):
    pictures = {"china": china, "starry": starry, "flat": FLAT, "noise": NOISE}
    objective = js.Objective(precision="bfloat16")
    options = {"params": real_params, "objective": objective, "steps": 12, "scales": 1}
    result = js.stylize(pictures[content], pictures[style], **options, preset="gram")
    assert_improved(result)
    assert result.losses.total.min() < 0.9 * result.losses.total[0]


@pytest.fixture
def failing(monkeypatch):
    """`fail(when)` makes the loss, and its gradient, NaN for pictures of which `when` is true."""

    def fail(when):
        module = sys.modules["jaxstyle.minimize.step"]
        real = module.compiled_value_and_grad

        def value_and_grad(image, *others):
            losses, gradient = real(image, *others)
            bad = when(image)
            poison = jnp.where(bad, jnp.nan, 0.0)
            return jax.tree.map(lambda each: each + poison, losses), gradient + poison

        monkeypatch.setattr(module, "compiled_value_and_grad", value_and_grad)
        jax.clear_caches()

    yield fail
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_recovers_from_steps_without_a_finite_loss(tiny_params, failing, optimizer):
    """The loss is NaN beyond a brightness: runs continue below it, and improve."""
    bound = float(NOISE.mean()) + 1e-3
    failing(lambda image: jnp.mean(image) > bound)
    # The style is white: its gradient leads there.
    options = {"params": tiny_params, "steps": 60, "scales": 1, "mosaic": 0.0, "optimizer": OPTIMIZERS[optimizer]}
    result = js.stylize(NOISE, 0.5 + 0.5 * OTHER, **options, preset="gram")
    totals = np.asarray(result.losses.total)
    assert result.status in COMPLETED
    assert 0 < np.isnan(totals).sum() < 60
    # The best loss improves after the first failure.
    first = int(np.flatnonzero(np.isnan(totals))[0])
    assert np.nanmin(totals[first:]) < np.nanmin(totals[: first + 1])
    assert np.isfinite(result.image).all()
    assert float(result.image.mean()) <= bound


def test_adam_restarts_and_the_average_continues(tiny_params, failing):
    failing(lambda image: jnp.mean(image) > 0.6)
    settings = js.preset("gram")
    targets = js.make_targets(tiny_params, NOISE, [OTHER], settings.objective)
    optimizer = js.averaged(js.adam(), 0.5)
    others = (tiny_params, targets, settings.weights, settings.objective, optimizer)
    state = js.step(js.init(0.2 * NOISE, *others), *others)
    state = js.step(state, *others)
    best, total = np.array(state.best_image), np.array(state.optimizer.total)
    assert int(state.optimizer.inner[0].count) == 2
    bad = jnp.ones_like(NOISE)
    proposed = state.optimizer._replace(
        total=0.5 * (state.optimizer.total + bad), missing=0.5 * state.optimizer.missing
    )
    missing = float(state.optimizer.missing)
    state = js.step(state._replace(image=bad, optimizer=proposed), *others)
    np.testing.assert_allclose(state.image, 0.5 * (best + 1), atol=1e-6)
    np.testing.assert_array_equal(state.best_image, best)
    assert int(state.optimizer.inner[0].count) == 0
    assert not np.any(state.optimizer.inner[0].mu)
    assert int(state.num_nonfinite) == 1
    # Neither the bad image counts, nor the one that Adam proposed from it.
    np.testing.assert_allclose(state.optimizer.total, total, atol=1e-6)
    assert float(state.optimizer.missing) == missing


def test_a_run_returns_the_start_if_no_other_loss_is_finite(tiny_params, failing):
    """Ever shorter steps return to the start, and the status is no progress."""
    failing(lambda image: jnp.any(image != NOISE))
    options = {"params": tiny_params, "steps": 100, "scales": 1, "mosaic": 0.0}
    # The first minimizes the surrogate before the loss itself, 40 evaluations each.
    for optimizer, evaluations in ((js.lbfgs(), 80), (js.adam(), 40)):
        result = js.stylize(NOISE, OTHER, optimizer=optimizer, **options, preset="gram")
        assert (result.status, result.evaluations) == (js.Status.STUCK, evaluations)
        np.testing.assert_array_equal(result.image, NOISE)


def test_no_progress_is_reported(tiny_params):
    """No step uphill is better than the start."""
    climb = optax.sgd(-1e-7)
    result = js.stylize(NOISE, OTHER, params=tiny_params, optimizer=climb, steps=100, scales=1, preset="gram")
    assert result.status is js.Status.STUCK
    assert result.evaluations < 100
    assert result.losses.total[0] == result.losses.total.min()


def test_the_end_does_not_depend_on_where_chunks_end(tiny_params, failing):
    """The length of chunks depends on the clock, the end of a run must not."""
    failing(lambda image: jnp.any(image != NOISE))
    options = {"params": tiny_params, "steps": 100, "scales": 1, "mosaic": 0.0}
    ends = {
        js.stylize(NOISE, OTHER, callback=lambda _: None, callback_every=k, **options, preset="gram").evaluations
        for k in (1, 7, 20)
    }
    assert len(ends) == 1


def test_patched_losses_are_restored(tiny_params):
    """The NaN losses of the tests above do not leak."""
    settings = js.preset("gram")
    objective = dataclasses.replace(settings.objective)
    targets = js.make_targets(tiny_params, NOISE, [OTHER], objective)
    losses, gradient = js.value_and_grad(NOISE, tiny_params, targets, settings.weights, objective)
    assert np.isfinite(losses.total)
    assert np.isfinite(gradient).all()
