"""A video goes on from a saved state, to the same results."""

import numpy as np
import pytest
from video.test_stylize_video import OPTIONS, clip

import jaxstyle as js
from jaxstyle.errors import InputError


@pytest.fixture(scope="module")
def painting(starry):
    return starry[:48, :48]


def frames(china):
    """A scene of three frames, and after a cut another of three."""
    pan = [np.asarray(china[k : k + 48, 2 * k : 2 * k + 64]) for k in range(3)]
    return [*clip(3), *pan]


@pytest.mark.parametrize("done", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("color", ["style", "luminance"])
def test_the_rest_is_the_same(tiny_params, painting, china, tmp_path, done, color):
    options = {"params": tiny_params, "color": color, "finish": 4, "steps": 12, "scales": 1}
    states = []
    whole = list(js.stylize_video(frames(china), painting, callback=states.append, **options))
    assert [state.frames for state in states] == [1, 2, 3, 4, 5, 6]
    assert [state.scene for state in states] == [0, 0, 0, 3, 3, 3]
    path = tmp_path / "state"
    js.save_video_state(path, states[done - 1])
    rest = list(js.stylize_video(frames(china), painting, state=js.load_video_state(path), **options))
    assert len(rest) == 6 - done
    for one, other in zip(rest, whole[done:], strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.losses.total, other.losses.total)


@pytest.mark.usefixtures("unchecked")
def test_states_that_do_not_belong(tiny_params, painting, tmp_path):
    states = []
    options = {"params": tiny_params, **OPTIONS}
    list(js.stylize_video(clip(3), painting, callback=states.append, **options))
    with pytest.raises(InputError, match="there are 2 frames, expected more than 3"):
        list(js.stylize_video(clip(2), painting, state=states[2], **options))
    with pytest.raises(InputError, match="frame 1 is 64x40 pixels, expected 64x48"):
        list(js.stylize_video(clip(3, 40), painting, state=states[1], **options))
    with pytest.raises(InputError, match="the state has 1 stages, expected 2"):
        list(js.stylize_video(clip(3), painting, state=states[1], params=tiny_params, steps=12, finish=4, scales=1))
    with pytest.raises(InputError, match="state is 'file', expected a VideoState"):
        js.stylize_video(clip(3), painting, state="file", **options)


@pytest.mark.usefixtures("unchecked")
def test_files_that_are_no_state(tiny_params, painting, tmp_path):
    states, path = [], tmp_path / "state"
    list(js.stylize_video(clip(1), painting, params=tiny_params, callback=states.append, **OPTIONS))
    js.save_video_state(path, states[0])
    data = path.read_bytes()
    for wrong in (b"", data[:-5], data[:-5] + b"wrong", b"{}"):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match="checkpoint"):
            js.load_video_state(path)
    js.save_image(tmp_path / "picture.png", states[0].images[0])
    with pytest.raises(InputError, match="is no checkpoint"):
        js.load_video_state(tmp_path / "picture.png")
    run = tmp_path / "run.ckpt"
    checkpoint = js.Checkpoint(run, every=0)
    js.stylize(next(clip(1)), painting, params=tiny_params, checkpoint=checkpoint, **OPTIONS)
    with pytest.raises(InputError, match="is no state of a video"):
        js.load_video_state(run)
    # And the other way round.
    js.save_video_state(path, states[0])
    checkpoint = js.Checkpoint(path, resume=True)
    with pytest.raises(InputError, match="it lacks 'run'"):
        js.stylize(next(clip(1)), painting, params=tiny_params, checkpoint=checkpoint, **OPTIONS)


@pytest.mark.usefixtures("unchecked")
def test_a_state_without_pictures_is_one_before_the_first_frame(tmp_path):
    path = tmp_path / "state"
    js.save_video_state(path, js.VideoState(0, 0, (), (), None))
    assert js.load_video_state(path) == js.VideoState(0, 0, (), (), None)
    js.save_video_state(path, js.VideoState(2, 0, (), (), None))
    with pytest.raises(InputError, match="is no state of a video"):
        js.load_video_state(path)
