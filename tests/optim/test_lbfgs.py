import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.optim.lbfgs import GRAY_LEVEL


def draw(seed, *shape):
    return np.random.default_rng(seed).uniform(size=shape)


class Quadratic:
    """`1/2 sum a (x - c)^2 + coupling/2 sum of squared neighbor differences`: convex, smooth, with a known minimum."""

    def __init__(self, shape=(6, 5, 3), low=-0.5, high=1.5, coupling=0.0, stiffness=100.0, seed=0):
        self.a = stiffness ** draw(seed, *shape)
        self.c = low + (high - low) * draw(seed + 1, *shape)
        self.coupling = coupling

    @property
    def arrays(self):
        return jax.tree.map(np.float32, (self.a, self.c, self.coupling))

    def value_and_grad(self, x):
        """In JAX, float32."""
        return jax.device_get(quadratic(x, self.arrays))

    def slow(self, x):
        """In NumPy, float64: value and gradient."""
        rows, columns = np.diff(x, axis=0), np.diff(x, axis=1)
        gradient = self.a * (x - self.c)
        gradient[1:] += self.coupling * rows
        gradient[:-1] -= self.coupling * rows
        gradient[:, 1:] += self.coupling * columns
        gradient[:, :-1] -= self.coupling * columns
        value = np.sum(self.a * (x - self.c) ** 2) + self.coupling * (np.sum(rows**2) + np.sum(columns**2))
        return value / 2, gradient

    def minimum(self):
        """In the box, by projected gradient descent."""
        x = np.full(self.a.shape, 0.5)
        for _ in range(6000):
            x = np.clip(x - self.slow(x)[1] / (self.a.max() + 8 * self.coupling), 0, 1)
        return x


@jax.jit
def quadratic(x, arrays):
    a, c, coupling = arrays

    def value(x):
        differences = jnp.sum(jnp.square(x[1:] - x[:-1])) + jnp.sum(jnp.square(x[:, 1:] - x[:, :-1]))
        return 0.5 * jnp.sum(a * jnp.square(x - c)) + 0.5 * coupling * differences

    return jax.value_and_grad(value)(x)


def walled(x, arrays):
    """With a wall of NaN across the box."""
    *arrays, wall = arrays
    value, gradient = quadratic(x, arrays)
    return jnp.where(jnp.mean(x) > wall, jnp.nan, value), gradient


@functools.partial(jax.jit, static_argnames=("optimizer", "function"))
def _minimize(image, arrays, optimizer, function):
    def one(carry, _):
        image, state = carry
        value, gradient = function(image, arrays)
        update, new = optimizer.update(gradient, state, image, value=value)
        return (image + update, new), (image, value, new)

    return jax.lax.scan(one, (image, optimizer.init(image)), None, 100)[1]


def minimize(image, problem, optimizer):
    """A hundred proposals, their values and the states after them, the start first: `(images, values, states)`."""
    return jax.device_get(_minimize(image, problem.arrays, optimizer, quadratic))


def init(optimizer, image):
    return jax.device_get(jax.jit(optimizer.init)(image))


def feed(optimizer, image, state, value, gradient):
    """One step by hand: the next proposal and state, in NumPy."""
    update, state = jax.device_get(jax.jit(optimizer.update)(gradient, state, image, value=np.float32(value)))
    return image + update, state


def constant(shape=(6, 5, 3)):
    return np.full(shape, 0.5, np.float32)


PRECONDITIONS = [None, "spectral"]


@pytest.mark.parametrize("precondition", [*PRECONDITIONS, "pyramid"])
@pytest.mark.parametrize(("coupling", "low", "high"), [(0.0, -0.5, 1.5), (30.0, -6.0, 7.0)])
def test_it_finds_the_minimum_in_the_box(precondition, coupling, low, high):
    problem = Quadratic(coupling=coupling, low=low, high=high)
    solution = problem.minimum()
    if not coupling:
        np.testing.assert_allclose(solution, np.clip(problem.c, 0, 1), atol=1e-9)
    # Many bounds are active, and many are not.
    assert 10 < np.sum((solution == 0) | (solution == 1)) < 80
    images, values, _ = minimize(constant(), problem, js.lbfgs(precondition=precondition))
    best = np.asarray(images[int(np.argmin(values))], "f8")
    start, least = problem.slow(np.full((6, 5, 3), 0.5))[0], problem.slow(solution)[0]
    # To what float32 losses can tell apart.
    assert problem.slow(best)[0] - least < 1e-6 * (start - least)
    # One part in a million of the loss leaves some thousandths in its flat directions.
    np.testing.assert_allclose(best, solution, atol=4e-3)


