"""Stopping criteria of a run, computed from its losses alone."""

import enum

import numpy as np
from jaxtyping import Float

# Convergence is checked over this many evaluations, at every multiple of it, so no chunk is longer.
PATIENCE = 20

# The loss itself replaces the surrogate when the loss decreases by less than this fraction per evaluation.
SURROGATE_TOLERANCE = 4e-3

# Rows of losses, one per evaluation; columns as in `Losses`.
History = Float[np.ndarray, "_ 8"]


class Status(enum.StrEnum):
    """Reason why a run stopped.

    Attributes:
        STEP_LIMIT: all steps were taken.
        CONVERGED: the loss no longer decreases.
        STUCK: the loss never decreased: no evaluation was better than the first, of two or more.
        STOPPED: a callback requested it.
        INTERRUPTED: Ctrl-C.
        TERMINATED: SIGTERM, SIGHUP, SIGUSR1 or SIGXCPU: a cluster reclaims the machine, or the terminal is closed.
        NOT_FINITE: the loss or its gradient was not finite, or too large for the optimizer, repeatedly.

    Example:
        >>> [str(status) for status in (Status.STEP_LIMIT, Status.CONVERGED)]
        ['step limit', 'converged']
    """

    STEP_LIMIT = "step limit"
    CONVERGED = "converged"
    STUCK = "no progress"
    STOPPED = "stopped by the callback"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    NOT_FINITE = "loss not finite"


# A scale that ended like this is followed by the next one, or completes the run.
COMPLETED = (Status.STEP_LIMIT, Status.CONVERGED, Status.STUCK)

# The loss no longer improves.
STALLED = (Status.CONVERGED, Status.STUCK)

# A signal requested the end.
INTERRUPTED = (Status.INTERRUPTED, Status.TERMINATED)

# Hosts exchange indices into this list.
STATUS_CODES = (None, *Status)


def converged(totals: Float[np.ndarray, " evaluations"], tolerance: float) -> bool:
    """True if the best loss decreased by at most this fraction per evaluation; checked at multiples of `PATIENCE`."""
    if len(totals) <= PATIENCE or len(totals) % PATIENCE:
        return False
    best = np.fmin.accumulate(totals)
    return bool(best[-1 - PATIENCE] - best[-1] <= tolerance * PATIENCE * best[-1 - PATIENCE])


def verdict(
    num_nonfinite: int, history: History, tolerance: float, on_surrogate: bool, objective_start: int = 0
) -> Status | None:
    """Return the stopping criterion that holds, or None to continue.

    Args:
        num_nonfinite: consecutive evaluations that were not finite.
        history: losses of all evaluations at this size.
        tolerance: see `Limits`.
        on_surrogate: True while the surrogate is minimized, which ends when progress is slow.
        objective_start: number of evaluations before the current objective, which convergence ignores.
    """
    evaluations = len(history) - objective_start
    # Checked at the first evaluation and at multiples of PATIENCE only, as the ends of chunks depend on the clock.
    if num_nonfinite > 0 and (
        num_nonfinite == evaluations == 1 or (num_nonfinite >= PATIENCE and evaluations % PATIENCE == 0)
    ):
        return Status.NOT_FINITE
    totals = history[:, 0]
    if not converged(totals[objective_start:], max(SURROGATE_TOLERANCE, tolerance) if on_surrogate else tolerance):
        return None
    return Status.STUCK if never_improved(history) else Status.CONVERGED


def never_improved(history: History) -> bool:
    """True if no loss is below the first one, which is not 0."""
    totals = history[:, 0]
    return bool(0 < totals[0] <= np.fmin.reduce(totals))
