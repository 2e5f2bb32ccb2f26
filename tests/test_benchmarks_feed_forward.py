import jax
import numpy as np
import PIL.Image
import pytest

import jaxstyle as js
from benchmarks import feed_forward, record


def test_a_networks_picture_is_compared_with_runs(tmp_path, tiny_params, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(feed_forward.js, "load_params", lambda: tiny_params)
    js.save_network(tmp_path / "net.safetensors", js.init_network(jax.random.key(0), 2, 1))
    for name in ("photo", "painting"):
        PIL.Image.effect_noise((48, 40), 80).convert("RGB").save(tmp_path / f"{name}.png")
    files = ["--painting", str(tmp_path / "painting.png"), "--photos", str(tmp_path / "photo.png")]
    layers = ["--content-layers", "relu1_2", "--style-layers", "relu1_1"]
    sizes = ["--size", "48", "--style-size", "48", "--steps", "6"]
    feed_forward.main(["--network", str(tmp_path / "net.safetensors"), *files, *layers, *sizes])
    result = record.read("feed_forward")
    (run,) = result["runs"]
    assert len(run["plain"]) == len(run["started"]) == 6
    # Random colors are no start.
    assert run["started"][0] != run["plain"][0]
    assert run["plain"][-1] < run["plain"][0]
    assert f"| photo | {run['plain'][0] / min(run['plain']):.1f} |" in feed_forward.table(result)
    assert result["apply_512_seconds"] > 0


def test_evaluations_are_counted_from_one():
    losses = np.array([5.0, 3.0, 2.0])
    assert [feed_forward.evaluations_to(losses, loss) for loss in (6, 5, 2.5, 2, 1)] == [1, 1, 3, 3, None]


def test_files_are_needed():
    with pytest.raises(js.InputError, match="expected --network, --painting and --photos"):
        feed_forward.main([])


def test_the_committed_table_is_that_of_the_json_and_the_readmes():
    table = feed_forward.table(record.read("feed_forward"))
    assert (record.RESULTS / "feed_forward.md").read_text() == table
    assert table.strip() in (record.RESULTS.parent / "README.md").read_text()
