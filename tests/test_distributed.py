"""Two real processes over 127.0.0.1, with two devices each. Every wait has a timeout, so that a hang is a failure."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import DATA

import jaxstyle as js
from jaxstyle import distributed
from jaxstyle.vgg import tensors as layout

WORKER = Path(__file__).parent / "distributed_worker.py"
# Seconds for both, joining and leaving each other included.
LIMIT = 240


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def save_weights(params, path):
    tensors = {f"{layer}.{part}": np.asarray(array) for layer, parts in params.items() for part, array in parts.items()}
    path.write_bytes(layout.encode(tensors, {}))
    return path


def two(folder, what, *words):
    """Run two processes to their end, and return their exit codes and outputs."""
    address = f"127.0.0.1:{free_port()}"
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), address, "2", str(index), str(folder), what, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for index in range(2)
    ]
    end, outputs = time.monotonic() + LIMIT, []
    try:
        for process in processes:
            outputs.append(process.communicate(timeout=max(1, end - time.monotonic()))[0])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [process.returncode for process in processes], outputs


@pytest.fixture(scope="module")
def problem():
    params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
    return js.white_noise(1, 70, 50), js.white_noise(2, 64, 64), {"params": params, "steps": 8, "whitening": 1.0}


@pytest.mark.long
def test_one_picture_over_two_processes(tmp_path, problem):
    codes, outputs = two(tmp_path, "mesh")
    assert codes == [0, 0], outputs
    photo, painting, options = problem
    expected = js.stylize(photo, painting, optimizer=js.lbfgs(precondition="pyramid"), **options, preset="gram")
    found = [np.load(tmp_path / f"{index}.npz") for index in range(2)]
    np.testing.assert_array_equal(found[0]["image0"], found[1]["image0"])
    assert found[0]["image0"].shape == photo.shape
    np.testing.assert_allclose(found[0]["losses0"], expected.losses.total, rtol=1e-4)


@pytest.mark.long
def test_a_batch_over_two_processes(tmp_path, problem):
    codes, outputs = two(tmp_path, "batch")
    assert codes == [0, 0], outputs
    photo, painting, options = problem
    found = [np.load(tmp_path / f"{index}.npz") for index in range(2)]
    for k in range(4):
        np.testing.assert_array_equal(found[0][f"image{k}"], found[1][f"image{k}"])
    photos = [photo, js.white_noise(3, 64, 64), js.white_noise(4, 64, 48), js.white_noise(5, 40, 70)]
    for k, content in enumerate(photos):
        expected = js.stylize(content, painting, **options, preset="gram")
        np.testing.assert_allclose(found[0][f"losses{k}"][:6], expected.losses.total[:6], rtol=1e-4)


def test_the_command_line_on_two_processes(tmp_path, tiny_params):
    """The first process alone prints and writes: the picture, a numbered one, and of a folder all."""
    words = ["--size", "64", "--steps", "3", "--weights", str(save_weights(tiny_params, tmp_path / "tiny.safetensors"))]
    single = [str(DATA / "china.jpg"), str(DATA / "starry_night.jpg"), "-o", str(tmp_path / "out.png")]
    codes, outputs = two(tmp_path, "command", *single, *words, "--mesh", "auto", "--save-every", "2")
    assert codes == [0, 0], outputs
    assert "3 evaluations" in outputs[0]
    assert "evaluations" not in outputs[1]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out.png", "out_00002.png", "tiny.safetensors"]


@pytest.mark.parametrize("failing", [0, 1])
def test_when_one_process_raises_the_others_end_soon(tmp_path, failing):
    """Not after JAX's timeouts of 60 seconds, for which the first waits at exit, and 100, without a sign of life."""
    codes, outputs = two(tmp_path, f"fail {failing}")
    assert seconds_since_failure(tmp_path) < 20
    assert codes == [1, 1], outputs
    assert "RuntimeError: this host has no disk" in outputs[failing]
    assert f"host {failing} has failed, so this one ends: RuntimeError: this host has no disk" in outputs[1 - failing]
    assert "Traceback" not in outputs[1 - failing]


def test_when_the_command_of_one_process_is_wrong_the_others_end_soon(tmp_path, tiny_params):
    words = ["--size", "64", "--steps", "3", "--weights", str(save_weights(tiny_params, tmp_path / "tiny.safetensors"))]
    single = [str(DATA / "china.jpg"), str(DATA / "starry_night.jpg"), "-o", str(tmp_path / "out.png")]
    codes, outputs = two(tmp_path, "wrong command", *single, *words, "--mesh", "auto")
    assert codes == [1, 2], outputs
    assert "jaxstyle: error: cannot read missing.jpg" in outputs[1]
    assert "host 1 has failed, so this one ends: cannot read missing.jpg" in outputs[0]
    assert not (tmp_path / "out.png").exists()


@pytest.mark.long
def test_when_one_process_is_killed_the_others_end_after_the_heartbeats(tmp_path):
    codes, outputs = two(tmp_path, "kill")
    assert seconds_since_failure(tmp_path) < 30
    assert codes[1] == 3, outputs
    assert codes[0] not in (0, None), outputs


def seconds_since_failure(folder):
    return time.time() - float((folder / "failure").read_text())


def test_a_failure_in_a_single_process_is_only_its_own():
    assert distributed.abort("a failure", 1) is None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("127.0.0.1:1", None, 0), "expected all three"),
        ((None, 2, None), "expected all three"),
        (("127.0.0.1:1", 2, 2), "index is 2, expected an integer from 0 to 1"),
        (("127.0.0.1:1", 2, -1), "index is -1"),
        (("127.0.0.1:1", 2, 0.5), "index is 0.5"),
        (("127.0.0.1:1", 0, 0), "processes is 0"),
        (("127.0.0.1:1", "2", 0), "processes is '2'"),
        (("127.0.0.1:1", float("nan"), 0), "processes is nan"),
        (("127.0.0.1", 2, 0), "coordinator is '127.0.0.1', expected address:port"),
        ((1234, 2, 0), "coordinator is 1234, expected address:port"),
        ((None, None, None, 0), "timeout is 0"),
        ((None, None, None, 1.5), "timeout is 1.5"),
        ((None, None, None, None), "timeout is None"),
        (("127.0.0.1:1", 1, 0), "cannot join"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    jax.devices()
    with pytest.raises(js.InputError, match=message):
        distributed.initialize(*arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "text", ["", "yes", "host,2,0", "host:1,2", "host:1,two,0", "h:1,²,0", "h:x,2,0", "h:1,0,0", None, 3]
)
def test_a_misspelt_option_is_refused(text):
    with pytest.raises(js.InputError, match="expected auto or ADDRESS:PORT"):
        distributed.parse(text)
    assert distributed.parse("auto") == (None, None, None)


def test_a_single_process_is_the_first():
    assert distributed.is_first()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, (3, 4)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, (0, 2)),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c", "TPU_WORKER_ID": "1"}, (1, 3)),
    ],
)
def test_hosts_that_divide_work_know_their_share_from_the_cluster(monkeypatch, variables, expected):
    for name in ("SLURM_NTASKS", "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES", raising=False)
    with pytest.raises(js.InputError, match="no known cluster here, expected Slurm, Open MPI or a TPU pod"):
        js.distributed.share("auto")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert js.distributed.share("auto") == expected
    with pytest.raises(js.InputError, match="index is 2, expected an integer from 0 to 1"):
        js.distributed.share("10.0.0.1:1,2,2")
