"""A descent at one size: steps in compiled chunks, and between them the reasons to stop."""

import enum
import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxstyle.mesh import agreed, mesh_of, to_host
from jaxstyle.objective import Losses, LossWeights, Objective
from jaxstyle.step import State, init, step
from jaxstyle.targets import Targets
from jaxstyle.typing import Params

# About how long a chunk of steps should take: short enough to answer Ctrl-C and callbacks, long enough that the host
# does not matter.
CHUNK_SECONDS = 1.0
# Convergence is judged over this many evaluations, at multiples of it; so no chunk is longer.
PATIENCE = 20

# A first problem, which only leads the way, gives way to the last where the loss falls by less an evaluation.
SLOW = 4e-3

# Rows of losses, one an evaluation; columns as in `Losses`.
History = Float[np.ndarray, "_ 5"]


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


# What hosts tell each other is a place in this list.
STATUSES = (None, *Status)


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


def descend(
    state: State,
    problem: Problem,
    limits: Limits,
    ask: Callable[[State, History], Status | None],
    finish: Problem | None = None,
) -> tuple[State, History, Status]:
    """Take steps until there is a reason to stop.

    Args:
        state: from `init`; not usable afterwards.
        problem: what to minimise, and how.
        limits: see there.
        ask: called after every chunk, about once a second, with the state and the history; a status ends the descent.
        finish: once the problem makes slow progress, go on with this one from the best picture.

    Returns:
        The last state, the losses of every evaluation, and why it stopped.
    """
    history = np.empty((limits.steps, len(Losses._fields)), np.float32)
    done, length, since = 0, 1, 0
    mesh = mesh_of(state.image)
    while done < limits.steps:
        length = int(agreed(limits.next_chunk(done, length), mesh))
        begin = time.perf_counter()
        state, chunk = run(state, *problem, np.int32(length))
        history[done : done + length] = to_host(chunk)[:length]
        seconds = time.perf_counter() - begin
        done += length
        status = ask(state, history[:done]) or verdict(
            int(to_host(state.bad)), history[since:done], limits.tolerance, finish is not None
        )
        status = STATUSES[int(agreed(STATUSES.index(status), mesh))]
        if status is Status.CONVERGED and finish is not None:
            problem, finish, since = finish, None, done
            best = state.best_image
            # Before the next one is made: with L-BFGS's pairs a state is most of what a large picture needs.
            del state
            state, status = init(best, *problem), None
        if status is not None:
            return state, history[:done], status
        length = steps_in_a_chunk(done, length, seconds)
    return state, history, Status.STEP_LIMIT


def steps_in_a_chunk(done: int, length: int, seconds: float) -> int:
    """How many steps take about as long as a chunk should.

    Args:
        done: steps so far.
        length: of the last chunk.
        seconds: that it took.

    Returns:
        At least one; the first chunk compiles, so it says nothing.
    """
    return 1 if done == 1 else max(1, int(CHUNK_SECONDS * length / seconds))


@functools.partial(jax.jit, static_argnames=("objective", "optimizer"), donate_argnames="state")
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

    def body(k, carry):
        state, rows = carry
        state = step(state, params, targets, weights, objective, optimizer)
        return state, rows.at[k].set(jnp.stack(state.losses))

    return jax.lax.fori_loop(0, length, body, (state, jnp.zeros((PATIENCE, len(Losses._fields)), jnp.float32)))


def converged(totals: Float[np.ndarray, " evaluations"], tolerance: float) -> bool:
    """Whether the best loss fell by at most this fraction an evaluation; asked at multiples of `PATIENCE`."""
    if len(totals) <= PATIENCE or len(totals) % PATIENCE:
        return False
    best = np.fmin.accumulate(totals)
    return bool(best[-1 - PATIENCE] - best[-1] <= tolerance * PATIENCE * best[-1 - PATIENCE])


def verdict(bad: int, history: History, tolerance: float, finishing: bool) -> Status | None:
    """Why to stop by the numbers alone.

    Args:
        bad: evaluations in a row that were not finite.
        history: of the present problem.
        tolerance: see `Limits`.
        finishing: whether another problem comes after this one, which then only has to make slow progress.

    Returns:
        A status, or None to go on.
    """
    if bad > 0 and (bad == len(history) or bad >= PATIENCE):
        return Status.NOT_FINITE
    return Status.CONVERGED if converged(history[:, 0], max(SLOW, tolerance) if finishing else tolerance) else None
