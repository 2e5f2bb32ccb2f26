"""The notebooks of the documentation run from top to bottom, at a tiny size, on two CPU devices."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from xla_flags import FAST_COMPILE

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# In a process of its own: notebooks need an event loop, and libraries of theirs warn.
EXECUTE = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=1200, kernel_name="python3").execute()
nbformat.write(book, sys.argv[1])
"""


def cells_of(path, tag):
    return [cell for cell in json.loads(path.read_text())["cells"] if tag in cell["metadata"].get("tags", ())]


def test_there_are_notebooks_without_stored_output():
    assert {path.name for path in NOTEBOOKS} >= {"colab_gpu.ipynb", "colab_tpu.ipynb"}
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)
        assert [len(cells_of(path, tag)) for tag in ("install", "parameters")] == [1, 1]


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    # The benchmark at the end takes longest, and is the same in both.
    measures = path.stem == "colab_gpu"
    if measures:
        shutil.copytree(ROOT / "benchmarks", tmp_path / "project" / "benchmarks")
    book = json.loads(path.read_text())
    changes = {
        "install": "",
        "parameters": f'SIZE = 64\nSTEPS = 10\nUPLOAD = False\nPROJECT = "{tmp_path / "project"}"\nLIMIT = 5',
    }
    for cell in book["cells"]:
        for tag in cell["metadata"].get("tags", ()):
            cell["source"] = changes[tag]
    copy = tmp_path / path.name
    copy.write_text(json.dumps(book))
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}",
        "JAX_NUM_CPU_DEVICES": "2",
        "XLA_FLAGS": FAST_COMPILE,
    }
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(copy)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = "".join(
        "".join(output.get("text", ""))
        for cell in json.loads(copy.read_text())["cells"]
        for output in cell.get("outputs", ())
    )
    assert "evaluations in" in outputs
    assert "2 devices: " in outputs
    assert "Fits with" in outputs
    assert ("| 64 | jaxstyle highest |" if measures else "PROJECT is no clone of the project") in outputs
    assert (tmp_path / "stylized.png").exists()
