"""The examples run, at a tiny size, on two devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import jaxstyle as js

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (6, 8, 3), np.uint8)
        PIL.Image.fromarray(pixels).resize((64, 48)).save(folder / f"{k}.png")
    return folder


def train(photos, output, *options):
    command = [sys.executable, str(ROOT / "examples" / "feed_forward.py"), str(photos)]
    command += [str(ROOT / "jaxstyle" / "data" / "starry_night.jpg"), "-o", str(output), "--size", "32"]
    command += ["--batch", "2", "--width", "2", "--blocks", "1", *options]
    flags = {"JAX_NUM_CPU_DEVICES": "2", "XLA_FLAGS": "--xla_backend_optimization_level=1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_network_is_trained_and_an_interrupted_run_continues(photos, tmp_path):
    whole = train(photos, tmp_path / "whole.safetensors", "--steps", "12")
    assert whole.returncode == 0, whole.stderr[-2000:]
    losses = json.loads((tmp_path / "whole.json").read_text())["losses"]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]
    # Without its last checkpoint a finished run is one that was interrupted after the one before.
    options = "--checkpoint", str(tmp_path / "run"), "--checkpoint-every", "4"
    begun = train(photos, tmp_path / "part.safetensors", "--steps", "12", *options)
    assert begun.returncode == 0, begun.stderr[-2000:]
    (tmp_path / "run" / "12").rename(tmp_path / "removed")
    resumed = train(photos, tmp_path / "part.safetensors", "--steps", "12", *options)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    curve = json.loads((tmp_path / "part.json").read_text())
    assert curve["first_step"] == 9
    np.testing.assert_allclose(curve["losses"], losses[8:], rtol=1e-3)
    network = js.load_network(tmp_path / "part.safetensors")
    assert js.apply_network(network, js.white_noise(0, 20, 24)).shape == (20, 24, 3)


@pytest.mark.long
def test_bad_input_of_training_is_one_sentence(photos, tmp_path):
    (tmp_path / "none").mkdir()
    for folder, options, message in (
        (tmp_path / "none", (), "has no photo"),
        (photos, ("--batch", "3"), "batch is 3, expected a multiple of the 2 devices"),
    ):
        done = train(folder, tmp_path / "net.safetensors", *options)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "net.safetensors").exists()
