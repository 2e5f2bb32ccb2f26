"""The examples run, at a tiny size, on two devices."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from xla_flags import FAST_COMPILE

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
    flags = {"JAX_NUM_CPU_DEVICES": "2", "XLA_FLAGS": FAST_COMPILE, "PYTHONPATH": str(ROOT)}
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
    resumed = train(photos, tmp_path / "part.safetensors", "--steps", "12", "--force", *options)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    curve = json.loads((tmp_path / "part.json").read_text())
    assert curve["first_step"] == 9
    np.testing.assert_allclose(curve["losses"], losses[8:], rtol=1e-3)
    network = js.load_network(tmp_path / "part.safetensors")
    assert js.apply_network(network, js.white_noise(0, 20, 24)).shape == (20, 24, 3)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("feed_forward", ROOT / "examples" / "feed_forward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_crops_depend_on_the_step_alone(example, photos):
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "folder.png").mkdir(exist_ok=True)
    files = example.list_photos(photos)
    assert [path.name for path in files] == ["0.png", "1.png", "2.png"]
    first, again, other = (example.read_batch(files, 16, 0, step, 3) for step in (5, 5, 6))
    assert first.shape == (3, 16, 16, 3)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_batches_are_read_in_order(example):
    assert list(example.prefetched(lambda step: step, 3, 20)) == list(range(3, 20))
    assert list(example.prefetched(lambda step: step, 5, 5)) == []


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_weights_are_finite(example, tiny_params, strength):
    objective = js.Objective(example.CONTENT_LAYERS, example.STYLE_LAYERS)
    crops = np.stack([js.white_noise(k, 32, 32) for k in range(2)])
    weights = example.measure_weights(tiny_params, crops, js.white_noise(5, 40, 40), objective, strength)
    assert max(np.max(weights.content), np.max(weights.style)) == 1
    assert np.all(np.asarray(weights.style) > 0) == bool(strength)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch", "3"), "batch is 3, expected a multiple of the 8 devices"),
        (("--batch", "0"), "batch is 0, expected 1 or more"),
        (("--steps", "0"), "steps is 0"),
        (("--seed", "-1"), "seed is -1"),
        (("-o", "net.json"), "expected a name that ends with .safetensors"),
        (("-o", "none/net.safetensors"), "does not exist"),
    ],
)
def test_bad_input_of_training_is_one_sentence(example, photos, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    painting = str(ROOT / "jaxstyle" / "data" / "starry_night.jpg")
    with pytest.raises(SystemExit) as stop:
        example.main([str(photos), painting, "-o", "net.safetensors", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_photos(example, tmp_path):
    with pytest.raises(js.InputError, match="has no photo"):
        example.list_photos(tmp_path)
