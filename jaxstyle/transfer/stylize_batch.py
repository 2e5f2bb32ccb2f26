"""`stylize_batch`: many images at once in one compiled program, each as if it were alone."""

import time
from collections.abc import Callable, Hashable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.guards import permissive
from jaxstyle.image.color import Color
from jaxstyle.image.ops import is_key
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.checkpoint import Checkpoint, Snapshot
from jaxstyle.minimize.checkpoint_file import PathLike
from jaxstyle.objective.base import LossWeights
from jaxstyle.transfer.job import Job, make_job
from jaxstyle.transfer.presets import settings_of
from jaxstyle.transfer.pyramid import completed_fraction
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.run import Plan, present_images, run_jobs, with_checkpoint
from jaxstyle.transfer.settings import Settings, resolve_settings
from jaxstyle.transfer.stage import Stage, scales_of, stages_of
from jaxstyle.transfer.validate import check_parameters, is_integer
from jaxstyle.typing import AnyImage, Params
from jaxstyle.vgg.weights import load_params


@permissive()
def stylize_batch(
    contents: AnyImage | Float[Array | np.ndarray, "_ _ _ 3"] | Sequence[AnyImage],
    styles: AnyImage | Sequence[AnyImage | Sequence[AnyImage]],
    settings: Settings | None = None,
    *,
    params: Params | None = None,
    preset: str | None = None,
    weights: LossWeights | Sequence[LossWeights] | None = None,
    strength: float | Sequence[float] | None = None,
    style_weights: Sequence[float] | Sequence[Sequence[float]] | None = None,
    regions: Regions | Sequence[Regions] | None = None,
    color: Color | Sequence[Color] | None = None,
    mosaic: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] | None = None,
    mesh: Mesh | None = None,
    canvas: tuple[int, int] = (0, 0),
    callback: Callable[[BatchProgress], bool | None] | None = None,
    callback_every: int | None = None,
    checkpoint: Checkpoint | PathLike | None = None,
    **overrides: Any,
) -> list[Result]:
    """Return what `stylize` returns for each of many contents, styles, weights or seeds, from one compiled program.

    Contents, styles, weights, strengths, style weights, regions, colors, mosaics and seeds are a single value for all
    images, or a sequence of one for each. Every image has its own optimizer state, which accepts and rejects steps
    independently, and its own end; a finished image waits for the others, unchanged. Images of different sizes are
    placed on canvases of one size (see `canvas.py`), and cost as much as the largest. With several scales all images
    have as many as the one that allows the fewest.

    Args:
        contents: `(H, W, 3)` in [0, 1], or a sequence of such images, of any sizes, or an array `(batch, H, W, 3)`.
        styles: one image, or a sequence of one for each content; where several styles blend, the content's entry is a
            list of them.
        settings: settings of the run, which the parameters below override.
        params: as for `stylize`, like all parameters below without a range.
        preset: name of the settings if `settings` is None.
        weights: weights of the loss terms.
        strength: strength of the style, 0 to 1, instead of weights for content and style: see `balance`.
        style_weights: one relative number for each style that blends; or a list of such numbers for each image.
        regions: masks that assign styles to regions: for all images or none, with equal number and guidance.
        color: source of the result's colors.
        mosaic: blend weight, 0 to 1, of a mosaic of style pieces in the initial image when `init` is "content".
        seeds: seeds of noise and mosaic, 0 to 2^32 - 1, or random keys of JAX.
        mesh: devices: its `batch` axis shards the batch, `rows` and `columns` shard each image; see `make_mesh`.
        canvas: least height and width, at full size, of the canvas for every image: later calls with as many images, up
            to this size, compile nothing.
        callback: called about once a second; returning True stops all images.
        callback_every: see `stylize`; evaluations of each image.
        checkpoint: file for the state of the run: see `stylize`.
        overrides: other settings, the same for all images: see `stylize`.

    Returns:
        One result per image, in their order; `seconds` are those of the whole batch.

    Raises:
        InputError: for a value of the wrong type or out of range, before anything is computed.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> contents, style = [js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)], js.white_noise(3, 32, 32)
        >>> results = js.stylize_batch(contents, style, params=params, steps=3, finish=0)
        >>> [result.image.shape for result in results]
        [(32, 48, 3), (40, 32, 3)]
    """
    start_time = time.perf_counter()
    check_parameters({"params": params, "canvas": canvas, "checkpoint": checkpoint})
    check_parameters({"callback": callback, "callback_every": callback_every})
    inputs = _inputs_per_image(
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
    # Every image's settings are checked; they differ only in what a job has too.
    base = settings_of(settings, preset)
    own = {name: name for name in ("weights", "strength", "color", "mosaic")} | {"seed": "seeds"}
    all_settings = [
        resolve_settings(base, mesh, **overrides, **{name: image[key] for name, key in own.items()}) for image in inputs
    ]
    # One image with an edge term gives all of them one, of weight 0 for the others.
    common = max(all_settings, key=lambda settings: settings.objective.edges)
    jobs = [_job(k, *pair) for k, pair in enumerate(zip(inputs, all_settings, strict=True))]
    _check_same_structure(jobs)
    # Every device gets the same number of images; results of the added ones are dropped.
    groups = 1 if mesh is None else mesh.shape.get("batch", 1)
    jobs += [jobs[-1]] * (-len(jobs) % groups)
    stages = stages_of(jobs, common)
    params = load_params() if params is None else params
    plan = Plan(
        params,
        common.init,
        common.window,
        common.tolerance,
        mesh,
        canvas,
        callback_every=callback_every,
        start_time=start_time,
    )
    if checkpoint is not None:
        plan = with_checkpoint(plan, checkpoint, common, {"images": inputs, "canvas": canvas})
    if callback is not None:
        plan = plan._replace(callback=lambda snapshot: callback(_progress(jobs, len(inputs), stages, snapshot)))
    return run_jobs(jobs, stages, plan)[: len(inputs)]


def _inputs_per_image(**parameters: Any) -> list[dict[str, Any]]:
    """Return each image's parameters, where each is a single value for all images or a sequence of one for each."""
    lists = {}
    for name, value in parameters.items():
        single = _is_single(name, value)
        if not single and not (isinstance(value, list | tuple) or getattr(value, "ndim", 0) in (1, 4)):
            raise InputError(f"{name} is {str(value)[:80]!r}, expected one for all images or a sequence of one each")
        lists[name] = [value] if single else list(value)
    counts = {name: len(values) for name, values in lists.items() if len(values) != 1}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"there are {found}, expected one for all images or the same number of each")
    if not all(seed is None or is_integer(seed) or is_key(seed) for seed in lists["seeds"]):
        raise InputError(f"seeds is {str(parameters['seeds'])[:80]}, expected whole numbers")
    count = max(counts.values(), default=1)
    return [
        {name: values[0] if len(values) == 1 else values[k] for name, values in lists.items()} for k in range(count)
    ]


