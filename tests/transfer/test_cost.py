"""What a run costs, before it runs."""

import dataclasses
from pathlib import Path

import pytest

import jaxstyle as js
from jaxstyle.cli.app import main
from jaxstyle.transfer import cost


def test_flops_are_the_published_multiply_adds():
    """361,152 multiply-adds a pixel to conv5_1, forward; as many again for the gradient; two operations each."""
    assert cost.flops(512, 512, js.Objective()) == pytest.approx(2 * 2 * 361_152 * 512 * 512)


def test_only_the_layers_in_use_count():
    shallow = js.Objective(content_layers=(), style_layers=("relu1_1",))
    assert cost.flops(100, 100, shallow) == 2 * 2 * 9 * 3 * 64 * 100 * 100


def test_windows_are_more_work():
    """Three passes instead of two, and the halos; the deep stage is whole up to four times the window."""
    whole = cost.flops(2048, 2048, js.Objective())
    windowed = cost.flops(2048, 2048, js.Objective(window=512))
    lower, deep = 222_912, 138_240
    expected = 2 * 2048**2 * (3 * lower * (560 / 512) ** 2 + 2 * deep)
    assert windowed == pytest.approx(expected, rel=1e-6)
    assert 1.4 < windowed / whole < 1.6


def test_every_position_is_compared_with_the_whole_bank():
    """64 channels at every pixel, 512 at every 64th; in windows twice, without the halos."""
    layers = ("relu1_1", "relu4_1")
    plain = js.Objective(content_layers=(), style_layers=layers)
    objective = dataclasses.replace(plain, neighbor_layers=layers, bank_size=1000)
    expected = 2 * 1000 * (64 * 512**2 + 512 * 64**2)
    assert cost.flops(512, 512, objective) - cost.flops(512, 512, plain) == expected
    windowed = (dataclasses.replace(each, window=32) for each in (objective, plain))
    assert cost.flops(512, 512, next(windowed)) - cost.flops(512, 512, next(windowed)) == 2 * expected


def test_the_rate_is_measured():
    assert 1e8 < cost.calibrated_rate(js.Objective(content_layers=(), style_layers=("relu1_1",))) < 1e16


@pytest.mark.parametrize("more", [[], ["-q"]])
def test_a_run_times_no_work_beside_its_own(monkeypatch, tiny_weights, tmp_path, unchecked, more):
    monkeypatch.setattr(cost, "_shortest", lambda work: pytest.fail("timed beside the run"))
    data = Path(js.__file__).parent / "data"
    words = ["stylize", str(data / "china.jpg"), str(data / "starry_night.jpg"), "-o", str(tmp_path / "out.png")]
    words += ["--preset", "gram"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--size", "48", "--steps", "2", "--weights", tiny_weights, "--compile-cache", "off", *more])
    assert ended.value.code == 0
