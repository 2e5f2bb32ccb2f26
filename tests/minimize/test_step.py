import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.minimize.step import compiled_step

OBJECTIVE = js.Objective(("relu2_1",), ("relu1_1", "conv2_2"))


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


@pytest.fixture(scope="module")
def problem(tiny_params):
    """`(image, params, targets, weights, objective, optimizer)`, small and shallow."""
    content, style = draw(0, 8, 12, 3), draw(1, 10, 9, 3) ** 2
    targets = js.make_targets(tiny_params, content, [style], OBJECTIVE)
    return content, tiny_params, targets, js.LossWeights(), OBJECTIVE, js.lbfgs(3)


def test_a_fresh_state(problem):
    image, *rest = problem
    state = js.init(image * 3 - 1, *rest)
    np.testing.assert_array_equal(state.image, jnp.clip(image * 3 - 1, 0, 1))
    np.testing.assert_array_equal(state.losses, 0)
    assert state.best_loss == jnp.inf
    assert state.evaluations == 0
    assert state.num_nonfinite == 0


def test_a_step_is_one_evaluation_and_one_update(problem):
    image, params, targets, weights, objective, optimizer = problem
    state = js.init(image, *problem[1:])
    value, gradient = js.value_and_grad(image, params, targets, weights, objective=objective)
    update, _ = optimizer.update(gradient, optimizer.init(image), image, value=value.total)
    state = js.step(state, *problem[1:])
    np.testing.assert_allclose(state.losses, value, rtol=1e-5)
    np.testing.assert_allclose(state.image, image + update, atol=1e-6)
    np.testing.assert_array_equal(state.best_image, image)
    assert state.evaluations == 1


def test_it_compiles_once(tiny_params):
    """One trace, which runs the optimizer's Python, serves other steps, images, targets, params and weights."""
    inner, traces = js.lbfgs(2), []

    def update(gradient, state, image, **values):
        traces.append(1)
        return inner.update(gradient, state, image, **values)

    optimizer = optax.GradientTransformationExtraArgs(inner.init, update)
    compiled = compiled_step._cache_size()
    other_params = jax.tree.map(lambda leaf: 0.9 * leaf, tiny_params)
    for seed, params, weights in (
        (0, tiny_params, js.LossWeights()),
        (1, tiny_params, js.LossWeights(2.0, 10.0, 3.0)),
        (2, other_params, js.LossWeights()),
    ):
        content, style = draw(seed, 8, 12, 3), draw(seed + 10, 9 + seed, 7, 3)
        targets = js.make_targets(params, content, [style], OBJECTIVE)
        state = js.init(content, params, targets, weights, OBJECTIVE, optimizer)
        for _ in range(4):
            state = js.step(state, params, targets, weights, OBJECTIVE, optimizer)
    assert len(traces) == 1
    assert compiled_step._cache_size() == compiled + 1


def test_the_objective_is_in_the_compiled_step_once(problem):
    """Every convolution runs once forward and once backward, whatever the optimizer decides."""
    state = js.init(*problem)
    text = compiled_step.lower(state, *problem[1:]).as_text()
    # conv1_1, conv1_2, conv2_1, conv2_2; each needs its input's gradient, and not that of its kernel.
    assert text.count("stablehlo.convolution") == 8


def test_a_step_reuses_the_old_states_buffers(problem):
    image, params, targets = problem[:3]
    state = js.init(*problem)
    leaves = jax.tree.leaves(state)
    # A shared buffer could not be donated; nor may the caller's be.
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(pointers)) == len(pointers)
    assert image.unsafe_buffer_pointer() not in pointers
    for _ in range(3):
        # Images and pairs; scalars that a step does not read are not donated.
        old = [leaf for leaf in jax.tree.leaves(state) if leaf.size > 1]
        pointers = {leaf.unsafe_buffer_pointer() for leaf in old}
        state = js.step(state, *problem[1:])
        assert all(leaf.is_deleted() for leaf in old)
        assert {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state) if leaf.size > 1} == pointers
    # The caller's arrays remain.
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((image, params, targets)))


