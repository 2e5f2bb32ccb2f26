"""`stylize`: a whole run, from a content and a style to a result, scale by scale."""

import dataclasses
import functools
import logging
import time
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Canvas
from jaxstyle.image.color import Color, restore
from jaxstyle.image.ops import fit
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.checkpoint import Checkpoint, Snapshot, best_of, load_snapshot, make_saver, restore_state
from jaxstyle.minimize.checkpoint_file import PathLike, check_types
from jaxstyle.minimize.fingerprint import fingerprint
from jaxstyle.minimize.loop import Limits, Problem, RunState, initial_run_state, minimize
from jaxstyle.minimize.status import COMPLETED, History, Status
from jaxstyle.minimize.step import State, result_image, state_like
from jaxstyle.minimize.step import init as init_state
from jaxstyle.objective.balance import balance
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import gather, replicated, shards_of, spread
from jaxstyle.objective.targets import make_targets, whiten
from jaxstyle.transfer.job import Job, at_scale, make_job, mosaic_of, restore_fixed_pixels, sizes_of, start_of
from jaxstyle.transfer.memory import WindowOption, part_of, retry_with_smaller_windows, with_auto_window
from jaxstyle.transfer.pyramid import Scale, ScaleCount, fraction_done
from jaxstyle.transfer.result import Callback, Progress, Result
from jaxstyle.transfer.settings import check_count, resolve_settings
from jaxstyle.transfer.signals import stop_flag
from jaxstyle.typing import AnyImage, Image, Params
from jaxstyle.vgg.weights import load_params

log = logging.getLogger(__name__)


