"""Cheap evaluations first, exact ones last: a stage begins in a draft precision, while that makes progress.

Far from the optimum the gradient of a rounded loss is as good as the exact one, in a fraction of the time; near it the
gradient is mostly rounding. So at checkpoints of the stage the best image so far is evaluated exactly, and the exact
decrease of the loss since the checkpoint before is compared with that in the draft's own numbers. If it is less than
half of that, or at the last evaluation, the optimizer starts again at that image, with the exact loss. Images of the
draft are never compared with exact ones by their draft losses.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.minimize.loop import Problem, run
from jaxstyle.minimize.step import init_unchecked
from jaxstyle.objective.base import Objective
from jaxstyle.objective.mesh import to_host
from jaxstyle.transfer.settings import Settings
from jaxstyle.typing import AnyImage, Images
from jaxstyle.vgg.layers import Precision

# Evaluations before the first checkpoint; each next one is at twice the number.
FIRST_CHECKPOINT = 5
# The least exact decrease of the loss, relative to that in the draft precision.
MIN_AGREEMENT = 0.5
# Pixels times evaluations from which a draft saves more time than compiling its program takes, on an H100: about 5 s,
# and 50 ns a pixel.
MIN_DRAFT_PIXELS = 100_000_000


class Progress(NamedTuple):
    """Total loss of each image at a checkpoint.

    Attributes:
        draft: in the draft precision.
        exact: in the precision of the result.
    """

    draft: tuple[float, ...]
    exact: tuple[float, ...]


def draft_precision(settings: Settings, size: tuple[int, int], steps: int) -> Precision | None:
    """Return the precision in which a stage of this size and length begins; None for that of its result."""
    draft = settings.draft
    if draft == "auto":
        # A CPU computes bfloat16 in float32.
        is_fast = jax.devices()[0].platform != "cpu" and math.prod(size) * steps >= MIN_DRAFT_PIXELS
        draft = "bfloat16" if is_fast else "none"
    # The last evaluation is exact.
    return None if draft in ("none", settings.precision) or steps == 1 else draft


def draft_objective(objective: Objective, precision: Precision) -> Objective:
    """Return the objective in the precision of a draft."""
    # Winograd's form exists in float32 only.
    algorithm = "direct" if objective.algorithm == "winograd" else objective.algorithm
    return dataclasses.replace(objective, precision=precision, algorithm=algorithm)


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the numbers of evaluations at which a draft is compared, of a stage with `steps` evaluations.

    Example:
        >>> checkpoints(30)
        (5, 10, 20, 29)
    """
    doubled = [FIRST_CHECKPOINT * 2**k for k in range(steps.bit_length())]
    return (*(count for count in doubled if count < steps - 1), steps - 1)


def measure(images: AnyImage | Images, draft: Problem, exact: Problem) -> Progress:
    """Evaluate images in both precisions; a program of the steps is compiled for each, which the stage then uses."""
    return Progress(_totals(images, draft), _totals(images, exact))


def agrees(before: Progress, after: Progress, running: Sequence[bool]) -> bool:
    """Return True if the exact losses of all running images decreased by more than half as much as the draft's."""
    drafts, exacts = (np.subtract(*pair)[np.asarray(running)] for pair in zip(before, after, strict=True))
    return bool(np.all(exacts > MIN_AGREEMENT * drafts))


def _totals(images: AnyImage | Images, problem: Problem) -> tuple[float, ...]:
    state = init_unchecked(jnp.asarray(images), problem.optimizer)
    _, rows = run(state, *problem, np.int32(1))
    return tuple(map(float, np.atleast_1d(to_host(rows)[..., 0, 0])))
