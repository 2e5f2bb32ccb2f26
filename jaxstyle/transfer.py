"""`stylize`: a whole run, from a content and a style to a result, in chunks of compiled steps."""

import enum
import functools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from jaxstyle.errors import InputError
from jaxstyle.image import check_image, check_range, resize, white_noise
from jaxstyle.objective import (
    Losses,
    LossWeights,
    Objective,
    Targets,
    a_layer_each,
    check_weights,
    make_targets,
)
from jaxstyle.presets import preset as named_preset
from jaxstyle.step import State, step
from jaxstyle.step import init as init_state
from jaxstyle.typing import AnyImage, Image, Params
from jaxstyle.weights import load_params

# About how long a chunk of steps should take: short enough to answer Ctrl-C and callbacks, long enough that the host
# does not matter.
CHUNK_SECONDS = 1.0
# Convergence is judged over this many evaluations, at multiples of it; so no chunk is longer.
PATIENCE = 20
# Steps at most: beyond lies a typing error.
MOST_STEPS = 1_000_000


class Status(enum.StrEnum):
    """Why a run stopped.

    Attributes:
        STEP_LIMIT: all steps were taken.
        CONVERGED: the loss no longer falls.
        STOPPED: a callback asked for it.
        INTERRUPTED: Ctrl-C.
        NOT_FINITE: the loss or its gradient was not finite, again and again.
    """

    STEP_LIMIT = "step limit"
    CONVERGED = "converged"
    STOPPED = "stopped by the callback"
    INTERRUPTED = "interrupted"
    NOT_FINITE = "loss not finite"


class Progress(NamedTuple):
    """What a callback sees.

    Attributes:
        evaluations: taken so far.
        steps: the limit.
        losses: of the best picture so far.
        image: the best picture so far, `(H, W, 3)`.
        seconds: since the run began.
    """

    evaluations: int
    steps: int
    losses: Losses
    image: Image
    seconds: float


class Result(NamedTuple):
    """What a run gives.

    Attributes:
        image: the evaluated picture with the least total loss, `(H, W, 3)`; in [0, 1] with `lbfgs` and `adam`, while
            other optimisers may leave the box.
        losses: history, arrays of `(evaluations,)`: row k is the picture that step k evaluated.
        evaluations: values and gradients computed.
        status: why the run stopped.
        seconds: from call to return, compilation included.
    """

    image: Image
    losses: Losses
    evaluations: int
    status: Status
    seconds: float


Callback = Callable[[Progress], bool | None]


def stylize(
    content: AnyImage,
    style: AnyImage | Sequence[AnyImage],
    *,
    params: Params | None = None,
    preset: str = "default",
    objective: Objective | None = None,
    weights: LossWeights | None = None,
    style_weights: Sequence[float] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    steps: int | None = None,
    init: str | AnyImage | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
    callback: Callback | None = None,
    callback_every: int | None = None,
) -> Result:
    """Give the content picture the style's style.

    Minimises `content + style + tv` over the pixels (see `losses.py` for the formulas), starting from the content.
    Ctrl-C ends the run after the current chunk of steps with the best picture so far; a second one raises.

    Args:
        content: `(H, W, 3)` float32 RGB in [0, 1].
        style: one such picture of any size, or a sequence of them, which blend.
        params: see `load_params`; the embedded weights if None.
        preset: name of the settings that the options below replace one by one; see `preset`.
        objective: layers, normalisation, pooling, precision.
        weights: of the loss's terms.
        style_weights: one relative number a style; equal if None.
        optimizer: `lbfgs()`, `adam()` or any optax transform that needs one value and gradient a step.
        steps: evaluations at most.
        init: where to start: `"content"`, `"noise"` (seeded), or a picture, resized to the content's size.
        seed: of the noise.
        tolerance: the run has converged when the best loss fell by at most this fraction an evaluation, over 20; 0
            stops only where it does not fall at all.
        callback: called about once a second, between chunks of steps, with a `Progress`; returning True stops the run.
        callback_every: if given, the callback also sees every multiple of this number of evaluations.

    Returns:
        The result.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> photo, painting = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> result = js.stylize(photo, painting, params=params, steps=5)
        >>> result.image.shape, result.evaluations, str(result.status)
        ((32, 48, 3), 5, 'step limit')

    References:
        Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
    """
    begin = time.perf_counter()
    settings = named_preset(preset)
    objective = settings.objective if objective is None else objective
    weights = settings.weights if weights is None else weights
    optimizer = settings.optimizer if optimizer is None else optimizer
    steps = settings.steps if steps is None else steps
    init = settings.init if init is None else init
    _check_options(objective, weights, optimizer, steps, callback_every, tolerance)
    check_image(content, "content", objective.smallest)
    check_range(content, "content")
    styles = list(style) if isinstance(style, list | tuple) else [style]
    for picture in styles:
        check_image(picture, "style", objective.smallest)
        check_range(picture, "style")

    content, styles = jnp.asarray(content), [jnp.asarray(picture) for picture in styles]
    first = _first_image(init, content, seed)
    params = load_params() if params is None else params
    targets = make_targets(params, content, styles, objective, style_weights)
    weights = a_layer_each(weights, objective)
    state = init_state(first, params, targets, weights, objective, optimizer)

    history = np.empty((steps, len(Losses._fields)), np.float32)
    status, length = Status.STEP_LIMIT, 1
    done = 0
    with _interrupt_flag() as interrupted:
        while done < steps:
            length = min(length, PATIENCE - done % PATIENCE, steps - done)
            if callback_every is not None:
                length = min(length, callback_every - done % callback_every)
            chunk_begin = time.perf_counter()
            state, chunk = _run(state, params, targets, weights, jnp.int32(length), objective, optimizer)
            history[done : done + length] = chunk[:length]
            done += length
            now = time.perf_counter()
            if callback is not None and callback(_progress(state, history[:done], steps, now - begin)):
                status = Status.STOPPED
                break
            if interrupted.is_set():
                status = Status.INTERRUPTED
                break
            if _hopeless(state, done):
                status = Status.NOT_FINITE
                break
            if done % PATIENCE == 0 and _converged(history[:done, 0], tolerance):
                status = Status.CONVERGED
                break
            # The first chunk compiles, so it says nothing about how many steps fit into a second.
            seconds_a_step = (now - chunk_begin) / length
            length = 1 if done == 1 else max(1, int(CHUNK_SECONDS / seconds_a_step))
    losses = Losses(*map(jnp.asarray, history[:done].T))
    return Result(state.best_image, losses, done, status, time.perf_counter() - begin)


