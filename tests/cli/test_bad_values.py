"""Wrong values of every option of every command: exit code 2 and one sentence, before any run starts."""

import shutil

import PIL.Image
import pytest

import jaxstyle as js
from jaxstyle.cli import app, sweep_cells
from jaxstyle.cli import stylize as command
from jaxstyle.cli.demo import Demo
from jaxstyle.cli.option_names import options_with_values
from jaxstyle.cli.plan import Plan
from jaxstyle.cli.rerun import Rerun
from jaxstyle.cli.resume import Resume
from jaxstyle.cli.serve import Serve
from jaxstyle.cli.stylize import Stylize
from jaxstyle.cli.sweep import Sweep
from jaxstyle.cli.video import Video
from jaxstyle.image import io
from jaxstyle.serve import server
from jaxstyle.video import stylize_video as video_frames

# The library checks its own arguments, as it does for users.
pytestmark = pytest.mark.usefixtures("unchecked")

HUGE = "9" * 5000
WHOLE = ("many", "", "1.5", "nan", "-1", HUGE)
NUMBER = ("many", "", "nan", "inf", "-1")
CHOICE = ("none of these", "")
FILE = ("nowhere.png", "", ".", "x" * 300)
# A path of something that cannot be written.
OUTPUT = ("nowhere/out.png", "photo.png/out.png", "x" * 300 + ".png")

