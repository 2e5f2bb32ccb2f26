"""Minimize at one size: steps in compiled chunks, with the reasons to stop judged between them."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.minimize.status import PATIENCE, STALLED, STATUS_CODES, History, Status, verdict
from jaxstyle.minimize.step import State, restart, step
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import allreduce_max, mesh_of, to_host
from jaxstyle.objective.targets import Targets
from jaxstyle.typing import Params

log = logging.getLogger(__name__)

# Approximate duration of a chunk of steps: short enough to answer Ctrl-C and callbacks, long enough to hide the host's
# work.
CHUNK_SECONDS = 1.0


class Problem(NamedTuple):
    """Arguments of `init` and `step` beside the image or the state, in their order.

    Attributes:
        params: of the network.
        targets: of the state's size.
        weights: of the loss terms.
        objective: static.
        optimizer: static.
    """

    params: Params
    targets: Targets
    weights: LossWeights
    objective: Objective
    optimizer: optax.GradientTransformation


class Limits(NamedTuple):
    """Limits of a run at one size.

    Attributes:
        steps: maximum number of evaluations.
        tolerance: the run has converged when the best loss fell by at most this fraction per evaluation, over 20.
        pause_every: if not None, a chunk ends at every multiple of this number of evaluations.
        prior_evaluations: evaluations at coarser scales, which count for `pause_every`.
    """

    steps: int
    tolerance: float
    pause_every: int | None = None
    prior_evaluations: int = 0

    def next_chunk(self, done: int, length: int) -> int:
        """Return how many steps, at most `length`, can follow `done` steps without a pause."""
        length = min(length, PATIENCE - done % PATIENCE, self.steps - done)
        if self.pause_every is None:
            return length
        return min(length, self.pause_every - (self.prior_evaluations + done) % self.pause_every)


class RunState(NamedTuple):
    """Everything that a run at one size needs, beside its problem, to continue bit-identically.

    Attributes:
        state: of the optimization; the next chunk of steps reuses its buffers.
        history: losses of all evaluations so far.
        since: evaluations before the present objective.
        on_final_objective: True if the loss itself is minimized, after its surrogate.
    """

    state: State
    history: History
    since: int = 0
    on_final_objective: bool = False


def initial_run_state(state: State) -> RunState:
    """Return the run state before the first step."""
    return RunState(state, np.empty((0, len(Losses._fields)), np.float32))


def minimize(
    run_state: RunState,
    problem: Problem,
    limits: Limits,
    callback: Callable[[RunState], Status | None],
    final_problem: Problem | None = None,
) -> tuple[State, History, Status]:
    """Take steps until there is a reason to stop.

    Args:
        run_state: where to start or resume; its state is not usable afterwards.
        problem: the surrogate, or the loss itself if there is no `final_problem`.
        limits: number of steps, tolerance and pauses.
        callback: called after every chunk, about once a second; a returned status ends the run.
        final_problem: replaces `problem` once that makes slow progress; the optimizer restarts from the best image.

    Returns:
        The last state, the losses of all evaluations, and the reason to stop.
    """
    history = np.empty((limits.steps, len(Losses._fields)), np.float32)
    state, done, since = run_state.state, len(run_state.history), run_state.since
    history[:done] = run_state.history
    has_surrogate = final_problem is not None or run_state.on_final_objective
    if run_state.on_final_objective and final_problem is not None:
        problem, final_problem = final_problem, None
    # No other reference to the state may remain: `run` reuses its buffers.
    del run_state
    resumed_at, length, requested = done, 1, None
    mesh = mesh_of(state.image)
    while True:
        # Judged before the steps, so that a run resumed from what the callback saved gets the same verdict.
        num_nonfinite, on_surrogate = int(to_host(state.num_nonfinite)), final_problem is not None
        status = requested or verdict(num_nonfinite, history[:done], limits.tolerance, on_surrogate, since)
        status = STATUS_CODES[int(allreduce_max(STATUS_CODES.index(status), mesh))]
        if status in STALLED and final_problem is not None:
            status = None
            # Without steps left a restart would only discard what the optimizer has.
            if done < limits.steps:
                log.debug("slow progress after %d evaluations: the loss itself replaces its surrogate", done)
                problem, final_problem, since = final_problem, None, done
                state = restart(state, problem.optimizer)
                # The first evaluation is judged by itself.
                length = 1
        if status is None and done == limits.steps:
            status = Status.NOT_FINITE if num_nonfinite >= PATIENCE else Status.STEP_LIMIT
        if status is not None:
            return state, history[:done], status
        length = int(allreduce_max(limits.next_chunk(done, length), mesh))
        start = time.perf_counter()
        state, rows = run(state, *problem, np.int32(length))
        history[done : done + length] = to_host(rows)[:length]
        seconds = time.perf_counter() - start
        num_failed = int(length - np.isfinite(history[done : done + length, 0]).sum())
        if num_failed:
            log.warning("%d of the last %d evaluations were not finite and were rejected", num_failed, length)
        done += length
        requested = callback(RunState(state, history[:done], since, has_surrogate and final_problem is None))
        length = steps_per_chunk(done - resumed_at, length, seconds)


def steps_per_chunk(done: int, length: int, seconds: float) -> int:
    """Return how many steps take about `CHUNK_SECONDS`.

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
    optimizer: optax.GradientTransformation,
    length: Int[Array, ""],
) -> tuple[State, Array]:
    """Take `length` steps in one loop. The length is traced, so that chunks of all lengths are one program.

    Args:
        state: from `init` or an earlier step.
        params: see `step`, like the next four.
        targets: of the state's size.
        weights: of the loss terms.
        objective: static.
        optimizer: static.
        length: at most `PATIENCE`.

    Returns:
        The next state, and an array of `(PATIENCE, 5)` whose first `length` rows are the losses of the steps.
    """

    def body(k, carry):
        state, rows = carry
        state = step(state, params, targets, weights, objective, optimizer)
        return state, rows.at[k].set(jnp.stack(state.losses))

    return jax.lax.fori_loop(0, length, body, (state, jnp.zeros((PATIENCE, len(Losses._fields)), jnp.float32)))


# A program of its own that reuses the state's buffers. JAX allows compiler options only at the top level: within other
# compiled functions, call `run_steps`.
run = jax.jit(
    run_steps,
    static_argnames=("objective", "optimizer"),
    donate_argnames="state",
    compiler_options=COMPILER_OPTIONS,
)
