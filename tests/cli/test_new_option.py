"""A new option is one field in one place: a copy of the package with one field more has the option everywhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxstyle
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file

FIELD = '''
    glow: float = option(0.25, FRACTION)
    """How much the picture glows, 0 to 1."""
'''
PHOTO, PAINTING = (Path(jaxstyle.__file__).parent / "data" / name for name in ("china.jpg", "starry_night.jpg"))
# The run ends by itself after four evaluations, and leaves its checkpoint.
INTERRUPT = (
    "import os, signal, sys, jaxstyle.minimize.loop as loop, jaxstyle.cli as cli\n"
    "run = loop.run\n"
    "def stopped(state, *rest):\n"
    "    os.kill(os.getpid(), signal.SIGTERM)\n"
    "    return run(state, *rest)\n"
    "loop.run = stopped\n"
    "cli.main(sys.argv[1:])\n"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder of the copy."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(Path(jaxstyle.__file__).parent, folder / "jaxstyle", ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / "jaxstyle" / "transfer" / "settings.py"
    text = source.read_text()
    place = text.index("\n    steps: int")
    source.write_text(text[:place] + FIELD + text[place:])
    return folder


def run(package, folder, *words, code=0, program=("-m", "jaxstyle")):
    environment = {**os.environ, "PYTHONPATH": str(package), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *program, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_a_field_is_an_option_a_setting_a_recipe_and_a_checkpoint(package, tmp_path, tiny_weights):
    text = run(package, tmp_path, "stylize", "--help")
    assert "--glow FLOAT" in text
    assert "How much the picture glows, 0 to 1." in text
    words = ("stylize", "--preset=gram", PHOTO, PAINTING, "--size", 64, "--steps", 4, "--weights", tiny_weights)
    assert "--glow is 1.5, expected a number from 0 to 1" in run(
        package, tmp_path, *words, "-o", "out.png", "--glow", 1.5, code=2
    )
    checkpoint = ("--checkpoint", "run.ckpt", "--checkpoint-every", 0)
    arguments = (*words, "-o", "out.png", "--glow", 0.75, *checkpoint)
    run(package, tmp_path, *arguments, code=143, program=("-c", INTERRUPT))
    assert checkpoint_file.read(tmp_path / "run.ckpt").metadata["note"]["options"]["glow"] == 0.75
    (tmp_path / "out.png").unlink(missing_ok=True)
    run(package, tmp_path, "resume", "run.ckpt")
    recipe = io.read_recipe(tmp_path / "out.png")
    assert recipe is not None
    assert recipe["settings"]["glow"] == 0.75
    assert "identical, byte for byte" in run(
        package, tmp_path, "rerun", "out.png", "--inputs", Path(tiny_weights).parent
    )


@pytest.mark.long
def test_a_field_is_a_setting_in_python_and_an_axis_of_a_sweep(package, tmp_path, tiny_weights):
    text = run(
        package,
        tmp_path,
        program=("-c", "import jaxstyle as js; print(js.preset('paper').glow, js.Settings().override(glow=0.5).glow)"),
    )
    assert text.split() == ["0.25", "0.5"]
    words = ("sweep", PHOTO, PAINTING, "--size", 48, "--steps", 1, "--weights", tiny_weights, "-o", "sheet.png")
    run(package, tmp_path, *words, "--glow", "0.25,1", "--cells", "cells")
    recipes = [io.read_recipe(path) for path in sorted((tmp_path / "cells").iterdir())]
    assert sorted(json.dumps(recipe["settings"]["glow"]) for recipe in recipes if recipe) == ["0.25", "1.0"]
