"""`stylize`: a whole run from content and style to a result, one scale after the other."""

import dataclasses
import functools
import logging
import time
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxstyle.image.canvas import Canvas
from jaxstyle.image.color import Color, restore
from jaxstyle.image.ops import fit
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.checkpoint import Checkpoint, Snapshot, make_saver
from jaxstyle.minimize.checkpoint_file import PathLike, check_types
from jaxstyle.minimize.fingerprint import fingerprint
from jaxstyle.minimize.loop import Limits, Problem, RunState, initial_run_state, minimize
from jaxstyle.minimize.restore import StoredRun, best_image, load_snapshot, restore_state
from jaxstyle.minimize.status import COMPLETED, History, Status
from jaxstyle.minimize.step import State, abstract_state, result_image
from jaxstyle.minimize.step import init as init_state
from jaxstyle.objective.balance import balance
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import gather, replicated, shard, shards_of
from jaxstyle.objective.targets import make_targets, whiten
from jaxstyle.transfer.job import (
    Job,
    make_job,
    mosaic_image,
    resize_job,
    restore_fixed_pixels,
    start_image,
    style_sizes,
)
from jaxstyle.transfer.memory import WindowOption, retry_with_smaller_windows, shard_size, with_window
from jaxstyle.transfer.pyramid import Scale, ScaleCount, completed_fraction
from jaxstyle.transfer.result import Callback, Progress, Result
from jaxstyle.transfer.settings import resolve_settings
from jaxstyle.transfer.signals import stop_flag
from jaxstyle.transfer.validate import check_parameters
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
    whitening: float | None = None,
    init: str | AnyImage | None = None,
    mosaic: float | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
    callback: Callback | None = None,
    callback_every: int | None = None,
    checkpoint: Checkpoint | PathLike | None = None,
) -> Result:
    """Return the content image in the style of the style image.

    Minimizes `content + style + tv` over the pixels (see `gatys.py` for the formulas), from the initial image `init`.
    With several `scales`, the run goes from coarse to fine (see `pyramid`): each scale starts from the upsampled best
    image of the previous one, with a fresh optimizer state. The optimizer follows the gradient of a surrogate loss with
    whitened style residuals (see `whiten`), which takes fewer evaluations. The reported losses and the best image are
    those of the loss itself. When the surrogate makes slow progress, the run continues with the gradient of the loss
    itself. Ctrl-C or SIGTERM ends the run after the current chunk of steps with the best image so far; a second signal
    has its default effect. An image whose loss or gradient is not finite is rejected, and the run continues from a
    better one; the run ends if a check, made every 20 evaluations, finds that at least the last 20 were rejected.

    Args:
        content: `(H, W, 3)` float32 RGB in [0, 1].
        style: one such image of any size, or a sequence of them, which are blended.
        params: see `load_params`; the embedded weights if None.
        preset: named set of default settings; each parameter below that is given overrides one of them; see `preset`.
        objective: layers, normalization, pooling, precision.
        weights: weights of the loss terms.
        strength: strength of the style, 0 to 1, with a comparable effect across images and sizes. It sets the content
            and style weights at each scale (see `balance`), so only `tv` and `regions` of `weights` are used. Defaults
            to 0.5 if neither `strength` nor `weights` is given and the objective's style loss differs from the
            preset's.
        style_weights: relative weight of each style in the blend; equal if None.
        regions: masks that assign styles to parts of the content, and parts that keep the content: see `Regions`.
        color: `"style"` for the style's colors, or the content's by `"luminance"`, `"symmetric"`, `"cholesky"` or
            `"histogram"`: see `color.py`.
        optimizer: `lbfgs()`, `adam()` or any optax transform that needs one value and gradient per step.
        steps: maximum number of evaluations at all scales together; steps left over when a scale converges are not
            carried over to other scales.
        scales: `"auto"`, or the maximum number of scales, 1 to 16; 1 is the full size alone.
        share: fraction of the steps reserved for the full size when there are several scales; an image initialized from
            a good coarser result needs few.
        window: side in pixels of the windows in which a larger image is evaluated (see `windows.py`); None evaluates it
            whole; `"auto"` uses the objective's window or, if that is None, the largest windows that fit into the
            memory, at each scale. It changes memory and time, not the result.
        mesh: devices that share the image: see `make_mesh`. The default optimizer is then
            `lbfgs(precondition="pyramid")`, as a Fourier transform would gather the image on every device.
        whitening: exponent of the whitening in the surrogate loss, 0 to 1; 0 minimizes the loss itself from the start.
            None is 1 for `lbfgs` and 0 for other optimizers.
        init: initial image: `"content"` (with some `mosaic`), `"noise"` (seeded), `"gray"`, or an image, resized to the
            first scale.
        mosaic: blend weight, 0 to 1, of a mosaic of style pieces in the initial image when `init` is `"content"`: seeds
            for strokes where the content is flat (see `mosaic.py`). 0 starts from the content itself.
        seed: seed of the noise and the mosaic, 0 to 2^32 - 1.
        tolerance: the run has converged when, over the last 20 evaluations, the best loss decreased by no more than
            this fraction per evaluation; with 0, when it did not decrease at all.
        callback: called about once a second, between chunks of steps, with a `Progress`; returning True stops the run.
        callback_every: if given, the callback is also called at every multiple of this number of evaluations.
        checkpoint: file for the state of the run, from which a later run resumes: see `Checkpoint`; if it is a path,
            the state is saved once a minute.

    Returns:
        The result.

    Raises:
        InputError: for a value of the wrong type or out of range, before anything is computed.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> result = js.stylize(content, style, params=params, steps=5)
        >>> result.image.shape, result.evaluations, str(result.status)
        ((32, 48, 3), 5, 'step limit')

    References:
        Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
    """
    start_time = time.perf_counter()
    check_parameters(
        {"params": params, "callback": callback, "callback_every": callback_every, "checkpoint": checkpoint}
    )
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
    styles = list(style) if isinstance(style, list | tuple) else [style]
    options = {"style_weights": style_weights, "regions": regions, "color": color, "seed": seed}
    job = make_job(content, styles, settings, **options)
    image = start_image(resize_job(job, job.scales[0]), settings.init)
    params = load_params() if params is None else params
    snapshot, save = None, None
    if checkpoint is not None:
        checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        # The window does not change the result, so it is excluded from the fingerprint; the snapshot stores the windows
        # used.
        parts = settings._asdict() | {"objective": dataclasses.replace(settings.objective, window=None), "window": None}
        parts |= options | {"content": content, "styles": styles, "weights": job.weights, "params": params}
        checksums = fingerprint(**parts, mesh=shards_of(mesh))
        check_types(abstract_state(image, settings.optimizer), "state")
        snapshot, save = load_snapshot(checkpoint, checksums, mesh), make_saver(checkpoint, checksums, mesh)
    if snapshot is not None:
        start_time -= snapshot.seconds
    changed = () if snapshot is None else snapshot.changed
    if snapshot is not None and not changed:
        # Keep the snapshot's windows regardless of the memory that is free now: other windows would change
        # floating-point rounding.
        windows = snapshot.windows
    else:
        windows = [
            with_window(
                settings.objective,
                window,
                scale.height,
                scale.width,
                settings.optimizer,
                style_sizes(job, scale.factor),
                mesh=mesh,
            ).window
            for scale in job.scales
        ]
    if mesh is not None:
        params = replicated(params, mesh)

    # Losses of the finished scales. A run that is resumed by force can have fewer scales.
    histories: list[History] = [] if snapshot is None else snapshot.histories[: len(job.scales) - 1]
    status, used_window, balanced = Status.STEP_LIMIT, None, job.weights

    def progress_image(state: State, scale: Scale) -> Image:
        image = result_image(state)
        if color == "style":
            # A copy: the next chunk reuses the state's buffers, and a callback may store the image.
            return jnp.array(image, copy=True)
        return restore(gather(image, scale.height, scale.width), content, color)

    with stop_flag() as stop:

        def after_chunk(run: RunState, window: int | None, weights: LossWeights) -> Status | None:
            seconds, status = time.perf_counter() - start_time, None
            if callback is not None:
                image = progress_image(run.state, job.scales[len(histories)])
                if callback(_progress(job.scales, histories, image, run.history, seconds)):
                    status = Status.STOPPED
            status = status or stop.status
            if save is not None:
                index = len(histories)
                scale_windows = [*windows[:index], window, *windows[index + 1 :]]
                size = job.scales[index].height, job.scales[index].width
                make = functools.partial(Snapshot, index, size, histories, scale_windows, weights, run, seconds)
                save(make, status is not None)
            return status

        def optimize(
            scaled_job: Job, start: Image, resumed: StoredRun | None, objective: Objective
        ) -> tuple[Image, History, Status, LossWeights]:
            def put(image: Image) -> Canvas:
                return Canvas(image) if mesh is None else shard(image, mesh, objective)

            content_canvas = put(scaled_job.content)
            # Region masks require plain images, not canvases.
            style_images = (
                scaled_job.styles if scaled_job.regions is not None else [put(style) for style in scaled_job.styles]
            )
            targets = make_targets(
                params, content_canvas, style_images, objective, scaled_job.shares, scaled_job.regions
            )
            weights = scaled_job.weights if resumed is None else resumed.weights
            weights = weights if mesh is None else replicated(weights, mesh)
            if scaled_job.strength is not None and resumed is None:
                mosaic = jnp.asarray(put(mosaic_image(scaled_job)).pixels)
                pixels = jnp.asarray(content_canvas.pixels)
                weights = balance(pixels, mosaic, params, targets, objective, scaled_job.strength, weights)
                del mosaic, pixels
            problem = Problem(params, targets, weights, objective, settings.optimizer)
            final_problem = None
            if settings.whitening:
                problem = problem._replace(targets=whiten(targets, settings.whitening))
                # With exponent 0 the same program minimizes the loss itself.
                final_problem = problem._replace(targets=whiten(targets, 0.0))
            limits = Limits(scaled_job.scales[0].steps, tolerance, callback_every, sum(map(len, histories)))
            pixels = jnp.asarray(put(start).pixels)
            if resumed is None:
                run = initial_run_state(init_state(pixels, *problem))
            else:
                run = restore_state(resumed, pixels, settings.optimizer, limits.steps)
            on_chunk = functools.partial(after_chunk, window=objective.window, weights=weights)
            # Only the image is returned: the rest of the state can be most of the memory in use.
            state, history, status = minimize(run, problem, limits, on_chunk, final_problem)
            best = result_image(state)
            return best if mesh is None else gather(best, *start.shape[:2]), history, status, weights

        for index, scale in enumerate(job.scales):
            if index < len(histories):
                continue
            scaled_job, resumed, snapshot = resize_job(job, scale), snapshot, None
            size = scale.height, scale.width
            image = restore_fixed_pixels(fit(image, *size), scaled_job)
            if resumed is not None and resumed.changed:
                image, resumed = restore_fixed_pixels(best_image(resumed, *size, mesh), scaled_job), None
            scale_objective = dataclasses.replace(settings.objective, window=windows[index])
            shape = "whole" if scale_objective.window is None else f"in windows of {scale_objective.window}"
            log.debug("scale %d of %d: %dx%d, %s", index + 1, len(job.scales), *size[::-1], shape)
            work = functools.partial(optimize, scaled_job, image, resumed)
            # A window at least as large as a device's shard is the same as no window.
            side = max(shard_size(size, scale_objective))
            (image, history, status, balanced), used_window = retry_with_smaller_windows(
                work, scale_objective, side, retry=window == "auto" and resumed is None
            )
            del work, resumed
            windows[index] = used_window
            histories.append(history)
            if status not in COMPLETED:
                break
        # Inside the block: a signal must not discard a finished run.
        rows = np.concatenate(histories)
        return Result(
            image=restore(restore_fixed_pixels(fit(image, *content.shape[:2]), job), content, color),
            losses=Losses(*map(jnp.asarray, rows.T)),
            evaluations=len(rows),
            status=status,
            seconds=time.perf_counter() - start_time,
            window=used_window,
            changed=changed,
            weights=balanced,
            scales=tuple(scale._replace(steps=len(rows)) for scale, rows in zip(job.scales, histories, strict=False)),
        )


def _progress(
    scales: tuple[Scale, ...], histories: list[History], image: Image, history: History, seconds: float
) -> Progress:
    index = len(histories)
    totals = np.where(np.isfinite(history[:, 0]), history[:, 0], np.inf)
    return Progress(
        evaluations=sum(map(len, histories)) + len(history),
        steps=sum(scale.steps for scale in scales),
        losses=Losses(*map(jnp.asarray, history[np.argmin(totals)])),
        image=image,
        seconds=seconds,
        scale=scales[index],
        fraction=completed_fraction(scales, index, len(history)),
    )
