"""`stylize_video`: the frames of a video in one style, one after the other, without flicker."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import numpy as np
from jax.sharding import Mesh

from jaxstyle.errors import InputError, check_choice, quote
from jaxstyle.image.ops import check_images
from jaxstyle.minimize.status import COMPLETED
from jaxstyle.objective.base import check_weights
from jaxstyle.objective.targets import normalize_style_weights
from jaxstyle.transfer.presets import settings_of
from jaxstyle.transfer.result import Result
from jaxstyle.transfer.run import Plan
from jaxstyle.transfer.settings import Settings, resolve_settings
from jaxstyle.transfer.validate import FRACTION, check_parameters
from jaxstyle.typing import AnyImage, Params
from jaxstyle.vgg.weights import load_params
from jaxstyle.video.cuts import is_cut
from jaxstyle.video.scene import FlowKind, Options, Scene, next_frame, restore_scene, scene_weights, start_scene
from jaxstyle.video.state import NOTHING, VideoState


def stylize_video(
    frames: Iterable[AnyImage],
    style: AnyImage | Sequence[AnyImage],
    settings: Settings | None = None,
    *,
    params: Params | None = None,
    preset: str | None = None,
    style_weights: Sequence[float] | None = None,
    stability: float = 0.25,
    flow: FlowKind = "optical",
    mesh: Mesh | None = None,
    state: VideoState | None = None,
    callback: Callable[[VideoState], None] | None = None,
    **overrides: Any,
) -> Iterator[Result]:
    """Return the frames of a video in the style of the style image, each as soon as it is done.

    The first frame, and the first one after each cut, is stylized like a picture. Every other frame starts from the
    previous result, moved along with the scene, and takes at most a third of the evaluations; a temporal loss holds it
    to that result where the optical flow can be trusted. The memory does not depend on the number of frames. Ctrl-C and
    the other signals of `stylize` stop the current frame early: its partial result, whose `status` says so, is last.

    Args:
        frames: `(H, W, 3)` float32 RGB in [0, 1], all of one size: any iterable, such as a generator that decodes a
            file. It is read one frame ahead of the results, not more.
        style: one such image of any size, or a sequence of them, which are blended.
        settings: settings of the run; None for those of `preset`.
        params: see `load_params`; the embedded weights if None.
        preset: name of the settings if `settings` is None; the default settings if both are.
        style_weights: relative weight of each style in the blend; equal if None.
        stability: from 0, where only the start of a frame is that of the previous one, to 1, where nothing that the
            flow explains may change.
        flow: "optical" moves the previous result along the optical flow and needs `jaxstyle[video]`. "none" adds to the
            previous result what has changed in the frame.
        mesh: devices that share each frame: see `make_mesh`.
        state: of an earlier call, to go on after its last frame to the same results. `frames` are all those of the
            clip again; only the results of the rest are returned.
        callback: called with the state after each frame, before its result is returned: see `save_video_state`.
        overrides: settings that differ, as for `stylize`.

    Returns:
        An iterator of one `Result` for each frame.

    Raises:
        InputError: for a value of the wrong type or out of range, before anything is computed; for a wrong image when
            it is its turn.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> frames = [js.white_noise(1, 32, 48)] * 2
        >>> options = {"params": params, "steps": 6, "finish": 0, "flow": "none"}
        >>> [result.evaluations for result in js.stylize_video(frames, js.white_noise(2, 40, 32), **options)]
        [6, 2]

    References:
        Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for Videos" (GCPR 2016).
    """
    start_time = time.perf_counter()
    check_parameters({"params": params, "style_weights": style_weights})
    FRACTION("stability", stability)
    check_choice(flow, "flow", get_args(FlowKind))
    if not isinstance(frames, Iterable) or isinstance(frames, str | bytes | dict):
        raise InputError(f"frames is {quote(frames)}, expected a sequence or an iterator of images")
    if state is not None and not isinstance(state, VideoState):
        raise InputError(f"state is {quote(state)}, expected a VideoState, from the callback or load_video_state")
    # Each frame starts from the one before, at its size.
    settings = resolve_settings(settings_of(settings, preset), mesh, **overrides).override(supersample=1.0)
    if settings.temporal_weight:
        raise InputError(f"temporal_weight is {settings.temporal_weight}, expected 0: stability sets it")
    check_weights(settings.weights, settings.objective)
    styles: Any = list(style) if isinstance(style, list | tuple) else [style]
    normalize_style_weights(len(styles), style_weights)
    params = load_params() if params is None else params
    plan = Plan(params, settings.init, settings.window, settings.tolerance, mesh, start_time=start_time)
    options = Options(styles, style_weights, settings, plan, stability, flow)
    return _results(iter(frames), options, state or NOTHING, callback)


def _results(
    frames: Iterator[AnyImage],
    options: Options,
    state: VideoState,
    callback: Callable[[VideoState], None] | None,
) -> Iterator[Result]:
    scene, before = _resumed(frames, options, state) if state.frames else (None, None)
    first = state.scene
    for number, frame in enumerate(frames, state.frames):
        _check_frame(number, frame, options, before)
        plan = options.plan._replace(start_time=time.perf_counter())
        present = options._replace(plan=plan)
        if scene is None or before is None or is_cut(before, frame):
            scene, result = start_scene(frame, present)
            first = number
        else:
            scene, result = next_frame(scene, frame, present)
        before = np.asarray(frame)
        is_complete = result.status in COMPLETED
        if callback is not None and is_complete:
            images = tuple(np.asarray(done.image) for done in scene.past)
            callback(VideoState(number + 1, first, images, scene_weights(scene), scene.window))
        yield result
        if not is_complete:
            return


def _resumed(frames: Iterator[AnyImage], options: Options, state: VideoState) -> tuple[Scene, AnyImage]:
    """Return the scene and the frame after which a video goes on, which takes these frames from the iterator."""
    first, last = None, deque[AnyImage](maxlen=len(state.images))
    for number in range(state.frames):
        frame = next(frames, None)
        if frame is None:
            raise InputError(f"there are {number} frames, expected more than {state.frames}, which the state has done")
        if number == state.scene:
            first = frame
        last.appendleft(frame)
    assert first is not None
    for number, frame in ((state.scene, first), *((state.frames - 1 - k, frame) for k, frame in enumerate(last))):
        _check_frame(number, frame, options, state.images[0])
    return restore_scene(state, first, last, options), np.asarray(last[0])


def _check_frame(number: int, frame: AnyImage, options: Options, like: AnyImage | None) -> None:
    check_images(frame, options.styles, options.settings.min_side)
    if like is not None and frame.shape != like.shape:
        raise InputError(
            f"frame {number + 1} is {frame.shape[1]}x{frame.shape[0]} pixels, expected {like.shape[1]}x"
            f"{like.shape[0]} like the first"
        )
