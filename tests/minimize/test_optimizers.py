"""Contract of the loop with its optimizers: any optax transform that needs one gradient a step lowers the loss."""

import numpy as np
import optax
import optax.contrib
import pytest

import jaxstyle as js
from jaxstyle.minimize import status
from jaxstyle.minimize.loop import Limits, Problem, initial_run_state, minimize
from jaxstyle.minimize.status import Status
from jaxstyle.objective.targets import whiten
from jaxstyle.optim.lbfgs import uses_lbfgs

# For optax's own Adam.
pytestmark = pytest.mark.usefixtures("lenient_promotion")

OBJECTIVE = js.Objective(("relu2_1",), ("relu1_1", "conv2_2"))
SIZE = 16, 24
CONTENT, STYLE = js.white_noise(1, *SIZE), js.white_noise(2, *SIZE) ** 2
STEPS = 40

LBFGS, AVERAGED = js.lbfgs(memory_size=4), js.averaged(js.adam(), 0.9)
OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.05, momentum=0.9),
    "nesterov": optax.sgd(0.05, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.02),
    "adamw": optax.adamw(0.02),
    "nadam": optax.nadam(0.02),
    "rmsprop": optax.rmsprop(0.01),
    "lion": optax.lion(0.01),
    "adabelief": optax.adabelief(0.02),
    "yogi": optax.yogi(0.02),
    "lamb": optax.lamb(0.02),
    "adagrad": optax.adagrad(0.05),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02)),
    # Its first update is zero.
    "schedule": optax.adam(optax.warmup_cosine_decay_schedule(0.0, 0.02, 5, STEPS)),
    "accumulated": optax.MultiSteps(optax.adam(0.02), 2).gradient_transformation(),
    "if finite": optax.apply_if_finite(optax.adam(0.02), 3),
    # Its state holds an infinity, the best loss so far, for 10 evaluations.
    "plateau": optax.chain(optax.adam(0.02), optax.contrib.reduce_on_plateau(patience=5, accumulation_size=10)),
    "hyperparameters": optax.inject_hyperparams(optax.adam)(0.02),
    "lbfgs": LBFGS,
    "lbfgs in a chain": optax.chain(LBFGS, optax.identity()),
    "lbfgs averaged": js.averaged(LBFGS, 0.5),
    "js.adam": js.adam(),
    "js.adam in a chain": optax.chain(js.adam(), optax.identity()),
    "averaged": AVERAGED,
    "averaged in a chain": optax.chain(optax.clip(1e3), AVERAGED),
}


@pytest.fixture(scope="module")
def targets(tiny_params):
    return js.make_targets(tiny_params, CONTENT, [STYLE], OBJECTIVE)


def run(tiny_params, optimizer, steps=STEPS, **options):
    options = {"params": tiny_params, "objective": OBJECTIVE, "scales": 1, "tolerance": 0.0} | options
    return js.stylize(CONTENT, STYLE, optimizer=optimizer, steps=steps, **options, preset="gram")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_falls(tiny_params, targets, name):
    result = run(tiny_params, OPTIMIZERS[name])
    totals = np.asarray(result.losses.total)
    assert (result.status, result.evaluations) == (Status.STEP_LIMIT, STEPS)
    assert np.isfinite(totals).all()
    assert totals.min() < 0.8 * totals[0]
    losses, _ = js.value_and_grad(result.image, tiny_params, targets, js.preset("gram").weights, objective=OBJECTIVE)
    assert losses.total < 0.8 * totals[0]


@pytest.mark.parametrize("name", ["lbfgs", "js.adam", "averaged"])
def test_a_chain_changes_nothing(tiny_params, name):
    optimizer = OPTIMIZERS[name]
    plain, chained = (run(tiny_params, each, 12) for each in (optimizer, optax.chain(optimizer, optax.identity())))
    np.testing.assert_allclose(chained.losses.total, plain.losses.total, rtol=1e-5)
    np.testing.assert_allclose(chained.image, plain.image, atol=1e-4)


