"""A scene: frames without a cut, of which the first is stylized like a picture, and each other one from the one before.

A later frame starts from the previous result, moved along with the scene, and is held to it by the temporal loss. The
weights are those of the first frame, so that the strength of the style does not flicker, and the mosaic and the noise
have one seed. A difference of `UNIT` from the previous result costs as much as the first frame's whole loss at
stability 0.5.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.errors import InputError
from jaxstyle.image.color import Color, restore
from jaxstyle.losses.temporal import Warped
from jaxstyle.minimize.checkpoint import Snapshot
from jaxstyle.objective.base import LossWeights
from jaxstyle.objective.mesh import replicated
from jaxstyle.transfer.job import Job, content_size, make_job, start_image
from jaxstyle.transfer.problem import measure_style
from jaxstyle.transfer.result import Result
from jaxstyle.transfer.run import Plan, run_jobs
from jaxstyle.transfer.settings import Settings
from jaxstyle.transfer.stage import Stage, full_size_stages, stages_of, with_algorithm
from jaxstyle.typing import AnyImage
from jaxstyle.video.flow import estimate_flow, warp_sharp
from jaxstyle.video.masks import flow_weights
from jaxstyle.video.state import VideoState

FlowKind = Literal["optical", "none"]

# Frames before, with which a frame is compared (Ruder, Dosovitskiy and Brox, 3.2).
LAGS = (1, 2, 4)
MAX_LAG = max(LAGS)
# Evaluations of a later frame, as a fraction of those of a picture at full size. A stop at the first frame's loss left
# what comes into sight unpainted: a narrow strip hardly changes the loss.
LATER = 1 / 3
# Later frames of a scene that are expected at least, for which a program may take longer to compile.
EXPECTED_FRAMES = 10
# Root mean square difference of pixels: see the module.
UNIT = 0.05
# Above this the temporal term leaves no digits to the others.
MAX_STABILITY = 0.99


class Options(NamedTuple):
    """What all frames of a video share.

    Attributes:
        styles: images of the style.
        style_weights: relative weight of each; None for equal ones.
        settings: of the first frame of a scene, resolved.
        plan: network, devices and start time.
        stability: 0 to 1.
        flow: how frames are compared with the ones before.
    """

    styles: Sequence[AnyImage]
    style_weights: Sequence[float] | None
    settings: Settings
    plan: Plan
    stability: float
    flow: FlowKind


class Done(NamedTuple):
    """A frame that is done.

    Attributes:
        content: the frame, prepared like the content of a picture.
        image: its result, before the content's colors are restored.
    """

    content: AnyImage
    image: AnyImage


class Scene(NamedTuple):
    """What the next frame needs of the frames before.

    Attributes:
        job: of the first frame.
        stages: of all later frames; with the style's statistics from the second frame on.
        window: in which the first frame was evaluated.
        past: the frames before, the last one first, at most `MAX_LAG`.
    """

    job: Job
    stages: tuple[Stage, ...]
    window: int | None
    past: tuple[Done, ...]


def start_scene(frame: AnyImage, options: Options) -> tuple[Scene, Result]:
    """Stylize the first frame of a scene like a picture, and record its weights and losses.

    Args:
        frame: `(H, W, 3)` in [0, 1].
        options: see `Options`.
    """
    settings = options.settings
    job, color = _job(frame, options)
    stages = stages_of([job], settings)
    seen: dict[int, tuple[LossWeights, float]] = {}

    def record(snapshot: Snapshot) -> None:
        totals = snapshot.run_state.histories[0][:, 0]
        seen[snapshot.stage] = snapshot.weights, float(np.fmin.reduce(totals, initial=np.inf))

    plan = options.plan._replace(init=settings.init, callback=record)
    (result,) = run_jobs([job], stages, plan)
    later = _later_stages(settings, stages)
    exact = [index for index, stage in enumerate(stages) if not stage.is_draft]
    # A run that was stopped early has not reached the last stages.
    last = [seen.get(index, seen[max(seen)]) for index in exact[-len(later) :]]
    stages = tuple(
        stage._replace(fixed_weights=_with_stability(*pair, options.stability))
        for stage, pair in zip(later, last, strict=True)
    )
    return Scene(job, stages, result.window, (Done(job.content, result.image),)), _restored(result, frame, color)


def next_frame(scene: Scene, frame: AnyImage, options: Options) -> tuple[Scene, Result]:
    """Stylize the next frame of a scene.

    Args:
        scene: from `start_scene`, or from the frame before.
        frame: `(H, W, 3)` in [0, 1], of the size of the frames before.
        options: see `Options`.
    """
    if scene.stages[0].style is None:
        scene = _measured(scene, options)
    job, color = _job(frame, options)
    previous = predict(scene.past, job.content, options.flow)
    # The styles of the first frame, as some colors depend on the frame.
    job = job._replace(styles=scene.job.styles, previous=previous)
    filled = start_image(job, options.settings.init)
    start = previous.weights * previous.pixels + (1 - previous.weights) * filled
    window = "whole" if scene.window is None else scene.window
    (result,) = run_jobs([job], scene.stages, options.plan._replace(init=start, window=window))
    past = (Done(job.content, result.image), *scene.past)[:MAX_LAG]
    return scene._replace(past=past), _restored(result, frame, color)


def restore_scene(state: VideoState, first: AnyImage, last: Sequence[AnyImage], options: Options) -> Scene:
    """Return the scene of a video that goes on, as it was after its last frame.

    Args:
        state: after the last frame.
        first: first frame of the scene.
        last: the frames of the state's images.
        options: those of the frames before.

    Raises:
        InputError: for a state of other settings.
    """
    job, _ = _job(first, options)
    stages = _later_stages(options.settings, stages_of([job], options.settings))
    if len(stages) != len(state.weights):
        raise InputError(f"the state has {len(state.weights)} stages, expected {len(stages)}: go on with its settings")
    fixed = [stage._replace(fixed_weights=weights) for stage, weights in zip(stages, state.weights, strict=True)]
    contents = (_job(frame, options)[0].content for frame in last)
    past = tuple(Done(content, image) for content, image in zip(contents, state.images, strict=True))
    return Scene(job, tuple(fixed), state.window, past)


def scene_weights(scene: Scene) -> tuple[LossWeights, ...]:
    """Return the weights of each stage of a scene's later frames."""
    return tuple(stage.fixed_weights for stage in scene.stages if stage.fixed_weights is not None)


