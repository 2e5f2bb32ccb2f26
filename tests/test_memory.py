"""Memory before anything runs: the compiler's figure, the estimate, and the window chosen from it."""

import pytest

import jaxstyle as js
from jaxstyle import memory
from jaxstyle.errors import InputError


@pytest.mark.parametrize(("side", "window"), [(512, None), (1024, 256), (4096, 512)])
def test_the_estimate_is_the_compilers_figure_within_a_sixth(side, window):
    objective = js.Objective(window=window)
    compiled = memory.memory(side, side * 3 // 4, objective, js.lbfgs())
    estimated = memory.estimate(side, side * 3 // 4, objective, js.lbfgs())
    assert estimated._replace(temporary=0) == compiled._replace(temporary=0)
    assert estimated.peak == pytest.approx(compiled.peak, rel=1 / 6)


def test_what_is_held_is_counted_by_hand():
    found = memory.estimate(96, 128, js.Objective(), js.lbfgs(7))
    pixels, floats = 96 * 128, 4
    assert found.pictures == 48 * pixels
    # The content at stride 8; the Gram matrices, their eigenvectors and gains.
    assert found.targets == floats * (512 * pixels // 64 + 3 * (64**2 + 128**2 + 256**2 + 2 * 512**2))
    pairs = found.state - memory.estimate(96, 128, js.Objective(), js.lbfgs(6)).state
    assert pairs == pytest.approx(24 * pixels, abs=100)


def test_the_largest_window_that_fits_is_chosen():
    def choose(gigabytes, height=3000, width=4000):
        return memory.choose_window(height, width, js.Objective(), js.lbfgs(), int(gigabytes * 1e9))

    chosen = [choose(gigabytes) for gigabytes in (100, 20, 12, 9.5, 0.1)]
    assert chosen[0] is None
    assert chosen[1:-1] == sorted(chosen[1:-1], reverse=True)
    assert len(set(chosen)) >= 4
    assert chosen[-1] == 128
    for gigabytes, window in zip((20, 12, 9.5), chosen[1:-1], strict=True):
        assert memory.estimate(3000, 4000, js.Objective(window=window), js.lbfgs()).peak <= 0.9e9 * gigabytes
    assert choose(0.1, 100, 120) == 128
    assert memory.smaller_window(None, 600) == 512
    assert memory.smaller_window(512, 600) == 256
    assert memory.smaller_window(128, 600) == 128


def test_an_option_comes_before_the_choice():
    free = {"height": 64, "width": 64, "optimizer": js.lbfgs()}
    objective = js.Objective(window=32)
    assert memory.windowed(objective, "auto", **free) is objective
    assert memory.windowed(objective, None, **free).window is None
    assert memory.windowed(js.Objective(), 40, **free).window == 40
    assert memory.windowed(js.Objective(), "auto", **free).window is None
    with pytest.raises(InputError, match="window is 3, expected 32"):
        memory.windowed(js.Objective(), 3, **free)


def test_the_container_limits_too(tmp_path):
    proc, control = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    control.mkdir()
    (proc / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable:   3000 kB\n")
    assert memory._free_of_machine(proc, control) == 3000 * 1024
    (control / "memory.max").write_text("max\n")
    (control / "memory.current").write_text("50\n")
    assert memory._free_of_machine(proc, control) == 3000 * 1024
    (control / "memory.max").write_text("1050\n")
    assert memory._free_of_machine(proc, control) == 1000


def test_this_machine_has_memory():
    assert memory.free_memory() > 1e8