@pytest.mark.parametrize("name", ["lbfgs in a chain", "plateau", "averaged in a chain"])
def test_a_batch_is_the_same(tiny_params, name):
    options = {"params": tiny_params, "objective": OBJECTIVE, "optimizer": OPTIMIZERS[name], "steps": 12, "scales": 1}
    _, batched = js.stylize_batch([STYLE, CONTENT], STYLE, **options, preset="gram")
    alone = js.stylize(CONTENT, STYLE, **options, preset="gram")
    assert (batched.status, batched.evaluations) == (alone.status, alone.evaluations) == (Status.STEP_LIMIT, 12)
    np.testing.assert_allclose(batched.losses.total, alone.losses.total, rtol=1e-3)
    np.testing.assert_allclose(batched.image, alone.image, atol=1e-3)


@pytest.mark.parametrize("name", ["adam", "js.adam", "averaged"])
def test_only_lbfgs_is_whitened_by_default(tiny_params, name):
    """Others are not better with it, and the switch to the plain gradient throws them back."""
    default, plain = (run(tiny_params, OPTIMIZERS[name], 6, **each) for each in ({}, {"whitening": 0.0}))
    np.testing.assert_array_equal(default.losses.total, plain.losses.total)
    np.testing.assert_array_equal(default.losses.surrogate, default.losses.total)
    assert not uses_lbfgs(OPTIMIZERS[name])


def test_lbfgs_is_whitened_by_default(tiny_params):
    for name in ("lbfgs", "lbfgs in a chain", "lbfgs averaged"):
        assert uses_lbfgs(OPTIMIZERS[name])
    for optimizer in (LBFGS, None):
        losses = run(tiny_params, optimizer, 3).losses
        assert np.all(losses.surrogate != losses.total)


@pytest.mark.parametrize("batched", [False, True])
def test_no_improvement_after_the_surrogate_is_convergence(tiny_params, monkeypatch, batched):
    """Adam's first steps after the switch raise the loss; the run had lowered it before."""
    monkeypatch.setattr(status, "SURROGATE_TOLERANCE", 0.9)
    options = {"params": tiny_params, "objective": OBJECTIVE, "scales": 1, "tolerance": 0.9, "whitening": 1.0}
    options |= {"optimizer": js.adam(0.1, b1=0.0), "steps": 100}
    result = (
        js.stylize_batch([STYLE, CONTENT], STYLE, **options, preset="gram")[1]
        if batched
        else js.stylize(CONTENT, STYLE, **options, preset="gram")
    )
    totals = np.asarray(result.losses.total)
    assert totals[40:].min() == totals[40] < totals[0]
    assert (result.status, result.evaluations) == (Status.CONVERGED, 80)


@pytest.mark.parametrize("steps", [40, 43])
@pytest.mark.parametrize("chained", [False, True])
def test_an_average_continues_after_the_surrogate(tiny_params, targets, monkeypatch, steps, chained):
    """The switch comes after 40 evaluations, be it the end or not."""
    monkeypatch.setattr(status, "SURROGATE_TOLERANCE", 0.9)
    decay, weights = 0.9, js.preset("gram").weights
    optimizer = js.averaged(js.adam(), decay)
    optimizer = optax.chain(optax.identity(), optimizer) if chained else optimizer
    problem = Problem(tiny_params, targets, weights, OBJECTIVE, optimizer)
    images = [CONTENT]

    def collect(run_state):
        images.append(np.array(run_state.state.image))

    (image,), (history,), (ended,) = minimize(
        initial_run_state(js.init(CONTENT, *problem), 1.0),
        lambda powers: problem._replace(targets=whiten(targets, *powers)),
        # Every evaluation ends a chunk, so that every proposed image is seen.
        Limits(steps, 0.0, callback_every=1),
        collect,
    )
    assert (len(history), ended) == (steps, Status.STEP_LIMIT)
    counts = np.arange(len(images))[::-1]
    expected = np.tensordot((1 - decay) * decay**counts, np.float64(images), 1) / (1 - decay ** len(images))
    np.testing.assert_allclose(image, expected, atol=1e-5)
