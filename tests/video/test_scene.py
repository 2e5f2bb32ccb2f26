"""The results before, moved to the present frame, against a scene whose motion is known."""

import numpy as np
import pytest
from video.scenes import texture

from jaxstyle.video.flow import estimate_flow, warp_sharp
from jaxstyle.video.masks import flow_weights
from jaxstyle.video.scene import Done, predict

ROWS, SIDE, STEP = slice(40, 72), 32, 16


@pytest.fixture(scope="module")
def frames():
    """A square that moves to the right before a still background."""
    background, square = texture(0, 112, 128), 1 - texture(1, SIDE, SIDE)
    frames = []
    for number in range(5):
        frame = background.astype(np.float32)
        frame[ROWS, 10 + STEP * number : 10 + STEP * number + SIDE] = square
        frames.append(frame)
    return frames


def done(frames):
    """Results that follow the frames exactly, the last one first."""
    return [Done(frame, 1 - frame) for frame in frames[::-1]]


def test_what_comes_into_sight_again_is_that_of_four_frames_before(frames):
    """Columns 58 to 73 are uncovered in the last frame; the square stood there 1 and 2 frames before, not 4."""
    uncovered = np.s_[46:66, 62:68]
    once = predict(done(frames[:4])[:1], frames[4], "optical")
    assert once.weights[uncovered].max() < 0.5
    several = predict(done(frames[:4]), frames[4], "optical")
    assert several.weights[uncovered].min() > 0.5
    assert np.abs(several.pixels - (1 - frames[4]))[uncovered].mean() < 0.03


def test_elsewhere_the_frame_before_decides(frames):
    past = done(frames[:4])
    wrong = [past[0], *(one._replace(image=np.zeros_like(one.image)) for one in past[1:])]
    once, several = predict(wrong[:1], frames[4], "optical"), predict(wrong, frames[4], "optical")
    certain = once.weights[..., 0] == 1
    assert certain.mean() > 0.5
    np.testing.assert_array_equal(several.weights[certain], 1)
    np.testing.assert_array_equal(several.pixels[certain], once.pixels[certain])


def test_one_loss_is_the_sum_of_those_of_all_lags(frames):
    """Two images differ by as much in `sum C (x - w)^2` as in `sum_j c_j (x - w_j)^2`, from the formula in float64."""

    past, rng = done(frames[:4]), np.random.default_rng(0)
    images = rng.random((2, *frames[0].shape))
    losses, shown = np.zeros(2), 0.0
    for lag in (1, 2, 4):
        content, result = past[lag - 1]
        backward = estimate_flow(frames[4], content)
        trust = flow_weights(backward, estimate_flow(content, frames[4])).astype(float)
        moved = np.clip(warp_sharp(result, backward), 0, 1).astype(float)
        losses += np.sum(np.maximum(trust - shown, 0) * (images - moved) ** 2, axis=(1, 2, 3))
        shown = shown + trust
    predicted = predict(past, frames[4], "optical")
    together = np.sum(predicted.weights * (images - predicted.pixels.astype(float)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(together[0] - together[1], losses[0] - losses[1], rtol=1e-5)


def test_without_flow_the_change_is_added(frames):
    predicted = predict(done(frames[:4]), frames[4], "none")
    expected = np.clip(1 - frames[3] + (frames[4] - frames[3]), 0, 1)
    np.testing.assert_allclose(predicted.pixels, expected, atol=1e-6)
    assert (predicted.weights == 1).all()
