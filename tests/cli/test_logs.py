"""Output of the commands: sentences on the error stream, lines of JSON for programs that watch a run."""

import io as streams
import json
import logging
import sys
import warnings
from pathlib import Path

import pytest

from jaxstyle.cli import logs
from jaxstyle.errors import InputError

log = logging.getLogger("jaxstyle.anything")


def log_all():
    log.debug("a detail")
    log.info("a sentence with %d number", 1)
    log.warning("a warning")
    log.error("an error")


@pytest.mark.parametrize(
    ("verbose", "quiet", "expected"),
    [
        (True, False, ["a detail", "a sentence with 1 number", "warning: a warning", "error: an error"]),
        (False, False, ["a sentence with 1 number", "warning: a warning", "error: an error"]),
        (False, True, ["warning: a warning", "error: an error"]),
    ],
)
def test_sentences_go_to_the_error_stream(capsys, verbose, quiet, expected):
    with logs.shown():
        logs.set_level(verbose, quiet)
        log_all()
    output, error = capsys.readouterr()
    assert output == ""
    assert error.splitlines() == [f"jaxstyle: {text}" for text in expected]


def test_control_characters_of_a_name_are_escaped(capsys):
    """A file's name neither starts a line of its own nor commands the terminal."""
    name, shown = "a\n\r\t\x1b]0;b\x07\x9b.png", r"a\n\r\t\x1b]0;b\x07\x9b.png"
    with logs.shown():
        log.error("cannot read %s", name)
        logs.ResultPrinter(None)(f"{name}: 48x32")
    assert capsys.readouterr() == (f"{shown}: 48x32\n", f"jaxstyle: error: cannot read {shown}\n")


def test_afterwards_all_is_as_it_was(capsys):
    before = logs.ROOT.level, logs.ROOT.propagate, list(logs.ROOT.handlers), warnings.showwarning
    with logs.shown():
        warnings.simplefilter("always")
        warnings.warn("something", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "jaxstyle: warning: something\n"
    assert (logs.ROOT.level, logs.ROOT.propagate, list(logs.ROOT.handlers), warnings.showwarning) == before


def test_lines_are_json_and_can_be_read_while_they_come(tmp_path):
    path = tmp_path / "log.jsonl"
    for run in range(2):
        with logs.json_lines(path) as line:
            line("chunk", run=run, losses={"total": float("nan"), "all": [1.0, float("inf")]})
            found = [json.loads(text) for text in path.read_text().splitlines()]
            assert len(found) == run + 1
            assert found[-1] | {"time": ""} == {
                "time": "",
                "event": "chunk",
                "run": run,
                "losses": {"total": None, "all": [1.0, None]},
            }


def test_a_dash_is_standard_output_which_then_has_nothing_else(capsys):
    with logs.shown(), logs.json_lines(Path("-")) as line:
        line("chunk", evaluations=1)
        logs.ResultPrinter(Path("-"))("the result")
        logs.ResultPrinter(None)("another result")
    output, error = capsys.readouterr()
    assert json.loads(output.splitlines()[0])["evaluations"] == 1
    assert output.splitlines()[1:] == ["another result"]
    assert error == "jaxstyle: the result\n"
    assert not sys.stdout.closed


def test_logs_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    with logs.json_lines(None) as line:
        line("chunk")
    with pytest.raises(InputError, match="cannot write the log"), logs.json_lines(tmp_path / "none" / "log"):
        pass
    (tmp_path / "novel.txt").write_text("It was")
    with pytest.raises(InputError, match="exists and is not a log"), logs.json_lines(tmp_path / "novel.txt"):
        pass
    assert (tmp_path / "novel.txt").read_text() == "It was"

    class Full(streams.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "open", lambda *_, **__: Full())
    with logs.shown(), logs.json_lines(tmp_path / "log") as line:
        line("chunk")
        line("chunk")
    assert capsys.readouterr().err.count("No space left on device; the run continues without it") == 1


def test_memory_in_use_is_that_of_the_process():
    before = logs.memory_in_use()
    assert set(before) == {"memory", "memory_peak", "device_memory", "device_memory_peak"}
    block = bytearray(100_000_000)
    block[::4096] = b"x" * len(block[::4096])
    after = logs.memory_in_use()
    if before["memory"] is not None:
        assert 5e7 < after["memory"] - before["memory"] < 2e8
        assert after["memory_peak"] >= after["memory"]