def _check_options(
    objective: Any, weights: Any, optimizer: Any, steps: Any, callback_every: Any, tolerance: float
) -> None:
    for name, value, kind in (
        ("objective", objective, Objective),
        ("weights", weights, LossWeights),
        ("optimizer", optimizer, optax.GradientTransformation),
        ("steps", steps, Integral),
        ("callback_every", 1 if callback_every is None else callback_every, Integral),
    ):
        if not isinstance(value, kind):
            raise InputError(f"{name} is {str(value)[:80]!r}, expected {kind.__name__}")
    for name, value in (("steps", steps), ("callback_every", callback_every)):
        if value is not None and not 1 <= value <= MOST_STEPS:
            raise InputError(f"{name} is {value}, expected 1 to {MOST_STEPS}")
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance is {tolerance}, expected a number from 0 to 1 such as 1e-6")
    check_weights(weights, objective)


@functools.partial(jax.jit, static_argnames=("objective", "optimizer"), donate_argnames="state")
def _run(
    state: State,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    length: Int[Array, ""],
    objective: Objective,
    optimizer: optax.GradientTransformation,
) -> tuple[State, Array]:
    """`length` steps in one compiled loop (a traced number: every chunk is the same program), and their losses."""

    def body(k, carry):
        state, rows = carry
        state = step(state, params, targets, weights, objective, optimizer)
        return state, rows.at[k].set(jnp.stack(state.losses))

    return jax.lax.fori_loop(0, length, body, (state, jnp.zeros((PATIENCE, len(Losses._fields)), jnp.float32)))


def _first_image(init: str | AnyImage, content: Image, seed: int) -> Image:
    height, width = content.shape[:2]
    if isinstance(init, str):
        if init == "content":
            return content
        if init == "noise":
            return white_noise(seed, height, width)
        raise InputError(f"unknown init {init!r}, expected 'content', 'noise' or a picture")
    init = jnp.asarray(init)
    check_image(init, "init")
    check_range(init, "init")
    return init if init.shape == content.shape else resize(init, height, width)


def _progress(state: State, history: np.ndarray, steps: int, seconds: float) -> Progress:
    totals = np.where(np.isfinite(history[:, 0]), history[:, 0], np.inf)
    losses = Losses(*map(jnp.asarray, history[np.argmin(totals)]))
    # A copy: the next chunk reuses the state's buffers, and a callback may keep the picture.
    return Progress(len(history), steps, losses, jnp.array(state.best_image, copy=True), seconds)


def _hopeless(state: State, done: int) -> bool:
    bad = int(state.bad)
    return bad > 0 and (bad == done or bad >= PATIENCE)


def _converged(totals: np.ndarray, tolerance: float) -> bool:
    if len(totals) <= PATIENCE:
        return False
    best = np.fmin.accumulate(totals)
    return bool(best[-1 - PATIENCE] - best[-1] <= tolerance * PATIENCE * best[-1 - PATIENCE])


@contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag: an exception in the middle of a chunk would lose the donated state."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(*_) -> None:
        flag.set()
        print("\nstopping after the running steps; Ctrl-C again to stop at once", file=sys.stderr)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
