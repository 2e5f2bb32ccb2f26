"""What the commands say about a run."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.cli import app, report
from jaxstyle.transfer.pyramid import Scale, pyramid


@pytest.mark.parametrize(
    ("totals", "least"),
    [
        ([5, 4, 9, 8], 8),
        ([5, 4, np.inf, np.nan], 4),
        ([5, 4, np.nan, 9], 9),
        ([np.nan, np.inf, np.inf, np.inf], np.inf),
    ],
)
def test_the_loss_is_the_last_scales_that_has_one(totals, least):
    """Two evaluations a scale; if the full size overflows, the coarse picture counts."""
    scales = (Scale(32, 32, 0.5, 2), Scale(64, 64, 1.0, 2))
    losses = js.Losses(*[jnp.asarray(totals, jnp.float32)] * len(js.Losses._fields))
    result = js.Result(js.white_noise(0, 64, 64), losses, 4, js.Status.NOT_FINITE, 1.0, scales, js.LossWeights())
    assert report.final_loss(result) == least


def test_the_announcement_says_what_is_known():
    objective = js.Objective(window=128)
    text = report.announcement(pyramid(200, 300, 60, 2), 0, objective, 1.26e9)
    assert text.startswith("300x200 pixels, in 2 scales from 150x100, in windows of 128, at most 60 evaluations")
    assert text.endswith(" cores), about 1.3 GB of memory")
    # What is unknown is left out.
    assert report.announcement(pyramid(200, 300, 60, 2), 0, objective, float("nan")).endswith(" cores)")
    # A window that holds the picture is none.
    assert "windows" not in report.announcement(pyramid(100, 120, 60, 1), 0, objective, 1e9)


def test_a_long_run_is_announced_from_measured_seconds():
    def progress(seconds, fraction):
        image, losses = jnp.zeros((32, 32, 3)), js.Losses(*[jnp.float32(1)] * len(js.Losses._fields))
        return js.Progress(1, 100, losses, image, seconds, Scale(32, 32, 1.0, 100), fraction)

    hint = report.long_run_hint(progress(60.0, 0.01), progress(64.0, 0.02))
    assert hint is not None
    assert hint.startswith("about 6 min 32 s left; a smaller --size")
    assert report.long_run_hint(progress(60.0, 0.01), progress(61.0, 0.02)) is None
    assert report.long_run_hint(progress(60.0, 0.01), progress(61.0, 0.01)) is None


@pytest.mark.usefixtures("unchecked", "lenient_promotion")
@pytest.mark.parametrize(
    ("size", "options", "programs"),
    # Of sizes of their own: a program is compiled once in a process.
    [(64, (), 1), (72, ("--window", "32"), 1), (80, ("--finish", "2"), 2)],
    ids=["whole", "windows", "finish"],
)
def test_the_announced_programs_are_those_that_run(tiny_weights, tmp_path, compiled, capsys, size, options, programs):
    """The steps of each stage are compiled once, before the announcement."""
    data = Path(app.__file__).parents[1] / "data"
    words = [data / "china.jpg", data / "starry_night.jpg", "-o", tmp_path / "out.png", "--size", size, "--steps", "2"]
    words += ["--weights", tiny_weights, "--optimizer", "adam", "--scales", "1", *options]
    words += ["--content-layers", "relu1_2", "--style-layers", "relu1_1", "--compile-cache", "off"]
    with pytest.raises(SystemExit) as stop:
        app.main(["stylize", "--preset=gram", *map(str, words)])
    assert stop.value.code == 0
    assert "GB of memory" in capsys.readouterr().err
    assert compiled.count("jit(run_steps)") == programs
