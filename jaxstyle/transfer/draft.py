"""Cheap evaluations first, exact ones last: where a stage begins in a draft precision, and for how long.

Far from the optimum the gradient of a rounded loss is as good as the exact one, in a fraction of the time; near it the
gradient is mostly rounding. So a draft ends as soon as its loss hardly falls, and an exact stage takes all evaluations
that are left; a tenth of them in any case, so that the result is one of exact losses.
"""

import dataclasses
import math

import jax

from jaxstyle.objective.base import Objective
from jaxstyle.transfer.settings import Draft, Settings
from jaxstyle.vgg.layers import Precision

# A draft ends when its loss decreases by at most this fraction per evaluation.
TOLERANCE = 2e-3
# Least number and fraction of a stage's evaluations that are exact.
MIN_EXACT, EXACT_SHARE = 2, 0.1
# Stages with fewer evaluations have no draft.
MIN_STEPS = 10
# Pixels times evaluations from which a draft saves more time than compiling its program takes, on an H100: about 5 s,
# and 50 ns a pixel.
MIN_PIXELS = 100_000_000


def device_draft(settings: Settings) -> Draft:
    """Return the settings' draft; `"none"` for `"auto"` where no stage has one on this device."""
    # CPUs compute bfloat16 in float32, and the time of a TPU has not been measured.
    is_fast = jax.devices()[0].platform == "gpu" and settings.precision == "highest"
    return "none" if settings.draft == "auto" and not is_fast else settings.draft


def draft_precision(settings: Settings, size: tuple[int, int], steps: int) -> Precision | None:
    """Return the precision in which a stage of this size and length begins; None for that of its result."""
    draft = device_draft(settings)
    if draft == "auto":
        draft = "bfloat16" if math.prod(size) * steps >= MIN_PIXELS else "none"
    return None if draft in ("none", settings.precision) or steps < MIN_STEPS else draft


def draft_objective(objective: Objective, precision: Precision) -> Objective:
    """Return the objective in the precision of a draft."""
    # Winograd's form exists in float32 only.
    algorithm = "direct" if objective.algorithm == "winograd" else objective.algorithm
    return dataclasses.replace(objective, precision=precision, algorithm=algorithm)


def exact_steps(steps: int) -> int:
    """Return the number of evaluations that are exact in any case.

    Example:
        >>> exact_steps(12), exact_steps(100)
        (2, 10)
    """
    return max(MIN_EXACT, round(EXACT_SHARE * steps))