@pytest.mark.parametrize("precondition", [*PRECONDITIONS, "pyramid"])
def test_every_proposal_is_in_the_box(precondition):
    problem = Quadratic(low=-3.0, high=4.0)
    images, _, states = minimize(np.float32(draw(5, 6, 5, 3)), problem, js.lbfgs(precondition=precondition))
    assert images.min() >= -1e-6
    assert images.max() <= 1 + 1e-6
    assert (images <= 1e-6).any()
    assert (images >= 1 - 1e-6).any()
    # Pixels on a bound stay there as long as the step or the gradient would push them out.
    low, high = states.image <= 1e-6, states.image >= 1 - 1e-6
    assert not np.any(low & (states.direction < 0))
    assert not np.any(high & (states.direction > 0))
    held = (low & (states.gradient > 0)) | (high & (states.gradient < 0))
    assert held.any()
    np.testing.assert_array_equal(states.direction[held], 0)
    # So every direction descends.
    assert np.all(np.sum(states.direction * states.gradient, axis=(1, 2, 3)) <= 0)


def dense_direction(pairs, gradient, spectral):
    """`-H g`, with H the explicit BFGS matrix after the pairs, oldest first (Nocedal and Wright, equation 6.17)."""
    size = gradient.size
    height, width, colors = gradient.shape
    M = np.eye(size)
    if spectral:
        mean = np.full((colors, colors), 1 / colors)
        M = np.kron(reference.spectral_matrix(height, width, 1.0), mean + 0.35 * (np.eye(colors) - mean))
    s, y = (v.ravel() for v in pairs[-1])
    H = s @ y / (y @ M @ y) * M
    for s, y in pairs:
        s, y = s.ravel(), y.ravel()
        rho = 1 / (s @ y)
        V = np.eye(size) - rho * np.outer(y, s)
        H = V.T @ H @ V + rho * np.outer(s, s)
    return -(H @ gradient.ravel()).reshape(gradient.shape)


@pytest.mark.parametrize("precondition", PRECONDITIONS)
def test_directions_are_those_of_the_explicit_bfgs_matrix(precondition):
    memory, shape = 3, (4, 5, 3)
    problem = Quadratic(shape, low=0.35, high=0.65, coupling=5.0, stiffness=10.0)
    optimizer = js.lbfgs(memory, precondition=precondition)
    images, _, states = minimize(np.float32(0.45 + 0.1 * draw(9, *shape)), problem, optimizer)
    # No bound in play, everything accepted: the reference knows neither.
    assert images[:8].min() > 0.05
    assert images[:8].max() < 0.95
    assert states.accepted[7] == 8
    pairs = []
    for k in range(1, 8):
        x, previous = np.asarray(images[k], "f8"), np.asarray(images[k - 1], "f8")
        gradient = problem.slow(x)[1]
        pairs = [*pairs, (x - previous, gradient - problem.slow(previous)[1])][-memory:]
        expected = dense_direction(pairs, gradient, precondition == "spectral")
        np.testing.assert_allclose(states.direction[k], expected, atol=2e-3 * np.abs(expected).max())
        assert int(states.pairs[k]) == k


@pytest.mark.parametrize("precondition", [*PRECONDITIONS, "pyramid"])
def test_the_first_step_is_one_gray_level_on_average(precondition):
    problem = Quadratic(low=0.0, high=1.0)
    images, _, states = minimize(constant(), problem, js.lbfgs(precondition=precondition))
    np.testing.assert_allclose(np.mean(np.abs(images[1] - images[0])), GRAY_LEVEL, rtol=1e-4)
    assert np.sum(states.direction[0] * problem.slow(np.full((6, 5, 3), 0.5))[1]) < 0