def _is_single(name: str, value: Any) -> bool:
    if name in ("contents", "styles"):
        return getattr(value, "ndim", 0) == 3
    if name == "seeds":
        return value is None or isinstance(value, Integral) or is_key(value)
    if name == "style_weights":
        # A flat list of numbers is for all images.
        return not isinstance(value, list | tuple) or not any(isinstance(entry, list | tuple) for entry in value)
    return value is None or isinstance(value, LossWeights | Regions | str | Real)


def _job(index: int, parameters: dict[str, Any], settings: Settings) -> Job:
    style = parameters["styles"]
    styles = list(style) if isinstance(style, list | tuple) else [style]
    options = {name: parameters[name] for name in ("style_weights", "regions")}
    job = make_job(parameters["contents"], styles, settings, **options)
    return job._replace(style_key=_style_key(parameters, index if job.color != "style" else None))


def _check_same_structure(jobs: Sequence[Job]) -> None:
    """Refuse jobs that cannot share a program."""
    if len({job.strength is None for job in jobs}) > 1:
        raise InputError("some images have a strength and some have none, expected one for each or none at all")
    kinds = {(job.regions.content.shape[2], job.regions.guidance) if job.regions else None for job in jobs}
    if len(kinds) > 1:
        raise InputError(
            "the images have different numbers of regions or guidances, expected the same for all: call stylize_batch "
            "once for each kind"
        )


def _style_key(arguments: dict[str, Any], index: int | None) -> tuple[Hashable, ...]:
    """Return a key of the arguments of `blended_statistics`: the caller's objects, as conversion makes new arrays."""
    styles, style_weights = (arguments[name] for name in ("styles", "style_weights"))
    styles = styles if isinstance(styles, list | tuple) else [styles]
    style_weights = None if style_weights is None else tuple(style_weights)
    # In the colors of the content every image has styles of its own.
    return (*map(id, styles), style_weights, id(arguments["regions"]), index)


def _progress(jobs: Sequence[Job], count: int, stages: Sequence[Stage], snapshot: Snapshot) -> BatchProgress:
    """Return the progress of the first `count` images: the others only fill the devices."""
    run = snapshot.run_state
    totals = [history[:, 0] for history in run.histories[:count]]
    return BatchProgress(
        evaluations=tuple(sum(len(stage[k]) for stage in (*snapshot.histories, run.histories)) for k in range(count)),
        losses=tuple(float(np.fmin.reduce(total, initial=np.inf)) for total in totals),
        running=run.statuses[:count].count(None),
        seconds=snapshot.seconds,
        fraction=completed_fraction(scales_of(jobs[0], stages), snapshot.stage, run.done),
        images=lambda: present_images(jobs[:count], snapshot),
    )
