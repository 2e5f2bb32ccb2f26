"""`stylize`: a whole run from content and style to a result, one scale after the other."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxstyle.guards import permissive
from jaxstyle.image.color import restore
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.checkpoint import Checkpoint, Snapshot
from jaxstyle.minimize.checkpoint_file import PathLike
from jaxstyle.minimize.step import result_image
from jaxstyle.objective.base import Losses
from jaxstyle.objective.mesh import gather
from jaxstyle.transfer.change import Change, Changing
from jaxstyle.transfer.job import Job, make_job
from jaxstyle.transfer.presets import settings_of
from jaxstyle.transfer.pyramid import completed_fraction
from jaxstyle.transfer.result import Progress, Result
from jaxstyle.transfer.run import Plan, Revision, run_jobs, with_checkpoint
from jaxstyle.transfer.settings import Settings, resolve_settings
from jaxstyle.transfer.stage import Stage, scales_of, stages_of
from jaxstyle.transfer.validate import check_parameters
from jaxstyle.typing import AnyImage, Params
from jaxstyle.vgg.weights import load_params

Callback = Callable[[Progress], bool | Change | None]


@permissive()
def stylize(
    content: AnyImage,
    style: AnyImage | Sequence[AnyImage],
    settings: Settings | None = None,
    *,
    params: Params | None = None,
    preset: str | None = None,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
    mesh: Mesh | None = None,
    callback: Callback | None = None,
    callback_every: int | None = None,
    checkpoint: Checkpoint | PathLike | None = None,
    **overrides: Any,
) -> Result:
    """Return the content image in the style of the style image.

    Minimizes `content + style + tv + edges` over the pixels (formulas: gatys.py, edges.py), from the image `init`. With
    several `scales`, the run goes from coarse to fine (see `pyramid`): each scale starts from the upsampled best image
    of the previous one, with a fresh optimizer state. The optimizer follows the gradient of a surrogate loss with
    whitened style residuals (see `whiten`), which takes fewer evaluations. The reported losses and the best image are
    those of the loss itself. When the surrogate makes slow progress, the run continues with the gradient of the loss
    itself. Ctrl-C or SIGTERM, SIGHUP, SIGUSR1 and SIGXCPU end the run after the current chunk of steps with the best
    image so far; a second Ctrl-C or SIGTERM has its default effect. An image whose loss or gradient is not finite is
    rejected, and the run continues from a better one; the run ends if the first one is rejected, or if a check, made
    every 20 evaluations, finds that the last 20 were rejected.

    Args:
        content: `(H, W, 3)` float32 RGB in [0, 1].
        style: one such image of any size, or a sequence of them, which are blended.
        settings: settings of the run; None for those of `preset`.
        params: see `load_params`; the embedded weights if None.
        preset: name of the settings if `settings` is None; the default settings if both are.
        style_weights: relative weight of each style in the blend; equal if None.
        regions: masks that assign styles to parts of the content, and parts that keep the content: see `Regions`.
        mesh: devices that share the image: see `make_mesh`.
        callback: called about once a second, between chunks of steps, with a `Progress`; returning True stops the run,
            and a `Change` continues it with other weights, colors or styles.
        callback_every: if given, the callback is also called at every multiple of this number of evaluations.
        checkpoint: file for the state of the run, from which a later run resumes: see `Checkpoint`; if it is a path,
            the state is saved once a minute.
        overrides: settings that differ, by the names of the attributes of `Settings`, such as `steps=50` or
            `strength=0.5`. `objective=Objective(...)` and `weights=LossWeights(...)` stand for all their attributes. A
            value of None changes nothing, but `window=None`, which evaluates the whole image at once.

    Returns:
        The result.

    Raises:
        InputError: for a value of the wrong type or out of range, before anything is computed.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> result = js.stylize(content, style, params=params, steps=5, finish=2)
        >>> result.image.shape, result.evaluations, str(result.status)
        ((32, 48, 3), 7, 'step limit')

    References:
        Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
    """
    start_time = time.perf_counter()
    check_parameters(
        {"params": params, "callback": callback, "callback_every": callback_every, "checkpoint": checkpoint}
    )
    settings = resolve_settings(settings_of(settings, preset), mesh, **overrides)
    styles = list(style) if isinstance(style, list | tuple) else [style]

    def make(styles: Sequence[Any], settings: Settings) -> Job:
        return make_job(content, styles, settings, style_weights=style_weights, regions=regions)

    changing = Changing(styles, settings, make)
    stages = stages_of([changing.job], settings)
    params = load_params() if params is None else params
    plan = Plan(
        params,
        settings.init,
        settings.window,
        settings.tolerance,
        mesh,
        callback_every=callback_every,
        start_time=start_time,
    )
    if checkpoint is not None:
        arguments = {"content": content, "styles": styles}
        arguments |= {"style_weights": style_weights, "regions": regions}
        plan = with_checkpoint(plan, checkpoint, settings, arguments)
    if callback is not None:

        def respond(snapshot: Snapshot) -> bool | Revision | None:
            answer = callback(_progress(changing.job, stages, snapshot, mesh))
            return changing.revise(answer) if isinstance(answer, Change) else answer

        plan = plan._replace(callback=respond)
    return run_jobs([changing.job], stages, plan)[0]


def _progress(job: Job, stages: Sequence[Stage], snapshot: Snapshot, mesh: Mesh | None) -> Progress:
    scales, (history,) = scales_of(job, stages), snapshot.run_state.histories
    done, size = sum(len(rows) for (rows,) in snapshot.histories), snapshot.sizes[0]
    image = result_image(snapshot.run_state.state)
    if job.color == "style":
        # A copy: the next chunk reuses the state's buffers, and a callback may store the image.
        image = jnp.array(image, copy=True)
    else:
        image = restore(gather(image, *size) if mesh is not None else image, job.original, job.color)
    # Losses of before a change cannot be compared with those after it.
    history = history[snapshot.run_state.objective_starts[0] :]
    totals = np.where(np.isfinite(history[:, 0]), history[:, 0], np.inf)
    return Progress(
        evaluations=done + snapshot.run_state.done,
        steps=sum(scale.steps for scale in scales),
        losses=Losses(*map(jnp.asarray, history[np.argmin(totals)])),
        image=image,
        seconds=snapshot.seconds,
        scale=scales[snapshot.stage],
        fraction=completed_fraction(scales, snapshot.stage, snapshot.run_state.done),
    )
