"""Videos as files: pixels, times, tags and sound, read by other means than those that wrote them."""

from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest
from video.clips import decoded, gradient, sound_of, write_clip

from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.video.clip import open_clip
from jaxstyle.video.encode import check_video, is_video, side_multiple, write_video
from jaxstyle.video.sound import sound_that_is_lost

pytestmark = pytest.mark.usefixtures("unchecked")

VIDEOS = ("out.mp4", "out.mov", "out.mkv", "out.webm", "out.gif")


@pytest.fixture
def pictures(tmp_path):
    """Write frames as files; returns their paths."""

    def write(count, width=64, height=48):
        paths = [tmp_path / f"{k:05d}.png" for k in range(count)]
        for k, path in enumerate(paths):
            io.save_image(path, np.float32(gradient(k, width, height)) / 255)
        return paths

    return write


@pytest.mark.parametrize("name", VIDEOS)
def test_pixels_and_times(tmp_path, pictures, name):
    times = [0, 40, 200, 230, 1000]
    clip = open_clip(write_clip(tmp_path / "a.mkv", [gradient(0)] * 5, times=times))
    write_video(tmp_path / name, pictures(5), clip)
    shown = decoded(tmp_path / name)
    assert [time for _, time in shown] == pytest.approx([0.001 * time for time in times], abs=0.002)
    for k, (frame, _) in enumerate(shown):
        assert np.abs(np.float32(frame) - gradient(k)).mean() < 3
    with av.open(str(tmp_path / name)) as container:
        # To the end of the last frame.
        assert container.duration == pytest.approx(float(clip.end) * 1e6, abs=12_000)


