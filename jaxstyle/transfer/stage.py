"""Stages of a run: what is minimized one after the other, each at a size, from the result of the stage before."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import optax

from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.transfer import finish
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
        weights: function from an image's strength to its weights, in the units of `relative_weights`; None for the
            image's own weights.
    """

    factor: float
    steps: int
    objective: Objective
    optimizer: optax.GradientTransformation
    whitening: float
    weights: Callable[[float | None], LossWeights] | None = None


def stages_of(jobs: Sequence[Job], settings: Settings) -> list[Stage]:
    """Return the stages of a pyramid, from coarse to fine, as many as every job allows, each scale with its finish."""
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
    full, *finishes = full_size_stages(settings)
    stages = []
    for scale in min(pyramids, key=len):
        stages.append(full._replace(factor=scale.factor, steps=scale.steps))
        stages.extend(stage._replace(factor=scale.factor) for stage in finishes)
    return stages


def full_size_stages(settings: Settings) -> list[Stage]:
    """Return the stages at full size: that of the loss, with all steps, and the finish if there is one."""
    stage = Stage(1.0, settings.steps, settings.objective, settings.transform, settings.whitening or 0.0)
    return [stage, finish_stage(settings)] if settings.finish else [stage]


def finish_stage(settings: Settings) -> Stage:
    """Return the finish of the full size."""
    objective = finish.finish_objective(settings.objective)
    return Stage(1.0, settings.finish, objective, settings.lbfgs(), 0.0, finish.finish_weights)


def scales_of(job: Job, stages: Sequence[Stage]) -> tuple[Scale, ...]:
    """Return the sizes of a job's image at the stages."""
    return tuple(Scale(*content_size(job, stage.factor), stage.factor, stage.steps) for stage in stages)
