"""Pictures from standard input and pipes, and to standard output."""

import io
import json
import os
import sys
import threading

import PIL.Image
import pytest
from conftest import DATA

import jaxstyle as js
from jaxstyle.cli import app

pytestmark = pytest.mark.usefixtures("unchecked")

PHOTO, PAINTING = str(DATA / "china.jpg"), str(DATA / "starry_night.jpg")


@pytest.fixture
def run(tiny_weights, capsysbinary, monkeypatch):
    """Run a command with these bytes as standard input; returns exit code, standard output and standard error."""

    def run(*words, stdin=b"", verb="stylize"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        usual = ["--size", "48", "--steps", "2", "--preset", "gram", "--weights", tiny_weights]
        with pytest.raises(SystemExit) as end:
            app.main([verb, *map(str, words), *usual])
        output, error = capsysbinary.readouterr()
        return end.value.code, output, error.decode()

    return run


def read(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize("format_", ["png", "webp"])
def test_from_standard_input_to_standard_output(run, tmp_path, format_):
    code, output, error = run("-", PAINTING, "-o", "-", "--format", format_, "--json", stdin=read(PHOTO))
    assert code == 0, error
    with PIL.Image.open(io.BytesIO(output)) as picture:
        assert (picture.format, picture.size) == (format_.upper(), (48, 32))
    path = tmp_path / "out"
    path.write_bytes(output)
    assert js.read_recipe(path)["settings"]["photo"] == "stdin"


def test_a_pipe_is_read_once(run, tmp_path):
    """A sweep reads its pictures at several sizes, and all commands hash them."""
    photo = tmp_path / "photo"
    os.mkfifo(photo)
    writer = threading.Thread(target=lambda: photo.write_bytes(read(PHOTO)))
    writer.start()
    words = ("--style-scale", "1,1.2", "--log-json", "/dev/null", "--json")
    code, output, error = run(photo, "-", "-o", tmp_path / "sheet.png", *words, stdin=read(PAINTING), verb="sweep")
    writer.join()
    assert code == 0, error
    assert (tmp_path / "sheet.png").exists()
    fields = json.loads(output)
    assert fields | {"seconds": 0} == {
        "output": str(tmp_path / "sheet.png"),
        "pictures": 2,
        "failed": 0,
        "seconds": 0,
    }


def test_a_log_to_a_pipe(run, tmp_path):
    log, lines = tmp_path / "log", []
    os.mkfifo(log)
    reader = threading.Thread(target=lambda: lines.extend(log.read_text().splitlines()))
    reader.start()
    code, output, error = run(PHOTO, PAINTING, "-o", tmp_path / "out.png", "--log-json", log, "--json")
    reader.join()
    assert code == 0, error
    assert [json.loads(line)["event"] for line in (lines[0], lines[-1])] == ["begin", "end"]
    result = json.loads(output)
    assert result | {"loss": 0, "seconds": 0} == {
        "output": str(tmp_path / "out.png"),
        "width": 48,
        "height": 32,
        "loss": 0,
        "evaluations": 2,
        "seconds": 0,
        "status": "step limit",
    }
    assert result["loss"] == js.read_recipe(tmp_path / "out.png")["loss"]


def test_standard_output_that_nobody_reads(run, tmp_path, monkeypatch):
    class Broken(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Broken()))
    code, _, error = run(PHOTO, PAINTING, "-o", "-")
    assert code == 1
    (rescued,) = tmp_path.glob("jaxstyle-*/stdout.png")
    assert f"cannot write standard output: Broken pipe; the picture is in {rescued} instead" in error
    assert js.read_recipe(rescued)["evaluations"] == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-", "-", "-o", "out.png"), "- is given twice"),
        (("-", PAINTING, "-o", "out.png", "--checkpoint", "run"), "--checkpoint continues a run of files"),
        ((str(DATA), PAINTING, "-o", "-"), "is a folder: expected another folder"),
        ((PHOTO, PAINTING, "-o", "-", "--save-every", "1"), "expected a file"),
        ((PHOTO, PAINTING, "-o", "-", "--log-json", "-"), "are both -, expected a file for one of them"),
        (("-", PAINTING, "-o", "out.png"), "stdin"),
    ],
)
def test_what_needs_a_file(run, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    code, output, error = run(*words)
    assert (code, output, error.count("\n")) == (2, b"", 1)
    assert expected in error
    assert not list(tmp_path.iterdir())