@pytest.mark.parametrize("name", VIDEOS)
def test_the_same_frames_are_the_same_bytes(tmp_path, pictures, name):
    clip = open_clip(write_clip(tmp_path / "a.mkv", [gradient(0)] * 3, sound="libopus"))
    paths, contents = pictures(3), set()
    for _ in range(2):
        write_video(tmp_path / name, paths, clip)
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "h264"), ("out.mkv", "h264"), ("out.webm", "vp9")])
def test_tags_and_colors(tmp_path, pictures, name, codec):
    """A color that the matrices of BT.601 and BT.709 make differently, by the formula of BT.709."""
    color = np.array([200, 60, 30])
    io.save_image(tmp_path / "1.png", np.broadcast_to(np.float32(color) / 255, (48, 64, 3)))
    clip = open_clip(write_clip(tmp_path / "a.mkv", [gradient(0)]))
    write_video(tmp_path / name, [tmp_path / "1.png"], clip, 100)
    with av.open(str(tmp_path / name)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name.removeprefix("lib"), context.pix_fmt) in ((codec, "yuv420p"), ("vpx-vp9", "yuv420p"))
        frame = next(container.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        if codec == "h264":
            assert (int(frame.color_primaries), int(frame.color_trc)) == (1, 1)
        y, u, v = (np.frombuffer(bytes(plane), np.uint8)[0] for plane in frame.planes)
    r, g, b = color / 255
    bright = 0.2126 * r + 0.7152 * g + 0.0722 * b
    expected = 16 + 219 * bright, 128 + 224 * (b - bright) / 1.8556, 128 + 224 * (r - bright) / 1.5748
    np.testing.assert_allclose((y, u, v), expected, atol=1.6)


def test_quality(tmp_path, pictures):
    clip, paths, sizes = open_clip(write_clip(tmp_path / "a.mkv", [gradient(0)] * 3)), pictures(3, 160, 120), []
    for quality in (1, 50, 100):
        write_video(tmp_path / "out.mp4", paths, clip, quality)
        sizes.append((tmp_path / "out.mp4").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


@pytest.mark.parametrize(
    ("source", "codec", "name"),
    [
        ("a.mp4", "aac", "out.mp4"),
        ("a.mkv", "aac", "out.mov"),
        ("a.mkv", "libopus", "out.webm"),
        ("a.mkv", "libopus", "out.mp4"),
        ("a.mkv", "flac", "out.mkv"),
        ("a.mov", "pcm_s16le", "out.mkv"),
    ],
)
def test_the_sound_is_copied(tmp_path, pictures, source, codec, name):
    clip = open_clip(write_clip(tmp_path / source, [gradient(0)] * 10, sound=codec))
    write_video(tmp_path / name, pictures(10), clip)
    (before, starts), (after, copies) = sound_of(tmp_path / source), sound_of(tmp_path / name)
    # Decoders drop the packet before the first sound, if there is one.
    first = len(before) - len(after)
    assert first in (0, 1)
    assert before[first:] == after
    assert copies == pytest.approx(starts[first:], abs=0.002)


def test_the_sound_of_a_part_is_in_step(tmp_path, pictures):
    """Each packet is as long after the first frame as in the clip."""
    path = write_clip(tmp_path / "a.mp4", [gradient(k) for k in range(20)], sound="aac")
    clip = open_clip(path, start=0.5, end=1.2)
    write_video(tmp_path / "out.mp4", pictures(7), clip)
    (before, starts), (after, copies) = sound_of(path), sound_of(tmp_path / "out.mp4")
    for content, time in zip(after, copies, strict=True):
        places = [start for other, start in zip(before, starts, strict=True) if other == content]
        assert min(abs(place - time - 0.5) for place in places) < 0.001
    assert -0.05 < copies[0] <= 0
    assert copies[-1] == pytest.approx(0.7, abs=0.025)


def test_a_video_of_the_frames_so_far(tmp_path, pictures):
    clip = open_clip(write_clip(tmp_path / "a.mp4", [gradient(0)] * 10, sound="aac"))
    write_video(tmp_path / "out.mp4", pictures(4), clip)
    assert len(decoded(tmp_path / "out.mp4")) == 4
    assert sound_of(tmp_path / "out.mp4")[1][-1] < 0.4


def test_which_sound_is_lost(tmp_path):
    aac = open_clip(write_clip(tmp_path / "a.mp4", [gradient(0)], sound="aac"))
    opus = open_clip(write_clip(tmp_path / "c.mkv", [gradient(0)], sound="libopus"))
    assert [sound_that_is_lost(opus, name) for name in ("mp4", "mov", "matroska", "webm")] == [None, "opus", None, None]
    silent = open_clip(write_clip(tmp_path / "b.mp4", [gradient(0)]))
    assert [sound_that_is_lost(aac, name) for name in ("mp4", "matroska", "webm", None)] == [None, None, "aac", "aac"]
    assert [sound_that_is_lost(silent, name) for name in ("mp4", "webm", None)] == [None] * 3


def test_a_still_gif(tmp_path, pictures):
    clip = open_clip(write_clip(tmp_path / "a.mp4", [gradient(0)]))
    write_video(tmp_path / "out.gif", pictures(1), clip)
    with PIL.Image.open(tmp_path / "out.gif") as file:
        assert np.abs(np.float32(file.convert("RGB")) - gradient(0)).mean() < 3


def test_outputs_that_cannot_be_written(tmp_path, pictures):
    clip = open_clip(write_clip(tmp_path / "a.mp4", [gradient(0)] * 2))
    for name, message in {
        "out.ogv": "has the extension '.ogv', expected one of .mp4, .mov, .mkv, .webm, .gif, or a folder",
        "nowhere/out.mp4": "is not a directory",
        "a.mp4/out.mp4": "is not a directory",
    }.items():
        with pytest.raises(InputError, match=message):
            check_video(tmp_path / name, (64, 48))
    with pytest.raises(InputError, match="libx264 does not encode 65537x64 pixels"):
        check_video(tmp_path / "out.mp4", (65537, 64))
    with pytest.raises(InputError, match="GIF holds at most 65535 pixels a side"):
        check_video(tmp_path / "out.gif", (65537, 64))
    check_video(tmp_path / "out.mp4", (64, 48))
    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(InputError, match="the file exists"):
        write_video(tmp_path / "out.mp4", pictures(2), clip, replace=False)
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    for name in ("out.mp4", "out.gif"):
        with pytest.raises(InputError, match="cannot write"):
            write_video(tmp_path / "nowhere" / name, pictures(2), clip)


def test_names():
    assert [is_video(name) for name in ("a.mp4", "a.MKV", "a.gif", "frames", "frames.d")] == [True] * 3 + [False] * 2
    assert [side_multiple(name) for name in ("a.mp4", "a.webm", "a.gif", "frames")] == [2, 2, 1, 1]
    assert Fraction(1, 90_000) * round(90_000 * Fraction(1001, 30_000)) == Fraction(1001, 30_000)
