"""Benchmarks of compiled programs, and their committed tables."""

import jax
import PIL.Image
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxstyle as js
from benchmarks import (
    checkpoint,
    device,
    device_report,
    folder,
    layers,
    rates,
    record,
    scaling,
    step,
    step_report,
    strength,
    sweep,
    tpu_aot,
)
from benchmarks.collectives import collectives

TEXT = """
  %a = f32[2,8,64]{2,1,0} collective-permute(%x), channel_id=1
  %b = (f32[1,8]{1,0}, f32[1,8]{1,0}, u32[], u32[]) collective-permute-start(%y), channel_id=2
  %c = f32[1,8]{1,0} collective-permute-done(%b)
  %d = (f32[64,64]{1,0}, f32[128,128]{1,0}) all-reduce(%p, %q), to_apply=%add
  %e = bf16[4,10]{1,0} all-gather(%z), dimensions={0}
  %f = pred[] all-reduce(%w), to_apply=%and
"""


def test_collectives_are_counted_in_a_programs_text():
    assert collectives(TEXT) == {
        "collective-permute": {"count": 2, "bytes": 4 * (2 * 8 * 64 + 8), "largest": 4 * 2 * 8 * 64},
        "all-reduce": {"count": 2, "bytes": 4 * (64**2 + 128**2) + 1, "largest": 4 * (64**2 + 128**2)},
        "all-gather": {"count": 1, "bytes": 80, "largest": 80},
    }


def test_a_sum_over_a_mesh_is_one_all_reduce():
    mesh = js.make_mesh(4)
    x = jax.ShapeDtypeStruct((8, 8), jax.numpy.float32, sharding=NamedSharding(mesh, PartitionSpec("rows")))
    totals = collectives(jax.jit(jax.numpy.sum).lower(x).compile().as_text())
    assert totals == {"all-reduce": {"count": 1, "bytes": 4, "largest": 4}}


@pytest.mark.long
def test_the_scaling_of_a_small_image_is_measured():
    run = scaling.measure_mesh(2, 1, 64, 64, repeats=1)
    # 361,152 multiply-adds per pixel forward and about as many backward, and the halo rows, which are many in so small
    # an image: a device has two rows of conv5_1.
    assert 1 <= run["flops"] / (2 * 2 * 361_152 * 32 * 64) < 2
    assert set(run["collectives"]) >= {"collective-permute", "all-reduce"}
    assert "2 (2x1)" in scaling.table({"runs": [{"kind": "strong", **run}]})


@pytest.mark.parametrize("name", ["tpu_aot", "scaling", "folder", "strength", "sweep", "checkpoint", "layers"])
def test_committed_tables_are_those_of_the_committed_json(name):
    modules = {"tpu_aot": tpu_aot, "scaling": scaling, "folder": folder, "strength": strength, "sweep": sweep}
    modules |= {"checkpoint": checkpoint, "layers": layers}
    module = modules[name]
    assert (record.RESULTS / f"{name}.md").read_text() == module.table(record.read(name))
    # The README contains a copy.
    assert module.table(record.read(name)).strip() in (record.RESULTS.parent / "README.md").read_text()


def test_programs_that_fit_need_less_memory_than_the_tpu_has():
    runs = record.read("tpu_aot")["runs"]
    for run in runs:
        assert run["fits"] == (run.get("peak_bytes", float("inf")) <= run["chip_bytes"]), run["name"]
    fits = {run["name"] for run in runs if run["fits"]}
    assert "v5e 4x4, 8192, 10 pairs" in fits
    assert "v5e 1x1, 2048, 10 pairs" in fits
    assert "v5e 1x1, 4096, windows of 512, 10 pairs" in fits


def test_twelve_photos_have_six_sizes(tmp_path):
    assert folder.write_photos(tmp_path, 96) == 12
    sizes = set()
    for path in tmp_path.iterdir():
        with PIL.Image.open(path) as picture:
            sizes.add(picture.size)
    assert len(sizes) == 6


def test_saves_and_runs_of_a_small_image_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    checkpoint.main(["--sizes", "64", "--saves", "2", "--rounds", "0"])
    result = record.read("checkpoint")
    assert len(result["saves"][0]["seconds"]) == 2
    # Images of 64x43: 23 for L-BFGS with 10 pairs, 2 of the run state, and the initial one, plus metadata.
    assert 26 < result["saves"][0]["bytes"] / (12 * 64 * 43) < 26.2
    assert "| 64 |" in (tmp_path / "checkpoint.md").read_text()


def test_the_committed_tables_of_steps_are_those_of_their_json_and_the_readmes():
    result = record.read("step")
    tables = [step_report.seconds(result), step_report.accuracy(result)]
    assert (record.RESULTS / "step.md").read_text() == "\n".join(tables)
    readme = (record.RESULTS.parent / "README.md").read_text()
    assert all(table.strip() in readme for table in tables)


