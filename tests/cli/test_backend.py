"""JAX's settings from the environment that a run cannot meet."""

import os
import subprocess
import sys

import jax
import pytest
from conftest import DATA

import jaxstyle as js
from jaxstyle.cli import app

pytestmark = pytest.mark.usefixtures("unchecked")

PICTURES = [str(DATA / "china.jpg"), str(DATA / "starry_night.jpg")]
SMALL = ["--size", "48", "--steps", "2", "--preset", "gram"]


def ended(words):
    with pytest.raises(SystemExit) as end:
        app.main(words)
    return end.value.code


@pytest.mark.parametrize(
    "error", [AssertionError(), RuntimeError("no such backend (set JAX_PLATFORMS='')\nmore")], ids=repr
)
@pytest.mark.parametrize("command", ["stylize", "folder", "sweep", "plan", "demo", "rerun"])
def test_a_platform_that_is_not_there(tmp_path, capsys, monkeypatch, command, error):
    def devices():
        raise error

    output = ["-o", str(tmp_path / "out")]
    words = {
        "stylize": ["stylize", *PICTURES, *output],
        "folder": ["stylize", str(DATA), PICTURES[1], *output],
        "sweep": ["sweep", *PICTURES, *output, "--seed", "1,2"],
        "plan": ["plan", "64", "64"],
        "demo": ["demo", *output],
        "rerun": ["rerun", PICTURES[0]],
    }
    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert ended(words[command]) == 2
    output, message = capsys.readouterr()
    reason = " (no such backend)" if str(error) else ""
    assert (output, message) == (
        "",
        f"jaxstyle: error: JAX_PLATFORMS is 'cuda', a platform that JAX does not find here{reason}: install it (pip "
        "install 'jaxstyle[cuda]'), or unset JAX_PLATFORMS to use what there is, such as the CPU\n",
    )
    assert not list(tmp_path.iterdir())


def test_the_platform_of_a_process(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    words = [sys.executable, "-m", "jaxstyle", "stylize", *PICTURES, "-o", str(tmp_path / "out.png")]
    done = subprocess.run(words, env=environment | {"JAX_PLATFORM_NAME": "metal"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("jaxstyle: error: JAX_PLATFORM_NAME is 'metal', a platform that JAX does not find")
    assert done.stderr.count("\n") == 1


def test_checks_of_jax_that_a_run_cannot_meet_are_ignored(tmp_path, tiny_weights):
    output = tmp_path / "out.png"
    with jax.transfer_guard("disallow"), jax.debug_infs(True):
        assert ended(["stylize", *PICTURES, *SMALL, "-o", str(output), "--weights", tiny_weights]) == 0
        assert jax.config.jax_debug_infs
    assert js.read_recipe(output)["evaluations"] == 2
