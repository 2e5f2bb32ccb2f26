"""Clips as frames: times, orientation and colors; and one sentence for what is no clip."""

import struct
from fractions import Fraction

import numpy as np
import PIL.Image
import pytest
from video.clips import decoded, gradient, write_clip, write_sound, write_yuv

from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.video.clip import clip_checksum, clip_frames, open_clip, target_size

pytestmark = pytest.mark.usefixtures("unchecked")


def levels(clip, size=None):
    """Frames on the scale of 0 to 255."""
    return [255 * frame for frame in clip_frames(clip, size or clip.size)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi"])
def test_frames_and_times_are_those_of_the_file(tmp_path, name):
    frames = [gradient(k) for k in range(5)]
    clip = open_clip(write_clip(tmp_path / name, frames, clock=10, bf="0" if name == "a.avi" else "3"))
    assert clip.size == (64, 48)
    assert clip.times == tuple(Fraction(k, 10) for k in range(5))
    assert clip.end == Fraction(1, 2)
    for made, frame, (other, _) in zip(levels(clip), frames, decoded(tmp_path / name), strict=True):
        assert np.abs(made - frame).mean() < 1
        assert np.abs(made - other).max() < 6


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_colors_are_by_the_matrix_and_the_range_of_the_file(tmp_path, matrix, full, bits):
    frames = [gradient(3)]
    clip = open_clip(write_yuv(tmp_path / "a.mkv", frames, matrix=matrix, full=full, bits=bits))
    assert np.abs(levels(clip)[0] - frames[0]).max() < 2.1
    assert abs(np.mean(levels(clip)[0] - frames[0])) < 0.3


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), 5), ((1280, 720), 1)])
def test_without_a_matrix_large_frames_are_of_high_definition(tmp_path, size, matrix):
    frame = np.broadcast_to(np.uint8([200, 60, 30]), (size[1], size[0], 3))
    clip = open_clip(write_yuv(tmp_path / "a.mkv", [frame], matrix=matrix, full=False, bits=8, tag=False))
    assert np.abs(levels(clip)[0] - frame).max() < 2.1


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused(tmp_path, transfer):
    path = write_yuv(tmp_path / "a.mkv", [gradient(0)], matrix=9, full=False, bits=10, transfer=transfer)
    with pytest.raises(InputError, match=r"is in high dynamic range \((PQ|HLG)\), expected standard range"):
        open_clip(path)


def test_rotated_clips_are_upright(tmp_path):
    """The matrix in the header is compared with its definition in ISO/IEC 14496-12: x' = a x + c y, y' = b x + d y."""
    one, corner = 1 << 16, np.zeros((48, 64, 3), np.uint8)
    corner[:24, :32] = 200
    turns = {(0, one, -one, 0): -1, (-one, 0, 0, -one): 2, (0, -one, one, 0): 1}
    for angle in (90, 180, 270):
        path = write_clip(tmp_path / f"{angle}.mp4", [corner], rotation=angle)
        data = path.read_bytes()
        (turn,) = [
            turn for (a, b, c, d), turn in turns.items() if struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) in data
        ]
        expected = np.rot90(corner, turn)
        clip = open_clip(path)
        assert clip.size == (expected.shape[1], expected.shape[0])
        assert np.abs(levels(clip)[0] - expected).mean() < 3


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [gradient(0)], **{"x264-params": "sar=3/2"})
    clip = open_clip(path)
    assert clip.size == (96, 48)
    wide = PIL.Image.fromarray(gradient(0)).resize((96, 48), PIL.Image.Resampling.BICUBIC)
    assert np.abs(levels(clip)[0] - np.asarray(wide)).max() < 4


def test_variable_frame_rate(tmp_path):
    times = [0, 40, 200, 230, 1000]
    clip = open_clip(write_clip(tmp_path / "a.mkv", [gradient(k) for k in range(5)], times=times))
    assert [float(time) for time in clip.times] == pytest.approx([0.001 * time for time in times])
    assert clip.end > 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start": 0.2}, (2, 3, 4, 5, 6, 7)),
        ({"end": 0.3}, (0, 1, 2)),
        ({"start": 0.1, "end": 0.45}, (1, 2, 3, 4)),
        ({"every": 3}, (0, 3, 6)),
        ({"start": 0.15, "every": 2, "end": 0.7}, (2, 4, 6)),
    ],
)
def test_a_part_of_the_frames(tmp_path, options, expected):
    path = write_clip(tmp_path / "a.mp4", [gradient(k) for k in range(8)])
    clip = open_clip(path, **options)
    assert clip.selected == expected
    assert clip.times == tuple(Fraction(k - expected[0], 10) for k in expected)
    assert clip.offset == Fraction(expected[0], 10)
    for frame, k in zip(levels(clip), expected, strict=True):
        assert np.abs(frame - gradient(k)).mean() < 1
    # What is left out at the end is no pause.
    assert float(clip.end) == pytest.approx(min(0.8, options.get("end", 9)) - expected[0] / 10)


def test_one_frame(tmp_path):
    clip = open_clip(write_clip(tmp_path / "a.mp4", [gradient(0)]))
    assert (clip.times, clip.end) == ((Fraction(0),), Fraction(1, 10))
    assert len(levels(clip)) == 1


