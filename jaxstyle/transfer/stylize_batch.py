"""`stylize_batch`: many pictures at once, in one compiled program, each as if it were alone."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.image.color import Color, restore
from jaxstyle.image.ops import fit
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.batch_loop import Balanced, BatchRunState, Picture, minimize_batch
from jaxstyle.minimize.loop import Limits
from jaxstyle.minimize.status import COMPLETED, INTERRUPTED, Status
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import replicated
from jaxstyle.objective.targets import measure_styles
from jaxstyle.transfer.job import (
    Job,
    at_scale,
    in_scales,
    make_job,
    mosaic_of,
    restore_fixed_pixels,
    sizes_of,
    start_of,
)
from jaxstyle.transfer.memory import WindowOption, part_of, retry_with_smaller_windows, with_auto_window
from jaxstyle.transfer.pyramid import ScaleCount, fraction_done, scaled
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.settings import Settings, resolve_settings
from jaxstyle.transfer.signals import stop_flag
from jaxstyle.typing import AnyImage, Params
from jaxstyle.vgg.weights import load_params

# Reasons to stop that are not a picture's own.
STOPS = {Status.STOPPED, *INTERRUPTED}


def stylize_batch(
    contents: AnyImage | Float[Array | np.ndarray, "_ _ _ 3"] | Sequence[AnyImage],
    styles: AnyImage | Sequence[AnyImage | Sequence[AnyImage]],
    *,
    params: Params | None = None,
    preset: str = "default",
    objective: Objective | None = None,
    weights: LossWeights | Sequence[LossWeights] | None = None,
    strength: float | Sequence[float] | None = None,
    style_weights: Sequence[float] | Sequence[Sequence[float]] | None = None,
    regions: Regions | Sequence[Regions] | None = None,
    color: Color | Sequence[Color] = "style",
    optimizer: optax.GradientTransformation | None = None,
    steps: int | None = None,
    scales: ScaleCount | None = None,
    share: float | None = None,
    window: WindowOption = "auto",
    mesh: Mesh | None = None,
    canvas: tuple[int, int] = (0, 0),
    whitening: float = 1.0,
    init: str | AnyImage | None = None,
    mosaic: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] = 0,
    tolerance: float = 1e-6,
    callback: Callable[[BatchProgress], bool | None] | None = None,
) -> list[Result]:
    """Many contents, styles, weights or seeds at once: what `stylize` gives for each, from one compiled program.

    Contents, styles, weights, strengths, style weights, regions, colors, mosaics and seeds are one each for all
    pictures, or a sequence with one for each. Every picture has its own optimizer, which accepts and refuses steps by
    itself, and its own end; one that has stopped waits for the others, unchanged. Pictures of different sizes lie on
    canvases of one size (see `canvas.py`), and cost as much as the largest. With several scales all have as many as
    the one that allows the fewest.

    Args:
        contents: `(H, W, 3)` in [0, 1], or a sequence of them, of any sizes, or an array `(batch, H, W, 3)`.
        styles: one picture, or a sequence with one for each content; where a content should have several that blend,
            its entry is a list of them.
        params: as for `stylize`, like all that are not told here.
        preset: name of the settings.
        objective: layers, normalization, pooling, precision.
        weights: of the loss's terms.
        strength: instead of weights for content and style: see `balance`.
        style_weights: one relative number for each style that blends; or a list of such for each picture.
        regions: which pixels get which style: of all pictures or none, as many of each and with the same guidance.
        color: whose colors the result has.
        optimizer: an optax transform.
        steps: evaluations at most, for each picture.
        scales: how many sizes to go through at most.
        share: of the steps, for the full size.
        window: side of the windows in pixels, None, or "auto": chosen for all pictures that a device has at once.
        mesh: devices: its `batch` axis takes pictures, `rows` and `columns` spread each; see `make_mesh`.
        canvas: height and width, at full size, of the canvas that every picture is put on if they need no larger one:
            so further calls with it and as many pictures, up to this size, compile nothing.
        whitening: power of the surrogate's metric.
        init: where to start: "content", "noise", or a picture for all.
        mosaic: share of the style's mosaic in a start from the content.
        seeds: of noise and mosaic.
        tolerance: of convergence.
        callback: called about once a second; returning True stops all pictures.

    Returns:
        One result a picture, in their order; `seconds` are those of the whole batch.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> photos, painting = [js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)], js.white_noise(3, 32, 32)
        >>> results = js.stylize_batch(photos, painting, params=params, steps=3)
        >>> [result.image.shape for result in results]
        [(32, 48, 3), (40, 32, 3)]
    """
    begin = time.perf_counter()
    if not (isinstance(canvas, tuple) and len(canvas) == 2 and min(canvas) >= 0):
        raise InputError(f"canvas is {canvas!r}, expected a height and a width in pixels")
    each = _one_each(
        contents=contents,
        styles=styles,
        weights=weights,
        strength=strength,
        style_weights=style_weights,
        regions=regions,
        color=color,
        mosaic=mosaic,
        seeds=seeds,
    )
    options = {"objective": objective, "optimizer": optimizer, "steps": steps, "scales": scales, "share": share}
    options |= {"init": init, "window": window, "whitening": whitening, "tolerance": tolerance}
    # Once for each picture's own, to check them all.
    each_settings = [
        resolve_settings(
            preset, mesh, weights=one["weights"], strength=one["strength"], mosaic=one["mosaic"], **options
        )
        for one in each
    ]
    settings = each_settings[0]
    jobs = [_job(*pair) for pair in zip(each, each_settings, strict=True)]
    _check_alike(jobs)
    groups = 1 if mesh is None else mesh.shape.get("batch", 1)
    # Every device has as many pictures; what is added here is thrown away.
    jobs += [jobs[-1]] * (-len(jobs) % groups)
    count = min(len(job.scales) for job in jobs)
    jobs = [in_scales(job, settings._replace(scales=count)) for job in jobs]
    params = load_params() if params is None else params
    spread_params = params if mesh is None else replicated(params, mesh)

    came: list[BatchRunState] = []
    pictures: list[AnyImage] = [start_of(at_scale(job, job.scales[0]), settings.init) for job in jobs]
    used = None
    with stop_flag() as stop:

        def ask(now: BatchRunState) -> Status | None:
            if callback is not None and callback(_progress(jobs, len(each), [*came, now], begin)):
                return Status.STOPPED
            return stop.status

        def optimize(
            index: int,
            starts: list[AnyImage],
            statuses: list[Status | None],
            least: tuple[int, int],
            structure: Objective,
        ) -> tuple[list[AnyImage], BatchRunState]:
            return minimize_batch(
                _pictures(index, jobs, starts, statuses, params, structure),
                spread_params,
                structure,
                settings.optimizer,
                Limits(jobs[0].scales[index].steps, settings.tolerance),
                settings.whitening,
                ask,
                mesh,
                least,
            )

        for index, scale in enumerate(jobs[0].scales):
            least = scaled(*canvas, scale.factor)
            sizes = [least, *((job.scales[index].height, job.scales[index].width) for job in jobs)]
            largest = max(height for height, _ in sizes), max(width for _, width in sizes)
            shrunk = [size for job in jobs for size in sizes_of(job, scale.factor)]
            # The largest alone: they are measured one after the other.
            style = max(shrunk, key=math.prod)
            structure = with_auto_window(
                settings.objective,
                window,
                *largest,
                settings.optimizer,
                [style],
                pictures=len(jobs) // groups,
                mesh=mesh,
            )
            before: list[Status | None] = [None] * len(jobs) if not came else list(map(_ended, came[-1].statuses))
            work = functools.partial(optimize, index, pictures, before, least)
            side = max(part_of(largest, structure))
            (pictures, now), used = retry_with_smaller_windows(work, structure, side, retry=window == "auto")
            came.append(now)
            # What was asked for counts for all, those that had converged at this scale included.
            if STOPS & set(now.statuses) or None not in map(_ended, now.statuses):
                break
    seconds = time.perf_counter() - begin
    return [_result(k, jobs[k], each[k], pictures[k], came, seconds, used) for k in range(len(each))]


def _one_each(**arguments: Any) -> list[dict[str, Any]]:
    """The arguments of each picture, where each is one for all or a sequence of one each."""
    lists = {}
    for name, value in arguments.items():
        single = _is_single(name, value)
        if not single and not (isinstance(value, list | tuple) or getattr(value, "ndim", 0) in (1, 4)):
            raise InputError(f"{name} is {str(value)[:80]!r}, expected one for all pictures or a sequence of one each")
        lists[name] = [value] if single else list(value)
    counts = {name: len(values) for name, values in lists.items() if len(values) != 1}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"there are {told}, expected one for all pictures or the same number of each")
    if not all(isinstance(seed, Integral) for seed in lists["seeds"]):
        raise InputError(f"seeds is {arguments['seeds']!r}, expected whole numbers")
    count = max(counts.values(), default=1)
    return [
        {name: values[0] if len(values) == 1 else values[k] for name, values in lists.items()} for k in range(count)
    ]


def _is_single(name: str, value: Any) -> bool:
    if name in ("contents", "styles"):
        return getattr(value, "ndim", 0) == 3
    if name == "seeds":
        return isinstance(value, Integral)
    if name == "style_weights":
        # One list of numbers is for all.
        return not isinstance(value, list | tuple) or not any(isinstance(each, list | tuple) for each in value)
    return value is None or isinstance(value, LossWeights | Regions | str | Real)


def _job(arguments: dict[str, Any], settings: Settings) -> Job:
    painting = arguments["styles"]
    styles = list(painting) if isinstance(painting, list | tuple) else [painting]
    seed, others = arguments["seeds"], {name: arguments[name] for name in ("style_weights", "regions", "color")}
    return make_job(arguments["contents"], styles, settings, seed=seed, **others)


def _check_alike(jobs: Sequence[Job]) -> None:
    """Refuse jobs that cannot share a program."""
    if len({job.strength is None for job in jobs}) > 1:
        raise InputError("some pictures have a strength and some have none, expected one of each or none at all")
    kinds = {(job.regions.content.shape[2], job.regions.guidance) if job.regions else None for job in jobs}
    if len(kinds) > 1:
        raise InputError(
            "the pictures have different numbers of regions or guidances, expected the same for all: give those that "
            "differ to another call"
        )


def _ended(status: Status | None) -> Status | None:
    """The status if it is one that ends the whole run of a picture, not only a scale."""
    return None if status in COMPLETED else status


def _pictures(
    index: int,
    jobs: Sequence[Job],
    before: Sequence[AnyImage],
    statuses: Sequence[Status | None],
    params: Params,
    objective: Objective,
) -> list[Picture]:
    """The jobs at one of their scales, from the pictures of the scale before."""
    # Pictures mostly have the style in common, and then it is measured once.
    measured, found = {}, []
    for job, picture, status in zip(jobs, before, statuses, strict=True):
        now, key = at_scale(job, job.scales[index]), (*map(id, job.styles), id(job.regions), *job.shares)
        if key not in measured:
            measured[key] = measure_styles(params, now.styles, objective, now.shares, now.regions)
        start = restore_fixed_pixels(fit(picture, *now.content.shape[:2]), now)
        balanced = None if now.strength is None else Balanced(now.strength, mosaic_of(now))
        found.append(Picture(now.content, measured[key], now.weights, start, now.regions, balanced, status))
    return found


def _progress(jobs: Sequence[Job], count: int, came: Sequence[BatchRunState], begin: float) -> BatchProgress:
    """Of the first `count` pictures: the others are there only to fill the devices."""
    now = came[-1]
    return BatchProgress(
        evaluations=tuple(sum(len(each.histories[k]) for each in came) for k in range(count)),
        losses=tuple(float(np.fmin.reduce(history[:, 0], initial=np.inf)) for history in now.histories[:count]),
        running=now.statuses[:count].count(None),
        seconds=time.perf_counter() - begin,
        fraction=fraction_done(jobs[0].scales, len(came) - 1, max(map(len, now.histories))),
    )


def _result(
    k: int,
    job: Job,
    arguments: dict[str, Any],
    picture: AnyImage,
    came: Sequence[BatchRunState],
    seconds: float,
    window: int | None,
) -> Result:
    histories = [each.histories[k] for each in came]
    rows, content, status = np.concatenate(histories), arguments["contents"], came[-1].statuses[k]
    assert status is not None
    return Result(
        image=restore(restore_fixed_pixels(fit(picture, *content.shape[:2]), job), content, arguments["color"]),
        losses=Losses(*map(jnp.asarray, rows.T)),
        evaluations=len(rows),
        status=status,
        seconds=seconds,
        weights=came[-1].weights[k],
        window=window,
        scales=tuple(
            scale._replace(steps=len(taken)) for scale, taken in zip(job.scales, histories, strict=False) if len(taken)
        ),
    )
