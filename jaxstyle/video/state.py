"""What a video needs to go on after a frame, and the file that keeps it: the clip and the styles are read again."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.errors import InputError
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint_file import Contents
from jaxstyle.objective.base import LossWeights
from jaxstyle.typing import AnyImage

PathLike = str | os.PathLike[str]


class VideoState(NamedTuple):
    """A video after some of its frames.

    Attributes:
        frames: number of frames that are done.
        scene: number of the first frame of their last scene, from 0.
        images: results of the last frames of the scene, at most four and the last one first, before the content's
            colors are restored.
        weights: of each stage of the scene's later frames.
        window: in which the scene's first frame was evaluated; None for the whole frame.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> frames, style = [js.white_noise(1, 32, 48)] * 2, js.white_noise(2, 32, 40)
        >>> states = []
        >>> options = {"params": params, "steps": 2, "scales": 1, "finish": 0, "flow": "none"}
        >>> for result in js.stylize_video(frames, style, callback=states.append, **options):
        ...     pass
        >>> [state.frames for state in states]
        [1, 2]
    """

    frames: int
    scene: int
    images: tuple[AnyImage, ...]
    weights: tuple[LossWeights, ...]
    window: int | None


# Of a video that has not begun.
NOTHING = VideoState(0, 0, (), (), None)


def save_video_state(path: PathLike, state: VideoState, note: Mapping[str, Any] | None = None) -> None:
    """Write the state of a video; the file replaces an older one atomically.

    Args:
        path: of the file.
        state: from the callback of `stylize_video`.
        note: values that JSON can store, for the caller.

    Raises:
        OSError: if the file system refuses.

    Example: see `load_video_state`.
    """
    tensors = {f"images.{k}": np.asarray(image) for k, image in enumerate(state.images)}
    tensors |= {
        f"weights.{k}.{name}": np.asarray(value)
        for k, weights in enumerate(state.weights)
        for name, value in weights._asdict().items()
    }
    video = {name: getattr(state, name) for name in ("frames", "scene", "window")}
    video |= {"stages": len(state.weights), "images": len(state.images)}
    metadata = {"video": video, "note": dict(note or {})}
    checkpoint_file.write(path, Contents(tensors, metadata))


def load_video_state(path: PathLike) -> VideoState:
    """Read the state of a video.

    Args:
        path: of the file that `save_video_state` wrote.

    Returns:
        The state.

    Raises:
        InputError: for a file that cannot be read, is damaged, or is no state of a video.

    Example:
        >>> import tempfile, jaxstyle as js
        >>> state = VideoState(3, 0, (js.white_noise(1, 4, 6),), (), None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     js.save_video_state(f"{folder}/run.state", state)
        ...     loaded = load_video_state(f"{folder}/run.state")
        >>> loaded.frames, loaded.images[0].shape
        (3, (4, 6, 3))
    """
    tensors, metadata = checkpoint_file.read(path)
    try:
        video = metadata["video"]
        weights = tuple(
            LossWeights(*(jnp.asarray(tensors[f"weights.{k}.{name}"]) for name in LossWeights._fields))
            for k in range(video["stages"])
        )
        images = tuple(tensors[f"images.{k}"] for k in range(video["images"]))
        if video["frames"] and not images:
            raise KeyError("images.0")
        return VideoState(video["frames"], video["scene"], images, weights, video["window"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no state of a video: expected a file that save_video_state wrote") from error