def predict(past: Sequence[Done], content: AnyImage, flow: FlowKind) -> Warped:
    """Return the results before as they should look in the present frame.

    Along the optical flow, where that can be trusted, from the frames `LAGS` before: an earlier one where the later
    ones show something else, with the weights `max(c_j - sum of c_k for lags k < j, 0)` of Ruder, Dosovitskiy and Brox.
    The sum of their squared differences is that from their mean, with the sum of the weights, but for a constant.

    Without flow the previous result with the change of the content added, everywhere: `sum (x - (x' + p - p'))^2` is
    the loss of Xu et al., "Consistent Video Style Transfer via Compound Regularization" with differences of frames.

    Args:
        past: frames before, the last one first.
        content: `(H, W, 3)`, the present frame.
        flow: see `Options`.
    """
    after = np.asarray(content)
    shape = (*after.shape[:2], 1)
    if flow == "none":
        before = past[0]
        return _warped(np.asarray(before.image) + (after - np.asarray(before.content)), np.ones(shape, np.float32))
    total, weights, shown = np.zeros_like(after), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for before in (past[lag - 1] for lag in LAGS if lag <= len(past)):
        own = np.asarray(before.content)
        backward = estimate_flow(after, own)
        trust = flow_weights(backward, estimate_flow(own, after))
        part = np.maximum(trust - shown, 0)
        moved = np.clip(warp_sharp(np.asarray(before.image), backward), 0, 1)
        total, weights, shown = total + part * moved, weights + part, shown + trust
    return _warped(np.divide(total, weights, out=np.zeros_like(total), where=weights > 0), weights)


def _warped(pixels: np.ndarray, weights: np.ndarray) -> Warped:
    return Warped(np.clip(pixels, 0, 1), np.clip(weights, 0, 1))


def _job(frame: AnyImage, options: Options) -> tuple[Job, Color]:
    """Return the job of a frame, whose result has no colors restored, and the colors that it should have."""
    job = make_job(frame, options.styles, options.settings, style_weights=options.style_weights)
    return job._replace(color="style"), job.color


def _restored(result: Result, frame: AnyImage, color: Color) -> Result:
    return result._replace(image=restore(result.image, frame, color))


def _later_stages(settings: Settings, first: Sequence[Stage]) -> list[Stage]:
    """Return the stages of a later frame, at full size, from those of the first frame."""
    full, *finishes = full_size_stages(dataclasses.replace(settings, temporal_weight=1.0))
    budget = max(2, int(LATER * (settings.steps + settings.finish)))
    finish = min(settings.finish, budget // 2)
    # Like the last of several scales, each frame starts from a picture whose finer details are strokes.
    detail = settings.detail if first[0].factor != 1 else None
    # The surrogate is for starts that are far from the style.
    gram = full._replace(steps=budget - finish, whitening=0.0)
    stages = [gram, *(stage._replace(steps=finish) for stage in finishes)]
    return [stage._replace(detail=detail, flat_areas=settings.flat_areas, runs=EXPECTED_FRAMES) for stage in stages]


def _measured(scene: Scene, options: Options) -> Scene:
    """Return the scene with the statistics of its style, which are those of all its frames."""
    mesh, params = options.plan.mesh, options.plan.params
    params = params if mesh is None else replicated(params, mesh)
    stages = [with_algorithm(stage, content_size(scene.job)) for stage in scene.stages]
    objectives = [dataclasses.replace(stage.objective, window=scene.window) for stage in stages]
    measured = [
        stage._replace(style=measure_style(scene.job, params, objective, mesh))
        for stage, objective in zip(stages, objectives, strict=True)
    ]
    return scene._replace(stages=tuple(measured))


def _with_stability(weights: LossWeights, loss: float, stability: float) -> LossWeights:
    """Return the weights of a later frame from those of the first, whose least loss is `loss`."""
    part = min(stability, MAX_STABILITY)
    temporal = (part / (1 - part)) ** 2 * (loss if np.isfinite(loss) else 0.0) / UNIT**2
    return weights._replace(temporal=jnp.asarray(temporal, jnp.float32))