def test_a_gif_with_times_of_its_own(tmp_path):
    pictures = [PIL.Image.fromarray(gradient(k)) for k in (0, 4, 8)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 300, 200])
    clip = open_clip(tmp_path / "a.gif")
    assert [float(time) for time in clip.times] == pytest.approx([0, 0.1, 0.4])
    assert float(clip.end) == pytest.approx(0.6)
    for frame, k in zip(levels(clip), (0, 4, 8), strict=True):
        assert np.abs(frame - gradient(k)).mean() < 12


def test_folders_and_patterns_are_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "frames").mkdir()
    for k in (1, 2, 10):
        io.save_image(tmp_path / "frames" / f"f{k}.png", np.float32(gradient(k)) / 255)
    (tmp_path / "frames" / "readme.txt").write_text("frames")
    for path in (tmp_path / "frames", tmp_path / "frames" / "f%d.png"):
        clip = open_clip(path, rate=5)
        assert [picture.name for picture in clip.pictures] == ["f1.png", "f2.png", "f10.png"]
        assert (clip.times[1], clip.end) == (Fraction(1, 5), Fraction(3, 5))
        for frame, k in zip(levels(clip), (1, 2, 10), strict=True):
            np.testing.assert_allclose(frame, gradient(k), atol=1e-3)
    io.save_image(tmp_path / "frames" / "f11.png", np.zeros((40, 64, 3), np.float32))
    with pytest.raises(InputError, match=r"f11\.png is 64x40 pixels, expected 64x48 like f1\.png"):
        open_clip(tmp_path / "frames")


def test_sizes(tmp_path):
    clip = open_clip(write_clip(tmp_path / "a.mkv", [gradient(0, 101, 75)], codec="ffv1", pix_fmt="bgr0"))
    assert clip.size == (101, 75)
    assert target_size(clip, None, 32) == (101, 75)
    assert target_size(clip, None, 32, 2) == (100, 74)
    assert target_size(clip, 64, 32, 2) == (64, 48)
    assert levels(clip, (100, 74))[0].shape == (74, 100, 3)
    with pytest.raises(InputError, match="is 32x24 pixels, at least 32 a side are needed"):
        target_size(clip, 32, 32, 2)


def test_a_clip_that_is_cut_short_is_read_as_far_as_possible(tmp_path, caplog):
    frames = [gradient(k, 160, 120) for k in range(20)]
    path = write_clip(tmp_path / "a.mkv", frames, g="2")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = open_clip(path)
    assert 3 < len(clip.times) < 20
    assert len(levels(clip)) == len(clip.times)


def test_damage_is_a_warning(tmp_path, caplog):
    frames = [gradient(k, 160, 120) for k in range(20)]
    data = bytearray(write_clip(tmp_path / "a.mp4", frames, g="1").read_bytes())
    # Some packets are overwritten.
    place = data.index(b"mdat") + len(data) // 3
    data[place : place + 3000] = bytes(3000)
    (tmp_path / "a.mp4").write_bytes(data)
    clip = open_clip(tmp_path / "a.mp4")
    assert "is damaged or cut short" in caplog.text
    assert 10 <= len(clip.times) < 20
    assert len(levels(clip)) == len(clip.times)


def test_what_is_no_clip_is_one_sentence(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", [gradient(k) for k in range(4)])
    data = clip.read_bytes()
    for name, content in (("empty.mp4", b""), ("text.mp4", b"no video\n"), ("short.mp4", data[:200])):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    write_sound(tmp_path / "sound.m4a")
    cases = {
        "empty.mp4": "is empty, expected a video",
        "text.mp4": "cannot read .*; expected a video, a folder of frames, or a pattern",
        "short.mp4": "cannot read .*; expected a video",
        "nowhere.mp4": "cannot read .*: No such file or directory; expected a video",
        "folder": r"has no pictures, expected frames such as 00001\.png",
        "f%d.png": "has no pictures, expected the files of its numbers",
        "nowhere/f%d.png": "cannot read .*: No such file or directory; expected frames",
        "sound.m4a": "has no pictures, only sound or text",
        "a.mp4/f%d.png": "cannot read",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            open_clip(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1.0}, "start is -1.0, expected a finite number"),
        ({"start": 0.4}, "start is 0.4, but .* is 0.4 seconds long: expected less"),
        ({"end": 0.0}, "end is 0, expected seconds after the start, 0"),
        ({"start": 0.2, "end": 0.1}, "end is 0.1, expected seconds after the start, 0.2"),
        ({"every": 0}, "every is 0, expected an integer"),
        ({"rate": 0.0}, "rate is 0.0, expected a finite number"),
        ({"max_pixels": 100}, "expected at most max_pixels=100"),
    ],
)
def test_wrong_values(tmp_path, options, message):
    path = write_clip(tmp_path / "a.mp4", [gradient(k) for k in range(4)])
    with pytest.raises(InputError, match=message):
        open_clip(path, **options)


def test_the_checksum_is_of_all_frames(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for k, path in enumerate(paths):
        io.save_image(path, np.float32(gradient(k)) / 255)
    before = clip_checksum(open_clip(tmp_path))
    assert clip_checksum(open_clip(tmp_path)) == before
    io.save_image(paths[2], np.float32(gradient(5)) / 255)
    assert clip_checksum(open_clip(tmp_path)) != before


def test_a_file_that_has_become_shorter(tmp_path):
    clip = open_clip(write_clip(tmp_path / "a.mp4", [gradient(k) for k in range(4)]))
    write_clip(tmp_path / "a.mp4", [gradient(k) for k in range(2)])
    with pytest.raises(InputError, match="has no frame 3 any more"):
        levels(clip)
