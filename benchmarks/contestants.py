"""Optimizers of several libraries, compared with the same compiled value and gradient, counted and timed.

A contestant requests values and gradients from the meter until the meter ends the run by raising `BudgetExhausted`.
Every evaluation counts, including those of a line search, so that only the optimizers differ. PyTorch, SciPy and
optimistix are optional and imported where they are used.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, UInt8

import jaxstyle as js
from jaxstyle.minimize.status import SURROGATE_TOLERANCE, converged
from jaxstyle.optim.lbfgs import GRAY_LEVEL
from jaxstyle.optim.preconditioners import spectral
from jaxstyle.typing import Image as Pixels

Picture = UInt8[np.ndarray, "height width 3"]


class BudgetExhausted(Exception):  # noqa: N818, not an error
    """All evaluations of the run are used."""


class Trace(NamedTuple):
    """Evaluations of one run.

    Attributes:
        losses: loss of each evaluated image, whose pixels may be outside of [0, 1].
        seconds: time from the start of the run to the end of each evaluation.
        pictures: every image that was the best so far, clipped and rounded to 8 bits as in a saved file.
        improved_at: number of the evaluation, from 1, that produced each picture.
        stopped: reason why the optimizer stopped early, empty if it did not.
    """

    losses: list[float]
    seconds: list[float]
    pictures: list[Picture]
    improved_at: list[int]
    stopped: str


class Meter:
    """Objective with an evaluation counter, a clock and a budget."""

    def __init__(self, params: Any, weights: js.LossWeights, objective: js.Objective):
        self.params, self.weights, self.objective = params, weights, objective

    def start_run(self, targets: js.Targets, budget: int) -> None:
        """Set the targets and the budget, clear the records and start the clock."""
        self.targets, self.budget = targets, budget
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.pictures: list[Picture] = []
        self.improved_at: list[int] = []
        self.lowest = float("inf")
        self.start_time = time.perf_counter()

    @property
    def exhausted(self) -> bool:
        """True if the budget is used."""
        return len(self.losses) >= self.budget

    def __call__(self, image: Array) -> tuple[Array, Array]:
        """Record an evaluation and return value and gradient; raise `BudgetExhausted` if the budget is used."""
        if self.exhausted:
            raise BudgetExhausted
        losses, gradient = js.value_and_grad(image, self.params, self.targets, self.weights, self.objective)
        jax.block_until_ready(gradient)
        self.record(losses.total, image)
        return losses.surrogate, gradient

    def record(self, value: Any, image: Any) -> None:
        """Record one evaluation."""
        # A line search inside a compiled program may exceed the budget.
        if self.exhausted:
            return
        self.losses.append(float(value))
        self.seconds.append(time.perf_counter() - self.start_time)
        if self.losses[-1] < self.lowest:
            self.lowest = self.losses[-1]
            self.pictures.append(np.rint(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8))
            self.improved_at.append(len(self.losses))

    def saved_loss(self, picture: Picture) -> float:
        """Compute the loss of a saved picture, neither counted nor timed."""
        image = jnp.asarray(picture.astype(np.float32) / np.float32(255))
        return float(js.value_and_grad(image, self.params, self.targets, self.weights, self.objective)[0].total)


class Contestant(NamedTuple):
    """Optimizer to compare.

    Attributes:
        run: evaluates the meter until it raises `BudgetExhausted`; returns the reason if it stops earlier.
        box: True if every evaluated image is in [0, 1].
        whitened: True if the gradient is that of the whitened surrogate. The recorded losses never are.
        mosaic: share of the style mosaic in a start from the content, see `jaxstyle/image/mosaic.py`.
        package: additional package that it requires, as named on PyPI.
    """

    run: Callable[[Meter, Pixels], str]
    box: bool
    whitened: bool = False
    mosaic: float = 0.0
    package: str = ""


def measure(contestant: Contestant, meter: Meter, targets: js.Targets, start: Pixels, evaluations: int) -> Trace:
    """Run a contestant from a start image for a number of evaluations."""
    # Whitened for all, so that all share one program: with power 0 the surrogate is the loss itself.
    meter.start_run(js.whiten(targets, float(contestant.whitened)), evaluations)
    try:
        stopped = contestant.run(meter, start)
    except BudgetExhausted:
        stopped = ""
    return Trace(meter.losses, meter.seconds, meter.pictures, meter.improved_at, stopped)


def transform(
    optimizer: optax.GradientTransformation, box: bool, whitened: bool = False, mosaic: float = 0.0
) -> Contestant:
    """Wrap an optax transform that needs one value and gradient per step, like `js.step`."""

    def run(meter: Meter, image: Pixels) -> NoReturn:
        # Copied, because `_propose` donates the buffers and the start image is used again.
        def initial_state(image: Array) -> Any:
            return jax.tree.map(functools.partial(jnp.array, copy=True), optimizer.init(image))

        state, best, uses_surrogate = initial_state(jnp.asarray(image)), image, whitened
        while True:
            value, gradient = meter(image)
            if meter.improved_at[-1:] == [len(meter.losses)]:
                best = image
            image, state = _propose(image, state, value, gradient, optimizer)
            if uses_surrogate and converged(np.asarray(meter.losses), SURROGATE_TOLERANCE):
                # As in `minimize`: switch from the surrogate to the loss itself.
                uses_surrogate, meter.targets = False, js.whiten(meter.targets, 0.0)
                image, state = best, initial_state(jnp.asarray(best))

    return Contestant(run, box, whitened, mosaic)


@functools.partial(jax.jit, static_argnames="optimizer", donate_argnames="state")
def _propose(image: Array, state: Any, value: Array, gradient: Array, optimizer: Any) -> tuple[Any, Any]:
    update = optax.with_extra_args_support(optimizer).update
    updates, state = update(gradient, state, image, value=value)
    return optax.apply_updates(image, updates), state


def adam_spectral(learning_rate: float) -> optax.GradientTransformation:
    """Adam in the coordinates z of x = F^-1 f^-1/2 F z, in which the spectral preconditioner is the identity."""
    smooth = functools.partial(spectral, exponent=0.5)
    inner = optax.adam(learning_rate)

    def update(gradient, state, image, **_):
        updates, state = inner.update(smooth(gradient), state)
        smoothed = smooth(jnp.asarray(updates))
        # Rescaled to the size of Adam's own step, so that the learning rate keeps its meaning.
        smoothed *= jnp.mean(jnp.abs(jnp.asarray(updates))) / jnp.maximum(jnp.mean(jnp.abs(smoothed)), 1e-30)
        return jnp.clip(image + smoothed, 0.0, 1.0) - image, state

    return optax.GradientTransformationExtraArgs(inner.init, update)  # pyright: ignore[reportArgumentType]


def optax_zoom(meter: Meter, image: Pixels) -> str:
    """optax.lbfgs with its defaults. Its line search evaluates, and records, inside the compiled step."""
    optimizer = optax.lbfgs()
    step = _zoom_step(meter)
    state: Any = _without_weak_types(optimizer.init(image))
    value, gradient = meter(image)
    while not meter.exhausted:
        image, state = step(image, state, value, gradient, meter.params, meter.targets, meter.weights)
        jax.block_until_ready(image)
        jax.effects_barrier()
        # The line search stores both for the image that it selected.
        value, gradient = (optax.tree.get(state, name) for name in ("value", "grad"))
    raise BudgetExhausted


@functools.cache
def _zoom_step(meter: Meter) -> Callable[..., Any]:
    """Return one step that records into the meter; compiled once per meter and shape."""

    @jax.jit
    def step(image, state, value, gradient, params, targets, weights):
        def forward(point):
            losses, image_gradient = js.value_and_grad(point, params, targets, weights, meter.objective)
            jax.debug.callback(meter.record, losses.total, point, ordered=True)
            return losses.total, image_gradient

        # Value and gradient together are one evaluation, as for the other contestants.
        total = jax.custom_vjp(lambda point: forward(point)[0])
        total.defvjp(forward, lambda gradient, scale: (scale * gradient,))
        updates, state = optax.lbfgs().update(gradient, state, image, value=value, grad=gradient, value_fn=total)
        return optax.apply_updates(image, updates), _without_weak_types(state)

    return step


def _without_weak_types(tree: Any) -> Any:
    """Remove weak types, which would cause a second compilation."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), tree)


