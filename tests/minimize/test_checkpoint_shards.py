"""Checkpoints of runs on a mesh: every device's shards, nothing gathered, whole at any moment."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

import jaxstyle as js
from jaxstyle.minimize import checkpoint as saving
from jaxstyle.minimize import checkpoint_file, checkpoint_shards
from jaxstyle.minimize.checkpoint_shards import Shards, bit_sums, read_shards, shards_folder
from jaxstyle.objective.mesh import image_spec, put

# Bad input must meet the library's own messages.
pytestmark = pytest.mark.usefixtures("unchecked")

# On the mesh of 2 x 2 it needs a canvas.
CONTENT, STYLE = js.white_noise(1, 70, 50), js.white_noise(2, 64, 64)


class KilledError(Exception):
    pass


def kill(*_, **__):
    raise KilledError


@pytest.fixture
def mesh():
    return js.make_mesh(2, 2)


@pytest.fixture
def run(tiny_params, mesh):
    def run(**options):
        return js.stylize(
            CONTENT, STYLE, **{"params": tiny_params, "steps": 12, "scales": 1, "mesh": mesh} | options, preset="gram"
        )

    return run


def stop_after(count):
    return lambda progress: progress.evaluations >= count


def saves(path):
    return sorted(folder.name for folder in shards_folder(path).iterdir())


@pytest.fixture
def checkpoint(run, tmp_path):
    """Of a run that was stopped after 5 evaluations."""
    checkpoint = js.Checkpoint(tmp_path / "run", every=1e6)
    run(checkpoint=checkpoint, callback=stop_after(5), callback_every=5)
    return dataclasses.replace(checkpoint, resume=True)


def test_every_device_saves_its_shards_and_nothing_is_gathered(run, tmp_path, monkeypatch):
    expected, checkpoint = run(), js.Checkpoint(tmp_path / "run", every=1e6)

    def gathered(*_, **__):
        pytest.fail("an array was gathered")

    monkeypatch.setattr(saving, "to_host", gathered)
    monkeypatch.setattr(multihost_utils, "process_allgather", gathered)
    run(checkpoint=checkpoint, callback=stop_after(5), callback_every=5)
    # The file holds no part of the state; a shard is a quarter of an array, and each is stored once.
    contents = checkpoint_file.read(checkpoint.path)
    assert not [name for name in contents.tensors if name.startswith("state")]
    folder = shards_folder(checkpoint.path, contents.metadata["shards"]["folder"])
    metadata = json.loads((folder / "array_metadatas" / "process_0").read_text())["array_metadatas"]
    written = {entry["array_metadata"]["param_name"]: entry["array_metadata"]["write_shape"] for entry in metadata}
    layout, total = contents.metadata["shards"]["layout"], 0
    assert set(written) == set(layout)
    for name, (shape, dtype) in layout.items():
        sharded = len(shape) >= 3
        expected_shape = [*shape[:-3], shape[-3] // 2, shape[-2] // 2, 3] if sharded else shape
        assert written[name] == expected_shape, name
        total += np.dtype(dtype).itemsize * int(np.prod(shape))
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert total <= stored < 1.2 * total
    result = run(checkpoint=dataclasses.replace(checkpoint, resume=True))
    np.testing.assert_array_equal(result.image, expected.image)
    np.testing.assert_array_equal(result.losses.total, expected.losses.total)


def test_arrays_return_with_any_sharding(tmp_path, mesh):
    image = np.random.default_rng(0).random((64, 48, 3), np.float32)
    shards = {"image": put(image, NamedSharding(mesh, image_spec(mesh)))}
    tmp_path = tmp_path / "shards"
    tmp_path.mkdir()
    checkpoint_shards.write_shards(tmp_path, shards)
    checkpoint_shards.complete_shards(tmp_path)
    stored = Shards(tmp_path, checkpoint_file.layout_of(shards), bit_sums(shards))
    for shape in ((4, 2), (1, 1), (1, 8)):
        other = js.make_mesh(*shape)
        sharding = NamedSharding(other, image_spec(other))
        found = read_shards(stored, {"image": jax.ShapeDtypeStruct(image.shape, image.dtype, sharding=sharding)})
        assert found["image"].sharding == sharding
        np.testing.assert_array_equal(found["image"], image, strict=True)
    found = read_shards(stored, {"image": jax.ShapeDtypeStruct(image.shape, image.dtype)})
    assert isinstance(found["image"], np.ndarray)
    np.testing.assert_array_equal(found["image"], image, strict=True)


@pytest.mark.parametrize("step", ["write_shards", "complete_shards", "remove_shards", "write"])
def test_a_save_killed_at_any_step_leaves_a_whole_checkpoint(run, checkpoint, monkeypatch, step):
    expected, (before,) = run(), saves(checkpoint.path)
    with monkeypatch.context() as context:
        context.setattr(checkpoint_file if step == "write" else saving, step, kill)
        with pytest.raises(KilledError):
            run(checkpoint=checkpoint, callback=stop_after(9), callback_every=9)
    assert before in saves(checkpoint.path)
    assert len(saves(checkpoint.path)) == 2
    result = run(checkpoint=dataclasses.replace(checkpoint, every=0))
    np.testing.assert_array_equal(result.image, expected.image)
    # What the killed save left is gone with the next one.
    assert saves(checkpoint.path) == [checkpoint_file.read(checkpoint.path).metadata["shards"]["folder"]]
    saving.remove_checkpoint(checkpoint.path)
    assert os.listdir(Path(checkpoint.path).parent) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: No space left on device\nmore lines"),
        MemoryError("No space left on device"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: No space left on device\nmore lines"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_save_that_fails_is_a_warning(run, checkpoint, monkeypatch, caplog, error):
    import orbax.checkpoint as ocp

    def full(*_, **__):
        raise error

    expected, before = run(), saves(checkpoint.path)
    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "save", full)
    result = run(checkpoint=dataclasses.replace(checkpoint, every=0))
    np.testing.assert_array_equal(result.image, expected.image)
    (message, *_) = [record.getMessage() for record in caplog.records if "cannot write" in record.getMessage()]
    assert "No space left on device; the run continues, and an earlier checkpoint stays" in message
    assert "\n" not in message
    assert saves(checkpoint.path) == before


def test_files_that_are_written_after_a_save_has_failed_are_removed(run, tmp_path, monkeypatch):
    """TensorStore's threads go on for a moment where one of them meets an error."""
    import orbax.checkpoint as ocp

    late = []

    def write_late(folder):
        while Path(folder).exists():
            time.sleep(0.01)
        Path(folder, "d").mkdir(parents=True)
        Path(folder, "d", "late").touch()

    def fail(self, folder, **_):
        late.append(threading.Thread(target=write_late, args=[folder]))
        late[-1].start()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "save", fail)
    run(checkpoint=js.Checkpoint(tmp_path / "run", every=0), steps=1)
    assert late
    for thread in late:
        thread.join()
    assert os.listdir(tmp_path) == []


