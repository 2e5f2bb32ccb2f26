"""Optimizers of several libraries under one meter: the same compiled value and gradient, counted and timed.

A contestant asks the meter for values and gradients until the meter ends the run by raising `Enough`; it never counts
by itself. So every contestant pays for every evaluation, those inside a line search included, and nothing but the
optimizer differs. PyTorch, SciPy and optimistix are imported where they are used: none of them is a dependency.
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


class Enough(Exception):  # noqa: N818, not an error
    """The run's evaluations are used up."""


class Trace(NamedTuple):
    """What a run evaluated.

    Attributes:
        losses: of the pictures as evaluated, outside [0, 1] too.
        seconds: since the run's start, at the end of each evaluation.
        pictures: as they would be saved, in 8 bits: each evaluated picture that was the best so far.
        found: for each of them, after how many evaluations.
        stopped: why the optimizer stopped by itself, empty if it didn't.
    """

    losses: list[float]
    seconds: list[float]
    pictures: list[Picture]
    found: list[int]
    stopped: str


class Meter:
    """The objective of one content and style, with a counter, a clock and a budget of evaluations."""

    def __init__(self, params: Any, weights: js.LossWeights, objective: js.Objective):
        self.params, self.weights, self.objective = params, weights, objective

    def begin(self, targets: js.Targets, budget: int) -> None:
        """Aim at these targets, forget what was noted and start the clock."""
        self.targets, self.budget = targets, budget
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.pictures: list[Picture] = []
        self.found: list[int] = []
        self.least = float("inf")
        self.start = time.perf_counter()

    @property
    def used_up(self) -> bool:
        """Whether the next evaluation would be one too many."""
        return len(self.losses) >= self.budget

    def __call__(self, image: Array) -> tuple[Array, Array]:
        """Value and gradient, noted; `Enough` if there were enough already."""
        if self.used_up:
            raise Enough
        losses, gradient = js.value_and_grad(image, self.params, self.targets, self.weights, self.objective)
        jax.block_until_ready(gradient)
        self.note(losses.total, image)
        return losses.surrogate, gradient

    def note(self, value: Any, image: Any) -> None:
        """Write down one evaluation."""
        # A line search inside a compiled program may run past the end.
        if self.used_up:
            return
        self.losses.append(float(value))
        self.seconds.append(time.perf_counter() - self.start)
        if self.losses[-1] < self.least:
            self.least = self.losses[-1]
            self.pictures.append(np.rint(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8))
            self.found.append(len(self.losses))

    def saved_loss(self, picture: Picture) -> float:
        """The loss of a saved picture; neither counted nor timed."""
        image = jnp.asarray(picture.astype(np.float32) / np.float32(255))
        return float(js.value_and_grad(image, self.params, self.targets, self.weights, self.objective)[0].total)


class Contestant(NamedTuple):
    """An optimizer.

    Attributes:
        run: asks the meter until it raises `Enough`; returns only if it stops earlier, and says why.
        box: whether every picture that it evaluates lies in [0, 1].
        whitened: whether the gradient is that of the whitened surrogate; the losses noted are never.
        mosaic: share of the style's mosaic in its start from the content: see `jaxstyle/image/mosaic.py`.
        package: what it needs beside this library, as `pip install` calls it.
    """

    run: Callable[[Meter, Pixels], str]
    box: bool
    whitened: bool = False
    mosaic: float = 0.0
    package: str = ""


def measure(contestant: Contestant, meter: Meter, targets: js.Targets, start: Pixels, evaluations: int) -> Trace:
    """Run a contestant from a picture for so many evaluations."""
    # One program for all: with power 0 the surrogate is the loss itself.
    meter.begin(js.whiten(targets, float(contestant.whitened)), evaluations)
    try:
        stopped = contestant.run(meter, start)
    except Enough:
        stopped = ""
    return Trace(meter.losses, meter.seconds, meter.pictures, meter.found, stopped)


def transform(
    optimizer: optax.GradientTransformation, box: bool, whitened: bool = False, mosaic: float = 0.0
) -> Contestant:
    """An optax transform that needs one value and gradient a step: what `js.step` does, evaluation and update apart."""

    def run(meter: Meter, image: Pixels) -> NoReturn:
        # Copies, because `_propose` reuses the buffers and the start is wanted again.
        def begin(image: Array) -> Any:
            return jax.tree.map(functools.partial(jnp.array, copy=True), optimizer.init(image))

        state, best, leads = begin(jnp.asarray(image)), image, whitened
        while True:
            value, gradient = meter(image)
            if meter.found[-1:] == [len(meter.losses)]:
                best = image
            image, state = _propose(image, state, value, gradient, optimizer)
            if leads and converged(np.asarray(meter.losses), SURROGATE_TOLERANCE):
                # What `minimize` does: the surrogate gives way to the loss itself.
                leads, meter.targets = False, js.whiten(meter.targets, 0.0)
                image, state = best, begin(jnp.asarray(best))

    return Contestant(run, box, whitened, mosaic)


@functools.partial(jax.jit, static_argnames="optimizer", donate_argnames="state")
def _propose(image: Array, state: Any, value: Array, gradient: Array, optimizer: Any) -> tuple[Any, Any]:
    update = optax.with_extra_args_support(optimizer).update
    updates, state = update(gradient, state, image, value=value)
    return optax.apply_updates(image, updates), state