STYLIZE = {
    "output": (*OUTPUT, "", "out", "out.xyz", "photo.png"),
    "preset": CHOICE,
    "size": (*WHOLE, "0", "16", "65537"),
    "style_size": (*WHOLE, "0", "16", "65537"),
    "style_scale": (*NUMBER, "0", "1e300", "0.001", "1 2"),
    "steps": (*WHOLE, "0", "1000001"),
    "scales": (*WHOLE, "0", "17"),
    "finish": (*WHOLE, "1000001"),
    "detail": (*WHOLE, "0", "65537"),
    "supersample": (*NUMBER, "0.5", "4.1"),
    "flat_areas": (*NUMBER, "1.1"),
    "share": (*NUMBER, "0", "1.1"),
    "ratio": (*NUMBER, "1", "101"),
    "window": (*WHOLE, "0", "31"),
    "whitening": (*NUMBER, "1.1"),
    "init": FILE,
    "mosaic": (*NUMBER, "1.1"),
    "seed": (*WHOLE, "4294967296"),
    "strength": (*NUMBER, "1.1"),
    "content_weight": (*NUMBER, "1e39", "1 2"),
    "style_weight": (*NUMBER, "1e39", "1 2"),
    "tv_weight": (*NUMBER, "1e39"),
    "edge_weight": (*NUMBER, "1e39"),
    "neighbor_weight": (*NUMBER, "1e39", "1 2"),
    "neighbor_layers": (*CHOICE, "relu9_1", "relu1_1 relu1_1"),
    "bank_size": (*WHOLE, "0", "65537"),
    "variation": CHOICE,
    "blend": (*NUMBER, "0", "1 2"),
    "content_mask": FILE,
    "style_mask": FILE,
    "region": ("", "white", "white=2"),
    "guidance": CHOICE,
    "color": CHOICE,
    "content_layers": (*CHOICE, "relu9_1", "relu1_1 relu1_1"),
    "style_layers": (*CHOICE, "relu9_1", "relu1_1 relu1_1"),
    "style_loss": CHOICE,
    "matrix_root": CHOICE,
    "ridge": NUMBER,
    "normalization": CHOICE,
    "pooling": CHOICE,
    "padding": CHOICE,
    "precision": CHOICE,
    "algorithm": CHOICE,
    "optimizer": CHOICE,
    "memory_size": (*WHOLE, "0", "100000"),
    "precondition": CHOICE,
    "draft": CHOICE,
    "learning_rate": (*NUMBER, "0"),
    "beta2": (*NUMBER, "1"),
    "average": (*NUMBER, "1"),
    "tolerance": (*NUMBER, "1"),
    "weights": ("oxfrod", "", "photo.png", "x" * 300),
    "save_every": (*WHOLE, "0"),
    "animation": (*OUTPUT, "", "out.png", "out", "photo.png", "."),
    "quality": (*WHOLE, "0", "101"),
    "bit_depth": (*CHOICE, "10"),
    "mesh": ("many", "", "0x1", "1", "-1x1", "100x100"),
    "batch": (*WHOLE, "0", "2", "4097"),
    "format": CHOICE,
    "distributed": ("many", "", "host:1,2", "host:1,1,5"),
    # Whether it can be written is checked by the run itself, as its first act.
    "checkpoint": ("", "photo.png"),
    "checkpoint_every": NUMBER,
    "log_json": (*OUTPUT, "photo.png"),
    # The tests cache no programs: tests/test_compiler.py has the others.
    "compile_cache": ("",),
    "max_pixels": (*WHOLE, "0", "100", "2147483648"),
}
# Those of a picture.
NOT_OF_A_VIDEO = {"content_mask", "style_mask", "region", "guidance", "save_every", "animation", "bit_depth", "batch"}
NOT_OF_A_VIDEO |= {"format", "distributed", "checkpoint", "checkpoint_every"}
VIDEO = {name: values for name, values in STYLIZE.items() if name not in NOT_OF_A_VIDEO} | {
    "output": ("nowhere/out.mp4", "photo.png/out", "x" * 300 + ".mp4", "", "out.xyz", "photo.png"),
    "start": (*NUMBER, "1"),
    "end": (*NUMBER, "0"),
    "every": (*WHOLE, "0", "1000001"),
    "rate": (*NUMBER, "0", "1001"),
    "part": ("", "2", "0/2", "3/2", "1/x"),
    "stability": (*NUMBER, "1.1"),
    "flow": CHOICE,
}
OWN_OPTIONS = {
    Video: VIDEO,
    Sweep: {"cells": ("photo.png", "photo.png/cells", "x" * 300)},
    # Checked after the checkpoint is read: test_rerun.py.
    Resume: dict.fromkeys(("output", "distributed", "log_json", "compile_cache", "max_pixels"), ()),
    Rerun: {"inputs": (), "output": (), "max_pixels": WHOLE},
    Demo: {"output": STYLIZE["output"][:-1], "size": STYLIZE["size"], "steps": STYLIZE["steps"]},
    Plan: {
        **{name: STYLIZE[name] for name in ("window", "steps", "finish", "optimizer", "memory_size")},
        **{
            name: STYLIZE[name]
            for name in ("precision", "content_layers", "style_layers", "scales", "share", "algorithm")
        },
        "batch": (*WHOLE, "0", "4097"),
        "mesh": STYLIZE["mesh"],
        "paintings": (*WHOLE, "0", "101"),
        "regions": (*WHOLE, "101"),
        "supersample": STYLIZE["supersample"],
    },
    Serve: {
        "host": ("many", "", "0.0.0.0", "x" * 300),
        "port": (*WHOLE, "65536"),
        "gallery": ("photo.png", "photo.png/gallery", "x" * 300),
        "weights": STYLIZE["weights"],
        "compile_cache": STYLIZE["compile_cache"],
    },
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, china, starry, tiny_weights):
    """Run a command in a folder with a photo and a painting; no run may start."""
    monkeypatch.chdir(tmp_path)
    js.save_image("photo.png", china)
    js.save_image("painting.png", starry)
    shutil.copy(tiny_weights, "tiny.safetensors")
    for module, name in ((command, "stylize"), (command, "stylize_batch"), (sweep_cells, "stylize_batch")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a run started"))
    monkeypatch.setattr(video_frames, "start_scene", lambda *_, **__: pytest.fail("a run started"))
    monkeypatch.setattr(server, "_serve", lambda *_: pytest.fail("a server started"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            app.main(list(words))
        output, error = capsys.readouterr()
        last = error.strip().splitlines()[-1]
        assert (stop.value.code, output) == (2, ""), error
        assert "Traceback" not in error
        assert last.startswith("jaxstyle: error: ")
        assert len(last) < 700
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
        return last

    return run


def both(values):
    return [(name, value) for name, wrong in values.items() for value in wrong]


def short(value):
    return value[:20]


PICTURES = ("photo.png", "painting.png")
USUAL = {"--output": "out.png", "--size": "64", "--steps": "2", "--weights": "tiny.safetensors", "--preset": "gram"}


def words_for(name, value, usual):
    option = f"--{name.replace('_', '-')}"
    others = [word for pair in usual.items() if pair[0] != option for word in pair]
    return [*others, option, *(value.split(" ") if value != CHOICE[0] else [value])]


@pytest.mark.parametrize(("name", "value"), both(STYLIZE), ids=short)
def test_stylize(run, name, value):
    extra = {"--content-mask": "photo.png"} if name in ("style_mask", "region") else {}
    run("stylize", *PICTURES, *words_for(name, value, USUAL | extra))


@pytest.mark.parametrize("picture", FILE, ids=short)
def test_pictures_that_cannot_be_read(run, picture):
    words = words_for("seed", "0", USUAL)
    assert run("stylize", "photo.png", picture, *words)
    assert run("stylize", "photo.png", "painting.png", picture, *words)
    if picture != ".":
        assert run("stylize", picture, "painting.png", *words)
        assert run("rerun", picture)
    assert run("resume", picture)


@pytest.mark.parametrize(("name", "value"), both(STYLIZE | OWN_OPTIONS[Sweep]), ids=short)
def test_sweep(run, name, value):
    if name != "tv_weight":
        run("sweep", *PICTURES, *words_for(name, value, USUAL | {"--tv-weight": "0,1"}))


@pytest.mark.parametrize("values", ["0,many", "0,nan", "0,-1", "0,", "0,0"])
def test_a_wrong_value_of_an_axis(run, values):
    run("sweep", *PICTURES, *words_for("tv_weight", values, USUAL))


@pytest.mark.parametrize(("name", "value"), both(VIDEO), ids=short)
def test_video(run, tmp_path, name, value):
    """A folder of two frames at 25 a second is the clip."""
    (tmp_path / "frames").mkdir()
    for k in range(2):
        shutil.copy("photo.png", tmp_path / "frames" / f"{k}.png")
    run("video", "frames", "painting.png", *words_for(name, value, USUAL | {"--output": "out.mp4"}))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["frames"]


@pytest.mark.parametrize(("name", "value"), both(OWN_OPTIONS[Plan]), ids=short)
def test_plan(run, name, value):
    run("plan", "64", "64", *words_for(name, value, {}))


@pytest.mark.parametrize("value", [*WHOLE, "0", "16", "65537"], ids=short)
def test_plan_of_wrong_sizes(run, value):
    run("plan", "64", value)
    run("plan", value, "64")


@pytest.mark.parametrize(("name", "value"), both(OWN_OPTIONS[Demo]), ids=short)
def test_demo(run, name, value):
    run("demo", *words_for(name, value, {"--output": "out.png"}))


@pytest.mark.parametrize(("name", "value"), both(OWN_OPTIONS[Serve]), ids=short)
def test_serve(run, name, value):
    run("serve", "--no-browser", *words_for(name, value, {"--port": "0", "--weights": "tiny.safetensors"}))


@pytest.mark.parametrize("value", [*WHOLE, "0"], ids=short)
def test_rerun(run, value):
    run("rerun", "photo.png", "--max-pixels", value)


@pytest.mark.parametrize("name", ["nowhere", "", "photo.png"])
def test_weights(run, name):
    run("weights", "get", name)
    if name != "photo.png":
        run("weights", "verify", name)
    run("weights", "frobnicate")
    run("weights")


@pytest.mark.parametrize("command_class", [Stylize, Sweep, Video, Resume, Rerun, Demo, Plan, Serve])
def test_no_option_is_forgotten(command_class):
    covered = OWN_OPTIONS.get(command_class, {}) | (STYLIZE if issubclass(command_class, Stylize) else {})
    assert set(options_with_values(command_class).values()) == set(covered)


@pytest.mark.parametrize("command", [("stylize",), ("sweep", "--seed", "1,2")], ids=" ".join)
def test_formats_that_cannot_hold_the_picture(run, monkeypatch, command):
    """Of a sweep it is the sheet, which is wider than its cells."""
    monkeypatch.setitem(io._MAX_SIDE, "WEBP", 63 if command == ("stylize",) else 130)
    name, *words = command
    if name == "stylize":
        # Such sizes may not fit in memory.
        monkeypatch.setattr(io, "read_picture", lambda *_, **__: pytest.fail("the photo was read"))
    usual = USUAL | {"--output": "out.webp"}
    error = run(name, *PICTURES, *words_for("seed", "0", usual)[:-2], *words)
    assert "out.webp: WEBP holds at most" in error
    assert error.endswith("save a .png")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("https://example.org/a.jpg", "painting.png"), "is the address of a page, expected a file on this machine"),
        (("photo.png", "~/painting.png"), "~/painting.png starts with ~, which a shell fills in only without quotes"),
        (("photo.png", "photo.png,painting.png"), "expected names with spaces between them, without commas"),
        (("photo.png", "painting.png", "-o", "~/out.png"), "~/out.png starts with ~"),
        (
            ("photo.png", "painting.png", "-o", "folder"),
            "the output folder is a folder, expected a file such as folder",
        ),
        (
            ("photo.png", "wide.png"),
            "short side less than 32 pixels at a long side of 64: use --style-size 400 or more",
        ),
        (("photo.png", "wide.png", "--style-scale", "2"), "at a long side of 128: use --style-size 200 or more"),
    ],
)
def test_likely_causes(run, tmp_path, words, expected):
    (tmp_path / "folder").mkdir()
    before = (tmp_path / "photo.png").stat()
    PIL.Image.new("RGB", (500, 40)).save(tmp_path / "folder" / "wide.png")
    words = [str(tmp_path / "folder" / word) if word == "wide.png" else word for word in words]
    usual = {name: value for name, value in USUAL.items() if not (name == "--output" and "-o" in words)}
    assert expected in run("stylize", *words, *(word for pair in usual.items() for word in pair))
    assert (tmp_path / "photo.png").stat() == before