def optimistix_lbfgs(meter: Meter, image: Pixels) -> NoReturn:
    """optimistix.LBFGS, history 10, with its own backtracking. A step evaluates once, at `state.y_eval`.

    The step therefore receives a linear function with the value and gradient measured there. The result is the same,
    without the network in the compiled step.
    """
    init, step = _optimistix_functions()
    state, best = init(image), image
    while True:
        point = state.y_eval
        best, state = step(best, (point, *meter(point)), state)


def _linear(image: Array, measured: tuple[Array, Array, Array]) -> tuple[Array, None]:
    point, value, gradient = measured
    return value + jnp.sum(gradient * (image - point)), None


@functools.cache
def _optimistix_functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    import equinox  # pyright: ignore[reportMissingImports]
    import optimistix  # pyright: ignore[reportMissingImports]

    solver, scalar = optimistix.LBFGS(rtol=0.0, atol=0.0), jax.ShapeDtypeStruct((), jnp.float32)
    return (
        equinox.filter_jit(lambda image: solver.init(_linear, image, None, {}, scalar, None, frozenset())),
        equinox.filter_jit(
            lambda best, measured, state: solver.step(_linear, best, measured, {}, state, frozenset())[:2]
        ),
    )


def torch_lbfgs(meter: Meter, image: Pixels, scale: float) -> NoReturn:
    """torch.optim.LBFGS as PyTorch programs use it: history 100, learning rate 1, no line search, no bounds.

    With `max_iter=1` a step evaluates once. Tolerances of -1 disable the stopping rules, as in neural-style-pt. White
    is `scale`, 255 in the authors' notebook. The scale affects the first steps: the first has an L1 norm of 1, and if
    the curvature along it is negative, the next one is the plain gradient.
    """
    import torch  # pyright: ignore[reportMissingImports]

    # With vectors this short more threads are slower, several times so on a busy machine.
    torch.set_num_threads(1)
    pixels = torch.from_numpy(np.array(image) * np.float32(scale)).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [pixels], lr=1, max_iter=1, tolerance_grad=-1, tolerance_change=-1, history_size=100, line_search_fn=None
    )

    def closure():
        value, gradient = meter(jnp.array(pixels.detach().numpy() / np.float32(scale)))
        pixels.grad = torch.from_numpy(np.asarray(gradient) / np.float32(scale))
        return torch.tensor(float(value))

    while True:
        optimizer.step(closure)


