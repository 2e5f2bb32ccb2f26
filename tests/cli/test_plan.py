"""`jaxstyle plan`: what fits, what would fit, and one sentence for wrong numbers."""

import jax
import pytest

import jaxstyle as js
from jaxstyle.cli import app, plan
from jaxstyle.transfer import memory

# tyro's placeholder for a required argument is no number; and bad input must meet the library's own messages.
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run `plan` on a machine of 1 TFLOP/s with so many free bytes; returns exit code, output and errors."""
    monkeypatch.setattr(plan.cost, "calibrated_rate", lambda objective: 1e12)

    def run(free, *words):
        monkeypatch.setattr(plan, "free_memory", lambda: int(free))
        with pytest.raises(SystemExit) as stop:
            app.main(["plan", *map(str, words)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


def test_the_whole_picture_if_it_fits(run):
    code, output, _ = run(200e9, 300, 200, "--steps", 36000)
    assert code == 0
    assert "300x200 pixels (0.06 megapixels) on CPU" in output
    rows = [line.split() for line in output.splitlines()[2:5]]
    assert [row[0] for row in rows] == ["whole", "256", "128"]
    assert [row[-1] for row in rows] == ["yes"] * 3
    # At 1 TFLOP a second.
    minutes = 36000 * plan.cost.flops(200, 300, js.Objective()) / 1e12 / 60
    assert rows[0][3:9] == ["0.09", "TFLOP", "0.1", "s", f"{minutes:.1f}", "min"]
    assert output.endswith("Fits with --window whole.\n")


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.long)])
def test_other_settings_that_fit_are_suggested(run, monkeypatch, compiled):
    """With the memory of compiled programs, and quickly with its estimate."""
    measure = memory.memory if compiled else memory.estimate
    monkeypatch.setattr(plan, "memory", measure)
    needs = measure(200, 300, js.Objective(window=128), js.lbfgs(), [(200, 300)])
    least = needs.peak - needs.process
    assert run(least / memory.USABLE + 1, 300, 200)[1].endswith("Fits with --window 128.\n")
    # Four of ten pairs too many.
    code, output, _ = run((least - 24 * 300 * 200 * 3.5) / memory.USABLE, 300, 200)
    assert code == 1
    assert output.endswith("Fits with --window 128 --memory-size 6.\n")
    # Not whole, but in windows.
    code, output, _ = run(least / memory.USABLE + 1, 300, 200, "--window", "whole")
    assert code == 1
    assert output.endswith("Does not fit with these options; fits with --window 128.\n")
    code, output, _ = run(0.7 * least, 3000, 2000, "--window", 128)
    assert code == 1
    assert "Nothing fits at this size; " in output
    assert "free some memory" in run(1e6, 300, 200, "--window", 128)[1]


def test_a_window_that_holds_the_picture_is_the_whole(run):
    output = run(200e9, 300, 200, "--window", 4000)[1]
    assert output.splitlines()[2].split()[0] == "whole"


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1.5 min"), (7000, "116.7 min"), (7200, "2.0 h"), (200000, "2.3 days")]
)
def test_long_times_are_readable(seconds, text):
    assert plan._long_time(seconds) == text


def test_a_program_that_cannot_be_compiled_does_not_fit(run, monkeypatch):
    def full(height, width, objective, optimizer, styles):
        if objective.window is None:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too large")
        return memory.estimate(height, width, objective, optimizer)

    monkeypatch.setattr(plan, "memory", full)
    code, output, _ = run(2e9, 1024, 1024)
    assert code == 0
    assert output.splitlines()[2].endswith("no")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((10, 200), "WIDTH is 10, expected 32 to 65536"),
        ((100, 70000), "HEIGHT is 70000, expected 32 to 65536"),
        ((100, 100, "--steps", 0), "--steps is 0, expected 1 to 1000000"),
        ((100, 100, "--window", 3), "--window is 3, expected auto, whole, or 32 pixels or more"),
        ((100, 100, "--memory-size", 0), "--memory-size is 0"),
        ((100, 100, "--style-layers"), "--style-layers names no layer, expected at least one"),
        ((100, 100, "--content-layers", "relu9_9"), "unknown layer 'relu9_9'"),
    ],
)
def test_bad_numbers_are_one_sentence(run, words, expected):
    code, output, error = run(1e12, *words)
    assert (code, output) == (2, "")
    assert error.startswith(f"jaxstyle: error: {expected}")
    assert error.count("\n") == 1
