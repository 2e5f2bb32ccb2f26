"""The driver: runs all jobs together through the stages, with windows, checkpoint, minimization and results."""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxstyle.image.color import restore
from jaxstyle.minimize.checkpoint import Checkpoint, Snapshot, make_saver
from jaxstyle.minimize.checkpoint_file import PathLike, check_types
from jaxstyle.minimize.fingerprint import fingerprint
from jaxstyle.minimize.loop import Limits, ProblemMaker, RunState, initial_run_state, minimize
from jaxstyle.minimize.restore import best_images, load_snapshot, restore_state
from jaxstyle.minimize.status import COMPLETED, INTERRUPTED, History, Status, never_improved
from jaxstyle.minimize.step import abstract_state, init_unchecked, is_batched, result_image
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import gather, shards_of, to_host
from jaxstyle.transfer import draft
from jaxstyle.transfer.job import (
    Job,
    content_size,
    finished_image,
    next_image,
    resize_job,
    restore_fixed_pixels,
    start_image,
    style_sizes,
)
from jaxstyle.transfer.memory import WindowOption, retry_with_smaller_windows, shard_size, with_window
from jaxstyle.transfer.problem import make_problem, unstack
from jaxstyle.transfer.program import StageShape
from jaxstyle.transfer.pyramid import scaled_size
from jaxstyle.transfer.result import Result
from jaxstyle.transfer.settings import Settings
from jaxstyle.transfer.signals import stop_flag
from jaxstyle.transfer.stage import Stage, continues_draft, scales_of, steps_of, with_algorithm
from jaxstyle.typing import AnyImage, Image, Params

log = logging.getLogger(__name__)

# Statuses that end the run of all jobs.
STOPS = (Status.STOPPED, *INTERRUPTED)


class Revision(NamedTuple):
    """What a callback may change for the rest of a run of one image.

    Attributes:
        job: at full size.
        numbers: True if only weights and strength differ from the job before, and its targets are the same.
        fingerprint: of the arguments that have changed.
    """

    job: Job
    numbers: bool
    fingerprint: Mapping[str, str]


class Plan(NamedTuple):
    """Options that all jobs and stages of a run share.

    Attributes:
        params: parameters of the network.
        init: initial image: see `initial_image`.
        window: see `Settings`.
        tolerance: see `Limits`.
        mesh: devices; None for the default device.
        canvas: least height and width of the canvas, at full size.
        callback: called after every chunk of steps; returning True stops the run, a `Revision` changes it.
        callback_every: see `Limits`.
        checkpoint: settings of the checkpoint; None for a run without one.
        fingerprint: of the arguments of the run.
        start_time: value of `time.perf_counter` at the start of the run.
    """

    params: Params
    init: str | AnyImage
    window: WindowOption
    tolerance: float
    mesh: Mesh | None = None
    canvas: tuple[int, int] = (0, 0)
    callback: Callable[[Snapshot], bool | Revision | None] | None = None
    callback_every: int | None = None
    checkpoint: Checkpoint | None = None
    fingerprint: Mapping[str, str] = {}
    start_time: float = 0.0


def with_checkpoint(
    plan: Plan, checkpoint: Checkpoint | PathLike, settings: Settings, arguments: Mapping[str, Any]
) -> Plan:
    """Return the plan of a run that is saved, and resumed only with the same settings and arguments."""
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    # The window does not change the result, so it is excluded; the snapshot stores the windows used.
    ignored = ("window", "shards", "name", "source")
    parts = {name: value for name, value in settings.parts().items() if name not in ignored}
    # Another device may have other stages.
    parts["draft"] = draft.device_draft(settings)
    parts |= dict(arguments) | {"params": plan.params, "mesh": shards_of(plan.mesh)}
    return plan._replace(checkpoint=checkpoint, fingerprint=fingerprint(**parts))


class StageInput(NamedTuple):
    """What a stage starts from.

    Attributes:
        jobs: at the stage's size.
        images: initial image of each job.
        detail_images: images that the content of each job is mixed with: see `make_problem`.
        statuses: reason to stop of the jobs that ended at an earlier stage; None for the others.
        evaluations: number of evaluations at earlier stages.
    """

    jobs: list[Job]
    images: list[AnyImage]
    detail_images: list[AnyImage]
    statuses: list[Status | None]
    evaluations: int


class StageResult(NamedTuple):
    """What a stage returns.

    Attributes:
        images: result of each job, at the stage's size.
        histories: losses of all evaluations of each job.
        statuses: reason to stop of each job.
        weights: weights of the loss terms, with a leading axis for several jobs.
    """

    images: list[AnyImage]
    histories: tuple[History, ...]
    statuses: tuple[Status, ...]
    weights: LossWeights