def stylize(
    content: AnyImage,
    style: AnyImage | Sequence[AnyImage],
    *,
    params: Params | None = None,
    preset: str = "default",
    objective: Objective | None = None,
    weights: LossWeights | None = None,
    strength: float | None = None,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
    color: Color = "style",
    optimizer: optax.GradientTransformation | None = None,
    steps: int | None = None,
    scales: ScaleCount | None = None,
    share: float | None = None,
    window: WindowOption = "auto",
    mesh: Mesh | None = None,
    whitening: float = 1.0,
    init: str | AnyImage | None = None,
    mosaic: float | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
    callback: Callback | None = None,
    callback_every: int | None = None,
    checkpoint: Checkpoint | PathLike | None = None,
) -> Result:
    """Give the content picture the style's style.

    Minimizes `content + style + tv` over the pixels (see `gatys.py` for the formulas), from where `init` says. With
    several `scales`, small copies of all pictures come first, then larger ones (see `pyramid`), each time from the
    enlarged best picture of the scale before, with the optimizer started anew. The way is chosen with whitened style
    residuals (see `whiten`), which takes fewer evaluations; losses are reported, and the best picture kept, by the loss
    itself, and where that makes slow progress the run goes on with its plain gradient. Ctrl-C or SIGTERM end the run
    after the current chunk of steps with the best picture so far; a second one does what it does outside. A picture
    whose loss or gradient is not finite is refused, and the run goes on from a better one; after 20 of them in a row,
    as judged at every twentieth evaluation, it ends.

    Args:
        content: `(H, W, 3)` float32 RGB in [0, 1].
        style: one such picture of any size, or a sequence of them, which blend.
        params: see `load_params`; the embedded weights if None.
        preset: name of the settings that the options below replace one by one; see `preset`.
        objective: layers, normalization, pooling, precision.
        weights: of the loss's terms.
        strength: how strong the style is, 0 to 1, alike for every pair of pictures and every size: the weights of
            content and style are found from it at each scale, see `balance`, and those given count only for `tv` and
            `regions`. If neither is given, and the style loss is not the preset's, it is 0.5.
        style_weights: one relative number a style; equal if None.
        regions: which pixels get which style, and which keep the photo: see `Regions`.
        color: whose colors the result has, `"style"`, or those of the photo by `"luminance"`, `"symmetric"`,
            `"cholesky"` or `"histogram"`: see `color.py`.
        optimizer: `lbfgs()`, `adam()` or any optax transform that needs one value and gradient a step.
        steps: evaluations at most, at all scales together; what a converged scale leaves is not spent elsewhere.
        scales: `"auto"`, or how many sizes to go through at most, 1 to 16; 1 is the full size alone.
        share: of the steps, for the full size, where there are several scales; a large picture that starts from a good
            small one needs few.
        window: side in pixels of the windows that a larger picture is evaluated in (see `windows.py`); None is whole,
            `"auto"` what the objective says or, if it says nothing, the largest windows that fit into the memory, at
            each scale. It changes memory and time, not the result.
        mesh: devices to spread the picture over: see `make_mesh`. Unless an optimizer is given, it is then
            `lbfgs(precondition="pyramid")`, as a Fourier transform would gather the picture on every device.
        whitening: power of the surrogate's metric, 0 to 1; 0 follows the gradient of the loss itself from the start.
        init: where to start: `"content"` (with some `mosaic`), `"noise"` (seeded), `"gray"`, or a picture, resized to
            the first scale.
        mosaic: share of a mosaic of pieces of the style in a start from the content, 0 to 1: seeds for strokes where
            the content is flat (see `mosaic.py`). 0 starts from the content itself.
        seed: of the noise and the mosaic.
        tolerance: the run has converged when the best loss fell by at most this fraction an evaluation, over 20; 0
            stops only where it does not fall at all.
        callback: called about once a second, between chunks of steps, with a `Progress`; returning True stops the run.
        callback_every: if given, the callback also sees every multiple of this number of evaluations.
        checkpoint: where all of the run is saved, so that it can go on after whatever ended it: see `Checkpoint`; a
            path is saved to once a minute.

    Returns:
        The result.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> photo, painting = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> result = js.stylize(photo, painting, params=params, steps=5)
        >>> result.image.shape, result.evaluations, str(result.status)
        ((32, 48, 3), 5, 'step limit')

    References:
        Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
    """
    begin = time.perf_counter()
    settings = resolve_settings(
        preset,
        mesh,
        objective=objective,
        weights=weights,
        strength=strength,
        optimizer=optimizer,
        steps=steps,
        scales=scales,
        share=share,
        init=init,
        mosaic=mosaic,
        window=window,
        whitening=whitening,
        tolerance=tolerance,
    )
    if callback_every is not None:
        check_count("callback_every", callback_every)
    styles = list(style) if isinstance(style, list | tuple) else [style]
    options = {"style_weights": style_weights, "regions": regions, "color": color, "seed": seed}
    job = make_job(content, styles, settings, **options)
    picture = start_of(at_scale(job, job.scales[0]), settings.init)
    params = load_params() if params is None else params
    snapshot, keep = None, None
    if checkpoint is not None:
        kept = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        # A window changes no result: the checkpoint says which one the run had.
        told = settings._asdict() | {"objective": dataclasses.replace(settings.objective, window=None), "window": None}
        told |= options | {"content": content, "styles": styles, "weights": job.weights, "params": params}
        asked = fingerprint(**told, mesh=shards_of(mesh))
        check_types(state_like(picture, settings.optimizer), "state")
        snapshot, keep = load_snapshot(kept, asked, mesh), make_saver(kept, asked, mesh)
    if snapshot is not None:
        if snapshot.scale >= len(job.scales):
            raise InputError(f"the checkpoint is at scale {snapshot.scale + 1}, the run has {len(job.scales)}")
        begin -= snapshot.seconds
    changed = () if snapshot is None else snapshot.changed
    if snapshot is not None and not changed:
        # What is free now does not matter: in other windows sums are rounded otherwise.
        windows = snapshot.windows
    else:
        windows = [
            with_auto_window(
                settings.objective,
                window,
                scale.height,
                scale.width,
                settings.optimizer,
                sizes_of(job, scale.factor),
                mesh=mesh,
            ).window
            for scale in job.scales
        ]
    if mesh is not None:
        params = replicated(params, mesh)

    histories: list[History] = [] if snapshot is None else snapshot.histories  # of the scales that are done
    status, used, balanced = Status.STEP_LIMIT, None, job.weights

    def shown(state: State, scale: Scale) -> Image:
        image = result_image(state)
        if color == "style":
            # A copy: the next chunk reuses the state's buffers, and a callback may keep the picture.
            return jnp.array(image, copy=True)
        return restore(gather(image, scale.height, scale.width), content, color)

    with stop_flag() as stop:

        def ask(descent: RunState, window: int | None, weights: LossWeights) -> Status | None:
            seconds, status = time.perf_counter() - begin, None
            if callback is not None:
                image = shown(descent.state, job.scales[len(histories)])
                if callback(_progress(job.scales, histories, image, descent.history, seconds)):
                    status = Status.STOPPED
            status = status or stop.status
            if keep is not None:
                index = len(histories)
                used = [*windows[:index], window, *windows[index + 1 :]]
                make = functools.partial(Snapshot, index, histories, used, weights, descent, seconds)
                keep(make, status is not None)
            return status

        def optimize(
            now: Job, start: Image, resumed: Snapshot | None, objective: Objective
        ) -> tuple[Image, History, Status, LossWeights]:
            def put(image: Image) -> Canvas:
                return Canvas(image) if mesh is None else spread(image, mesh, objective)

            photo = put(now.content)
            # Masks are of plain pictures.
            paintings = now.styles if now.regions is not None else [put(style) for style in now.styles]
            targets = make_targets(params, photo, paintings, objective, now.shares, now.regions)
            weights = now.weights if resumed is None else resumed.weights
            weights = weights if mesh is None else replicated(weights, mesh)
            if now.strength is not None and resumed is None:
                mosaic = jnp.asarray(put(mosaic_of(now)).pixels)
                weights = balance(jnp.asarray(photo.pixels), mosaic, params, targets, objective, now.strength, weights)
                del mosaic
            problem = Problem(params, targets, weights, objective, settings.optimizer)
            finish = None
            if settings.whitening:
                problem = problem._replace(targets=whiten(targets, settings.whitening))
                # With power 0 the same program follows the loss itself.
                finish = problem._replace(targets=whiten(targets, 0.0))
            limits = Limits(now.scales[0].steps, tolerance, callback_every, before=sum(map(len, histories)))
            picture = jnp.asarray(put(start).pixels)
            if resumed is None:
                begun = initial_run_state(init_state(picture, *problem))
            else:
                begun = restore_state(resumed, picture, settings.optimizer, limits.steps)
            answer = functools.partial(ask, window=objective.window, weights=weights)
            # The picture alone leaves here: the rest of the state can be most of the memory in use.
            state, history, status = minimize(begun, problem, limits, answer, finish)
            best = result_image(state)
            return best if mesh is None else gather(best, *start.shape[:2]), history, status, weights

        for index, scale in enumerate(job.scales):
            if index < len(histories):
                continue
            now, resumed, snapshot = at_scale(job, scale), snapshot, None
            size = scale.height, scale.width
            picture = restore_fixed_pixels(fit(picture, *size), now)
            if resumed is not None and resumed.changed:
                picture, resumed = restore_fixed_pixels(best_of(resumed, *size), now), None
            structure = dataclasses.replace(settings.objective, window=windows[index])
            shape = "whole" if structure.window is None else f"in windows of {structure.window}"
            log.debug("scale %d of %d: %dx%d, %s", index + 1, len(job.scales), *size[::-1], shape)
            work = functools.partial(optimize, now, picture, resumed)
            # Of a device's own part: larger windows than that are none.
            side = max(part_of(size, structure))
            (picture, history, status, balanced), used = retry_with_smaller_windows(
                work, structure, side, retry=window == "auto" and resumed is None
            )
            del work, resumed
            windows[index] = used
            histories.append(history)
            if status not in COMPLETED:
                break
        # Still inside: a signal must not take away a run that is done.
        rows = np.concatenate(histories)
        return Result(
            image=restore(restore_fixed_pixels(fit(picture, *content.shape[:2]), job), content, color),
            losses=Losses(*map(jnp.asarray, rows.T)),
            evaluations=len(rows),
            status=status,
            seconds=time.perf_counter() - begin,
            window=used,
            changed=changed,
            weights=balanced,
            scales=tuple(scale._replace(steps=len(taken)) for scale, taken in zip(job.scales, histories, strict=False)),
        )


def _progress(
    plan: tuple[Scale, ...], histories: list[History], image: Image, history: History, seconds: float
) -> Progress:
    index = len(histories)
    totals = np.where(np.isfinite(history[:, 0]), history[:, 0], np.inf)
    return Progress(
        evaluations=sum(map(len, histories)) + len(history),
        steps=sum(scale.steps for scale in plan),
        losses=Losses(*map(jnp.asarray, history[np.argmin(totals)])),
        image=image,
        seconds=seconds,
        scale=plan[index],
        fraction=fraction_done(plan, index, len(history)),
    )
