"""Minimize at one size: compiled chunks of steps, with stopping criteria checked between chunks."""

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

# Approximate duration of a chunk of steps: short enough to respond promptly to Ctrl-C and run callbacks, long enough to
# amortize host overhead.
CHUNK_SECONDS = 1.0


class Problem(NamedTuple):
    """The arguments of `init` and `step` after the first one (the image or the state), in order.

    Attributes:
        params: parameters of the network.
        targets: targets of the state's size.
        weights: weights of the loss terms.
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
        tolerance: the run has converged when, over the last 20 evaluations, the best loss decreased by no more than
            this fraction per evaluation.
        callback_every: if not None, a chunk ends at every multiple of this number of evaluations.
        prior_evaluations: evaluations at coarser scales, which count for `callback_every`.
    """

    steps: int
    tolerance: float
    callback_every: int | None = None
    prior_evaluations: int = 0

    def next_chunk(self, done: int, length: int) -> int:
        """Return the number of steps, at most `length`, from `done` steps to the next check or callback."""
        length = min(length, PATIENCE - done % PATIENCE, self.steps - done)
        if self.callback_every is None:
            return length
        return min(length, self.callback_every - (self.prior_evaluations + done) % self.callback_every)


class RunState(NamedTuple):
    """Everything that a run at one size needs, besides its problem, to continue bit-identically.

    Attributes:
        state: state of the optimization; the next chunk of steps reuses its buffers.
        history: losses of all evaluations so far.
        objective_start: number of evaluations taken before the switch to the current objective.
        on_final_objective: True once the run has switched from the surrogate to the loss itself.
    """

    state: State
    history: History
    objective_start: int = 0
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
    """Take steps until a stopping criterion holds.

    Args:
        run_state: initial or restored run state; its state is not usable afterwards.
        problem: the surrogate, or the loss itself if there is no `final_problem`.
        limits: number of steps, tolerance and interval of callbacks.
        callback: called after every chunk, about once a second; a returned status ends the run.
        final_problem: replaces `problem` once that makes slow progress; the optimizer restarts from the best image.

    Returns:
        The last state, the losses of all evaluations, and the reason to stop.
    """
    history = np.empty((limits.steps, len(Losses._fields)), np.float32)
    state, done, objective_start = run_state.state, len(run_state.history), run_state.objective_start
    history[:done] = run_state.history
    has_surrogate = final_problem is not None or run_state.on_final_objective
    if run_state.on_final_objective and final_problem is not None:
        problem, final_problem = final_problem, None
    # No other reference to the state may remain: `run` reuses its buffers.
    del run_state
    resumed_at, length, requested_status = done, 1, None
    mesh = mesh_of(state.image)
    while True:
        # Before the steps, so that a run resumed from a checkpoint of the callback gets the same verdict.
        num_nonfinite, on_surrogate = int(to_host(state.num_nonfinite)), final_problem is not None
        status = requested_status or verdict(
            num_nonfinite, history[:done], limits.tolerance, on_surrogate, objective_start
        )
        status = STATUS_CODES[int(allreduce_max(STATUS_CODES.index(status), mesh))]
        if status in STALLED and final_problem is not None:
            status = None
            # With no steps left, a restart would only throw away the optimizer state.
            if done < limits.steps:
                log.debug("slow progress after %d evaluations: switching from the surrogate to the loss itself", done)
                problem, final_problem, objective_start = final_problem, None, done
                state = restart(state, problem.optimizer)
                # Take a single step first, so that the stopping criteria are checked after the first evaluation of
                # the new objective.
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
        requested_status = callback(
            RunState(state, history[:done], objective_start, has_surrogate and final_problem is None)
        )
        length = steps_per_chunk(done - resumed_at, length, seconds)


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
    optimizer: optax.GradientTransformation,
    length: Int[Array, ""],
) -> tuple[State, Array]:
    """Take `length` steps in one loop. The length is traced, so chunks of any length share one compiled program.

    Args:
        state: from `init` or an earlier step.
        params: see `step`.
        targets: see `step`.
        weights: see `step`.
        objective: static.
        optimizer: static.
        length: number of steps, at most `PATIENCE`.

    Returns:
        The next state, and an array of `(PATIENCE, 5)` whose first `length` rows are the losses of the steps.
    """

    def body(k, carry):
        state, rows = carry
        state = step(state, params, targets, weights, objective, optimizer)
        return state, rows.at[k].set(jnp.stack(state.losses))

    return jax.lax.fori_loop(0, length, body, (state, jnp.zeros((PATIENCE, len(Losses._fields)), jnp.float32)))


# `run_steps` as a compiled program that reuses the state's buffers. JAX allows compiler options only at the top level:
# call `run_steps` in other compiled functions.
run = jax.jit(
    run_steps,
    static_argnames=("objective", "optimizer"),
    donate_argnames="state",
    compiler_options=COMPILER_OPTIONS,
)
