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
    clock=1000,
    sound=None,
    rotation=0,
    matrix=1,
    full=False,
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
        video.codec_context.time_base = Fraction(1, clock)
        context = video.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = (
            matrix,
            2 if full else 1,
            1,
            1,
        )
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
            picture.pts, picture.time_base = start * clock // 1000, Fraction(1, clock)
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


# Weights of red and blue in the brightness, by the number of the matrix.
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


def write_yuv(path, frames, *, matrix, full, bits, tag=True, transfer=1):
    """Write frames without loss as 4:2:0 by the formulas of ITU-R BT.601, BT.709 and BT.2020."""
    red, blue = LUMA[matrix]
    height, width, _ = frames[0].shape
    unit, kind = 2 ** (bits - 8), np.uint8 if bits == 8 else np.uint16
    with av.open(str(path), "w") as output:
        video = output.add_stream("ffv1", rate=10)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p" if bits == 8 else "yuv420p10le"
        if tag:
            context = video.codec_context
            context.colorspace, context.color_range, context.color_trc = matrix, 2 if full else 1, transfer
        for number, pixels in enumerate(frames):
            r, g, b = np.moveaxis(pixels / 255, -1, 0)
            y = red * r + (1 - red - blue) * g + blue * b
            u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
            u, v = (part.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for part in (u, v))
            if full:
                planes = (y * (2**bits - 1), u * (2**bits - 1) + 128 * unit, v * (2**bits - 1) + 128 * unit)
            else:
                planes = ((16 + 219 * y) * unit, (128 + 224 * u) * unit, (128 + 224 * v) * unit)
            frame = av.VideoFrame(width, height, video.pix_fmt)
            for plane, values in zip(frame.planes, planes, strict=True):
                buffer = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
                buffer[:, : values.shape[1]] = np.rint(values)
                plane.update(buffer.tobytes())
            if tag:
                frame.colorspace, frame.color_range, frame.color_trc = matrix, 2 if full else 1, transfer
            frame.pts, frame.time_base = number, Fraction(1, 10)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def write_sound(path, seconds=0.5):
    """Write a file of sound alone."""
    with av.open(str(path), "w") as output:
        audio = output.add_stream("aac", rate=48_000)
        audio.layout = "mono"
        sample = av.AudioFrame.from_ndarray(np.zeros((1, int(48_000 * seconds)), np.float32), "fltp", "mono")
        sample.sample_rate, sample.pts = 48_000, 0
        output.mux(audio.encode(sample))
        output.mux(audio.encode(None))
    return path
