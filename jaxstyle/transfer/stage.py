"""Stages of a run: what is minimized one after the other, each at a size, from the result of the stage before."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import optax

from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.transfer.job import Job, content_size, style_sizes
from jaxstyle.transfer.pyramid import Scale, pyramid
from jaxstyle.transfer.settings import Settings

# The finish: content, the Gram matrices of shallow layers, which hold colors and fine texture, and nearest neighbors.
FINISH_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
FINISH_NEIGHBOR_LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
    *("relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
)
# In the units of `relative_weights`. A smaller content weight loses small parts of the content; without the smoothness
# term a hatching of one pixel appears in flat areas.
FINISH_WEIGHTS = LossWeights(content=2.0, style=1.0, tv=5.0, neighbors=1.0)


class Stage(NamedTuple):
    """One minimization of all images of a run.

    Attributes:
        factor: size relative to the full size, for contents and styles.
        steps: maximum number of evaluations.
        objective: static; its window is that of the stage.
        optimizer: an optax transform.
        whitening: exponent of the whitening in the surrogate; 0 minimizes the loss itself.
        weights: weights of all images, in the units of `relative_weights`; None for each image's own.
    """

    factor: float
    steps: int
    objective: Objective
    optimizer: optax.GradientTransformation
    whitening: float
    weights: LossWeights | None = None


def stages_of(jobs: Sequence[Job], settings: Settings) -> list[Stage]:
    """Return the stages of a pyramid, from coarse to fine, as many as every job allows, and the finish."""
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
    stages = [Stage(scale.factor, scale.steps, *common) for scale in least]
    return [*stages, finish(settings)] if settings.finish else stages


def finish(settings: Settings) -> Stage:
    """Return the stage that replaces specks and double contours by strokes of the style, at the full size.

    Each feature of the image moves to the nearest one of the style: the last pass of Kolkin et al., "Neural Neighbor
    Style Transfer" (2022), with our optimizer, content loss and weights.
    """
    objective = dataclasses.replace(
        settings.objective,
        content_layers=("relu4_2",),
        style_layers=FINISH_STYLE_LAYERS,
        style_loss="gram",
        variation="squared",
        pooling="avg",
        neighbor_layers=FINISH_NEIGHBOR_LAYERS,
    )
    return Stage(1.0, settings.finish, objective, settings.lbfgs(), 0.0, FINISH_WEIGHTS)


def scales_of(job: Job, stages: Sequence[Stage]) -> tuple[Scale, ...]:
    """Return the sizes of a job's image at the stages."""
    return tuple(Scale(*content_size(job, stage.factor), stage.factor, stage.steps) for stage in stages)