def scipy_lbfgsb(meter: Meter, image: Pixels) -> str:
    """L-BFGS-B of scipy.optimize with bounds [0, 1], history 10, and tolerances disabled."""
    from scipy import optimize  # pyright: ignore[reportMissingImports]

    def evaluate(flat):
        value, gradient = meter(jnp.asarray(flat.reshape(image.shape), jnp.float32))
        return float(value), np.asarray(gradient, np.float64).ravel()

    result = optimize.minimize(
        evaluate,
        np.asarray(image, np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(0.0, 1.0),
        options={"maxcor": 10, "ftol": 0.0, "gtol": 0.0, "maxiter": 10**9, "maxfun": 10**9},
    )
    return str(result.message)


# As in `stylize`.
MOSAIC = js.preset().mosaic


def stylize_with(optimizer: optax.GradientTransformation, whitened: bool = True, mosaic: float = MOSAIC) -> Contestant:
    """Return the default algorithm of `stylize` with another optimizer or with parts disabled."""
    return transform(optimizer, True, whitened, mosaic)


TORCH = Contestant(functools.partial(torch_lbfgs, scale=255.0), box=False, package="torch")
CONTESTANTS = {
    # First, because it is the reference for the others.
    "torch": TORCH,
    "torch-mosaic": TORCH._replace(mosaic=MOSAIC),
    "torch-unit": Contestant(functools.partial(torch_lbfgs, scale=1.0), box=False, package="torch"),
    "jaxstyle": stylize_with(js.lbfgs()),
    "jaxstyle-no-mosaic": stylize_with(js.lbfgs(), mosaic=0.0),
    "jaxstyle-unwhitened": stylize_with(js.lbfgs(), whitened=False),
    "jaxstyle-one-chroma": stylize_with(js.lbfgs(chroma=1.0)),
    "jaxstyle-pyramid": stylize_with(js.lbfgs(precondition="pyramid")),
    "jaxstyle-plain": stylize_with(js.lbfgs(precondition=None), whitened=False, mosaic=0.0),
    **{f"jaxstyle-memory-{size}": stylize_with(js.lbfgs(size)) for size in (5, 20, 50)},
    **{f"jaxstyle-exponent-{p:g}": stylize_with(js.lbfgs(exponent=p)) for p in (0.0, 0.5, 1.5, 2.0)},
    "scipy": Contestant(scipy_lbfgsb, box=True, package="scipy"),
    "optax-zoom": Contestant(optax_zoom, box=False),
    "optax-none": transform(optax.lbfgs(linesearch=None), box=False),
    "optimistix": Contestant(optimistix_lbfgs, box=False, package="optimistix"),
    **{f"adam-{levels}": transform(optax.adam(levels * GRAY_LEVEL), box=False) for levels in (1, 5, 10)},
    "adam-clipped": transform(js.adam(0.02), box=True),
    "adam-spectral": transform(adam_spectral(0.02), box=True),
}
