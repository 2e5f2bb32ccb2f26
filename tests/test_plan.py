"""What a run costs, before it runs."""

import pytest

import jaxstyle as js
from jaxstyle import plan


def test_flops_are_the_published_multiply_adds():
    """361,152 multiply-adds a pixel to conv5_1, forward; as many again for the gradient; two operations each."""
    assert plan.flops(512, 512, js.Objective()) == pytest.approx(2 * 2 * 361_152 * 512 * 512)


def test_only_the_layers_in_use_count():
    shallow = js.Objective(content_layers=(), style_layers=("relu1_1",))
    assert plan.flops(100, 100, shallow) == 2 * 2 * 9 * 3 * 64 * 100 * 100


def test_the_estimate_grows_with_the_picture():
    seconds = plan.seconds_a_step(512, 512, js.Objective())
    assert 0.01 < seconds < 1000
