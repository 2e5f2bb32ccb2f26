"""Masks against scenes in which it is known what has come into sight."""

import numpy as np
import pytest
from video.scenes import f_score, moving_square, pan

from jaxstyle.video.flow import estimate_flow
from jaxstyle.video.masks import disoccluded, flow_weights, motion_boundaries, outside

STEPS = [(6, 0), (5, 3), (-4, -7)]


@pytest.mark.parametrize("step", STEPS)
def test_with_known_flow_exactly_the_uncovered_pixels_are_disoccluded(step):
    _, backward, forward, hidden = moving_square(0, 64, 96, step)
    np.testing.assert_array_equal(disoccluded(backward, forward), hidden)


@pytest.mark.parametrize("step", STEPS)
def test_with_estimated_flow_nearly_the_same(step):
    (first, second), _, _, hidden = moving_square(0, 96, 128, step, side=40)
    found = disoccluded(estimate_flow(second, first), estimate_flow(first, second))
    assert f_score(found, hidden) > 0.6


def test_boundaries_of_motion_are_where_the_flow_jumps():
    _, backward, _, _ = moving_square(0, 64, 96, (6, 0))
    found, moving = motion_boundaries(backward), backward[:, :, 0] != 0
    expected = np.zeros_like(moving)
    for i, j in np.ndindex(moving.shape):
        around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        neighbors = [moving[k, m] for k, m in around if 0 <= k < 64 and 0 <= m < 96]
        expected[i, j] = neighbors.count(moving[i, j]) < len(neighbors)
    np.testing.assert_array_equal(found, expected)


def test_what_was_outside_of_the_frame():
    _, flow = pan(0, 32, 48, (3.0, -2.0))
    expected = np.zeros((32, 48), bool)
    expected[:2] = expected[:, 45:] = True
    np.testing.assert_array_equal(outside(flow), expected)


def test_weights_are_zero_in_all_masks_and_soft_around_them():
    _, backward, forward, hidden = moving_square(0, 64, 96, (6, 0))
    weights = flow_weights(backward, forward)
    assert (weights.shape, weights.dtype) == ((64, 96, 1), np.float32)
    assert not weights[hidden].any()
    assert not weights[motion_boundaries(backward)].any()
    assert weights[0, 0, 0] == pytest.approx(1)
    # The present square starts at column 42: its boundary is untrusted, the pixel beside it in part, its middle fully.
    row = weights[32, :, 0]
    assert row[42] == 0
    assert 0 < row[43] < row[44] < row[46]
    assert row[50] == pytest.approx(1)


def test_a_still_scene_is_trusted_everywhere():
    still = np.zeros((16, 20, 2), np.float32)
    np.testing.assert_allclose(flow_weights(still, still), 1, rtol=1e-6)
