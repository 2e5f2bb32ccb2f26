"""Write frames as a video: H.264 or VP9 with the clip's own sound, or a GIF. The same frames are the same bytes."""

import heapq
import itertools
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.image.animation import write_gif
from jaxstyle.image.encode import quantized
from jaxstyle.image.io import check_place, load_image
from jaxstyle.video.clip import Clip
from jaxstyle.video.decode import BT709, FULL, LIMITED, exact_scaling
from jaxstyle.video.pyav import pyav
from jaxstyle.video.sound import holds, opened_sound, sound_packets


class Format(NamedTuple):
    """A container: FFmpeg's name, the encoder, the least and the greatest constant rate factor, and its options."""

    container: str
    encoder: str
    best: int
    worst: int
    options: dict[str, str]


# With B-frames, an MP4 of a variable frame rate would be too short: it has the durations of the order of decoding. The
# bytes depend on the number of threads, not on that of the processors.
H264 = {"preset": "medium", "bf": "0", "threads": "4"}
VP9 = {"deadline": "good", "cpu-used": "4", "b": "0", "threads": "1"}
FORMATS = {
    ".mp4": Format("mp4", "libx264", 12, 51, H264),
    ".mov": Format("mov", "libx264", 12, 51, H264),
    ".mkv": Format("matroska", "libx264", 12, 51, H264),
    ".webm": Format("webm", "libvpx-vp9", 20, 63, VP9),
}
# Those with an index of all packets, in which a packet can be before the start.
INDEXED = ("mp4", "mov")
GIF = ".gif"
# Time of a frame in a GIF is in hundredths of a second; below two, players show a tenth instead.
TICKS, MIN_TICKS = 100, 2
# Ticks of a second in which all usual rates are whole numbers.
CLOCK = 90_000
# Of chroma in 4:2:0.
EVEN = 2


def is_video(path: str | os.PathLike[str]) -> bool:
    """Return True for a path that stands for a video file, False for a folder of frames."""
    return Path(path).suffix.lower() in (*FORMATS, GIF)


def side_multiple(path: str | os.PathLike[str]) -> int:
    """Return the number that the sides of a video's frames are multiples of."""
    return EVEN if Path(path).suffix.lower() in FORMATS else 1


def check_video(path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    """Refuse, before a long run, a video that could not be written.

    Args:
        path: of the file.
        size: width and height.

    Raises:
        InputError: for an unknown extension, a place where no file can be written, or a size that the encoder refuses.
    """
    extension = Path(path).suffix.lower()
    if not is_video(path):
        raise InputError(
            f"{path} has the extension {extension!r}, expected one of {', '.join((*FORMATS, GIF))}, or a folder: "
            "a name without extension"
        )
    check_place(path)
    if extension == GIF:
        if max(size) > 65535:
            raise InputError(f"{path}: GIF holds at most 65535 pixels a side, got {size[0]}x{size[1]}: choose .mp4")
        return
    av = pyav()
    format_ = FORMATS[extension]
    encoder = av.CodecContext.create(format_.encoder, "w")
    try:
        _set_up(encoder, format_, size, 95)
        encoder.open()
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: {format_.encoder} does not encode {size[0]}x{size[1]} pixels: lower the size, or write a folder"
        ) from error


def write_video(
    path: str | os.PathLike[str], pictures: Sequence[Path], clip: Clip, quality: int = 95, replace: bool = True
) -> None:
    """Write frames with the times of a clip, and with its sound if the file can hold it; all or nothing.

    Args:
        path: of the file.
        pictures: files of the frames, not more than the clip has; if there are fewer, the video is shorter.
        clip: gives times and sound.
        quality: 1 to 100, of H.264 and VP9.
        replace: False keeps a file that exists.

    Raises:
        InputError: if the file cannot be written.
    """
    av = pyav() if Path(path).suffix.lower() in FORMATS else None
    errors = (OSError,) if av is None else (OSError, av.FFmpegError)
    count = len(pictures)
    times, end = clip.times[:count], (*clip.times, clip.end)[count]
    frames = (_pixels(picture) for picture in pictures)
    try:
        with files.replacing(path, replace) as file:
            if av is None:
                _write_gif(file, frames, times, end)
            else:
                # FFmpeg reads what it has written to put the index first.
                file.close()
                _write(av, file.name, FORMATS[Path(path).suffix.lower()], frames, times, end, clip, quality)
                with open(file.name, "r+b") as written:
                    os.fsync(written.fileno())
    except FileExistsError as error:
        raise InputError(f"cannot write {path}: the file exists; choose another name, or replace=True") from error
    except errors as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {reason}; free space or choose another place") from error


def _write(
    av: Any,
    path: str,
    format_: Format,
    frames: Iterator[np.ndarray],
    times: Sequence[Fraction],
    end: Fraction,
    clip: Clip,
    quality: int,
) -> None:
    # Without it the containers hold a random number.
    options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if format_.container in INDEXED else {})
    starts = [round(CLOCK * time) for time in (*times, end)]
    lengths = {start: after - start for start, after in itertools.pairwise(starts)}
    with av.open(path, "w", format=format_.container, options=options) as output, opened_sound(clip) as sound:
        rate = Fraction(len(times)) / end
        video = output.add_stream(format_.encoder, rate=rate.limit_denominator(100_000))
        first = next(frames)
        _set_up(video.codec_context, format_, (first.shape[1], first.shape[0]), quality)
        packets = [_encoded(av, video, itertools.chain([first], frames), starts)]
        if sound is not None and holds(format_.container, sound):
            copy = output.add_stream_from_template(sound.stream)
            packets.append(sound_packets(sound, copy, clip.offset, end, lead=format_.container in INDEXED))
        # Sound and pictures alternate in the file, as they are played.
        for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
            if packet.stream is video:
                packet.duration = lengths[packet.pts]
            output.mux(packet)


def _set_up(encoder: Any, format_: Format, size: tuple[int, int], quality: int) -> None:
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, CLOCK)
    encoder.color_primaries = encoder.color_trc = encoder.colorspace = BT709
    encoder.color_range = LIMITED
    factor = round(format_.best + (100 - quality) / 99 * (format_.worst - format_.best))
    encoder.options = format_.options | {"crf": str(factor)}


def _encoded(av: Any, video: Any, frames: Iterator[np.ndarray], starts: Sequence[int]) -> Iterator[Any]:
    for pixels, start in zip(frames, starts, strict=False):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=BT709,
            src_color_range=FULL,
            dst_color_range=LIMITED,
            dst_color_trc=BT709,
            dst_color_primaries=BT709,
            interpolation=exact_scaling(av),
            threads=1,
        )
        frame.pts, frame.time_base = start, Fraction(1, CLOCK)
        yield from video.encode(frame)
    yield from video.encode(None)


def _write_gif(file: Any, frames: Iterator[np.ndarray], times: Sequence[Fraction], end: Fraction) -> None:
    starts = [round(TICKS * time) for time in (*times, end)]
    durations = [1000 // TICKS * max(MIN_TICKS, after - start) for start, after in itertools.pairwise(starts)]
    write_gif(file, frames, durations)


def _pixels(path: Path) -> np.ndarray:
    return quantized(str(path), load_image(path, min_side=1), (None, None, 3), "(H, W, 3)", 8)
