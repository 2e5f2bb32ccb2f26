"""A descent at one size: steps in compiled chunks, and between them the reasons to stop."""

import functools
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
from jaxstyle.minimize.status import PATIENCE, STATUS_CODES, History, Status, verdict
from jaxstyle.minimize.step import State, init, step
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import allreduce_max, mesh_of, to_host
from jaxstyle.objective.targets import Targets
from jaxstyle.typing import Params

log = logging.getLogger(__name__)

# About how long a chunk of steps should take: short enough to answer Ctrl-C and callbacks, long enough that the host
# does not matter.
CHUNK_SECONDS = 1.0


class Problem(NamedTuple):
    """What `init` and `step` need beside the picture and the state, in their order.

    Attributes:
        params: of the network.
        targets: at the state's size.
        weights: of the loss's terms.
        objective: static.
        optimizer: static.
    """

    params: Params
    targets: Targets
    weights: LossWeights
    objective: Objective
    optimizer: optax.GradientTransformation


class Limits(NamedTuple):
    """When a descent pauses and when it ends.

    Attributes:
        steps: evaluations at most.
        tolerance: it has converged when the best loss fell by at most this fraction an evaluation, over 20.
        pause_every: a chunk ends at every multiple of this number of evaluations, if it is not None.
        before: evaluations at coarser scales, which count for `pause_every`.
    """

    steps: int
    tolerance: float
    pause_every: int | None = None
    before: int = 0

    def next_chunk(self, done: int, length: int) -> int:
        """So many of the next steps as can be taken without a pause, `length` at most, after `done` of them."""
        length = min(length, PATIENCE - done % PATIENCE, self.steps - done)
        if self.pause_every is None:
            return length
        return min(length, self.pause_every - (self.before + done) % self.pause_every)


class RunState(NamedTuple):
    """How far a descent has come: with its problem all that it needs to go on, and the same numbers come again.

    Attributes:
        state: of the optimization; the next chunk of steps reuses its buffers.
        history: losses of every evaluation so far.
        since: evaluations before the present problem.
        on_final_objective: whether that is the last one, after one that led the way.
    """

    state: State
    history: History
    since: int = 0
    on_final_objective: bool = False


def initial_run_state(state: State) -> RunState:
    """A descent before its first step.

    Args:
        state: from `init`.

    Returns:
        It.
    """
    return RunState(state, np.empty((0, len(Losses._fields)), np.float32))


def minimize(
    begun: RunState,
    problem: Problem,
    limits: Limits,
    ask: Callable[[RunState], Status | None],
    finish: Problem | None = None,
) -> tuple[State, History, Status]:
    """Take steps until there is a reason to stop.

    Args:
        begun: where to go on; its state is not usable afterwards.
        problem: what to minimize, and how.
        limits: see there.
        ask: called after every chunk, about once a second; a status ends the descent.
        finish: once the problem makes slow progress, go on with this one from the best picture.

    Returns:
        The last state, the losses of every evaluation, and why it stopped.
    """
    history = np.empty((limits.steps, len(Losses._fields)), np.float32)
    state, done, since = begun.state, len(begun.history), begun.since
    history[:done] = begun.history
    if begun.on_final_objective and finish is not None:
        problem, finish = finish, None
    # The names here are the only ones: a state given to `run` must not be kept alive.
    led, before, length, told = finish is not None or begun.on_final_objective, done, 1, None
    del begun
    mesh = mesh_of(state.image)
    while True:
        # Before the steps, so that one who goes on from what `ask` saw judges as this one does.
        status = told or verdict(
            int(to_host(state.num_nonfinite)), history[since:done], limits.tolerance, finish is not None
        )
        status = STATUS_CODES[int(allreduce_max(STATUS_CODES.index(status), mesh))]
        if status in (Status.CONVERGED, Status.STUCK) and finish is not None:
            log.debug("after %d evaluations the loss falls slowly: on with its own gradient", done)
            problem, finish, since = finish, None, done
            best = state.best_image
            # Before the next one is made: with L-BFGS's pairs a state is most of what a large picture needs.
            del state
            state, status = init(best, *problem), None
            # The first evaluation is judged by itself.
            length = 1
        if status is None and done == limits.steps:
            status = Status.NOT_FINITE if int(to_host(state.num_nonfinite)) >= PATIENCE else Status.STEP_LIMIT
        if status is not None:
            return state, history[:done], status
        length = int(allreduce_max(limits.next_chunk(done, length), mesh))
        begin = time.perf_counter()
        state, chunk = run(state, *problem, np.int32(length))
        history[done : done + length] = to_host(chunk)[:length]
        seconds = time.perf_counter() - begin
        num_nonfinite = int(length - np.isfinite(history[done : done + length, 0]).sum())
        if num_nonfinite:
            log.warning(
                "%d of the last %d evaluations were not finite: refused, from a shorter step on", num_nonfinite, length
            )
        done += length
        told = ask(RunState(state, history[:done], since, led and finish is None))
        length = steps_in_a_chunk(done - before, length, seconds)


def steps_in_a_chunk(done: int, length: int, seconds: float) -> int:
    """How many steps take about as long as a chunk should.

    Args:
        done: steps since the program was compiled.
        length: of the last chunk.
        seconds: that it took.

    Returns:
        At least one; the first chunk compiles, so it says nothing.
    """
    return 1 if done == 1 else max(1, int(CHUNK_SECONDS * length / seconds))


@functools.partial(
    jax.jit, static_argnames=("objective", "optimizer"), donate_argnames="state", compiler_options=COMPILER_OPTIONS
)
def run(
    state: State,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    length: Int[Array, ""],
) -> tuple[State, Array]:
    """`length` steps in one compiled loop (a traced number: every chunk is the same program), and their losses.

    To be called by itself: within other compiled functions it is `steps`.

    Args:
        state: its buffers are reused.
        params: as for `step`, like the next four.
        targets: of the state's size.
        weights: of the loss's terms.
        objective: static.
        optimizer: static.
        length: at most `PATIENCE`.

    Returns:
        The state after them, and an array of `(PATIENCE, 5)` whose first `length` rows are their losses.
    """
    return steps(state, params, targets, weights, objective, optimizer, length)


def steps(
    state: State,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    length: Int[Array, ""],
) -> tuple[State, Array]:
    """What `run` compiles."""

    def body(k, carry):
        state, rows = carry
        state = step(state, params, targets, weights, objective, optimizer)
        return state, rows.at[k].set(jnp.stack(state.losses))

    return jax.lax.fori_loop(0, length, body, (state, jnp.zeros((PATIENCE, len(Losses._fields)), jnp.float32)))
