"""Clips made on the fly, and an independent way to read them."""

from fractions import Fraction

import av
import numpy as np


def gradient(number, width=64, height=48):
    """A frame of smooth colors, which 4:2:0 keeps, and that tells its number by its brightness."""
    rows, columns = np.mgrid[:height, :width]
    light = 40 + 12 * number
    frame = np.stack([light + columns, light + rows, light + (columns + rows) / 2], -1)
    return np.clip(frame, 0, 255).astype(np.uint8)


def write_clip(
    path,
    frames,
    *,
    codec="libx264",
    pix_fmt="yuv420p",
    times=None,
    rate=10,
    sound=None,
    rotation=0,
    matrix=1,
    full=False,
    transfer=None,
    sound_seconds=None,
    **options,
):
    """Write frames of 8 bits; `times` are in thousandths of a second; `sound` is the name of a codec."""
    frames = list(frames)
    height, width, _ = frames[0].shape
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.options = {"crf": "4", **options} if codec == "libx264" else options
        video.time_base = Fraction(1, 1000) if codec != "gif" else Fraction(1, 100)
        if codec != "gif":
            context = video.codec_context
            context.colorspace, context.color_range = matrix, 2 if full else 1
            context.color_primaries, context.color_trc = 1, transfer or 1
        if rotation:
            video.set_display_rotation(rotation)
        audio = output.add_stream(sound, rate=48_000) if sound else None
        if audio is not None:
            audio.layout = "mono"
        starts = times or [round(1000 * k / rate) for k in range(len(frames))]
        for frame, start in zip(frames, starts, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if not pix_fmt.startswith(("rgb", "pal")):
                picture = picture.reformat(
                    format=pix_fmt, dst_colorspace=matrix, src_color_range=2, dst_color_range=2 if full else 1
                )
            ticks = video.time_base.denominator / 1000
            picture.pts, picture.time_base = round(start * ticks), video.time_base
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        if audio is not None:
            seconds = sound_seconds or len(frames) / rate
            wave = np.sin(2 * np.pi * 440 * np.arange(int(48_000 * seconds)) / 48_000)
            kind = audio.codec_context.format.name
            wave = (wave * 30_000).astype(np.int16) if kind.startswith("s16") else wave.astype(np.float32)
            sample = av.AudioFrame.from_ndarray(wave[None], format=kind, layout="mono")
            sample.sample_rate, sample.pts = 48_000, 0
            output.mux(audio.encode(sample))
            output.mux(audio.encode(None))
    return path


def decoded(path):
    """Frames and their times in seconds, by FFmpeg's own conversion."""
    with av.open(str(path)) as container:
        return [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)]


def sound_of(path):
    """Bytes of all packets of the sound, and their times."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        return [bytes(packet) for packet in packets], [float(packet.pts * packet.time_base) for packet in packets]