def test_a_save_that_fails_on_another_host_fails_here_too(run, checkpoint, monkeypatch, caplog):
    before = saves(checkpoint.path)
    monkeypatch.setattr(saving, "allreduce_max", lambda number, mesh: 1)
    run(checkpoint=dataclasses.replace(checkpoint, resume=False, force=True, every=0), steps=3)
    assert "it failed on another host" in caplog.text
    assert saves(checkpoint.path) == before


def test_a_full_disk_is_noticed_before_anything_is_written(run, checkpoint, monkeypatch, caplog):
    expected, before = run(), saves(checkpoint.path)
    monkeypatch.setattr(checkpoint_shards.shutil, "disk_usage", lambda path: SimpleNamespace(total=10**9, free=10**5))
    monkeypatch.setattr(saving, "write_shards", lambda *_: pytest.fail("it was written"))
    result = run(checkpoint=dataclasses.replace(checkpoint, every=0))
    np.testing.assert_array_equal(result.image, expected.image)
    assert "No space left on device" in caplog.text
    assert saves(checkpoint.path) == before


@pytest.mark.long
def test_a_limit_that_no_free_space_shows_is_a_warning(tmp_path):
    """TensorStore's threads meet it, in a process of its own; what they print themselves stays."""
    script = """
import logging, resource, signal, sys
import jaxstyle as js, jax
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
logging.basicConfig()
params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
content, style = js.white_noise(1, 64, 64), js.white_noise(2, 64, 64)
saved = js.Checkpoint(sys.argv[1], every=0)
result = js.stylize(content, style, params=params, steps=2, mesh=js.make_mesh(2), checkpoint=saved, preset="gram")
print(result.evaluations)
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr
    assert "cannot write the checkpoint" in result.stderr
    assert os.listdir(tmp_path) == []


def test_damaged_shards_are_refused_in_one_sentence(run, checkpoint):
    expected, folder = run(), shards_folder(checkpoint.path, saves(checkpoint.path)[0])
    files = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
    data, rng, messages = max(files, key=lambda file: file.stat().st_size), np.random.default_rng(0), []

    def resume():
        try:
            return run(checkpoint=checkpoint)
        except js.InputError as error:
            messages.append(str(error))

    for file in files:
        good = file.read_bytes()
        places = [int(k) for k in rng.integers(len(good), size=8 if file == data else 1)]
        for content in (*(good[:k] + bytes([good[k] ^ 0x11]) + good[k + 1 :] for k in places), good[: len(good) // 2]):
            file.write_bytes(content)
            result = resume()
            # A file may hold bytes that nothing depends on.
            assert result is None or np.array_equal(result.image, expected.image)
            assert file != data or result is None
        file.write_bytes(good)
    os.rename(folder, folder.with_name("elsewhere"))
    assert resume() is None
    assert len(messages) >= 10
    for message in messages:
        assert str(folder) in message
        assert "\n" not in message


def test_a_forced_run_continues_on_other_devices(run, checkpoint):
    """From the best image, without the canvas that the mesh needed."""
    metadata = checkpoint_file.read(checkpoint.path).metadata["shards"]
    shape = metadata["layout"]["state.best_image"][0]
    assert shape > [70, 50, 3]
    with pytest.raises(js.InputError, match="of a run with other mesh: expected"):
        run(checkpoint=checkpoint, mesh=None)
    stored = Shards(shards_folder(checkpoint.path, metadata["folder"]), metadata["layout"], metadata["sums"])
    like = {"state.best_image": jax.ShapeDtypeStruct(tuple(shape), np.float32)}
    best = read_shards(stored, like)["state.best_image"][:70, :50]
    options = {"steps": 1, "whitening": 0.0, "mesh": None}
    forced = dataclasses.replace(checkpoint, force=True)
    result = run(checkpoint=forced, **options)
    expected = run(init=jnp.asarray(best), mosaic=0.0, **options)
    np.testing.assert_allclose(result.losses.total, expected.losses.total, rtol=1e-5)


@given(arrays.arrays(st.sampled_from([np.float32, np.int32, np.uint8, np.bool_, np.float16]), arrays.array_shapes()))
def test_bit_sums_are_those_of_words_weighted_by_odd_numbers(array):
    words = array.reshape(-1).view(f"uint{8 * array.dtype.itemsize}").astype(object)
    expected = sum((2 * k + 1) * int(word) for k, word in enumerate(words)) % 2**32
    assert bit_sums({"array": jnp.asarray(array)}) == {"array": expected}


def test_bit_sums_are_equal_on_every_mesh_and_see_every_change():
    image = np.random.default_rng(0).random((16, 8, 3), np.float32)
    expected = bit_sums({"image": image})
    for shape in ((2, 2), (8, 1)):
        mesh = js.make_mesh(*shape)
        assert bit_sums({"image": put(image, NamedSharding(mesh, image_spec(mesh)))}) == expected
    for k in np.ndindex(image.shape):
        changed = image.copy()
        changed[k] = np.nextafter(changed[k], np.float32(2))
        assert bit_sums({"image": changed}) != expected


def test_orbax_is_imported_by_the_first_save_on_a_mesh():
    script = "import sys, jaxstyle, jaxstyle.minimize.checkpoint_shards; assert 'orbax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
