"""`stylize_batch`: many pictures at once, in one compiled program, each as if it were alone."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxstyle.descent import Limits, Status
from jaxstyle.errors import InputError
from jaxstyle.image import check_pictures, fit
from jaxstyle.memory import WindowOption, in_less_memory, part_of, windowed
from jaxstyle.mesh import replicated
from jaxstyle.objective import Losses, LossWeights, Objective, a_layer_each
from jaxstyle.result import BatchProgress, Result
from jaxstyle.scales import SHARE, Scale, ScaleCount, fraction_done, pyramid, scaled
from jaxstyle.settings import Settings, settle
from jaxstyle.signals import interrupt_flag
from jaxstyle.start import first_image
from jaxstyle.targets import style_grams, style_shares
from jaxstyle.together import Descents, Picture, descend_together
from jaxstyle.transfer import shrink
from jaxstyle.typing import AnyImage, Image, Params
from jaxstyle.weights import load_params

# Reasons to stop that are not a picture's own.
STOPS = {Status.STOPPED, Status.INTERRUPTED}


class _Job(NamedTuple):
    """One picture of a batch."""

    content: AnyImage
    styles: tuple[AnyImage, ...]
    shares: list[float]
    weights: LossWeights
    seed: int
    scales: tuple[Scale, ...]


def stylize_batch(
    contents: AnyImage | Float[Array | np.ndarray, "_ _ _ 3"] | Sequence[AnyImage],
    styles: AnyImage | Sequence[AnyImage | Sequence[AnyImage]],
    *,
    params: Params | None = None,
    preset: str = "default",
    objective: Objective | None = None,
    weights: LossWeights | Sequence[LossWeights] | None = None,
    style_weights: Sequence[float] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    steps: int | None = None,
    scales: ScaleCount | None = None,
    share: float = SHARE,
    window: WindowOption = "auto",
    mesh: Mesh | None = None,
    canvas: tuple[int, int] = (0, 0),
    whitening: float = 1.0,
    init: str | AnyImage | None = None,
    mosaic: float | None = None,
    seeds: int | Sequence[int] = 0,
    tolerance: float = 1e-6,
    callback: Callable[[BatchProgress], bool | None] | None = None,
) -> list[Result]:
    """Many contents, styles, weights or seeds at once: what `stylize` gives for each, from one compiled program.

    Contents, styles, weights and seeds are one each for all pictures, or a sequence with one for each. Every picture
    has its own optimiser, which accepts and refuses steps by itself, and its own end; one that has stopped waits for
    the others, unchanged. Pictures of different sizes lie on canvases of one size (see `canvas.py`), and cost as much
    as the largest. With several scales all have as many as the one that allows the fewest.

    Args:
        contents: `(H, W, 3)` in [0, 1], or a sequence of them, of any sizes, or an array `(batch, H, W, 3)`.
        styles: one picture, or a sequence with one for each content; where a content should have several that blend,
            its entry is a list of them.
        params: as for `stylize`, like all that are not told here.
        preset: name of the settings.
        objective: layers, normalisation, pooling, precision.
        weights: of the loss's terms.
        style_weights: one relative number for each style that blends.
        optimizer: an optax transform.
        steps: evaluations at most, for each picture.
        scales: how many sizes to go through at most.
        share: of the steps, for the full size.
        window: side of the windows in pixels, None, or "auto": chosen for all pictures that a device has at once.
        mesh: devices: its `batch` axis takes pictures, `rows` and `columns` spread each; see `make_mesh`.
        canvas: height and width, at full size, of the canvas that every picture is put on if they need no larger one:
            so further calls with it and as many pictures, up to this size, compile nothing.
        whitening: power of the guide's metric.
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
    photos, paintings, each_weights, each_seed = _one_each(contents, styles, weights, seeds)
    options = {"objective": objective, "optimizer": optimizer, "steps": steps, "scales": scales, "init": init}
    options |= {"mosaic": mosaic, "window": window, "whitening": whitening, "tolerance": tolerance}
    # Once for each of the weights, to check them all.
    each_settings = [settle(preset, mesh, weights=one, **options) for one in each_weights]
    settings = each_settings[0]
    jobs = [_job(*each, share, style_weights) for each in zip(photos, paintings, each_settings, each_seed, strict=True)]
    groups = 1 if mesh is None else mesh.shape.get("batch", 1)
    # Every device has as many pictures; what is added here is thrown away.
    jobs += [jobs[-1]] * (-len(jobs) % groups)
    count = min(len(job.scales) for job in jobs)
    jobs = [_in_scales(job, settings._replace(scales=count), share) for job in jobs]
    params = load_params() if params is None else params
    spread_params = params if mesh is None else replicated(params, mesh)

    came: list[Descents] = []
    pictures: list[AnyImage] = [_first(job, settings) for job in jobs]
    used = None
    with interrupt_flag() as interrupted:

        def ask(now: Descents) -> Status | None:
            if callback is not None and callback(_progress(jobs, len(photos), [*came, now], begin)):
                return Status.STOPPED
            return Status.INTERRUPTED if interrupted.is_set() else None

        def optimise(
            index: int,
            starts: list[AnyImage],
            statuses: list[Status | None],
            least: tuple[int, int],
            structure: Objective,
        ) -> tuple[list[AnyImage], Descents]:
            return descend_together(
                _pictures(index, jobs, starts, statuses, params, structure, style_weights),
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
            shrunk = [scaled(style.shape[0], style.shape[1], scale.factor) for job in jobs for style in job.styles]
            # The largest alone: they are measured one after the other.
            style = max(shrunk, key=math.prod)
            at_scale = windowed(
                settings.objective,
                window,
                *largest,
                settings.optimizer,
                [style],
                pictures=len(jobs) // groups,
                mesh=mesh,
            )
            before: list[Status | None] = [None] * len(jobs) if not came else list(map(_ended, came[-1].statuses))
            work = functools.partial(optimise, index, pictures, before, least)
            side = max(part_of(largest, at_scale))
            (pictures, now), used = in_less_memory(work, at_scale, side, retry=window == "auto")
            came.append(now)
            # What was asked for counts for all, those that had converged at this scale included.
            if STOPS & set(now.statuses) or None not in map(_ended, now.statuses):
                break
    seconds = time.perf_counter() - begin
    return [_result(k, jobs[k], pictures[k], came, seconds, used) for k in range(len(photos))]


def _one_each(contents: Any, styles: Any, weights: Any, seeds: Any) -> tuple[list, list, list, list]:
    """Every argument as a list of one for each picture."""
    lists = {}
    for name, value, single in (
        ("contents", contents, getattr(contents, "ndim", 0) == 3),
        ("styles", styles, getattr(styles, "ndim", 0) == 3),
        ("weights", weights, weights is None or isinstance(weights, LossWeights)),
        ("seeds", seeds, isinstance(seeds, Integral)),
    ):
        if not single and not (isinstance(value, list | tuple) or getattr(value, "ndim", 0) in (1, 4)):
            raise InputError(f"{name} is {str(value)[:80]!r}, expected one for all pictures or a sequence of one each")
        lists[name] = [value] if single else list(value)
    counts = {name: len(values) for name, values in lists.items() if len(values) != 1}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"there are {told}, expected one for all pictures or the same number of each")
    if not all(isinstance(seed, Integral) for seed in lists["seeds"]):
        raise InputError(f"seeds is {seeds!r}, expected whole numbers")
    count = max(counts.values(), default=1)
    photos, paintings, each_weights, each_seed = (
        values * count if len(values) == 1 else values for values in lists.values()
    )
    return photos, paintings, each_weights, each_seed