def run_jobs(jobs: Sequence[Job], stages: Sequence[Stage], plan: Plan) -> list[Result]:
    """Minimize stage after stage, each from the images of the stage before.

    Ctrl-C and SIGTERM end the run after the current chunk of steps, with the best images so far. A job whose loss is
    not finite takes no part in later stages.

    Args:
        jobs: at full size; several share compiled programs.
        stages: in order.
        plan: everything else.

    Returns:
        The result of each job.
    """
    start_time, mesh, run_fingerprint = plan.start_time, plan.mesh, plan.fingerprint
    stages = [with_algorithm(stage, _canvas_of(jobs, stage, plan)) for stage in stages]
    images: list[AnyImage] = [start_image(resize_job(job, stages[0].factor), plan.init) for job in jobs]
    snapshot, save = None, None
    if plan.checkpoint is not None:
        for stage in stages:
            check_types(abstract_state(jnp.asarray(images[0]), stage.optimizer), "state")
        snapshot = load_snapshot(plan.checkpoint, plan.fingerprint, mesh)
        save = make_saver(plan.checkpoint, plan.fingerprint, mesh)
    if snapshot is not None:
        start_time, images = start_time - snapshot.seconds, list(snapshot.starts)
    changed = () if snapshot is None else snapshot.changed
    # A resumed run keeps its windows regardless of the memory that is free now: other ones would change rounding.
    windows = _windows(jobs, stages, plan) if snapshot is None or changed else snapshot.windows
    # Of the finished stages. A run that is resumed by force can have fewer stages.
    histories: list[tuple[History, ...]] = [] if snapshot is None else snapshot.histories[: len(stages) - 1]
    outcome, detail_images = None, None
    with stop_flag() as stop:
        for index in range(len(histories), len(stages)):
            stage, resumed, snapshot = stages[index], snapshot, None
            stage_jobs = [resize_job(job, stage.factor) for job in jobs]
            sizes = [content_size(job) for job in stage_jobs]
            images = [next_image(job, image, stage.factor) for job, image in zip(jobs, images, strict=True)]
            if resumed is not None and resumed.changed:
                images, resumed = best_images(resumed, sizes, mesh), None
            images = [
                restore_fixed_pixels(jnp.asarray(image), job) for image, job in zip(images, stage_jobs, strict=True)
            ]
            if detail_images is None or not continues_draft(stages, index):
                detail_images = images
            statuses: list[Status | None] = [None] * len(jobs)
            if outcome is not None:
                statuses = [_final(status) for status in outcome.statuses]

            def report(window, weights, run_state, index=index, starts=detail_images) -> Status | Revision | None:
                nonlocal jobs, save, run_fingerprint
                seconds = time.perf_counter() - start_time
                all_windows = [*windows[:index], window, *windows[index + 1 :]]
                snapshot = Snapshot(index, starts, histories, all_windows, weights, run_state, seconds)
                answer = None if plan.callback is None else plan.callback(snapshot)
                if isinstance(answer, Revision) and stop.status is None:
                    jobs, run_fingerprint = [answer.job], {**run_fingerprint, **answer.fingerprint}
                    if plan.checkpoint is not None:
                        # Saved with the next steps, which are the first ones of the changed run.
                        save = make_saver(plan.checkpoint, run_fingerprint, mesh)
                    return answer
                status = Status.STOPPED if answer and not isinstance(answer, Revision) else stop.status
                if save is not None:
                    save(snapshot, status is not None)
                return status

            taken = [max(map(len, rows)) for rows in histories]
            stage = stage._replace(
                objective=dataclasses.replace(stage.objective, window=windows[index]),
                steps=steps_of(stages, index, taken),
            )
            _log_stage(index, stages, sizes, stage.objective)
            begin = StageInput(stage_jobs, images, detail_images, statuses, sum(taken))
            work = functools.partial(_run_stage, begin, stage, plan, resumed, report)
            # A window at least as large as a device's shard is the same as no window.
            side = max(shard_size(_largest(sizes), stage.objective))
            outcome, windows[index] = retry_with_smaller_windows(
                work, stage.objective, side, retry=plan.window == "auto" and resumed is None
            )
            del begin, work, resumed
            images = outcome.images
            histories.append(outcome.histories)
            if set(STOPS) & set(outcome.statuses) or not set(COMPLETED) & set(outcome.statuses):
                break
        # Inside the block: a signal must not discard a finished run.
        assert outcome is not None
        weights = unstack(outcome.weights, len(jobs))
        return [
            _result(k, job, stages, outcome, histories, weights[k])._replace(
                seconds=time.perf_counter() - start_time, window=windows[len(histories) - 1], changed=changed
            )
            for k, job in enumerate(jobs)
        ]


def present_images(jobs: Sequence[Job], snapshot: Snapshot) -> list[Image]:
    """Return the best image so far of each job, at the current stage's size, in the job's colors."""
    run = snapshot.run_state
    results = result_image(run.state)
    results = to_host(results) if is_batched(run.state) else [results]
    images = []
    for job, size, result, stopped in zip(jobs, snapshot.sizes, results, run.images, strict=False):
        image = _without_canvas(result if stopped is None else stopped, size)
        images.append(restore(image, job.original, job.color))
    return images


