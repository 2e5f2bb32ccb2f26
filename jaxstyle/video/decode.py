"""Decode video files with FFmpeg to upright frames in sRGB."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.errors import InputError
from jaxstyle.video.pyav import pyav

log = logging.getLogger(__name__)

# Numbers of ITU-T H.273. Matrices that the scaler knows, by the number in the file.
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
UNKNOWN, BT709, BT601 = (0, 2, 3), 1, 5
HDR = {16: "PQ", 18: "HLG"}
LIMITED, FULL = 1, 2
# A frame larger than standard definition, without a matrix, is taken for high definition, as players do.
SD_WIDTH, SD_HEIGHT = 1024, 576
# Frames that are shown at the same time as the one before are shown this long after it.
TICK = Fraction(1, 1000)


class Scan(NamedTuple):
    """What is learned of a file.

    Attributes:
        times: start of each frame in seconds, from 0.
        end: of the last one in seconds.
        origin: time of the first one on the file's clock, in seconds.
        size: width and height in pixels, upright, with square pixels.
    """

    times: list[Fraction]
    end: Fraction
    origin: Fraction
    size: tuple[int, int]


def scan(path: Path, max_pixels: int) -> Scan:
    """Decode a file for the times of its frames.

    Raises:
        InputError: for a file without frames, one that cannot be read, or in high dynamic range.
    """
    times: list[Fraction] = []
    size, last, damaged = (0, 0), Fraction(0), [0]
    with opened(path) as (container, stream):
        gap = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        for frame in _decoded(path, container, stream, damaged):
            if not times:
                size = _upright_size(stream, frame)
                _check(path, frame, max_pixels)
            time = _time(frame)
            if len(times) > 1:
                gap = times[-1] - times[-2]
            if times:
                time = times[-1] + gap if time is None else max(time, times[-1] + TICK)
            times.append(time or Fraction(0))
            last = frame.duration * frame.time_base if frame.duration and frame.time_base else Fraction(0)
        # Others count what is not there: AVI also the pauses.
        expected = stream.frames if "mp4" in container.format.name else 0
    if not times:
        raise InputError(f"{path} has no frame that can be decoded: it is empty, cut short or damaged; use another one")
    if damaged[0] or len(times) < expected:
        log.warning(
            "%s is damaged or cut short: %d of %d frames can be read", path, len(times), max(expected, *damaged)
        )
    last = last or (times[-1] - times[-2] if len(times) > 1 else gap)
    return Scan([time - times[0] for time in times], times[-1] + last - times[0], times[0], size)


def selected_frames(path: Path, selected: Sequence[int]) -> Iterator[np.ndarray]:
    """Decode some frames of a file.

    Args:
        path: of the file.
        selected: numbers of the frames, from 0, in order.

    Yields:
        The frames, `(H, W, 3)` of 8 bits, upright. Their pixels may not be square.

    Raises:
        InputError: if the file has fewer frames.
    """
    rest = iter(selected)
    number = next(rest, None)
    with opened(path) as (container, stream):
        for k, frame in enumerate(_decoded(path, container, stream, [0])):
            if number is None:
                return
            if k == number:
                yield np.ascontiguousarray(np.rot90(rgb(frame), round(frame.rotation / 90)))
                number = next(rest, None)
    if number is not None:
        raise InputError(f"{path} has no frame {number + 1} any more: expected the file as it was before")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file; yields the container and its video stream.

    Raises:
        InputError: for a file that is no video.
    """
    av = pyav()
    try:
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise InputError(f"{path} is empty, expected a video")
        container = av.open(os.fspath(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}; expected a video, a folder of frames, "
            "or a pattern such as frames/%05d.png"
        ) from error
    with container:
        # The cover of a song is a picture, too.
        streams = [each for each in container.streams.video if not _is_cover(av, each)]
        if not streams:
            raise InputError(f"{path} has no pictures, only sound or text: expected a video")
        yield container, container.streams.best("video") if len(streams) > 1 else streams[0]


def _is_cover(av: Any, stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _decoded(path: Path, container: Any, stream: Any, damaged: list[int]) -> Iterator[Any]:
    """Decode all frames; packets that cannot be decoded are left out and counted."""
    av = pyav()
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            log.debug("%s: %s", path, error)
            damaged[0] += 1
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError) as error:
            log.debug("%s: %s", path, error)
            damaged[0] += 1
            continue
        yield from frames


def _time(frame: Any) -> Fraction | None:
    return None if frame.pts is None or not frame.time_base else frame.pts * Fraction(frame.time_base)


def _check(path: Path, frame: Any, max_pixels: int) -> None:
    """Refuse frames whose colors would be wrong, or that are too large."""
    if frame.width * frame.height > max_pixels:
        raise InputError(f"{path} has {frame.width}x{frame.height} pixels, expected at most max_pixels={max_pixels}")
    transfer = HDR.get(int(frame.color_trc))
    if transfer is not None:
        raise InputError(
            f"{path} is in high dynamic range ({transfer}), expected standard range: convert it first, such as to "
            "BT.709"
        )
    if not _is_rgb(frame) and int(frame.colorspace) not in (*MATRICES, *UNKNOWN):
        raise InputError(f"{path} has the color matrix {int(frame.colorspace)}, expected BT.601, BT.709 or BT.2020")


def _is_rgb(frame: Any) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _upright_size(stream: Any, frame: Any) -> tuple[int, int]:
    """Width and height as the frame is shown, with square pixels."""
    width, height = max(1, round(frame.width * Fraction(stream.sample_aspect_ratio or 1))), frame.height
    return (height, width) if round(frame.rotation / 90) % 2 else (width, height)


def rgb(frame: Any) -> np.ndarray:
    """Convert a frame to `(H, W, 3)` of 8 bits, by its own matrix and range."""
    av = pyav()
    if _is_rgb(frame):
        return frame.reformat(format="rgb24").to_ndarray()
    matrix = MATRICES.get(int(frame.colorspace))
    if matrix is None:
        matrix = BT709 if frame.width > SD_WIDTH or frame.height > SD_HEIGHT else BT601
    is_full = int(frame.color_range) == FULL or frame.format.name.startswith(("yuvj", "gray"))
    converted = frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=FULL if is_full else LIMITED,
        dst_color_range=FULL,
        interpolation=exact_scaling(av),
        # Some of the scaler's paths round differently by the number of threads.
        threads=1,
    )
    return converted.to_ndarray()


def exact_scaling(av: Any) -> Any:
    """Return the flags of the scaler without which its colors are off by up to 3 of 255 levels."""
    flags = av.video.reformatter.Interpolation
    return flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT | flags.FULL_CHR_H_INP | flags.BITEXACT
