"""What every optimizer of the package guarantees to the loop that runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.optim.averaging import average_of
from jaxstyle.optim.named import NamedTransform

# Adam of optax raises a float to an int32 power.
pytestmark = pytest.mark.usefixtures("lenient_promotion")

MAKERS = {
    "lbfgs": lambda: js.lbfgs(4),
    "lbfgs pyramid": lambda: js.lbfgs(4, precondition="pyramid"),
    "lbfgs plain": lambda: js.lbfgs(4, precondition=None),
    "adam": lambda: js.adam(0.05),
    "averaged adam": lambda: js.averaged(js.adam(0.05), 0.5),
    "averaged lbfgs": lambda: js.averaged(js.lbfgs(4), 0.5),
}
SHAPE = 6, 7, 3
# The minimum is outside of the box in some pixels and inside in others.
GOAL = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 1.5, SHAPE), jnp.float32)
START = jnp.asarray(np.random.default_rng(1).uniform(size=SHAPE), jnp.float32)


@pytest.fixture(params=MAKERS)
def optimizer(request):
    return MAKERS[request.param]()


def loss(image):
    return jnp.sum(jnp.square(image - GOAL))


def run(optimizer, start, steps=30, **extra):
    """Images, losses and the last state."""

    def step(carry, _):
        image, state = carry
        value, gradient = jax.value_and_grad(loss)(image)
        updates, state = optimizer.update(gradient, state, image, value=value, **extra)
        image = optax.apply_updates(image, updates)
        return (image, state), (image, value)

    (_, state), (images, values) = jax.lax.scan(step, (start, optimizer.init(start)), None, steps)
    return images, values, state


def test_equal_arguments_return_the_same_hashable_transform(request, optimizer):
    """It is a static argument of compiled functions: another object would compile them again."""
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    assert MAKERS[request.node.callspec.params["optimizer"]]() is optimizer
    assert {optimizer: 1}[optimizer] == 1


def test_it_records_its_name_and_arguments(optimizer):
    """Checkpoints recognize it by these in another process."""
    assert isinstance(optimizer, NamedTransform)
    assert optimizer.name in ("lbfgs", "adam", "averaged")
    assert optimizer.arguments


def test_the_state_keeps_structure_shapes_and_types(optimizer):
    """As the carry of a compiled loop; `scan` checks the same, with another message."""
    state = jax.eval_shape(optimizer.init, START)
    _, changed = jax.eval_shape(optimizer.update, START, state, START, value=jnp.float32(1.0))
    assert jax.tree.structure(changed) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(changed), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)


def test_init_and_update_are_pure(optimizer):
    image, gradient = np.array(START), np.ones(SHAPE, np.float32)
    state, update = optimizer.init(jnp.asarray(image)), jax.jit(optimizer.update)
    before = jax.device_get(state)
    first = update(jnp.asarray(gradient), state, jnp.asarray(image), value=jnp.float32(1.0))
    again = update(jnp.asarray(gradient), state, jnp.asarray(image), value=jnp.float32(1.0))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(again))


def test_every_proposal_is_in_the_box_and_the_loss_falls_to_its_minimum_there(optimizer):
    images, values, state = run(optimizer, START, 60)
    assert float(images.min()) >= -1e-6
    assert float(images.max()) <= 1 + 1e-6
    least = float(loss(jnp.clip(GOAL, 0.0, 1.0)))
    assert float(values[-1]) - least < 0.01 * (float(values[0]) - least)
    average = average_of(state)
    if average is not None:
        assert float(average.min()) >= -1e-6
        assert float(average.max()) <= 1 + 1e-6


def test_arguments_of_other_optimizers_are_ignored(optimizer):
    """The loop passes all of them to every optimizer; all pixels being free changes nothing."""
    images, _, _ = run(optimizer, START, 5)
    with_all, _, _ = run(optimizer, START, 5, free=jnp.ones((*SHAPE[:2], 1), bool), unknown=1.0)
    np.testing.assert_allclose(with_all, images, atol=1e-6)


def test_a_canvas_changes_nothing_within_its_extent(optimizer):
    """The gradient is zero beyond it, and so are the updates."""
    extent = jnp.array(SHAPE[:2], jnp.int32)
    pads = (0, 4), (0, 9), (0, 0)

    @jax.jit
    def step(image, gradient, **extra):
        state = optimizer.init(image)
        updates, state = optimizer.update(gradient, state, image, value=jnp.float32(1.0), **extra)
        # The first update of L-BFGS is a steepest descent; the second uses a pair.
        image = image + updates
        updates, _ = optimizer.update(0.5 * gradient, state, image, value=jnp.float32(0.5), **extra)
        return image + updates

    gradient = jax.grad(loss)(START)
    alone = step(START, gradient)
    canvas = step(jnp.pad(START, pads), jnp.pad(gradient, pads), extent=extent)
    np.testing.assert_allclose(canvas[: SHAPE[0], : SHAPE[1]], alone, atol=2e-5)
    assert not np.any(canvas[SHAPE[0] :])
    assert not np.any(canvas[:, SHAPE[1] :])


def test_after_an_evaluation_without_a_finite_loss_proposals_of_lbfgs_are_finite():
    """Adam has no such guarantee: the loop restarts it."""
    for optimizer in (js.lbfgs(4), js.averaged(js.lbfgs(4), 0.5)):
        state = optimizer.init(START)
        updates, state = optimizer.update(jax.grad(loss)(START), state, START, value=loss(START))
        image = START + updates
        updates, state = optimizer.update(jnp.full(SHAPE, jnp.nan), state, image, value=jnp.float32(jnp.nan))
        assert np.all(np.isfinite(image + updates))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state) if leaf.shape[-3:] == SHAPE)