def _job(photo: Any, painting: Any, settings: Settings, seed: int, share: float, style_weights: Any) -> _Job:
    styles = list(painting) if isinstance(painting, list | tuple) else [painting]
    check_pictures(photo, styles, settings.objective.smallest)
    weights = a_layer_each(settings.weights, settings.objective)
    shares = style_shares(len(styles), style_weights)
    return _in_scales(_Job(jnp.asarray(photo), tuple(styles), shares, weights, seed, ()), settings, share)


def _in_scales(job: _Job, settings: Settings, share: float) -> _Job:
    height, width = job.content.shape[:2]
    sizes = [(style.shape[0], style.shape[1]) for style in job.styles]
    smallest, steps, count = settings.objective.smallest, settings.steps, settings.scales
    return job._replace(scales=pyramid(height, width, steps, count, share=share, styles=sizes, smallest=smallest))


def _first(job: _Job, settings: Settings) -> Image:
    scale = job.scales[0]
    shrunk = [shrink(jnp.asarray(style), scale.factor) for style in job.styles]
    where = {"height": scale.height, "width": scale.width, "factor": scale.factor}
    options = {"mosaic": settings.mosaic, "shares": job.shares, "seed": job.seed}
    return first_image(settings.init, job.content, shrunk, **where, **options)


def _ended(status: Status | None) -> Status | None:
    """The status if it is one that ends the whole run of a picture, not only a scale."""
    return None if status in (Status.STEP_LIMIT, Status.CONVERGED) else status


def _pictures(
    index: int,
    jobs: Sequence[_Job],
    before: Sequence[AnyImage],
    statuses: Sequence[Status | None],
    params: Params,
    objective: Objective,
    style_weights: Sequence[float] | None,
) -> list[Picture]:
    """The jobs at one of their scales, from the pictures of the scale before."""
    # Pictures mostly have the style in common, and then it is measured once.
    grams, found = {}, []
    for job, picture, status in zip(jobs, before, statuses, strict=True):
        scale, key = job.scales[index], tuple(map(id, job.styles))
        if key not in grams:
            shrunk = [shrink(jnp.asarray(style), scale.factor) for style in job.styles]
            grams[key] = style_grams(params, shrunk, objective, style_weights)
        start = fit(picture, scale.height, scale.width)
        found.append(Picture(shrink(job.content, scale.factor), grams[key], job.weights, start, status))
    return found


def _progress(jobs: Sequence[_Job], count: int, came: Sequence[Descents], begin: float) -> BatchProgress:
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
    k: int, job: _Job, picture: AnyImage, came: Sequence[Descents], seconds: float, window: int | None
) -> Result:
    histories = [each.histories[k] for each in came]
    rows = np.concatenate(histories)
    status = came[-1].statuses[k]
    assert status is not None
    return Result(
        image=fit(picture, *job.content.shape[:2]),
        losses=Losses(*map(jnp.asarray, rows.T)),
        evaluations=len(rows),
        status=status,
        seconds=seconds,
        window=window,
        scales=tuple(
            scale._replace(steps=len(taken)) for scale, taken in zip(job.scales, histories, strict=False) if len(taken)
        ),
    )
