"""Whole videos with the tiny network: starts, weights, cuts, colors, and what is compiled when."""

import itertools
import signal
import tracemalloc

import numpy as np
import pytest
from video.scenes import moving_square, sampled, texture

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.transfer import run
from jaxstyle.video import scene
from jaxstyle.video.flow import warp

OPTIONS = {"steps": 12, "finish": 0, "scales": 1}


def clip(count, height=48, width=64, step=(2.0, 1.0), seed=0):
    """A pan over a still."""
    world = texture(seed, height + 40, width + 60)
    rows, columns = np.mgrid[:height, :width].astype(float)
    for t in range(count):
        yield sampled(world, rows + t * step[1], columns + t * step[0])


@pytest.fixture(scope="module")
def painting(starry):
    return starry[:48, :48]


def change(results, frames, step):
    """Root mean square difference from the frame before, along the known motion, where both show the same."""
    flow = np.broadcast_to(np.float32(step), (*frames[0].shape[:2], 2))
    pairs = itertools.pairwise([np.asarray(result.image) for result in results])
    return np.sqrt(np.mean([np.mean((b - warp(a, flow))[:-4, :-4] ** 2) for a, b in pairs]))


def test_frames_hold_still_and_take_a_third(tiny_params, painting):
    frames, options = list(clip(4)), {"params": tiny_params, **OPTIONS}
    results = list(js.stylize_video(frames, painting, stability=0.5, **options))
    assert [result.evaluations for result in results] == [12, 4, 4, 4]
    assert [result.image.shape for result in results] == [frame.shape for frame in frames]
    apart = [js.stylize(frame, painting, **options) for frame in frames]
    assert change(results, frames, (2.0, 1.0)) < 0.5 * change(apart, frames, (2.0, 1.0))


def test_the_first_frame_is_that_of_stylize(tiny_params, painting):
    options = {"params": tiny_params, **OPTIONS}
    frame = next(clip(1))
    (result,) = js.stylize_video([frame], painting, **options)
    # At its own size.
    picture = js.stylize(frame, painting, supersample=1.0, **options)
    np.testing.assert_array_equal(result.image, picture.image)


def test_weights_are_those_of_the_first_frame(tiny_params, painting):
    first, *others = js.stylize_video(clip(3), painting, params=tiny_params, stability=0.5, **OPTIONS)
    assert float(first.weights.temporal) == 0
    for other in others:
        for name in ("content", "style", "tv", "neighbors", "edges"):
            np.testing.assert_array_equal(getattr(other.weights, name), getattr(first.weights, name))
        # At stability 0.5, a difference of 0.05 costs the first frame's loss.
        assert float(other.weights.temporal) == pytest.approx(float(first.losses.total.min()) / 0.05**2, rel=1e-5)


