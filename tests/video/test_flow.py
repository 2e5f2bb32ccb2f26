"""Optical flow against cameras whose motion is known, and warping against interpolation written out."""

import builtins

import numpy as np
import pytest
from video.scenes import endpoint_error, moving_square, pan, zoom

from jaxstyle.errors import InputError
from jaxstyle.video.flow import estimate_flow, warp, warp_sharp


@pytest.mark.parametrize("step", [(3.7, 1.3), (-6.0, 0.0), (0.0, 2.5), (0.0, 0.0)])
def test_a_pan_is_found(step):
    (first, second), expected = pan(0, 96, 128, step)
    assert endpoint_error(estimate_flow(second, first), expected) < 0.15


@pytest.mark.parametrize("factor", [1.02, 1.05])
def test_a_zoom_is_found(factor):
    (first, second), expected = zoom(1, 96, 128, factor)
    assert endpoint_error(estimate_flow(second, first), expected) < 0.15


def test_a_moving_square_is_found():
    (first, second), expected, _, hidden = moving_square(2, 96, 128, (5, 3))
    error = np.sqrt(np.sum((estimate_flow(second, first) - expected) ** 2, axis=2))
    assert np.median(error) < 0.05
    assert error[~hidden].mean() < 0.4


def test_frames_as_small_as_the_network_takes():
    (first, second), expected = pan(0, 32, 32, (1.0, 0.0))
    assert endpoint_error(estimate_flow(second, first), expected) < 0.5


def test_warping_against_interpolation_written_out():
    rng = np.random.default_rng(0)
    image, flow = np.float32(rng.uniform(size=(7, 9, 2))), np.float32(rng.uniform(-4, 4, size=(7, 9, 2)))
    result = warp(image, flow)
    assert result.dtype == np.float32
    for i, j in np.ndindex(7, 9):
        y, x = np.clip(i + float(flow[i, j, 1]), 0, 6), np.clip(j + float(flow[i, j, 0]), 0, 8)
        expected = np.zeros(2)
        for k, m in np.ndindex(7, 9):
            expected += max(0, 1 - abs(y - k)) * max(0, 1 - abs(x - m)) * image[k, m]
        np.testing.assert_allclose(result[i, j], expected, atol=1e-5)


def test_sharp_warping_against_the_windowed_sinc():
    """Lanczos's kernel `sinc(t) sinc(t / 4)` on 8x8 pixels, with weights of sum 1, at multiples of 1/32 pixel."""
    rng = np.random.default_rng(1)
    image, flow = np.float32(rng.uniform(size=(15, 17, 3))), np.float32(rng.integers(-40, 40, size=(15, 17, 2)) / 32)
    result = warp_sharp(image, flow)
    assert result.dtype == np.float32
    for i, j in np.ndindex(3, 3):
        y, x = 6 + i + float(flow[6 + i, 6 + j, 1]), 6 + j + float(flow[6 + i, 6 + j, 0])
        rows, columns = (
            np.sinc(side - at) * np.sinc((side - at) / 4) for side, at in ((np.arange(15), y), (np.arange(17), x))
        )
        rows, columns = (
            np.where(np.abs(side - at) < 4, kernel, 0)
            for side, at, kernel in ((np.arange(15), y, rows), (np.arange(17), x, columns))
        )
        expected = np.einsum("i,j,ijc->c", rows / rows.sum(), columns / columns.sum(), image)
        np.testing.assert_allclose(result[6 + i, 6 + j], expected, atol=1e-5)


def test_sharp_warping_blurs_less():
    (first, _), _ = pan(3, 64, 80, (4.0, -2.0))
    flow = np.full((64, 80, 2), 0.5, np.float32)
    sharp = linear = first
    for _ in range(4):
        sharp, linear = warp_sharp(sharp, flow), warp(linear, flow)
    inner = (slice(8, -8), slice(8, -8))
    expected = first[2:, 2:][inner]
    errors = [np.abs(moved[:-2, :-2][inner] - expected).mean() for moved in (sharp, linear)]
    assert errors[0] < 0.3 * errors[1]


def test_the_other_frame_along_the_flow_is_this_frame():
    (first, second), flow = pan(3, 64, 80, (4.0, -2.0))
    np.testing.assert_allclose(warp(first, flow)[2:, :-4], second[2:, :-4], atol=1e-5)


def test_without_opencv_one_sentence_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == "cv2":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    frame = np.zeros((32, 32, 3), np.float32)
    with pytest.raises(InputError, match=r"optical flow needs OpenCV: pip install 'jaxstyle\[video\]'"):
        estimate_flow(frame, frame)
