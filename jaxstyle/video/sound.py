"""The sound of a clip, copied packet by packet: it is not encoded again."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from jaxstyle.video.clip import Clip
from jaxstyle.video.decode import opened
from jaxstyle.video.pyav import pyav


class Sound(NamedTuple):
    """A file of FFmpeg that is open, and its stream of sound."""

    container: Any
    stream: Any


@contextlib.contextmanager
def opened_sound(clip: Clip) -> Iterator[Sound | None]:
    """Open a clip for its sound; yields None if it has none."""
    if clip.pictures:
        yield None
        return
    with opened(clip.path) as (container, _):
        stream = container.streams.best("audio")
        yield None if stream is None else Sound(container, stream)


def holds(container: str, sound: Sound) -> bool:
    """Return True if a container, by FFmpeg's name, can hold a clip's sound as it is."""
    av = pyav()
    try:
        # What it lists as supported, it can refuse: QuickTime does so with Opus.
        with av.open(os.devnull, "w", format=container) as output:
            output.add_stream_from_template(sound.stream)
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def sound_that_is_lost(clip: Clip, container: str | None) -> str | None:
    """Return the name of a clip's codec of sound if a container cannot hold it; None if no sound is lost.

    Args:
        clip: from `open_clip`.
        container: FFmpeg's name of it; None for one without sound.
    """
    with opened_sound(clip) as sound:
        if sound is None:
            return None
        if container is not None and holds(container, sound):
            return None
        return sound.stream.codec_context.codec.canonical_name


def sound_packets(sound: Sound, copy: Any, offset: Fraction, end: Fraction, lead: bool) -> Iterator[Any]:
    """Return the packets of a part of the sound.

    Args:
        sound: of the clip.
        copy: stream of the output.
        offset: start of the part on the clip's clock, in seconds.
        end: of the part, in seconds from its start.
        lead: True includes the packet before, which decoders need for the first sound, at a time below 0.
    """
    av = pyav()
    packets = sound.container.demux(sound.stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            # A clip that is cut short: its frames end here as well.
            return
        if packet is None:
            return
        if packet.pts is None or packet.dts is None:
            continue
        base = Fraction(packet.time_base)
        start = packet.pts * base - offset
        if start >= end:
            return
        if start + (1 + lead) * (packet.duration or 0) * base <= 0:
            continue
        shift = round(offset / base)
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
        yield packet
