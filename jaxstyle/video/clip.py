"""A clip: the frames of a video file, of a folder or of a numbered pattern, with their times.

The frames are decoded once to learn their times, which containers do not promise, and again when they are stylized.
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstyle.errors import InputError, check_integer, check_number
from jaxstyle.files import checksum, sha256
from jaxstyle.image import io
from jaxstyle.image.decode import resized_pixels
from jaxstyle.image.ops import fit
from jaxstyle.image.source import readable_extensions
from jaxstyle.typing import AnyImage
from jaxstyle.video import decode

NUMBER = re.compile(r"%0?\d*d")
MAX_RATE = 1000.0


class Clip(NamedTuple):
    """What is known of a clip before its frames are made.

    Attributes:
        path: of the file, the folder or the pattern.
        pictures: files of the frames; empty for a video file.
        size: width and height in pixels, upright, with square pixels.
        selected: which of all frames belong to the clip, from 0.
        times: start of each of them in seconds, from 0.
        end: of the last one in seconds.
        offset: time of the first one on the file's clock, in seconds.
    """

    path: Path
    pictures: tuple[Path, ...]
    size: tuple[int, int]
    selected: tuple[int, ...]
    times: tuple[Fraction, ...]
    end: Fraction
    offset: Fraction


def open_clip(
    path: str | os.PathLike[str],
    start: float = 0.0,
    end: float | None = None,
    every: int = 1,
    rate: float = 25.0,
    max_pixels: int = io.MAX_PIXELS,
) -> Clip:
    """Return the frames of a clip that are asked for, and when each is shown.

    Args:
        path: a file that FFmpeg reads, a folder of pictures in the order of their numbers, or a pattern of such
            pictures, `frames/%05d.png`.
        start: time of the first frame in seconds, 0 or more.
        end: seconds, where the clip ends; None for all of it.
        every: 2 takes every second frame, and so on.
        rate: frames per second of pictures; a file has its own times.
        max_pixels: largest number of pixels of a frame.

    Raises:
        InputError: for what cannot be read, has no frames, or is in high dynamic range.
    """
    check_number(start, "start", 0)
    if end is not None:
        check_number(end, "end", 0)
        if end <= start:
            raise InputError(f"end is {end:g}, expected seconds after the start, {start:g}")
    check_integer(every, "every", 1, 1_000_000)
    check_number(rate, "rate", 1 / MAX_RATE, MAX_RATE)
    path = Path(path)
    pictures = _pictures(path)
    if pictures:
        width, height = _size_of(pictures, max_pixels)
        frame = 1 / _exact(rate)
        times, last, origin = [k * frame for k in range(len(pictures))], len(pictures) * frame, Fraction(0)
    else:
        times, last, origin, (width, height) = decode.scan(path, max_pixels)
    limit = last if end is None else min(last, _exact(end))
    selected = [k for k, time in enumerate(times) if _exact(start) <= time < limit][::every]
    if not selected:
        raise InputError(f"start is {start:g}, but {path} is {float(last):.3g} seconds long: expected less")
    first = times[selected[0]]
    shown = tuple(times[k] - first for k in selected)
    return Clip(path, pictures, (width, height), tuple(selected), shown, limit - first, origin + first)


def target_size(clip: Clip, side: int | None, min_side: int, multiple: int = 1) -> tuple[int, int]:
    """Return width and height of the stylized frames.

    Args:
        clip: from `open_clip`.
        side: long side in pixels; None keeps the clip's size.
        min_side: least pixels of each side.
        multiple: sides are multiples of it, rounded down, as far as `min_side` allows.

    Raises:
        InputError: for frames that are too small.
    """
    sides = io.target_size(str(clip.path), clip.size, side, enlarge=True, min_side=min_side)
    least = math.ceil(min_side / multiple) * multiple
    width, height = (max(least, n - n % multiple) for n in sides)
    return width, height


def clip_frames(clip: Clip, size: tuple[int, int], numbers: range | None = None) -> Iterator[AnyImage]:
    """Decode the frames of a clip, one by one.

    Args:
        clip: from `open_clip`.
        size: width and height of the frames.
        numbers: which of them, from 0; None for all.

    Yields:
        `(H, W, 3)` float32 in [0, 1].

    Raises:
        InputError: for a file that has changed, or cannot be read any more.
    """
    width, height = size
    selected = clip.selected if numbers is None else [clip.selected[number] for number in numbers]
    if clip.pictures:
        for k in selected:
            yield np.asarray(fit(io.load_image(clip.pictures[k], min_side=1), height, width), np.float32)
        return
    for pixels in decode.selected_frames(clip.path, selected):
        yield np.asarray(resized_pixels(pixels, size), np.float32)


def clip_checksum(clip: Clip) -> str:
    """Return a checksum of all that is read of a clip."""
    parts = [checksum(path) for path in clip.pictures or (clip.path,)]
    return sha256(*(part.encode() for part in parts))


def _exact(seconds: float) -> Fraction:
    """Return the decimal number that was meant: 0.1 is a frame's time, and not a little more."""
    return Fraction(seconds).limit_denominator(1_000_000)


def _pictures(path: Path) -> tuple[Path, ...]:
    """Return the files of a folder or a pattern, in the order of their numbers; nothing for a video file."""
    try:
        if path.is_dir():
            extensions = readable_extensions()
            frames = [each for each in path.iterdir() if each.suffix.lower() in extensions and each.name[0] != "."]
            expected = "expected frames such as 00001.png"
        elif not path.exists() and NUMBER.search(path.name):
            name = re.compile(r"\d+".join(map(re.escape, NUMBER.split(path.name))))
            frames = [each for each in path.parent.iterdir() if name.fullmatch(each.name)]
            expected = "expected the files of its numbers"
        else:
            return ()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}; expected frames") from error
    if not frames:
        raise InputError(f"{path} has no pictures, {expected}")
    return tuple(sorted(frames, key=_natural))


def _natural(path: Path) -> tuple[list[int | str], str]:
    """Sort key in which 10 comes after 9. Texts and numbers alternate."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)], path.name


def _size_of(pictures: Sequence[Path], max_pixels: int) -> tuple[int, int]:
    """Return width and height of pictures that must be of one size, from their headers."""
    height, width = io.picture_size(pictures[0], min_side=1, max_pixels=max_pixels)
    for path in pictures[1:]:
        other = io.picture_size(path, min_side=1, max_pixels=max_pixels)
        if other != (height, width):
            raise InputError(
                f"{path} is {other[1]}x{other[0]} pixels, expected {width}x{height} like {pictures[0].name}"
            )
    return width, height