def test_the_best_image_has_the_least_loss(problem):
    image, params, targets, weights, objective, _ = problem
    # Down the gradient three times, then up.
    optimizer = optax.sgd(lambda count: jnp.where(count < 3, 1e-3, -2e-3))
    state = js.init(image, *problem[1:5], optimizer)
    history = []
    for _ in range(6):
        state = js.step(state, *problem[1:5], optimizer)
        history.append(float(state.losses.total))
    assert np.argmin(history) == 3
    assert state.best_loss == min(history)
    again, _ = js.value_and_grad(state.best_image, params, targets, weights, objective=objective)
    np.testing.assert_allclose(again.total, state.best_loss, rtol=1e-5)


def test_evaluations_that_are_not_finite_are_counted(problem):
    state = js.init(*problem)
    for _ in range(3):
        state = js.step(state, *problem[1:])
    best_image, best_loss = np.array(state.best_image), float(state.best_loss)
    _, params, targets, *rest = problem
    broken = jax.tree.map(lambda target: jnp.full_like(target, jnp.nan), targets)
    for num_nonfinite in (1, 2):
        state = js.step(state, params, broken, *rest)
        assert state.num_nonfinite == num_nonfinite
        assert np.isnan(state.losses.total)
        np.testing.assert_array_equal(state.best_image, best_image)
        assert state.best_loss == best_loss
        # The optimizer returns to finite images.
        assert np.all(np.isfinite(state.image))
    state = js.step(state, *problem[1:])
    assert state.num_nonfinite == 0
    assert state.evaluations == 6


def test_twenty_steps_with_the_real_weights(real_params, china, starry):
    objective, weights, optimizer = js.Objective(), js.LossWeights(style=1e3, tv=10.0), js.lbfgs()
    targets = js.make_targets(real_params, china, [starry], objective)
    state = js.init(china, real_params, targets, weights, objective, optimizer)
    history = []
    for _ in range(20):
        state = js.step(state, real_params, targets, weights, objective, optimizer)
        history.append(float(state.losses.total))
    # The loss of the content itself falls to a twentieth.
    assert history[0] == pytest.approx(max(history))
    assert min(history) < 0.05 * history[0]
    assert state.best_loss == min(history)
    again, _ = js.value_and_grad(state.best_image, real_params, targets, weights, objective=objective)
    np.testing.assert_allclose(again.total, state.best_loss, rtol=1e-4)
    assert state.best_image.min() >= -1e-6
    assert state.best_image.max() <= 1 + 1e-6


@pytest.mark.usefixtures("unchecked")
def test_invalid_starts_are_refused(problem):
    image, params, targets, weights, objective, optimizer = problem
    for start, aims, weight, message in (
        (image[..., 0], targets, weights, r"image has shape \(8, 12\)"),
        (np.zeros((8, 12, 3), np.uint8), targets, weights, "8-bit pixels are divided by 255"),
        (image[:3], targets, weights, "image is 12x3 pixels, expected at least 4 a side"),
        (image.at[0, 0, 0].set(jnp.nan), targets, weights, "has NaN or infinite pixels"),
        (image.at[0, 0, 0].set(jnp.inf), targets, weights, "has NaN or infinite pixels"),
        (image, targets, js.LossWeights(content=-1.0), "the content weight is -1"),
        (image, targets._replace(style={}), weights, "make the targets with the same objective"),
        (image, targets._replace(content={"relu4_2": image}), weights, r"targets hold the layers \('relu4_2',"),
    ):
        with pytest.raises(InputError, match=message):
            js.init(start, params, aims, weight, objective, optimizer)


def test_a_start_of_another_size_than_the_content_is_refused(problem):
    with pytest.raises(InputError, match="make the targets from a content image of that size"):
        js.init(draw(5, 12, 8, 3), *problem[1:])
