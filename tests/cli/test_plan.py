"""`jaxstyle plan`: what fits, what would fit, and one sentence for wrong numbers."""

import math

import pytest

import jaxstyle as js
from jaxstyle.cli import app, plan
from jaxstyle.transfer import memory, program
from jaxstyle.transfer.finish import finish_objective
from jaxstyle.transfer.memory import USABLE, Memory
from jaxstyle.transfer.pyramid import pyramid

# tyro's placeholder for a required argument is no number; and bad input must meet the library's own messages.
pytestmark = pytest.mark.usefixtures("unchecked")

PROCESS = 500_000_000


@pytest.fixture
def run(capsys, monkeypatch):
    """Run `plan` on a machine of 1 TFLOP/s with so many usable bytes; returns exit code, output and errors."""
    monkeypatch.setattr(plan.cost, "calibrated_rate", lambda objective: 1e12)
    monkeypatch.setattr(plan, "process_bytes", lambda: PROCESS)

    def run(usable, *words):
        # The free memory is in whole MB.
        free = None if usable is None else int(usable / USABLE) + 10**6
        monkeypatch.setattr(memory, "free_memory", lambda: free)
        with pytest.raises(SystemExit) as stop:
            app.main(["plan", "--supersample", "1", *map(str, words)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture
def shapes(monkeypatch):
    """The stages whose memory is asked for. No compiler: the memory of a formula."""
    seen = []

    def needs(shape):
        seen.append(shape)
        height, width = shape.size
        side = shape.objective.window or max(height, width)
        pixels = shape.batch * height * width
        temporary = 2000 * shape.batch * min(side, height) * min(side, width)
        # Ten pairs of L-BFGS.
        return Memory(10**8, 100 * pixels, 300 * pixels, temporary, 48 * pixels)

    monkeypatch.setattr(plan, "memory", needs)
    return seen


@pytest.mark.long
def test_the_whole_picture_if_it_fits(run):
    """With the compiler's figures."""
    code, output, _ = run(200e9, 200, 150, "--steps", 36000, "--scales", 1, "--finish", 0)
    assert code == 0
    assert "200x150 pixels (0.03 megapixels) on CPU" in output
    rows = [line.split() for line in output.splitlines()[2:4]]
    assert [row[0] for row in rows] == ["whole", "128"]
    assert [row[-1] for row in rows] == ["yes"] * 2
    # At 1 TFLOP a second.
    minutes = 36000 * plan.cost.flops(150, 200, js.Objective()) / 1e12 / 60
    assert rows[0][3:9] == ["0.04", "TFLOP", "0.0", "s", f"{minutes:.1f}", "min"]
    needs = memory.memory(program.StageShape((150, 200), js.Objective(), js.lbfgs(), ((150, 200),)))
    assert rows[0][1:3] == [f"{(needs.peak + PROCESS) / 1e9:.1f}", "GB"]
    assert f"temporary {needs.temporary / 1e9:.2f} GB, " in output
    assert "process 0.50 GB (already in memory)" in output
    assert output.endswith("Fits with --window whole.\n")


def test_other_settings_that_fit_are_suggested(run, shapes):
    least = plan.memory(program.StageShape((200, 300), js.Objective(window=128), js.lbfgs())).peak
    assert run(least, 300, 200)[1].endswith("Fits with --window 128.\n")
    # Four of ten pairs too many.
    code, output, _ = run(least - 24 * 300 * 200 * 3.5 - 10**6, 300, 200)
    assert code == 1
    assert output.endswith("Fits with --window 128 --memory-size 6.\n")
    # Not whole, but in windows.
    code, output, _ = run(least, 300, 200, "--window", "whole")
    assert code == 1
    assert output.endswith("Does not fit with these options; fits with --window 128.\n")
    # Eight pictures at once, but not nine.
    assert run(1e8 + 8.5 * (least - 1e8), 300, 200, "--batch", 9)[1].endswith("Fits with --window 128 --batch 8.\n")
    code, output, _ = run(0.7 * least, 3000, 2000, "--window", 128)
    assert code == 1
    assert "Nothing fits at this size; " in output
    assert "free some memory" in run(1e6, 300, 200, "--window", 128)[1]


def test_the_options_of_stylize_change_the_program(run, shapes):
    words = ["--batch", 4, "--paintings", 3, "--regions", 2, "--mesh", "2x1", "--algorithm", "direct"]
    words += ["--optimizer", "adam", "--content-layers", "relu3_1", "--finish", 0]
    code, output, _ = run(200e9, 300, 200, *words, "--window", "whole")
    assert code == 0
    assert output.startswith("4 times 300x200 pixels")
    (shape,) = shapes
    assert (shape.batch, shape.styles, shape.regions) == (4, ((200, 300),) * 3, 2)
    assert dict(shape.mesh.shape) == {"batch": 4, "rows": 2, "columns": 1}
    assert shape.objective == js.Objective(("relu3_1",), algorithm="direct", edges=True, shards=(2, 1))
    assert shape.optimizer is js.adam(0.02)


def test_coarse_scales_take_less_time(run, shapes):
    """Each scale's steps at its own size."""
    output = run(200e9, 400, 300, "--steps", 100, "--scales", 2, "--share", 0.25, "--finish", 0)[1]
    flops = sum(
        scale.steps * plan.cost.flops(scale.height, scale.width, js.Objective())
        for scale in pyramid(300, 400, 100, 2, share=0.25)
    )
    assert output.splitlines()[2].split()[7:9] == [f"{flops / 1e12 / 60:.1f}", "min"]


def test_the_finish_takes_time_and_its_memory_counts(run, shapes, monkeypatch):
    """Its program is another one, at the full size; the larger of the two counts."""
    finish = finish_objective(js.Objective())
    temporary = {(): 2e9, finish.neighbor_layers: 7e9}
    monkeypatch.setattr(plan, "memory", lambda shape: Memory(0, 0, 0, temporary[shape.objective.neighbor_layers], 0))
    code, output, _ = run(200e9, 400, 300, "--steps", 100, "--scales", 1, "--finish", 12, "--window", "whole")
    flops = 100 * plan.cost.flops(300, 400, js.Objective()) + 12 * plan.cost.flops(300, 400, finish)
    header, row = output.splitlines()[1:3]
    assert "112 steps" in header
    assert row.split()[1:3] == ["7.5", "GB"]
    assert row.split()[7:9] == [f"{flops / 1e12 / 60:.1f}", "min"]
    assert code == 0
    # Each scale has one.
    output = run(200e9, 400, 300, "--steps", 100, "--scales", 2, "--finish", 12, "--window", "whole")[1]
    assert "124 steps" in output
    # It fits if both stages do.
    assert run(5e9, 400, 300, "--steps", 100, "--scales", 1, "--finish", 12, "--window", "whole")[0] == 1


def test_a_small_picture_is_planned_at_the_size_at_which_it_is_made(run, shapes):
    output = run(200e9, 300, 200, "--supersample", 1.5, "--window", "whole")[1]
    assert {shape.size for shape in shapes} == {(300, 450)}
    assert {shape.styles for shape in shapes} == {((300, 450),)}
    assert output.startswith("300x200 pixels, made at 450x300 (0.135 megapixels) on CPU")
    assert output.splitlines()[2].split()[3] == f"{plan.cost.flops(300, 450, js.Objective()) / 1e12:.2f}"


def test_a_batch_takes_the_time_of_its_pictures(run, shapes):
    """On the cores that the devices of a CPU share."""
    output = run(200e9, 400, 300, "--batch", 4)[1]
    assert output.splitlines()[2].split()[3] == f"{4 * plan.cost.flops(300, 400, js.Objective()) / 1e12:.2f}"


def test_a_window_that_holds_the_picture_is_the_whole(run, shapes):
    output = run(200e9, 300, 200, "--window", 4000)[1]
    assert output.splitlines()[2].split()[0] == "whole"


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1.5 min"), (7000, "116.7 min"), (7200, "2.0 h"), (200000, "2.3 days")]
)
def test_long_times_are_readable(seconds, text):
    assert plan._long_time(seconds) == text


def test_a_program_that_the_compiler_refuses_does_not_fit(run, shapes, monkeypatch):
    real = plan.memory

    def refusing(shape):
        return real(shape)._replace(**({"temporary": math.inf} if shape.objective.window is None else {}))

    monkeypatch.setattr(plan, "memory", refusing)
    code, output, _ = run(200e9, 1024, 1024)
    assert code == 0
    assert output.splitlines()[2].split()[1:3] == ["too", "much"]
    assert output.splitlines()[2].endswith("no")
    assert output.endswith("Fits with --window 512.\n")
    code, output, _ = run(200e9, 100, 100)
    assert (code, output.splitlines()[-1]) == (1, "Nothing fits: free some memory.")


@pytest.mark.parametrize(("temporary", "usable"), [(math.nan, 1e9), (1e9, None)])
def test_unknown_memory_is_said_and_fits(run, shapes, monkeypatch, temporary, usable):
    real = plan.memory
    monkeypatch.setattr(plan, "memory", lambda shape: real(shape)._replace(temporary=temporary))
    code, output, _ = run(usable, 100, 100)
    assert code == 0
    assert "unknown" in output
    assert output.endswith("Fits with --window whole.\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((10, 200), "WIDTH is 10, expected 32 to 65536"),
        ((100, 70000), "HEIGHT is 70000, expected 32 to 65536"),
        ((100, 100, "--steps", 0), "--steps is 0, expected 1 to 1000000"),
        ((100, 100, "--finish", -1), "--finish is -1, expected 0 to 1000000"),
        ((100, 100, "--window", 3), "--window is 3, expected auto, whole, or 32 pixels or more"),
        ((100, 100, "--memory-size", 0), "--memory-size is 0"),
        ((100, 100, "--style-layers"), "--style-layers has no value, expected one or more"),
        ((100, 100, "--content-layers", "relu9_9"), "unknown layer 'relu9_9'"),
        ((100, 100, "--scales", 17), "--scales is 17, expected 'auto' or a number from 1 to 16"),
        ((100, 100, "--share", 1.5), "--share is 1.5, expected a fraction of the steps above 0, at most 1"),
        ((100, 100, "--paintings", 0), "--paintings is 0, expected 1 to 100"),
        ((100, 100, "--regions", -1), "--regions is -1, expected 0 to 100"),
        ((100, 100, "--batch", 5000), "--batch is 5000, expected 1 to 4096"),
        ((100, 100, "--mesh", "big"), "--mesh is 'big', expected auto, or rows and columns of devices such as 4x2"),
        ((100, 100, "--mesh", "9x9"), "a mesh of 1 x 9 x 9 needs 81 devices, there are 8"),
        ((100, 100, "--algorithm", "fft"), "--algorithm is 'fft', expected one of"),
    ],
)
def test_bad_numbers_are_one_sentence(run, words, expected):
    code, output, error = run(1e12, *words)
    assert (code, output) == (2, "")
    assert error.startswith(f"jaxstyle: error: {expected}")
    assert error.count("\n") == 1
