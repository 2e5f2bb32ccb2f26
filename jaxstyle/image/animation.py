"""Images as the frames of a GIF or WebP file."""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from jax.typing import ArrayLike
from jaxtyping import UInt8

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.image.encode import quantized
from jaxstyle.image.io import check_place

PathLike = str | os.PathLike[str]
Frame = UInt8[np.ndarray, "height width 3"]

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
# Long side of a frame at most: an animation is larger than a picture.
MAX_FRAME_SIDE = 512
FRAME_MILLISECONDS, LAST_FRAME_MILLISECONDS = 100, 3000


def frame_of(image: ArrayLike, height: int, width: int) -> Frame:
    """Convert an image to a frame.

    Args:
        image: `(h, w, 3)` floats in [0, 1], of any size.
        height: height of the picture in pixels; its frames are smaller if it is large.
        width: width of the picture.

    Example:
        >>> frame_of(np.ones((32, 48, 3), np.float32), 1024, 1536).shape
        (341, 512, 3)
    """
    scale = min(1.0, MAX_FRAME_SIDE / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    pixels = PIL.Image.fromarray(quantized("image", image, (None, None, 3), "(H, W, 3)", 8))
    return np.asarray(pixels.resize(size, PIL.Image.Resampling.LANCZOS))


def save_animation(path: PathLike, frames: Sequence[Frame], quality: int = 95) -> None:
    """Write frames of one size; the last one stays for three seconds, and all start again. An old file is replaced.

    Args:
        path: the file, ending in .gif or .webp.
        frames: at least one.
        quality: 1 to 100, for WebP. GIF has 256 colors per frame.

    Raises:
        InputError: for a path that cannot be written.
    """
    check_animation(path)
    first, *others = [PIL.Image.fromarray(frame) for frame in frames]
    durations = [*[FRAME_MILLISECONDS] * len(others), LAST_FRAME_MILLISECONDS]
    stream, format_ = io.BytesIO(), FORMATS[Path(path).suffix.lower()]
    first.save(stream, format_, save_all=True, append_images=others, duration=durations, loop=0, quality=quality)
    try:
        with files.replacing(path) as file:
            file.write(stream.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; free space or choose another place") from error


def write_gif(file: BinaryIO, frames: Iterable[Frame], durations: Sequence[int]) -> None:
    """Write a GIF that starts again at its end, each frame with a palette of its own.

    Args:
        file: open for writing.
        frames: at least one.
        durations: of each in milliseconds, multiples of 10.
    """
    first, *others = (PIL.Image.fromarray(frame).quantize(256) for frame in frames)
    first.save(file, "GIF", save_all=True, append_images=others, duration=list(durations), loop=0, optimize=False)


def check_animation(path: PathLike) -> None:
    """Raise InputError, before a long run, for a path that `save_animation` could not write."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{path} is no animation, expected one of {', '.join(FORMATS)}")
    check_place(path)