@pytest.fixture(scope="module")
def underway():
    """A run in the middle: optimizer, problem, the next proposal and the state."""
    problem, optimizer = Quadratic(low=0.0, high=1.0, coupling=10.0), js.lbfgs(3, max_failures=4)
    images, _, states = minimize(constant(), problem, optimizer)
    last = jax.tree.map(lambda leaf: leaf[4], states)
    assert last.failures == 0
    assert last.accepted == 5
    return optimizer, problem, images[5], last


@pytest.mark.parametrize(
    ("value", "bad_gradient"), [(1e30, False), (math.nan, False), (math.inf, False), (-math.inf, False), (0.0, True)]
)
def test_a_refused_step_gets_shorter_along_the_same_direction(underway, value, bad_gradient):
    optimizer, problem, image, state = underway
    gradient = np.array(problem.value_and_grad(image)[1])
    if bad_gradient:
        gradient[0, 0, 0] = np.nan
    proposal, new = feed(optimizer, image, state, value, gradient)
    for field in (
        "image",
        "gradient",
        "recent_losses",
        "direction",
        "s_history",
        "y_history",
        "rho",
        "pairs",
        "accepted",
    ):
        np.testing.assert_array_equal(getattr(new, field), getattr(state, field), err_msg=field)
    assert new.failures == 1
    assert 0.0999 <= float(new.step / state.step) <= 0.5
    np.testing.assert_allclose(proposal, np.clip(state.image + new.step * state.direction, 0, 1), atol=1e-6)
    assert np.linalg.norm(proposal - state.image) < np.linalg.norm(image - state.image)
    # And the next good proposal is accepted as if nothing had happened.
    value, gradient = problem.value_and_grad(proposal)
    _, after = feed(optimizer, proposal, new, value, gradient)
    assert after.failures == 0
    assert after.accepted == state.accepted + 1
    np.testing.assert_array_equal(after.image, proposal)
    assert after.step == 1


@pytest.mark.parametrize(("rise", "factor"), [(0.25, 0.4), (1.0, 0.25), (0.05, 10 / 21), (100.0, 0.1)])
def test_a_refused_step_shrinks_to_the_quadratics_minimizer(rise, factor):
    """Through the value here, the slope here and the value there, `rise` slopes higher, within [0.1, 0.5]."""
    optimizer = js.lbfgs(3, precondition=None, window=1)
    image = constant((4, 4, 3))
    gradient = np.float32(draw(0, 4, 4, 3) - 0.5)
    proposal, state = feed(optimizer, image, init(optimizer, image), 2.0, gradient)
    slope = np.sum(np.asarray(gradient, "f8") * (np.asarray(proposal, "f8") - 0.5))
    assert slope < 0
    second, state = feed(optimizer, proposal, state, 2.0 + rise * abs(slope), gradient)
    assert state.failures == 1
    np.testing.assert_allclose(state.step, factor, rtol=1e-3)
    np.testing.assert_allclose(second, 0.5 + factor * (proposal - 0.5), atol=1e-6)


def test_after_many_refusals_the_memory_is_dropped(underway):
    optimizer, problem, image, state = underway
    assert state.pairs == 4
    gradient = problem.value_and_grad(image)[1]
    for failure in range(1, 4):
        image, state = feed(optimizer, image, state, math.nan, gradient)
        assert state.failures == failure
        assert state.pairs == 4
    accepted = state.image
    image, state = feed(optimizer, image, state, math.nan, gradient)
    assert state.failures == 0
    assert state.pairs == 0
    assert state.step == 1
    np.testing.assert_array_equal(state.rho, 0)
    np.testing.assert_array_equal(state.image, accepted)
    # Steepest descent again, one gray level, and nothing of the old pairs in it.
    moved = np.asarray(image - accepted)
    np.testing.assert_allclose(np.mean(np.abs(moved)), GRAY_LEVEL, rtol=1e-3)
    fresh, _ = feed(optimizer, accepted, init(optimizer, accepted), 1.0, state.gradient)
    np.testing.assert_allclose(image, fresh, atol=1e-6)
    # It goes on from there.
    value, gradient = problem.value_and_grad(image)
    image, state = feed(optimizer, image, state, value, gradient)
    assert state.pairs == 1
    assert np.all(np.isfinite(image))


