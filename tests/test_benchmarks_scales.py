import functools
import json

import numpy as np
import pytest
from PIL import Image as Pillow

import jaxstyle as js
from benchmarks import __main__ as dispatcher
from benchmarks import record, scales
from jaxstyle.transfer.pyramid import pyramid


@pytest.mark.parametrize("count", [1, 2, 3, "auto"])
@pytest.mark.parametrize("steps", [20, 60, 150])
def test_equal_steps_cost_as_much_and_no_more(count, steps):
    plan = functools.partial(lambda total: pyramid(342, 512, total, count))
    total = scales.equal_steps(steps, plan)
    assert total >= steps
    assert scales.cost(plan(total)) <= steps < scales.cost(plan(total + 1)) + 1e-9


@pytest.mark.long
def test_a_run_and_its_report(tmp_path, tiny_params, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    rng = np.random.default_rng(0)
    for name, shape in (("content_photo", (192, 256)), ("style_one", (200, 160))):
        Pillow.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / f"{name}.jpg")
    options = ["--images", str(tmp_path), "--pairs", "photo+one", "--steps", "20"]
    assert dispatcher.main(["scales", *options, "--sizes", "256"]) == 0
    runs = json.loads((tmp_path / "scales.json").read_text())["runs"]
    assert [run["scales"] for run in runs] == ["1", "auto"]
    assert runs[0]["steps"] == [["256x192", 20]]
    # A step at half the size costs a quarter.
    assert [size for size, _ in runs[1]["steps"]] == ["128x96", "256x192"]
    assert all(run["cost"] <= 20 for run in runs)
    assert all(run["total"] == pytest.approx(run["content"] + run["style"], abs=2) for run in runs)
    assert (tmp_path / "scales.jpg").is_file()
    assert (tmp_path / "scales_256_photo+one_auto.jpg").is_file()
    rows = (tmp_path / "scales.md").read_text().splitlines()[2:]
    assert rows[0].startswith("| photo+one | 256 | 1 | 20 at 256x192 |")
    assert dispatcher.main(["scales", *options, "--sizes", "96", "--name", "small"]) == 2
    assert "photo+one at 96 pixels has only one scale" in capsys.readouterr().err


def test_wrong_use_is_one_sentence(capsys):
    assert dispatcher.main(["scales"]) == 2
    assert "no images" in capsys.readouterr().err