def adam_spectral(learning_rate: float) -> optax.GradientTransformation:
    """Adam in the coordinates z of x = F^-1 f^-1/2 F z, where `lbfgs`'s spectral preconditioner is the identity."""
    smooth = functools.partial(spectral, exponent=0.5)
    inner = optax.adam(learning_rate)

    def update(gradient, state, image, **_):
        updates, state = inner.update(smooth(gradient), state)
        smoothed = smooth(jnp.asarray(updates))
        # As large a step as Adam's own, so that the learning rate keeps its meaning.
        smoothed *= jnp.mean(jnp.abs(jnp.asarray(updates))) / jnp.maximum(jnp.mean(jnp.abs(smoothed)), 1e-30)
        return jnp.clip(image + smoothed, 0.0, 1.0) - image, state

    return optax.GradientTransformationExtraArgs(inner.init, update)  # pyright: ignore[reportArgumentType]


def optax_zoom(meter: Meter, image: Pixels) -> str:
    """optax.lbfgs with all its defaults. Its line search evaluates inside the compiled step, so it notes from there."""
    optimizer = optax.lbfgs()
    step = _zoom_step(meter)
    state: Any = _strong(optimizer.init(image))
    value, gradient = meter(image)
    while not meter.used_up:
        image, state = step(image, state, value, gradient, meter.params, meter.targets, meter.weights)
        jax.block_until_ready(image)
        jax.effects_barrier()
        # The line search leaves both behind for the picture that it chose.
        value, gradient = (optax.tree.get(state, name) for name in ("value", "grad"))
    raise Enough


@functools.cache
def _zoom_step(meter: Meter) -> Callable[..., Any]:
    """One step, compiled once for each meter and shape: notes go to the meter, whatever run it is in."""

    @jax.jit
    def step(image, state, value, gradient, params, targets, weights):
        def forward(at):
            losses, slope = js.value_and_grad(at, params, targets, weights, meter.objective)
            jax.debug.callback(meter.note, losses.total, at, ordered=True)
            return losses.total, slope

        # Whoever asks for the value gets the gradient too: one evaluation, as everywhere here.
        total = jax.custom_vjp(lambda at: forward(at)[0])
        total.defvjp(forward, lambda slope, scale: (scale * slope,))
        updates, state = optax.lbfgs().update(gradient, state, image, value=value, grad=gradient, value_fn=total)
        return optax.apply_updates(image, updates), _strong(state)

    return step


def _strong(tree: Any) -> Any:
    """The same with no weak types, which would compile the step once more."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), tree)


def optimistix_lbfgs(meter: Meter, image: Pixels) -> NoReturn:
    """optimistix.LBFGS, history 10, its own backtracking. A step evaluates once, at `state.y_eval`.

    So the step is given the function that is linear there, with the value and gradient measured there: the same
    step, without the network in its program.
    """
    init, step = _optimistix()
    state, best = init(image), image
    while True:
        at = state.y_eval
        best, state = step(best, (at, *meter(at)), state)


def _linear(image: Array, measured: tuple[Array, Array, Array]) -> tuple[Array, None]:
    at, value, gradient = measured
    return value + jnp.sum(gradient * (image - at)), None


@functools.cache
def _optimistix() -> tuple[Callable[..., Any], Callable[..., Any]]:
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
    """torch.optim.LBFGS as the PyTorch programs use it: history 100, lr 1, no line search, no box.

    A closure's call is an evaluation; with `max_iter=1` a step makes one. Tolerances of -1 are off, as in
    neural-style-pt. White is `scale`, 255 in the authors' notebook. The scale decides how a run begins: the first step
    has an L1 norm of 1, and where the curvature along it is negative the next step is the bare gradient.
    """
    import torch  # pyright: ignore[reportMissingImports]

    # Vectors as short as these are slower with more, several times so on a machine that does other work too.
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
    """scipy.optimize's L-BFGS-B on the box [0, 1], memory 10, tolerances off."""
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


# As `stylize` does by default.
MOSAIC = js.preset().mosaic


def ours(optimizer: optax.GradientTransformation, whitened: bool = True, mosaic: float = MOSAIC) -> Contestant:
    """What `stylize` does by default, with another optimizer, or with parts of it left out."""
    return transform(optimizer, True, whitened, mosaic)


TORCH = Contestant(functools.partial(torch_lbfgs, scale=255.0), box=False, package="torch")
CONTESTANTS = {
    # First, because the others are compared with it.
    "torch": TORCH,
    "torch-mosaic": TORCH._replace(mosaic=MOSAIC),
    "torch-unit": Contestant(functools.partial(torch_lbfgs, scale=1.0), box=False, package="torch"),
    "jaxstyle": ours(js.lbfgs()),
    "jaxstyle-no-mosaic": ours(js.lbfgs(), mosaic=0.0),
    "jaxstyle-unwhitened": ours(js.lbfgs(), whitened=False),
    "jaxstyle-one-chroma": ours(js.lbfgs(chroma=1.0)),
    "jaxstyle-pyramid": ours(js.lbfgs(precondition="pyramid")),
    "jaxstyle-plain": ours(js.lbfgs(precondition=None), whitened=False, mosaic=0.0),
    **{f"jaxstyle-memory-{size}": ours(js.lbfgs(size)) for size in (5, 20, 50)},
    **{f"jaxstyle-exponent-{p:g}": ours(js.lbfgs(exponent=p)) for p in (0.0, 0.5, 1.5, 2.0)},
    "scipy": Contestant(scipy_lbfgsb, box=True, package="scipy"),
    "optax-zoom": Contestant(optax_zoom, box=False),
    "optax-none": transform(optax.lbfgs(linesearch=None), box=False),
    "optimistix": Contestant(optimistix_lbfgs, box=False, package="optimistix"),
    **{f"adam-{levels}": transform(optax.adam(levels * GRAY_LEVEL), box=False) for levels in (1, 5, 10)},
    "adam-clipped": transform(js.adam(0.02), box=True),
    "adam-spectral": transform(adam_spectral(0.02), box=True),
}