def test_a_start_that_cannot_be_evaluated_stays_where_it_is():
    optimizer = js.lbfgs(3, max_failures=2)
    start = np.float32(draw(0, 4, 5, 3))
    image, state = start, init(optimizer, start)
    for _ in range(5):
        image, state = feed(optimizer, image, state, math.nan, np.full((4, 5, 3), np.nan, np.float32))
        np.testing.assert_array_equal(image, start)
    assert state.accepted == 0
    _, state = feed(optimizer, image, state, 1.0, np.ones((4, 5, 3), np.float32))
    assert state.accepted == 1


def test_pairs_without_positive_curvature_are_not_kept(underway):
    optimizer, _, image, state = underway
    moved = image - state.image
    # The gradient changes against the step, or across it: accepted, because the value is lower, but not remembered.
    across = np.float32(np.random.default_rng(0).normal(size=moved.shape))
    across = across - moved * (np.sum(across * moved) / np.sum(moved * moved))
    for change in (-moved, np.zeros_like(moved), across - 1e-2 * moved, 1e3 * across):
        proposal, new = feed(optimizer, image, state, -100.0, state.gradient + change)
        assert new.accepted == state.accepted + 1
        for field in ("s_history", "y_history", "rho", "pairs"):
            np.testing.assert_array_equal(getattr(new, field), getattr(state, field), err_msg=field)
        assert np.all(np.isfinite(proposal))
    _, new = feed(optimizer, image, state, -100.0, state.gradient + moved)
    assert new.pairs == state.pairs + 1
    # A ring: the newest takes the place of the oldest.
    np.testing.assert_array_equal(new.s_history[int(state.pairs) % 3], moved)


@pytest.mark.parametrize(
    ("window", "losses", "accepted"),
    [
        (1, (10.0, 5.0, 9.0, 5.1, 4.0), (True, True, False, False, True)),
        (2, (10.0, 5.0, 9.0, 8.9, 9.5, 5.0, 4.0, 8.0), (True, True, True, True, False, True, True, False)),
        (5, (10.0, 5.0, 9.9, 3.0, 3.0, 3.0, 9.8, 9.95), (True, True, True, True, True, True, True, False)),
    ],
)
def test_a_loss_may_rise_but_not_above_the_recent_ones(window, losses, accepted):
    optimizer = js.lbfgs(2, precondition=None, window=window)
    image = constant((4, 4, 3))
    state, before = init(optimizer, image), 0
    # Hardly any slope, so that the required decrease is nothing beside the losses.
    gradient = np.float32(1e-3 * (draw(0, 4, 4, 3) - 0.5))
    decisions = []
    for loss in losses:
        image, state = feed(optimizer, image, state, loss, gradient)
        decisions.append(int(state.accepted) > before)
        before = int(state.accepted)
    assert tuple(decisions) == accepted


def test_the_same_arguments_are_the_same_optimizer():
    assert js.lbfgs() is js.lbfgs()
    assert js.lbfgs(5, precondition=None) is js.lbfgs(5, precondition=None)
    assert js.lbfgs(5) is not js.lbfgs(6)
    assert js.adam(0.01) is js.adam(0.01)
    assert js.adam(0.01) is not js.adam(0.02)


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_vmap_is_as_many_separate_runs(name):
    """Each picture accepts and refuses by its own loss: one of them hits a wall of NaN on its way."""
    optimizer = js.lbfgs(3) if name == "lbfgs" else js.adam(0.05)
    starts = np.float32(draw(3, 2, 6, 5, 3))
    arrays = (*Quadratic(coupling=10.0).arrays, np.float32(starts[1].mean() + 0.02))

    def run(start):
        return _minimize(start, arrays, optimizer, walled)

    together = jax.device_get(jax.vmap(run)(starts))
    apart = [jax.device_get(run(start)) for start in starts]
    for i, (images, values, states) in enumerate(apart):
        # Later, rounding has grown.
        np.testing.assert_allclose(together[0][i][:12], images[:12], atol=1e-4)
        np.testing.assert_allclose(together[1][i][:12], values[:12], rtol=1e-3)
        if name == "lbfgs":
            np.testing.assert_array_equal(together[2].accepted[i][:12], states.accepted[:12])
    if name == "lbfgs":
        # They did decide differently.
        assert not np.array_equal(apart[0][2].failures[:12], apart[1][2].failures[:12])


