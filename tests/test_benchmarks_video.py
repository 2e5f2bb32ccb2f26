"""The benchmark's clips against their own frames, its measure against cases with a known answer, and its table."""

import itertools
import json

import numpy as np
import pytest

import jaxstyle as js
from benchmarks import record, video, video_memory, video_memory_worker
from benchmarks.video_scenes import SYNTHETIC, Film, Layers, StereoPair, clips

SIZE = (48, 64)


@pytest.fixture(scope="module")
def known(photograph):
    photo, painting = (np.asarray(photograph(f"{name}.jpg", 128, 96)) for name in ("china", "starry_night"))
    return clips(photo, painting[:16, :20], SIZE)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_frames_along_the_known_motion_are_the_other_frames(known, name):
    clip = known[name]
    frames = [clip.frame(number) for number in range(4)]
    assert all(frame.min() >= 0 and frame.max() > 0.5 for frame in frames)
    for long in (False, True):
        # Interpolation alone; without the motion, or without the masks, it is more.
        assert video.warping_error(frames, clip, long) < 1e-3
    still = [np.mean((b - a) ** 2) for a, b in itertools.pairwise(frames)]
    assert np.mean(still) > 4 * video.warping_error(frames, clip)


def test_what_an_object_uncovers_is_not_shown(known):
    """The object moves 4 to the right and 1 down before a still background, at (6, 14) first."""
    clip = known["moving object"]
    flow, shown = clip.motion(1, 0)
    assert tuple(flow[20, 20]) == (-4, -1)
    assert tuple(flow[2, 2]) == (0, 0)
    assert not shown[20, 8]
    assert shown[2, 2]
    assert shown[20, 20]


def test_noise_of_each_frame_is_an_error_of_twice_its_variance(known):
    clip, rng = known["moving object"], np.random.default_rng(0)
    frames = [clip.frame(0) + np.float32(rng.normal(0, 0.1, (*SIZE, 3))) for _ in range(2)]
    same = Layers(SIZE, clip.layers[:1])
    assert video.warping_error(frames, same) > 0.015
    assert video.warping_error([frames[0]] * 3, same) == 0


def test_the_right_eye_does_not_see_what_a_near_thing_hides():
    """A strip of columns 20 to 29, 6 pixels nearer than the wall behind it, whose disparity is 2."""
    rng = np.random.default_rng(0)
    wall, strip = (rng.random((32, 64, 3), np.float32) for _ in range(2))
    disparity = np.full((32, 64), 2.0, np.float32)
    disparity[:, 20:30] = 8
    left, right = wall.copy(), np.roll(wall, -2, axis=1)
    left[:, 20:30], right[:, 12:22] = strip[:, 20:30], strip[:, 20:30]
    disparity[5, 40] = np.inf
    pair = StereoPair(right, left, disparity)
    flow, shown = pair.motion(1, 0)
    assert (flow[0, 25], flow[0, 50])[0].tolist() == [-8, 0]
    # Columns 14 to 19 of the wall are seen behind the strip, which stands at 12 to 21 for the right eye; the first two
    # columns are outside.
    hidden = np.flatnonzero(~shown[0])
    assert hidden.tolist() == [0, 1, *range(14, 20)]
    assert not shown[5, 40]
    assert video.warping_error([right, left], pair) < 1e-12


def test_the_motion_of_a_film_is_estimated(known):
    clip = known["moving object"]
    pair = Film([clip.frame(0), clip.frame(1)])
    (flow, shown), (own, _) = pair.motion(1, 0), clip.motion(1, 0)
    assert np.abs(flow - own)[shown].mean() < 0.2
    # The border of what is uncovered is not exact.
    assert shown[20:28, 7:9].mean() < 0.3


def test_the_peer_blends_each_frame_with_the_one_before(monkeypatch):
    monkeypatch.setattr(video.peers, "make", lambda method, photo, *_: (photo, 1.0))
    frames = [np.full((2, 2, 3), value, np.float32) for value in (0.0, 1.0, 0.5)]
    made = video.by_peer(frames, None, 0.5, "python")
    assert [float(frame.image[0, 0, 0]) for frame in made] == [0, 0.5, 0.5]


def test_a_run_writes_every_method_and_a_table(tmp_path, monkeypatch, tiny_params, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    methods = ["frame by frame", "stability 0.5", "without flow"]
    arguments = ["--size", "64", "--frames", "3", "--steps", "6", "--finish", "0", "--clips", "moving object"]
    video.main([*arguments, "--methods", *methods])
    result = json.loads((tmp_path / "video.json").read_text())
    assert [run["method"] for run in result["runs"]] == methods
    assert [run["evaluations"] for run in result["runs"]] == [6, 2, 2]
    assert result["clips"]["moving object"]["endpoint error"] < 1
    alone, held = (run["short"] for run in result["runs"][:2])
    assert held < alone
    assert f"{held:.5f} ({held / alone:.2f})" in capsys.readouterr().out


def test_memory_by_length(tmp_path, monkeypatch, tiny_params, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    monkeypatch.setattr("jaxstyle.video.stylize_video.load_params", lambda: tiny_params)
    answer, _ = video_memory_worker.prepare({"size": 64, "lengths": [1, 3], "steps": 4})
    assert [run["frames"] for run in answer["measured"]] == [1, 3]
    assert 1e8 < answer["measured"][0]["peak_bytes"] <= answer["measured"][1]["peak_bytes"]
    record.write("video_memory", {"runs": [{"frames": 2, "peak_bytes": 1.5e9}, {"frames": 512, "peak_bytes": 1.6e9}]})
    video_memory.main(["--plot"])
    assert "| 512 | 1600 |" in capsys.readouterr().out
