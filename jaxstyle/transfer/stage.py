"""Stages of a run: what is minimized one after the other, each at a size, from the result of the stage before."""

from collections.abc import Sequence
from typing import NamedTuple

import optax

from jaxstyle.objective.base import Objective
from jaxstyle.transfer.job import Job, content_size, style_sizes
from jaxstyle.transfer.pyramid import Scale, pyramid
from jaxstyle.transfer.settings import Settings


class Stage(NamedTuple):
    """One minimization of all images of a run.

    Attributes:
        factor: size relative to the full size, for contents and styles.
        steps: maximum number of evaluations.
        objective: static; its window is that of the stage.
        optimizer: an optax transform.
        whitening: exponent of the whitening in the surrogate; 0 minimizes the loss itself.
    """

    factor: float
    steps: int
    objective: Objective
    optimizer: optax.GradientTransformation
    whitening: float


def stages_of(jobs: Sequence[Job], settings: Settings) -> list[Stage]:
    """Return the stages of a pyramid, from coarse to fine: as many as every job allows."""
    pyramids = [
        pyramid(
            *content_size(job),
            settings.steps,
            settings.scales,
            share=settings.share,
            ratio=settings.ratio,
            styles=style_sizes(job),
            min_side=settings.min_side,
        )
        for job in jobs
    ]
    least = min(pyramids, key=len)
    common = settings.objective, settings.transform, settings.whitening or 0.0
    return [Stage(scale.factor, scale.steps, *common) for scale in least]


def scales_of(job: Job, stages: Sequence[Stage]) -> tuple[Scale, ...]:
    """Return the sizes of a job's image at the stages."""
    return tuple(Scale(*content_size(job, stage.factor), stage.factor, stage.steps) for stage in stages)