def test_exponent_zero_runs_as_without():
    problem = Quadratic(low=0.2, high=0.8, coupling=5.0, stiffness=10.0)
    runs = [
        minimize(constant(), problem, optimizer)[0][:6]
        for optimizer in (js.lbfgs(exponent=0.0, chroma=1.0), js.lbfgs(precondition=None))
    ]
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-4)


@pytest.mark.usefixtures("lenient_promotion")
def test_adam_against_its_formula_with_clipping():
    problem = Quadratic(low=-3.0, high=4.0)
    images, values, _ = minimize(constant(), problem, js.adam(0.05, 0.8, 0.95))
    x, m, v = np.full((6, 5, 3), 0.5), 0.0, 0.0
    for t in range(1, 40):
        gradient = problem.slow(x)[1]
        m, v = 0.8 * m + 0.2 * gradient, 0.95 * v + 0.05 * gradient**2
        x = np.clip(x - 0.05 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8), 0, 1)
        np.testing.assert_allclose(images[t], x, atol=1e-4)
    assert (x == 0).any()
    assert (x == 1).any()
    assert images.min() >= -1e-6
    assert images.max() <= 1 + 1e-6
    assert values[-1] < 0.7 * values[0]


@pytest.mark.usefixtures("lenient_promotion")
def test_any_optax_transform_will_do(tiny_params):
    objective = js.Objective(("relu2_1",), ("relu1_1",))
    content, style = (jnp.asarray(draw(seed, 8, 12, 3), jnp.float32) for seed in (0, 1))
    targets, weights = js.make_targets(tiny_params, content, [style**2], objective), js.LossWeights()
    for optimizer in (optax.adam(0.02), optax.sgd(1e-4, momentum=0.5)):
        state = js.init(content, tiny_params, targets, weights, objective, optimizer)
        history = []
        for _ in range(10):
            state = js.step(state, tiny_params, targets, weights, objective, optimizer)
            history.append(float(state.losses.total))
        assert history[-1] < history[0]
        assert state.best_loss == min(history)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: js.lbfgs(0), "memory_size is 0, expected an integer from 1 to 1000"),
        (lambda: js.lbfgs(window=0), "window is 0"),
        (lambda: js.lbfgs(max_failures=-1), "max_failures is -1"),
        (
            lambda: js.lbfgs(precondition="fourier"),  # type: ignore
            "unknown precondition 'fourier', expected one of 'spectral', 'pyramid'",
        ),
        (lambda: js.lbfgs(exponent=-1.0), r"exponent is -1\.0, expected a finite number from 0 to 4"),
        (lambda: js.lbfgs(exponent=math.nan), "exponent is nan"),
        (lambda: js.lbfgs(chroma=0.0), "chroma is 0, expected a number above 0, up to 10"),
        (lambda: js.adam(0.0), "learning_rate is 0, expected a positive number such as 0.02"),
        (lambda: js.adam(-1.0), r"learning_rate is -1\.0"),
        (lambda: js.adam(math.inf), "learning_rate is inf"),
        (lambda: js.adam(0.1, b1=1.0), r"b1 is 1\.0, expected a number from 0 to below 1"),
        (lambda: js.adam(0.1, b2=-0.1), r"b2 is -0\.1"),
        (lambda: js.adam(0.1, b2=math.nan), "b2 is nan"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
