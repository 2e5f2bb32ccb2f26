"""What a run costs, before it runs."""

import pytest

import jaxstyle as js
from jaxstyle.transfer import cost
from jaxstyle.transfer.pyramid import pyramid


def test_flops_are_the_published_multiply_adds():
    """361,152 multiply-adds a pixel to conv5_1, forward; as many again for the gradient; two operations each."""
    assert cost.flops(512, 512, js.Objective()) == pytest.approx(2 * 2 * 361_152 * 512 * 512)


def test_only_the_layers_in_use_count():
    shallow = js.Objective(content_layers=(), style_layers=("relu1_1",))
    assert cost.flops(100, 100, shallow) == 2 * 2 * 9 * 3 * 64 * 100 * 100


def test_the_estimate_grows_with_the_picture():
    seconds = cost.seconds_a_step(512, 512, js.Objective())
    assert 0.01 < seconds < 1000


def test_a_run_takes_the_sum_of_its_steps(monkeypatch):
    """With a machine of exactly 1 GFLOP/s, as real ones differ from call to call."""
    monkeypatch.setattr(cost, "seconds_a_step", lambda *arguments: cost.flops(*arguments) / 1e9)
    objective, scales = js.Objective(), pyramid(300, 400, 150, 3)
    assert len(scales) == 3
    expected = sum(steps * cost.flops(height, width, objective) / 1e9 for height, width, _, steps in scales)
    assert cost.seconds(scales, objective) == pytest.approx(expected)
    assert cost.seconds(scales, objective) < 0.7 * cost.seconds(pyramid(300, 400, 150, 1), objective)


def test_windows_are_more_work():
    """Three passes instead of two, and the halos; the deep stage is whole up to four times the window."""
    whole = cost.flops(2048, 2048, js.Objective())
    windowed = cost.flops(2048, 2048, js.Objective(window=512))
    lower, deep = 222_912, 138_240
    expected = 2 * 2048**2 * (3 * lower * (560 / 512) ** 2 + 2 * deep)
    assert windowed == pytest.approx(expected, rel=1e-6)
    assert 1.4 < windowed / whole < 1.6


def test_the_rate_is_measured():
    assert 1e8 < cost.calibrated_rate(js.Objective(content_layers=(), style_layers=("relu1_1",))) < 1e16