def test_the_style_is_measured_once_a_scene(tiny_params, painting, monkeypatch):
    """With the same results as if it were measured for each frame."""
    calls, measure = [], scene.measure_style
    monkeypatch.setattr(scene, "measure_style", lambda job, *rest: calls.append(job) or measure(job, *rest))
    options = {"params": tiny_params, "steps": 18, "finish": 4, "scales": 1}
    results = list(js.stylize_video(clip(4), painting, **options))
    assert len(calls) == 2
    monkeypatch.setattr(scene, "_measured", lambda stages, *_: stages)
    for one, other in zip(results, js.stylize_video(clip(4), painting, **options), strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_more_stability_is_less_change(tiny_params, painting):
    frames = list(clip(3))
    options = {"params": tiny_params, **OPTIONS}
    changes = [
        change(list(js.stylize_video(frames, painting, stability=stability, **options)), frames, (2.0, 1.0))
        for stability in (0.0, 0.5, 1.0)
    ]
    assert changes[0] > changes[1] > changes[2]


def test_without_flow_a_still_scene_holds_still(tiny_params, painting):
    frames = [next(clip(1))] * 3
    options = {"params": tiny_params, **OPTIONS}
    results = list(js.stylize_video(frames, painting, flow="none", stability=0.9, **options))
    drift = np.sqrt(np.mean((np.asarray(results[2].image) - np.asarray(results[1].image)) ** 2))
    assert drift < 0.02


def test_what_comes_into_sight_is_stylized_anew(tiny_params, painting):
    """Behind a moving square, where the previous result shows the square."""
    (first, second), _, _, hidden = moving_square(0, 64, 80, (8, 0))
    results = list(js.stylize_video([first, second], painting, params=tiny_params, stability=1.0, **OPTIONS))
    images = [np.asarray(result.image) for result in results]
    still = np.zeros_like(hidden)
    still[:10] = True
    assert np.abs(images[1] - images[0])[still].mean() < 0.02
    assert np.abs(images[1] - images[0])[hidden].mean() > 0.1


def test_a_cut_starts_anew(tiny_params, painting, china):
    frames = [*clip(2), *([china[:48, :64]] * 2)]
    results = list(js.stylize_video(frames, painting, params=tiny_params, **OPTIONS))
    assert [result.evaluations for result in results] == [12, 4, 12, 4]


def test_nothing_is_compiled_from_the_third_frame_on(tiny_params, painting, compiled):
    results = js.stylize_video(
        clip(5), painting, params=tiny_params, steps=18, finish=4, scales=1, color="luminance", detail=32
    )
    for _ in range(2):
        next(results)
    compiled.clear()
    assert len(list(results)) == 3
    assert compiled == []


def test_frames_are_read_and_forgotten_one_by_one(tiny_params, painting):
    read = []

    def frames():
        for k, frame in enumerate(clip(8)):
            read.append(k)
            yield frame

    results = js.stylize_video(frames(), painting, params=tiny_params, flow="none", **OPTIONS)
    assert read == []
    sizes = []
    tracemalloc.start()
    for k, _ in enumerate(results):
        assert read == list(range(k + 1))
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # Frames are NumPy arrays of 36 kB, which tracemalloc sees.
    assert sizes[-1] - sizes[3] < 200_000


@pytest.mark.parametrize("color", ["luminance", "symmetric"])
def test_colors_are_those_of_each_frame(tiny_params, painting, color):
    frames = list(clip(3))
    results = list(js.stylize_video(frames, painting, params=tiny_params, color=color, **OPTIONS))
    for frame, result in zip(frames, results, strict=True):
        assert np.abs(np.mean(frame, axis=(0, 1)) - np.mean(result.image, axis=(0, 1))).max() < 0.15


def test_a_signal_ends_the_video_after_its_frame(tiny_params, painting, monkeypatch):
    results = js.stylize_video(clip(4), painting, params=tiny_params, **OPTIONS)
    next(results)
    original, calls = run.minimize, []

    def minimize(*arguments):
        calls.append(1)
        signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(run, "minimize", minimize)
    assert [str(result.status) for result in results] == ["terminated"]
    assert calls == [1]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stability": 1.5}, r"stability is 1\.5, expected a number from 0 to 1"),
        ({"stability": None}, "stability is None"),
        ({"flow": "dense"}, "flow 'dense'"),
        ({"frames": 3}, "frames is 3, expected a sequence or an iterator of images"),
        ({"frames": "clip.mp4"}, "frames is 'clip.mp4'"),
        ({"temporal_weight": 1.0}, r"temporal_weight is 1\.0, expected 0: stability sets it"),
        ({"style": []}, "there is no style"),
        ({"steps": 0}, "steps is 0"),
        ({"tv_weight": float("nan")}, "tv.* nan"),
        ({"stepps": 3}, "there is no setting 'stepps'"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_frame(tiny_params, painting, options, message):
    arguments = {"frames": clip(2), "style": painting, "params": tiny_params} | options
    with pytest.raises(InputError, match=message):
        js.stylize_video(**arguments)


@pytest.mark.usefixtures("unchecked")
def test_frames_of_another_size_are_refused(tiny_params, painting):
    frames = [next(clip(1)), next(clip(1, 40, 64))]
    results = js.stylize_video(frames, painting, params=tiny_params, **OPTIONS)
    next(results)
    with pytest.raises(InputError, match="frame 2 is 64x40 pixels, expected 64x48 like the first"):
        next(results)


def test_no_frames_give_no_results(tiny_params, painting):
    assert list(js.stylize_video([], painting, params=tiny_params)) == []
