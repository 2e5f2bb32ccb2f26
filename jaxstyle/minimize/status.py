"""Why a run stops, judged by its losses alone."""

import enum

import numpy as np
from jaxtyping import Float

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
        STUCK: it never fell: none of 40 evaluations or more was better than the first.
        STOPPED: a callback asked for it.
        INTERRUPTED: Ctrl-C.
        TERMINATED: SIGTERM, as clusters send it before they take a machine away.
        NOT_FINITE: the loss or its gradient was not finite, or too large for the optimizer, again and again.
    """

    STEP_LIMIT = "step limit"
    CONVERGED = "converged"
    STUCK = "no progress"
    STOPPED = "stopped by the callback"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    NOT_FINITE = "loss not finite"


# Ends of a scale after which the next one begins, or the run is done.
COMPLETED = (Status.STEP_LIMIT, Status.CONVERGED, Status.STUCK)

# Ends that a signal asked for.
INTERRUPTED = (Status.INTERRUPTED, Status.TERMINATED)

# What hosts tell each other is a place in this list.
STATUS_CODES = (None, *Status)


def converged(totals: Float[np.ndarray, " evaluations"], tolerance: float) -> bool:
    """Whether the best loss fell by at most this fraction an evaluation; asked at multiples of `PATIENCE`."""
    if len(totals) <= PATIENCE or len(totals) % PATIENCE:
        return False
    best = np.fmin.accumulate(totals)
    return bool(best[-1 - PATIENCE] - best[-1] <= tolerance * PATIENCE * best[-1 - PATIENCE])


def verdict(num_nonfinite: int, history: History, tolerance: float, on_surrogate: bool) -> Status | None:
    """Why to stop by the numbers alone.

    Args:
        num_nonfinite: evaluations in a row that were not finite.
        history: of the present problem.
        tolerance: see `Limits`.
        on_surrogate: whether another problem comes after this one, which then only has to make slow progress.

    Returns:
        A status, or None to go on.
    """
    # At the first, or where convergence is judged: not where chunks end, which is a matter of time.
    if num_nonfinite > 0 and (
        num_nonfinite == len(history) == 1 or (num_nonfinite >= PATIENCE and len(history) % PATIENCE == 0)
    ):
        return Status.NOT_FINITE
    totals = history[:, 0]
    if not converged(totals, max(SLOW, tolerance) if on_surrogate else tolerance):
        return None
    return Status.STUCK if 0 < totals[0] <= np.fmin.reduce(totals) else Status.CONVERGED