def _run_stage(
    begin: StageInput,
    stage: Stage,
    plan: Plan,
    resumed: Snapshot | None,
    report: Callable[..., Status | Revision | None],
    objective: Objective,
) -> StageResult:
    stage = stage._replace(objective=objective)
    canvas = scaled_size(*plan.canvas, stage.factor)
    prepare = functools.partial(make_problem, params=plan.params, stage=stage, mesh=plan.mesh, min_canvas=canvas)
    weights = stage.fixed_weights if resumed is None else resumed.weights
    pixels, problem = prepare(begin.jobs, begin.images, weights=weights, detail_images=begin.detail_images)
    tolerance = max(plan.tolerance, draft.TOLERANCE) if stage.is_draft else plan.tolerance
    limits = Limits(stage.steps, tolerance, plan.callback_every, begin.evaluations)
    if resumed is None:
        state = init_unchecked(pixels, stage.optimizer)
        ended = [None if status is None else image for status, image in zip(begin.statuses, begin.images, strict=True)]
        run = initial_run_state(state, stage.whitening, begin.statuses, ended)
        del state
    else:
        run = restore_state(resumed, pixels, stage.optimizer, limits.steps)
    del pixels
    weights, first = problem.weights, problem.with_weights(problem.weights)

    def on_chunk(run: RunState) -> Status | ProblemMaker | None:
        nonlocal problem, weights
        answer = report(objective.window, weights, run)
        if not isinstance(answer, Revision):
            return answer
        if answer.numbers:
            weights = problem.reweigh(answer.job)
        else:
            job = resize_job(answer.job, stage.factor)
            _, problem = prepare([job], begin.images, detail_images=begin.detail_images)
            weights = problem.weights
        return problem.with_weights(weights)

    images, rows, ends = minimize(run, first, limits, on_chunk)
    sizes = [content_size(job) for job in begin.jobs]
    return StageResult([_without_canvas(*pair) for pair in zip(images, sizes, strict=True)], rows, ends, weights)


def _windows(jobs: Sequence[Job], stages: Sequence[Stage], plan: Plan) -> list[int | None]:
    """Return the window of each stage."""
    windows: list[int | None] = []
    for stage, later in zip(reversed(stages), (None, *reversed(stages)), strict=False):
        # Smaller images need less: if they fit whole at a stage, so they do at an earlier one of the same kind.
        alike = later is not None and (stage.objective, stage.optimizer) == (later.objective, later.optimizer)
        whole = alike and windows[0] is None and stage.objective.window is None
        windows.insert(0, None if whole else with_window(_shape_of(jobs, stage, plan), plan.window).objective.window)
    return windows


def _shape_of(jobs: Sequence[Job], stage: Stage, plan: Plan) -> StageShape:
    sizes = {content_size(job, stage.factor) for job in jobs}
    # The styles of one job are measured after those of another.
    styles = max((style_sizes(job, stage.factor) for job in jobs), key=lambda sizes: sum(map(math.prod, sizes)))
    regions = jobs[0].regions
    num_regions = 0 if regions is None else regions.content.shape[2]
    padded = plan.canvas != (0, 0) or len(sizes) > 1
    images = tuple(styles), len(jobs), stage.whitening, num_regions, padded
    return StageShape(_canvas_of(jobs, stage, plan), stage.objective, stage.optimizer, *images, plan.mesh, plan.params)


def _canvas_of(jobs: Sequence[Job], stage: Stage, plan: Plan) -> tuple[int, int]:
    """Return the height and width that the images of all jobs have at a stage."""
    return _largest([scaled_size(*plan.canvas, stage.factor), *(content_size(job, stage.factor) for job in jobs)])


def _result(
    k: int,
    job: Job,
    stages: Sequence[Stage],
    outcome: StageResult,
    histories: Sequence[tuple[History, ...]],
    weights: LossWeights,
) -> Result:
    rows = np.concatenate([history[k] for history in histories])
    steps = [len(history[k]) for history in histories]
    status = outcome.statuses[k]
    if status is Status.STEP_LIMIT and max(steps) > 1 and all(never_improved(history[k]) for history in histories):
        status = Status.STUCK
    return Result(
        image=finished_image(job, outcome.images[k]),
        losses=Losses(*map(jnp.asarray, rows.T)),
        evaluations=len(rows),
        status=status,
        seconds=0.0,
        scales=tuple(
            scale._replace(steps=count) for scale, count in zip(scales_of(job, stages), steps, strict=False) if count
        ),
        weights=weights,
    )


def _without_canvas(image: Any, size: tuple[int, int]) -> AnyImage:
    return jnp.asarray(image[: size[0], : size[1]]) if isinstance(image, np.ndarray) else gather(image, *size)


def _largest(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _final(status: Status) -> Status | None:
    """Return the status if it ends a job's whole run, None if it ends only a stage."""
    return None if status in COMPLETED else status


def _log_stage(index: int, stages: Sequence[Stage], sizes: Sequence[tuple[int, int]], objective: Objective) -> None:
    height, width = _largest(sizes)
    shape = "whole" if objective.window is None else f"in windows of {objective.window}"
    log.debug("stage %d of %d: %dx%d, %s", index + 1, len(stages), width, height, shape)