def test_the_committed_tables_of_devices_are_those_of_their_json_and_the_readmes():
    readme = (record.RESULTS.parent / "README.md").read_text()
    for path in record.RESULTS.glob("device_*.json"):
        tables = device_report.tables(record.read(path.stem))
        assert path.with_suffix(".md").read_text() == "\n".join(tables)
        assert all(table.strip() in readme for table in tables)


@pytest.mark.long
def test_a_device_is_measured_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(rates, "PRODUCT_SIDES", {"cpu": (64,)})
    monkeypatch.setattr(rates, "STREAM_BYTES", {"cpu": 2**16})
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    device.main(["--sizes", "64", "--precisions", "highest", "bfloat16", "--repeats", "1", "--steps", "2"])
    result = record.read("device")
    assert [list(run["contestants"]) for run in result["runs"]] == [["jaxstyle highest", "jaxstyle bfloat16"]]
    exact, rounded = result["accuracy"]
    # Rounding may select another of two nearly equal values in max pooling.
    assert exact["mixed_value"] < 1e-5
    assert exact["mixed_gradient"] < 1e-2 < rounded["mixed_gradient"] < 0.2
    assert [(run["name"], run["precision"]) for run in result["whole_runs"]] == [
        (name, precision) for precision in ("highest", "bfloat16") for name in ("one picture", "batch of 8")
    ]
    assert result["left_out"] == []
    assert "| 64 | jaxstyle bfloat16 |" in (tmp_path / "device.md").read_text()


def test_what_does_not_fit_in_the_time_limit_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    clock = iter([0.0] + [100.0] * 100)
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(clock))
    device.main(["--sizes", "32", "--precisions", "highest", "--limit", "50"])
    left_out = record.read("device")["left_out"]
    assert left_out[0] == "jaxstyle highest at 32"
    assert "batch of 8, highest" in left_out
    assert "No time was left for: jaxstyle highest at 32," in (tmp_path / "device.md").read_text()


def test_a_program_that_does_not_compile_has_no_times(real_params):
    contestant = device.ours(32, "highest", {"xla_no_such_option": True}, real_params)
    run = device.timed(32, {"jaxstyle highest": contestant}, 1)
    assert "xla_no_such_option" in run["contestants"]["jaxstyle highest"]["failed"]
    assert "| 32 | jaxstyle highest | failed |" in device_report.seconds({"runs": [run], "peaks": {}})


def test_operations_and_bytes_of_a_step():
    shapes = rates.convolutions(512, 512)
    assert next(iter(shapes)) == "conv1_1"
    assert (shapes["conv1_1"], shapes["conv5_1"]) == ((512, 512, 3, 64), (32, 32, 512, 512))
    # 361,152 multiply-adds per pixel forward, and as many backward.
    assert sum(rates.operations(*shape) for shape in shapes.values()) == 2 * 2 * 361_152 * 512**2
    assert rates.operations(1, 1, 1, 1) == 2 * 2 * 9
    assert rates.traffic(10, 10, 1, 2) == 4 * (100 * (2 + 6) + 2 * 9 * 2)
    run = {"flops": 6.0, "bytes": 8.0}
    assert step_report.limit(run, {"flops": 2.0, "bytes": 4.0}) == 3.0
    assert step_report.limit(run, {"flops": 6.0, "bytes": 2.0}) == 4.0


def test_functions_alternate_after_a_warm_up_round():
    calls = []
    seconds = rates.alternate({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "abababab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    assert min(map(min, seconds.values())) >= 0


@pytest.mark.long
def test_layers_and_steps_of_small_images_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(rates, "PRODUCT_SIDES", {"cpu": (64,)})
    monkeypatch.setattr(rates, "STREAM_BYTES", {"cpu": 2**16})
    layers.main(["--size", "32", "--repeats", "1"])
    runs = record.read("layers")["runs"]
    assert [run["layer"] for run in runs] == list(rates.convolutions(32, 32))
    assert all({"direct", "winograd"} <= set(run["seconds"]) for run in runs[1:])
    assert "| all |" in (tmp_path / "layers.md").read_text()
    step.main(["--sizes", "32", "--repeats", "1", "--steps", "0", "--no-memory", "--no-compile"])
    run = record.read("step")["runs"][0]
    assert {"jaxstyle highest direct", "jaxstyle highest auto"} <= set(run["contestants"])
    assert "| 32 | jaxstyle highest direct |" in (tmp_path / "step.md").read_text()
    with PIL.Image.open(tmp_path / "step.png") as picture:
        assert picture.size[0] > 500
