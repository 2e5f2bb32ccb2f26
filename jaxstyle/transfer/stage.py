"""Stages of a run: what is minimized one after the other, each at a size, from the result of the stage before."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optax

from jaxstyle.objective.base import LossWeights, Objective, direct
from jaxstyle.objective.targets import StyleStatistics
from jaxstyle.transfer import finish
from jaxstyle.transfer.draft import draft_objective, draft_precision, exact_steps
from jaxstyle.transfer.job import Job, content_size, style_share, style_sizes
from jaxstyle.transfer.pyramid import Scale, supersampling
from jaxstyle.transfer.settings import Settings
from jaxstyle.vgg.layers import Precision

# Pixels times evaluations from which Winograd's convolutions save more time than their longer compilation takes; on 2
# CPU cores.
MIN_WINOGRAD_PIXELS = 3_000_000


class Stage(NamedTuple):
    """One minimization of all images of a run.

    Attributes:
        factor: size relative to the full size, for contents and styles.
        steps: maximum number of evaluations.
        objective: static; its window is that of the stage.
        optimizer: an optax transform.
        whitening: exponent of the whitening in the surrogate; 0 minimizes the loss itself.
        weights: function from an image's strength and edge weight to its weights, in the units of `relative_weights`;
            None for the image's own weights.
        detail: long side in pixels up to which the content is the job's alone; beyond, partly that of the image that
            the stage starts from: see `content_share`. None for the job's alone at any size.
        flat_areas: share of the job's content that holds where the job's image is flat: see `flat_share`.
        fixed_weights: weights in the loss's own units, for all images; None to compute them.
        runs: how often the compiled program is used, such as for the frames of a scene.
        style: statistics of the style of all jobs, from `measure_style`; None to measure them.
        is_draft: True for the first evaluations of the next stage, in a cheap precision: see `draft.py`.
    """

    factor: float
    steps: int
    objective: Objective
    optimizer: optax.GradientTransformation
    whitening: float
    weights: Callable[[float | None, float], LossWeights] | None = None
    detail: int | None = None
    flat_areas: float = 1.0
    fixed_weights: LossWeights | None = None
    runs: int = 1
    style: StyleStatistics | None = None
    is_draft: bool = False


def stages_of(jobs: Sequence[Job], settings: Settings) -> list[Stage]:
    """Return the stages of a pyramid, from coarse to fine, as many as every job allows, each scale with its finish."""
    # All jobs are made at the same multiple of their size.
    multiple = min(supersampling(*content_size(job), settings.supersample) for job in jobs)
    settings = dataclasses.replace(settings, supersample=multiple)
    pyramids = [settings.scales_of(*content_size(job), style_sizes(job)) for job in jobs]
    full, *finishes = full_size_stages(settings)
    stages = []
    for number, scale in enumerate(min(pyramids, key=len)):
        # A picture as the start has finer strokes in the place of details, like that of a scale before.
        starts_from_picture = number > 0 or not isinstance(settings.init, str)
        detail = settings.detail if starts_from_picture else None
        # Noise and gray are no content of flat areas.
        flat_areas = settings.flat_areas if starts_from_picture or settings.init == "content" else 1.0
        for stage in (full._replace(steps=scale.steps), *finishes):
            precision = draft_precision(settings, (scale.height, scale.width), stage.steps)
            sized = stage._replace(factor=scale.factor, detail=detail, flat_areas=flat_areas)
            stages.extend(_with_draft(sized, precision))
    return stages


def _with_draft(stage: Stage, precision: Precision | None) -> list[Stage]:
    """Return a stage, after a draft of it in this precision if there is one."""
    if precision is None:
        return [stage]
    steps = exact_steps(stage.steps)
    objective = draft_objective(stage.objective, precision)
    draft = stage._replace(steps=stage.steps - steps, objective=objective, is_draft=True)
    # The surrogate is for starts that are far from the style.
    return [draft, stage._replace(steps=steps, whitening=0.0)]


def continues_draft(stages: Sequence[Stage], index: int) -> bool:
    """Return True if the stage before is the draft of this one."""
    return index > 0 and stages[index - 1].is_draft


def steps_of(stages: Sequence[Stage], index: int, taken: Sequence[int]) -> int:
    """Return the maximum number of evaluations of a stage: its own, and those that its draft has not taken.

    Args:
        stages: of the run.
        index: of the stage.
        taken: number of evaluations of each stage before.
    """
    left = stages[index - 1].steps - taken[index - 1] if continues_draft(stages, index) else 0
    return stages[index].steps + left


def full_size_stages(settings: Settings) -> list[Stage]:
    """Return the stages at full size: that of the loss, with all steps, and the finish if there is one."""
    stage = Stage(1.0, settings.steps, settings.objective, settings.transform, settings.whitening or 0.0)
    return [stage, finish_stage(settings)] if settings.finish else [stage]


def with_algorithm(stage: Stage, size: tuple[int, int]) -> Stage:
    """Return the stage with direct convolutions if it is too short for others; a choice other than "auto" stays."""
    is_short = math.prod(size) * stage.steps * stage.runs < MIN_WINOGRAD_PIXELS
    return stage._replace(objective=direct(stage.objective)) if is_short else stage


def finish_stage(settings: Settings) -> Stage:
    """Return the finish of the full size."""
    objective = finish.finish_objective(settings.objective)
    return Stage(1.0, settings.finish, objective, settings.lbfgs(), 0.0, finish.finish_weights)


def content_share(job: Job, stage: Stage) -> float:
    """Return the share of a resized job's own content in that of a stage; the rest is its initial image's."""
    own = 1.0 if stage.detail is None else min(1.0, stage.detail / max(content_size(job)))
    return 1 - style_share(job.strength) * (1 - own)


def flat_share(job: Job, stage: Stage) -> float:
    """Return the share of a resized job's own content in that of a stage where the job's image is flat."""
    least = 1 - style_share(job.strength)
    return least + stage.flat_areas * (content_share(job, stage) - least)


def scales_of(job: Job, stages: Sequence[Stage]) -> tuple[Scale, ...]:
    """Return the sizes of a job's image at the stages."""
    return tuple(Scale(*content_size(job, stage.factor), stage.factor, stage.steps) for stage in stages)
