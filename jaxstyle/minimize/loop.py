"""Minimize at one size: compiled chunks of steps, with stopping criteria checked between chunks.

One loop serves one image and a batch, whose images accept steps, switch objectives and stop independently. When an
image stops, the loop stores its result and ignores its later states.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.minimize.status import PATIENCE, STALLED, STATUS_CODES, History, Status, verdict
from jaxstyle.minimize.step import State, compiled_step, init_unchecked, is_batched, restart, result_image
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import allreduce_max, mesh_of, to_host
from jaxstyle.objective.targets import Targets
from jaxstyle.typing import Optimizer, Params

log = logging.getLogger(__name__)

# Approximate duration of a chunk of steps: short enough to respond promptly to Ctrl-C and run callbacks, long enough to
# amortize host overhead.
CHUNK_SECONDS = 1.0


class Problem(NamedTuple):
    """The arguments of `init` and `step` after the first one (the image or the state), in order.

    Attributes:
        params: parameters of the network.
        targets: targets of the state's size; for a batch, targets and weights have a leading axis.
        weights: weights of the loss terms.
        objective: static.
        optimizer: static.
    """

    params: Params
    targets: Targets
    weights: LossWeights
    objective: Objective
    optimizer: Optimizer


# From the exponent of the whitening of each image.
ProblemMaker = Callable[[Sequence[float]], Problem]


class Limits(NamedTuple):
    """Limits of a run at one size.

    Attributes:
        steps: maximum number of evaluations.
        tolerance: the run has converged when, over the last 20 evaluations, the best loss decreased by no more than
            this fraction per evaluation.
        callback_every: if not None, a chunk ends at every multiple of this number of evaluations.
        prior_evaluations: evaluations at coarser scales, which count for `callback_every`.
    """

    steps: int
    tolerance: float
    callback_every: int | None = None
    prior_evaluations: int = 0

    def next_chunk(self, done: int, length: int, start: int = 0) -> int:
        """Return the number of steps, at most `length`, from `done` steps to the next check or callback.

        Checks are at multiples of `PATIENCE` from `start` on.
        """
        length = min(length, PATIENCE - (done - start) % PATIENCE, self.steps - done)
        if self.callback_every is None:
            return length
        return min(length, self.callback_every - (self.prior_evaluations + done) % self.callback_every)


class RunState(NamedTuple):
    """Everything that a run at one size needs, besides its problem, to continue bit-identically.

    All but the state have one entry for each image.

    Attributes:
        state: state of the optimization, with a leading axis for a batch; the next chunk of steps reuses its buffers.
        histories: losses of all evaluations so far.
        statuses: reason to stop; None for an image that continues.
        powers: exponent of the whitening in the surrogate; 0 once the image has switched to the loss itself.
        objective_starts: number of evaluations taken before that switch, or before the problem changed.
        images: result of an image that has stopped, which may be on a canvas; None for one that continues.
    """

    state: State
    histories: tuple[History, ...]
    statuses: tuple[Status | None, ...]
    powers: tuple[float, ...]
    objective_starts: tuple[int, ...]
    images: tuple[Any, ...]

    @property
    def done(self) -> int:
        """Number of evaluations so far at this size."""
        return max(map(len, self.histories))


def initial_run_state(
    state: State, power: float = 0.0, statuses: Sequence[Status | None] = (None,), images: Sequence[Any] = (None,)
) -> RunState:
    """Return the run state before the first step.

    Args:
        state: from `init`.
        power: exponent of the whitening in the surrogate; 0 minimizes the loss itself.
        statuses: of each image; those that stopped at an earlier size do not run.
        images: their results.
    """
    count = len(statuses)
    empty = np.empty((0, len(Losses._fields)), np.float32)
    return RunState(state, (empty,) * count, tuple(statuses), (power,) * count, (0,) * count, tuple(images))


def minimize(
    run_state: RunState,
    make_problem: ProblemMaker,
    limits: Limits,
    callback: Callable[[RunState], "Status | ProblemMaker | None"],
) -> tuple[tuple[Any, ...], tuple[History, ...], tuple[Status, ...]]:
    """Run steps until every image has stopped.

    Args:
        run_state: initial or restored run state; its state is not usable afterwards.
        make_problem: returns the problem with these exponents of the whitening, one for each image. An image with slow
            progress continues with exponent 0, the loss itself: the optimizer restarts from its best image.
        limits: number of steps, tolerance and interval of callbacks.
        callback: called after every chunk, about once a second; a returned status ends the run of all images. A
            returned function of the exponents is the problem from then on, of the same shapes: the optimizer starts
            again at the present image, since it has learned about another loss.

    Returns:
        The resulting image, the losses of all evaluations, and the reason to stop, of each image.
    """
    # No other reference to the state may remain: `run` reuses its buffers.
    state, done = run_state.state, run_state.done
    others = run_state._replace(state=None)  # pyright: ignore[reportArgumentType]
    del run_state
    rows = np.full((len(others.histories), limits.steps, len(Losses._fields)), np.nan, np.float32)
    for k, history in enumerate(others.histories):
        rows[k, : len(history)] = history
    problem, mesh = make_problem(others.powers), mesh_of(state.image)
    resumed_at, length, requested_status = done, 1, None
    while True:
        # Before the steps, so that a run resumed from a checkpoint of the callback gets the same verdict.
        others, switching = _judge(others, to_host(state.num_nonfinite), limits, requested_status, mesh)
        if switching.any() and done < limits.steps:
            log.debug("slow progress after %d evaluations: switching from the surrogate to the loss itself", done)
            powers = tuple(0.0 if flag else power for flag, power in zip(switching, others.powers, strict=True))
            starts = tuple(
                done if flag else start for flag, start in zip(switching, others.objective_starts, strict=True)
            )
            others, problem = others._replace(powers=powers, objective_starts=starts), make_problem(powers)
            state = restart(state, problem.optimizer, switching)
            # Take a single step first, so that the stopping criteria are checked after the first evaluation of the new
            # objective.
            length = 1
        others = others._replace(images=_results(state, others))
        if None not in others.statuses:
            return others.images, others.histories, others.statuses  # pyright: ignore[reportReturnType]
        length = int(allreduce_max(limits.next_chunk(done, length, others.objective_starts[0]), mesh))
        start = time.perf_counter()
        state, chunk = run(state, *problem, np.int32(length))
        # On its way beside the losses, so that a chunk waits for the device once.
        state.num_nonfinite.copy_to_host_async()
        chunk = to_host(chunk)[..., :length, :].reshape(-1, length, len(Losses._fields))
        seconds = time.perf_counter() - start
        running = [k for k, status in enumerate(others.statuses) if status is None]
        num_failed = int((~np.isfinite(chunk[running, :, 0])).sum())
        if num_failed:
            log.warning(
                "%d of the last %d evaluations were not finite and were rejected", num_failed, length * len(running)
            )
        rows[running, done : done + length] = chunk[running]
        done += length
        histories = tuple(rows[k, :done] if k in running else history for k, history in enumerate(others.histories))
        others = others._replace(histories=histories)
        answer = callback(others._replace(state=state))
        length = steps_per_chunk(done - resumed_at, length, seconds)
        requested_status = answer if isinstance(answer, Status) else None
        if answer is not None and not isinstance(answer, Status):
            make_problem, length = answer, 1
            problem, others = make_problem(others.powers), others._replace(objective_starts=(done,) * len(rows))
            state = init_unchecked(result_image(state), problem.optimizer)


def _judge(
    run: RunState, num_nonfinite: np.ndarray, limits: Limits, requested: Status | None, mesh: Any
) -> tuple[RunState, Bool[np.ndarray, " images"]]:
    """Return the run with the statuses that hold, and which images switch to the loss itself."""
    counts = np.atleast_1d(num_nonfinite)
    statuses = [
        status or requested or verdict(int(count), history, limits.tolerance, power > 0, start)
        for status, count, history, power, start in zip(
            run.statuses, counts, run.histories, run.powers, run.objective_starts, strict=True
        )
    ]
    codes = allreduce_max(np.array([STATUS_CODES.index(status) for status in statuses]), mesh)
    statuses = [STATUS_CODES[code] for code in codes]
    switching = np.array(
        [
            before is None and status in STALLED and power > 0
            for before, status, power in zip(run.statuses, statuses, run.powers, strict=True)
        ]
    )
    for k, count in enumerate(counts):
        if switching[k]:
            statuses[k] = None
        # With no steps left, a switch would only throw away the optimizer state.
        if statuses[k] is None and run.done == limits.steps:
            statuses[k] = Status.NOT_FINITE if count >= PATIENCE else Status.STEP_LIMIT
    return run._replace(statuses=tuple(statuses)), switching


def _results(state: State, run: RunState) -> tuple[Any, ...]:
    """Return the images of `RunState`, with those that have just stopped."""
    stopped = [k for k, status in enumerate(run.statuses) if status is not None and run.images[k] is None]
    if not stopped:
        return run.images
    if not is_batched(state):
        return (result_image(state),)
    results = to_host(_result_images(state))
    return tuple(results[k] if k in stopped else image for k, image in enumerate(run.images))


_result_images = jax.jit(result_image)


def steps_per_chunk(done: int, length: int, seconds: float) -> int:
    """Return the number of steps that take about `CHUNK_SECONDS`.

    Args:
        done: steps since the program was compiled.
        length: steps of the last chunk.
        seconds: duration of the last chunk; ignored for the first one, which includes compilation.
    """
    return 1 if done == 1 else max(1, int(CHUNK_SECONDS * length / seconds))


def run_steps(
    state: State,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
    optimizer: Optimizer,
    length: Int[Array, ""],
) -> tuple[State, Array]:
    """Take `length` steps in one loop. The length is traced, so chunks of any length share one compiled program.

    Args:
        state: from `init` or an earlier step; of a batch, with a leading axis, like its targets and weights.
        params: see `step`.
        targets: see `step`.
        weights: see `step`.
        objective: static.
        optimizer: static.
        length: number of steps, at most `PATIENCE`.

    Returns:
        The next state, and an array of `(PATIENCE, 8)`, for a batch `(batch, PATIENCE, 8)`, whose first `length` rows
        are the losses of the steps.
    """

    def step_one(state: State, targets: Targets, weights: LossWeights) -> State:
        return compiled_step(state, params, targets, weights, objective, optimizer)

    step_all = jax.vmap(step_one) if is_batched(state) else step_one

    def body(k, carry):
        state, rows = carry
        state = step_all(state, targets, weights)
        return state, rows.at[..., k, :].set(jnp.stack(state.losses, axis=-1))

    rows = jnp.zeros((*state.best_loss.shape, PATIENCE, len(Losses._fields)), jnp.float32)
    return jax.lax.fori_loop(0, length, body, (state, rows))


# `run_steps` as a compiled program that reuses the state's buffers. JAX allows compiler options only at the top level:
# call `run_steps` in other compiled functions.
run = jax.jit(
    run_steps, static_argnames=("objective", "optimizer"), donate_argnames="state", compiler_options=COMPILER_OPTIONS
)
