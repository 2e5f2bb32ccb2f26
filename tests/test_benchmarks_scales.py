import functools
import json

import numpy as np
import pytest
from PIL import Image as Pillow

import jaxstyle as js
from benchmarks import __main__ as dispatcher
from benchmarks import record, scales
from jaxstyle.scales import pyramid


@pytest.mark.parametrize("count", [1, 2, 3, "auto"])
@pytest.mark.parametrize("steps", [20, 60, 150])
def test_equal_steps_cost_as_much_and_no_more(count, steps):
    plan = functools.partial(lambda total: pyramid(342, 512, total, count))
    total = scales.equal_steps(steps, plan)
    assert total >= steps
    assert scales.cost(plan(total)) <= steps < scales.cost(plan(total + 1)) + 1e-9


def test_a_run_and_its_report(tmp_path, tiny_params, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    rng = np.random.default_rng(0)
    for name, shape in (("content_photo", (90, 120)), ("style_one", (120, 100))):
        Pillow.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / f"{name}.jpg")
    chosen = ["--images", str(tmp_path), "--pairs", "photo+one", "--sizes", "96", "--steps", "20"]
    assert dispatcher.main(["scales", *chosen]) == 0
    runs = json.loads((tmp_path / "scales.json").read_text())["runs"]
    assert [run["scales"] for run in runs] == ["1", "auto"]
    assert runs[0]["steps"] == [["96x72", 20]]
    # Steps of a quarter of the cost leave some for more of both.
    assert [size for size, _ in runs[1]["steps"]] == ["48x36", "96x72"]
    assert all(run["cost"] <= 20 for run in runs)
    assert all(run["total"] == pytest.approx(run["content"] + run["style"], abs=2) for run in runs)
    assert (tmp_path / "scales.jpg").is_file()
    assert (tmp_path / "scales_96_photo+one_auto.jpg").is_file()
    rows = (tmp_path / "scales.md").read_text().splitlines()[2:]
    assert rows[0].startswith("| photo+one | 96 | 1 | 20 at 96x72 |")


def test_wrong_use_is_one_sentence(capsys):
    assert dispatcher.main(["scales"]) == 2
    assert "no pictures" in capsys.readouterr().err
