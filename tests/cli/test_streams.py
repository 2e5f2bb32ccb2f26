"""Standard streams that are closed, or cannot show a character."""

import io
import os
import subprocess
import sys

import PIL.Image
import pytest
from conftest import DATA

from jaxstyle.cli import app
from jaxstyle.cli.streams import SafeStream, safe_streams, without_library_output
from jaxstyle.errors import InputError
from jaxstyle.image.io import load_image

pytestmark = pytest.mark.usefixtures("unchecked")

NAME = "schön 画 \udce9.png"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"sch\\xf6n \\u753b \\udce9.png"),
        ("latin-1", b"sch\xf6n \\u753b \\udce9.png"),
        ("cp1252", b"sch\xf6n \\u753b \\udce9.png"),
        ("utf-8", "schön 画 \\udce9.png".encode()),
    ],
)
def test_characters_that_a_stream_lacks_are_escaped(monkeypatch, encoding, shown):
    """Also while a program reads its own output, as tests and notebooks do."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with safe_streams():
        print(NAME, end="", flush=True)
    assert raw.getvalue() == shown


class NotebookStream:
    """What a notebook may put in the place of a stream: nothing but `write` and `flush`."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


@pytest.mark.parametrize("stream", [None, NotebookStream()], ids=["none", "notebook"])
def test_streams_that_are_no_files(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    for words, code in ((["--version"], 0), (["stylize", "--help"], 0), (["stylize", "none.png"], 2)):
        with pytest.raises(SystemExit) as end:
            app.main(words)
        assert end.value.code == code
    with safe_streams(), without_library_output():
        print("ours", file=sys.stderr)
    assert sys.stdout is stream


def test_a_stream_whose_reader_is_gone(capsys):
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    SafeStream(Broken()).write("nobody reads")


def test_only_what_libraries_in_c_print_is_discarded(monkeypatch, capfd):
    with open(2, "w", 1, "ascii", closefd=False) as stream:
        monkeypatch.setattr(sys, "stderr", SafeStream(stream))
        print("before", file=sys.stderr)
        with without_library_output():
            os.write(2, b"library")
            print("schön", file=sys.stderr)
        print("after", file=sys.stderr)
    assert capfd.readouterr().err == "before\nsch\\xf6n\nafter\n"


@pytest.mark.parametrize("option", [None, "--content-mask", "--init"])
def test_lines_of_libtiff_are_not_shown(tmp_path, capfd, option):
    path, picture = tmp_path / "damaged.tif", str(DATA / "china.jpg")
    PIL.Image.new("RGB", (64, 64), "white").save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[8:40] = bytes(range(200, 232))
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        load_image(path)
    assert "tif: " in capfd.readouterr().err
    words = ["stylize", picture if option else str(path), picture, "-o", str(tmp_path / "out.png"), "--size", "48"]
    with pytest.raises(SystemExit) as end:
        app.main([*words, *([option, str(path)] if option else [])])
    assert end.value.code == 2
    shown = capfd.readouterr().err
    assert shown.startswith(f"jaxstyle: error: {path} is damaged")
    assert shown.count("\n") == 1


# Descriptors, and Python's own streams, are those of a process.
def test_a_run_whose_streams_are_closed(tiny_weights, tmp_path):
    """Nothing is printed into the picture, which would get the number of a closed stream."""
    output, photo = tmp_path / "画.png", tmp_path / "ph\udce9.jpg"
    photo.write_bytes((DATA / "china.jpg").read_bytes())
    words = ["stylize", str(photo), str(DATA / "starry_night.jpg"), "-o", str(output), "--size", "48", "--steps", "2"]
    words += ["--preset", "gram", "--weights", tiny_weights, "--compile-cache", "off"]
    shell = ["sh", "-c", '"$@" >&- 2>&- <&-', "sh", sys.executable, "-m", "jaxstyle", *words]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    assert subprocess.run(shell, env=environment).returncode == 0
    assert output.exists()
    shown = subprocess.run(shell[4:], env=environment, capture_output=True)
    assert shown.returncode == 2
    assert rb"\u753b.png exists already" in shown.stderr
