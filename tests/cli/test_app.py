"""The command line as a user meets it: good runs, and one sentence with exit code 2 for everything that is not."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import jaxstyle as js
from jaxstyle.cli import app
from jaxstyle.cli import stylize as commands
from jaxstyle.image import encode, io
from jaxstyle.transfer.presets import PRESETS

# tyro's placeholder for a required argument is no path; and bad input must meet the library's own messages.
pytestmark = pytest.mark.usefixtures("unchecked")

DATA = Path(app.__file__).parents[1] / "data"
PHOTO, PAINTING = str(DATA / "china.jpg"), str(DATA / "starry_night.jpg")


@pytest.fixture
def run(capsys):
    """Run the command line; returns exit code, standard output and standard error."""

    def run(*words):
        try:
            app.main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def picture(tmp_path):
    """Write a picture of random pixels; returns its path."""

    def write(name="photo.png", width=48, height=40, mode="RGB"):
        bands = {"RGB": 3, "RGBA": 4}[mode]
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, bands), np.uint8)
        path = tmp_path / name
        PIL.Image.fromarray(pixels).save(path)
        return path

    return write


def test_stylize_writes_a_picture_with_its_recipe(run, tiny_weights, tmp_path):
    out = tmp_path / "out.png"
    code, output, error = run(
        "stylize", "--preset=gram", PHOTO, PAINTING, "-o", out, "--size", 64, "--steps", 3, "--weights", tiny_weights
    )
    assert code == 0, error
    assert "64x43" in output
    assert "after 3 evaluations" in output
    assert "on CPU" in error
    with PIL.Image.open(out) as file:
        assert file.size == (64, 43)
        assert file.info["icc_profile"]
    recipe = io.read_recipe(out)
    assert recipe is not None
    assert recipe["settings"]["steps"] == 3
    assert recipe["settings"]["photo"] == "china.jpg"
    assert recipe["evaluations"] == 3
    assert len(recipe["weights_sha256"]) == 64
    assert recipe["versions"]["jax"]


@pytest.mark.parametrize("extension", ["jpg", "tiff", "webp"])
def test_other_formats_keep_the_recipe_too(run, tiny_weights, tmp_path, extension):
    out = tmp_path / f"out.{extension}"
    words = ("--preset", "gram", "--size", 64, "--steps", 1, "--weights", tiny_weights)
    code, _, error = run("stylize", PHOTO, PAINTING, "-o", out, *words)
    assert code == 0, error
    recipe = io.read_recipe(out)
    assert recipe is not None
    assert recipe["settings"]["size"] == 64


def test_alpha_snapshots_several_paintings_and_a_picture_to_start_from(run, tiny_weights, picture, tmp_path):
    photo, out = picture("photo.png", mode="RGBA"), tmp_path / "out.png"
    words = ("--size", 48, "--steps", 5, "--weights", tiny_weights, "--save-every", 2, "--blend", 1, 3)
    init = ("--init", picture("init.png", 40, 40))
    code, _, error = run("stylize", "--preset=gram", photo, PAINTING, PHOTO, "-o", out, *words, *init)
    assert code == 0, error
    with PIL.Image.open(out) as made, PIL.Image.open(photo) as before:
        assert made.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(made)[..., 3], np.asarray(before)[..., 3])
    assert sorted(path.name for path in tmp_path.glob("out_*")) == ["out_00002.png", "out_00004.png"]


def test_coarse_to_fine(run, tiny_weights, picture, tmp_path, monkeypatch):
    """Announced and shown; snapshots have the full size, as their transparency has; the loss is the last scale's."""
    photo, out, results = picture("photo.png", 96, 80, "RGBA"), tmp_path / "out.png", []
    monkeypatch.setattr(commands, "stylize", lambda *a, **o: results.append(js.stylize(*a, **o)) or results[0])
    words = ("--size", 96, "--steps", 24, "--scales", 2, "--save-every", 8, "--weights", tiny_weights)
    code, output, error = run("stylize", "--preset=gram", photo, PAINTING, "-o", out, *words)
    assert code == 0, error
    assert "96x80 pixels, in 2 scales from 48x40, at most 24 evaluations" in error
    assert "48x40, 12/24 evaluations" in error
    assert "100%" in error
    for path in (out, *(tmp_path / f"out_{k:05d}.png" for k in (8, 16, 24))):
        with PIL.Image.open(path) as file:
            assert (file.size, file.mode) == ((96, 80), "RGBA")
    assert f"loss {float(results[0].losses.total[12:].min()):.6g} after 24 evaluations" in output
    recipe = io.read_recipe(out)
    assert recipe is not None
    assert recipe["settings"]["scales"] == 2


def test_what_is_enlarged_and_blended_is_announced(run, tiny_weights, picture, tmp_path):
    """A second photo before the painting counts as a painting."""
    words = ("--preset", "gram", "--size", 64, "--steps", 1, "--weights", tiny_weights)
    code, _, error = run("stylize", picture("a.png"), picture("b.png"), PAINTING, "-o", tmp_path / "out.png", *words)
    assert code == 0, error
    assert "a.png has 48 pixels on its long side and is enlarged: --size original keeps its size" in error
    assert "the style is a blend of 2 paintings: b.png, starry_night.jpg" in error


@pytest.mark.parametrize("name", ["run.gif", "run.webp"])
def test_an_animation_of_the_run(run, tiny_weights, picture, tmp_path, name):
    """A frame for every second evaluation, at the size of the picture also where the scale is coarser."""
    photo, out, path = picture("photo.png", 96, 80), tmp_path / "out.png", tmp_path / name
    words = ("--preset", "gram", "--size", 96, "--steps", 24, "--scales", 2, "--weights", tiny_weights)
    words += ("--animation", path, "--save-every", 6)
    code, _, error = run("stylize", photo, PAINTING, "-o", out, *words)
    assert code == 0, error
    with PIL.Image.open(path) as file:
        # Four, and the result, which is the last of them.
        assert file.n_frames in (4, 5)
        assert file.size == (96, 80)
        file.seek(file.n_frames - 1)
        last = np.asarray(file.convert("RGB"), np.float32)
    assert np.abs(last - 255 * np.asarray(io.load_image(out))).mean() < 12
    code, _, error = run("stylize", photo, PAINTING, "-o", tmp_path / "b.png", *words)
    assert code == 2
    assert f"the animation {path} exists already" in error
    recipe = io.read_recipe(out)
    assert recipe is not None
    assert "animation" not in recipe["settings"]


def test_an_animation_is_of_a_single_run(run, tmp_path):
    words = (PAINTING, "-o", tmp_path / "out.png", "--animation", tmp_path / "run.gif")
    assert "--animation shows a single run, but" in run("stylize", DATA, *words)[2]
    assert "but a sweep has many" in run("sweep", PHOTO, *words, "--seed", "1,2")[2]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_original_size(run, tiny_weights, picture, tmp_path, mode):
    """Of the photo, and of the painting the same long side; the recipe names the number."""
    photo, out = picture("photo.png", 57, 43, mode), tmp_path / "out.png"
    words = ("--preset", "gram", "--steps", 2, "--weights", tiny_weights, "--size", "original")
    code, _, error = run("stylize", photo, PAINTING, "-o", out, *words)
    assert code == 0, error
    assert "enlarged" not in error
    recipe = io.read_recipe(out)
    assert recipe is not None
    assert recipe["settings"]["size"] == 57
    assert io.picture_size(out) == (43, 57)
    code, output, error = run("rerun", out, "--inputs", DATA, Path(tiny_weights).parent)
    assert (code, "identical, byte for byte" in output) == (0, True), error


@pytest.mark.usefixtures("lenient_promotion")
def test_a_run_without_progress_says_so(run, tiny_weights, picture, tmp_path):
    """Adam's steps are too long: the picture is the one it started from. Too few steps to test convergence."""
    words = ("--preset", "gram", "--size", 48, "--steps", 10, "--weights", tiny_weights, "--optimizer", "adam")
    words += ("--learning-rate", 1, "--mosaic", 0, "--style-weight", 1e-3)
    photo, out = picture(), tmp_path / "out.png"
    code, output, error = run("stylize", photo, PAINTING, "-o", out, *words)
    assert code == 0, error
    assert "(no progress)" in output
    assert "no picture was better than the first one" in error
    np.testing.assert_array_equal(io.load_image(out), io.load_image(photo))


def test_a_small_picture_has_one_scale(run, tiny_weights, tmp_path):
    words = ("--size", 64, "--steps", 20, "--weights", tiny_weights, "--scales", "auto")
    code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, "-o", tmp_path / "out.png", *words)
    assert code == 0, error
    assert "64x43 pixels, at most 20 evaluations" in error
    assert "--scales auto makes one size here" in error


@pytest.mark.usefixtures("lenient_promotion")
def test_every_option_reaches_the_run(run, tiny_weights, tmp_path, monkeypatch):
    seen = {}

    def fake(content, styles, settings, **_):
        seen.update(settings=settings, shape=content.shape, styles=[style.shape for style in styles])
        raise js.InputError("enough")

    monkeypatch.setattr(commands, "stylize", fake)
    words = "--preset paper --size 64 --style-size 40 --steps 7 --init noise --seed 5 --content-weight 2 "
    words += "--style-weight 1 2 --tv-weight 3 --content-layers conv3_1 --style-layers relu1_1 pool2 --pooling l2 "
    words += "--padding replicate --precision bfloat16 --normalization notebook --optimizer adam --learning-rate 0.1 "
    words += "--tolerance 0.5 --scales 3 --share 0.25 --mosaic 0.5 --whitening 0.75 --window 48 --style-scale 0.8 "
    words += "--detail 40 --draft default --supersample 1.5 --flat-areas 0.25"
    code, _, error = run(
        "stylize", PHOTO, PAINTING, *words.split(), "-o", tmp_path / "o.png", "--weights", tiny_weights
    )
    assert (code, error.splitlines()[-1]) == (2, "jaxstyle: error: enough")
    expected = js.preset("paper").override(
        content_layers=("conv3_1",),
        style_layers=("relu1_1", "pool2"),
        normalization="notebook",
        pooling="l2",
        padding="replicate",
        precision="bfloat16",
        weights=js.LossWeights(2.0, (1.0, 2.0), 3.0),
        optimizer="adam",
        learning_rate=0.1,
        steps=7,
        init="noise",
        seed=5,
        tolerance=0.5,
        scales=3,
        share=0.25,
        mosaic=0.5,
        whitening=0.75,
        window=48,
        detail=40,
        draft="default",
        supersample=1.5,
        flat_areas=0.25,
    )
    assert seen["settings"] == expected
    assert seen["settings"].transform is js.adam(0.1)
    assert seen["shape"] == (43, 64, 3)
    # 40 pixels times the scale.
    assert seen["styles"] == [(25, 32, 3)]


@pytest.mark.parametrize(("words", "side"), [((), 160), (("--style-scale", 0.5), 80), (("--style-size", 100), 100)])
def test_strokes_have_the_same_share_of_the_picture_as_of_the_painting(
    run, picture, tiny_weights, tmp_path, monkeypatch, words, side
):
    """Also of a painting that is smaller than the picture."""
    seen = []
    monkeypatch.setattr(commands, "stylize", lambda _, styles, *__, **___: seen.extend(styles) or 1 / 0)
    painting = picture("small.png", 90, 60)
    with pytest.raises(ZeroDivisionError):
        run("stylize", PHOTO, painting, *words, "--size", 160, "--weights", tiny_weights, "-o", tmp_path / "o.png")
    assert seen[0].shape == (round(side * 2 / 3), side, 3)


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_options_defaults(run, tiny_weights, tmp_path, monkeypatch, name):
    seen = {}
    monkeypatch.setattr(commands, "stylize", lambda _, __, settings, **___: seen.update(settings.parts()) or 1 / 0)
    words = (f"--preset={name}", "--size", 64, "--weights", tiny_weights)
    with pytest.raises(ZeroDivisionError):
        run("stylize", PHOTO, PAINTING, *words, "-o", tmp_path / "o.png")
    # Of this style loss nothing is whitened.
    expected = dataclasses.replace(js.preset(name), whitening=seen["whitening"])
    assert js.Settings(**seen) == expected


def test_help_names_every_option(run):
    code, output, _ = run("stylize", "--help")
    assert code == 0
    for field in dataclasses.fields(commands.Stylize):
        if field.name not in ("photo", "painting", "more"):
            assert f"--{field.name.replace('_', '-')}" in output
    for name in PRESETS:
        assert name in output
    assert run("--help")[0] == 0
    assert run("--version")[1] == f"jaxstyle {js.__version__}\n"


def test_a_window_changes_nothing_but_the_memory(run, tiny_weights, tmp_path):
    pictures = []
    for window in ("whole", "40", "auto"):
        path = tmp_path / f"{window}.png"
        words = ("--size", 96, "--steps", 3, "--weights", tiny_weights, "--window", window)
        code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, *words, "-o", path)
        assert code == 0
        assert ("in windows of 40," in error) == (window == "40")
        assert "GB of memory" in error
        recipe = io.read_recipe(path)
        assert recipe is not None
        assert recipe["window"] == (40 if window == "40" else None)
        pictures.append(np.asarray(PIL.Image.open(path), float))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_weights_commands(run):
    code, output, _ = run("weights", "list")
    assert code == 0
    assert "oxford" in output
    assert "torchvision" in output
    code, output, _ = run("weights", "verify")
    assert code == 0
    assert "oxford: valid" in output
    code, output, error = run("weights", "get", "nowhere")
    assert code == 2
    assert "nowhere" in error


BAD_RUNS = {
    "no style layers": ((PHOTO, PAINTING, "--style-layers"), "--style-layers has no value"),
    "a very long name": (("x" * 300, PAINTING), "File name too long"),
    "weights with a very long name": ((PHOTO, PAINTING, "--weights", "x" * 300), "x" * 300),
    "a huge seed": ((PHOTO, PAINTING, "--init", "noise", "--seed", str(2**70)), "seed is"),
    "a negative seed": ((PHOTO, PAINTING, "--init", "noise", "--seed", "-1"), "seed is -1"),
    "endless steps": ((PHOTO, PAINTING, "--steps", "9" * 320), "--steps is"),
    "endless memory": ((PHOTO, PAINTING, "--memory-size", str(10**20)), "--memory-size is"),
    "zero style size": ((PHOTO, PAINTING, "--style-size", "0"), "--style-size is 0"),
    "infinite tolerance": ((PHOTO, PAINTING, "--tolerance", "inf"), "--tolerance is inf"),
    "a learning rate that is not used": ((PHOTO, PAINTING, "--learning-rate", "nan"), "--learning-rate is nan"),
    "a weight beyond float32": ((PHOTO, PAINTING, "--style-weight", "1e39"), "style weight is 1e+39"),
    "a misspelt init": ((PHOTO, PAINTING, "--init", "Content"), "expected content, noise, gray, or the path"),
    "an empty init": ((PHOTO, PAINTING, "--init="), "expected content, noise, gray, or the path"),
    "missing photo": (("no.png", PAINTING), "no.png"),
    "missing painting": ((PHOTO, "no.png"), "no.png"),
    "a directory": ((".", PAINTING), "."),
    "unknown layer": ((PHOTO, PAINTING, "--style-layers", "relu9_1"), "unknown layer 'relu9_1'"),
    "negative weight": ((PHOTO, PAINTING, "--content-weight", "-1"), "content weight is -1"),
    "weight that is no number": ((PHOTO, PAINTING, "--tv-weight", "nan"), "tv weight is nan"),
    "too many weights": ((PHOTO, PAINTING, "--style-weight", "1", "2", "3"), "3 numbers"),
    "all weights zero": ((PHOTO, PAINTING, "--style-weight", "0", "--content-weight", "0"), "all weights are zero"),
    "zero steps": ((PHOTO, PAINTING, "--steps", "0"), "--steps is 0"),
    "zero scales": ((PHOTO, PAINTING, "--scales", "0"), "scales is 0, expected 'auto' or a number from 1 to 16"),
    "negative size": ((PHOTO, PAINTING, "--size", "-5"), "--size is -5"),
    "tiny size": ((PHOTO, PAINTING, "--size", "33"), "32 a side"),
    "zero snapshots": ((PHOTO, PAINTING, "--save-every", "0"), "--save-every is 0"),
    "seed": ((PHOTO, PAINTING, "--seed", "-1"), "--seed is -1"),
    "window": ((PHOTO, PAINTING, "--window", "0"), "--window is 0, expected auto, whole, or 32 pixels or more"),
    "share": ((PHOTO, PAINTING, "--share", "2"), "--share is 2.0"),
    "style scale": ((PHOTO, PAINTING, "--style-scale", "0"), "--style-scale is 0.0"),
    "a style scale too small": ((PHOTO, PAINTING, "--style-scale", "0.01"), "which makes"),
    "empty blend": ((PHOTO, PAINTING, "--blend", "0"), "--blend is 0, expected"),
    "mosaic": ((PHOTO, PAINTING, "--mosaic", "1.5"), "--mosaic is 1.5"),
    "quality": ((PHOTO, PAINTING, "--quality", "101"), "--quality is 101"),
    "unknown init": ((PHOTO, PAINTING, "--init", "nois"), "nois"),
    "blend": ((PHOTO, PAINTING, "--blend", "1", "2"), "--blend has 2 numbers"),
    "memory size": ((PHOTO, PAINTING, "--memory-size", "0"), "--memory-size is 0"),
    "learning rate": ((PHOTO, PAINTING, "--optimizer", "adam", "--learning-rate", "0"), "--learning-rate is 0"),
    "tolerance": ((PHOTO, PAINTING, "--tolerance", "-1"), "--tolerance is -1"),
    "unknown weights": ((PHOTO, PAINTING, "--weights", "oxfrod"), "oxfrod"),
    "wrong weights file": ((PHOTO, PAINTING, "--weights", PHOTO), "china.jpg"),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_input_gets_one_sentence_and_exit_code_2(run, tmp_path, case):
    words, expected = BAD_RUNS[case]
    out = tmp_path / "out.png"
    out.write_bytes(b"precious")
    sized = () if "--size" in words else ("--size", "64")
    code, output, error = run("stylize", "--preset=gram", *words, "-o", out, "--force", *sized)
    last = error.strip().splitlines()[-1]
    assert code == 2, error
    assert last.startswith("jaxstyle: error: ")
    assert expected in last
    assert "Traceback" not in error
    assert output == ""
    assert out.read_bytes() == b"precious"


def _damaged(kind, folder):
    path = folder / "bad.png"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "truncated":
        path.write_bytes((DATA / "china.jpg").read_bytes()[:20_000])
    elif kind == "animated":
        path = folder / "bad.gif"
        frames = [PIL.Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif kind == "gigantic":
        # A header that promises 30000 x 30000 pixels.
        PIL.Image.new("L", (1, 1)).save(path)
        data = bytearray(path.read_bytes())
        data[16:24] = (30_000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
        path.write_bytes(data)
    else:
        width, height = {"1x1": (1, 1), "20 wide": (20, 300), "ribbon": (4000, 40)}[kind]
        PIL.Image.new("RGB", (width, height), "red").save(path)
    return path


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "animated", "gigantic", "1x1", "20 wide", "ribbon"])
@pytest.mark.parametrize("role", ["photo", "painting"])
def test_damaged_pictures_get_one_sentence_and_exit_code_2(run, tmp_path, kind, role):
    bad, out = _damaged(kind, tmp_path), tmp_path / "out.png"
    out.write_bytes(b"precious")
    words = (bad, PAINTING) if role == "photo" else (PHOTO, bad)
    code, _, error = run("stylize", "--preset=gram", *words, "-o", out, "--size", 512, "--force")
    assert code == 2, error
    assert error.startswith("jaxstyle: error: ")
    assert bad.name in error
    assert error.count("\n") == 1
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("out", "expected"),
    [("no/such/folder/out.png", "directory"), ("out.xyz", ".png"), ("out", ".png"), ("", "is a folder")],
)
def test_outputs_that_cannot_be_written_are_refused_before_the_run(run, tmp_path, monkeypatch, out, expected):
    monkeypatch.setattr(commands, "stylize", lambda *_, **__: pytest.fail("it ran"))
    code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, "-o", tmp_path / out if out else tmp_path)
    assert code == 2
    assert expected in error


def test_early_ctrl_c_just_ends_the_process(tmp_path):
    """Nothing is saved yet: no traceback, whatever was being imported, read or compiled."""
    words = ["stylize", "--preset=gram", PHOTO, PAINTING, "-o", str(tmp_path / "out.png"), "--size", "512"]
    press = "jaxstyle.image.io.check_output = lambda path: os.kill(os.getpid(), signal.SIGINT)"
    code = f"import jaxstyle.cli, jaxstyle.image.io, os, signal; {press}; jaxstyle.cli.main({words})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_warnings_are_one_line(run, tiny_weights, picture, tmp_path):
    out = tmp_path / "out.jpg"
    words = ("--size", 48, "--steps", 1, "--weights", tiny_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, error = run("stylize", "--preset=gram", picture(mode="RGBA"), PAINTING, "-o", out, *words)
    assert code == 0
    assert any(line.startswith("jaxstyle: warning: ") and "alpha is dropped" in line for line in error.splitlines())


def test_an_input_is_never_overwritten(run, picture):
    photo = picture()
    before = photo.read_bytes()
    code, _, error = run("stylize", "--preset=gram", photo, PAINTING, "-o", photo)
    assert code == 2
    assert "is one of the inputs" in error
    assert photo.read_bytes() == before


def test_a_snapshot_never_overwrites_an_input(run, picture, tmp_path):
    photo = picture("s_00002.png")
    before = photo.read_bytes()
    words = ("-o", tmp_path / "s.png", "--save-every", 2, "--steps", 4)
    code, _, error = run("stylize", "--preset=gram", photo, PAINTING, *words)
    assert code == 2
    assert "s_00002.png is one of the inputs" in error
    code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, "--init", photo, *words)
    assert code == 2
    assert photo.read_bytes() == before


def test_a_snapshot_that_fails_does_not_end_the_run(run, tiny_weights, tmp_path):
    (tmp_path / "out_00002.png").mkdir()
    out = tmp_path / "out.png"
    words = ("--size", 64, "--steps", 3, "--weights", tiny_weights, "--save-every", 1, "--force")
    code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, "-o", out, *words)
    # The run continues; the exit code says that not every picture is in its place.
    assert code == 1
    assert "cannot write" in error
    assert out.exists()


def test_a_recipe_that_cannot_be_stored_is_refused_before_the_run(run, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "stylize", lambda *_, **__: pytest.fail("it ran"))
    monkeypatch.setattr(encode, "MAX_RECIPE_LENGTH", 500)
    words = ("-o", tmp_path / "out.png", "--size", 64, "--weights", tiny_weights)
    code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, *words)
    assert code == 2
    assert "at most 500" in error


def test_out_of_memory_is_one_sentence(run, tiny_weights, tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(commands, "stylize", exhausted)
    words = ("-o", tmp_path / "out.png", "--size", 64, "--weights", tiny_weights)
    code, _, error = run("stylize", "--preset=gram", PHOTO, PAINTING, *words)
    assert code == 1
    assert error.splitlines()[-1].startswith("jaxstyle: error: out of memory")


def test_usage_errors_exit_with_2(run):
    both = ("stylize", "--preset=gram", PHOTO, PAINTING)
    for words in ((), ("stylize",), both[:2], ("paint",), (*both, "--pooling", "min"), (*both, "--scales", "many")):
        code, output, error = run(*words)
        assert (code, output, error.count("\n")) == (2, "", 1)
        assert error.startswith("jaxstyle: error: ")
        assert re.search(r"; see jaxstyle( stylize)? --help\n$", error)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--size", "1.5"), "--size is '1.5', expected original, or a whole number from 1 to 65536; see"),
        (("--style-size", "big"), "--style-size is 'big', expected a whole number from 1 to 65536; see"),
        (("--steps", "1,000"), "--steps is '1,000', expected a whole number from 1 to 1000000; see"),
        (("--save-every", "x"), "--save-every is 'x', expected a whole number from 1 to 1000000; see"),
        (("--scales", "many"), "--scales is 'many', expected 'auto' or a number from 1 to 16; see"),
        (("--window", "x"), "--window is 'x', expected auto, whole, or 32 pixels or more; see"),
        (("--share", "half"), "--share is 'half', expected a fraction of the steps above 0, at most 1; see"),
        (("--strength", "0,5"), "--strength is '0,5', expected a number from 0 to 1; see"),
        (("--blend", "1,2"), "--blend is '1,2', expected numbers separated by spaces; see"),
        (("--style-weight", "1", "x"), "--style-weight is '1', 'x', expected numbers separated by spaces; see"),
        (("--pooling", "min"), "--pooling is 'min', expected one of 'max', 'avg', 'l2'; see"),
        (("--size",), "--size has no value, expected one; see"),
        (("--size", "9" * 5000), "--size has too many digits; see"),
        (("--sed", "1"), "unknown option --sed; did you mean --seed?; see jaxstyle stylize --help"),
        (("--content_wieght=1", "--foo"), "unknown option --content_wieght; did you mean --content-weight?; see"),
        (("-x",), "unknown option -x; see"),
        (("--size", ""), "an argument is empty"),
    ],
)
def test_usage_errors_are_plain(run, words, expected):
    code, output, error = run("stylize", "--preset=gram", PHOTO, PAINTING, "-o", "out.png", *words)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"jaxstyle: error: {expected}")
    assert len(error) < 400


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "no command, expected one of stylize, sweep,"),
        (
            "styilze a b",
            "unknown command styilze, expected one of stylize, sweep, video, apply, resume, rerun, demo, plan, serve, "
            "weights",
        ),
        ("weights gte", "unknown command gte, expected one of list, get, verify; did you mean get?; see"),
        ("--verison", "unknown option --verison; did you mean --version?; see jaxstyle --help"),
        ("stylize a b --outptu o.png", "unknown option --outptu; did you mean --output?; see jaxstyle stylize --help"),
        ("stylize a b", "expected also -o FILE; see jaxstyle stylize --help"),
        ("plan 10", "expected also HEIGHT; see jaxstyle plan --help"),
        ("demo x", "x is one argument too many; see jaxstyle demo --help"),
        ("sweep a b -o o.png --sed 1,2", "unknown option --sed; did you mean --seed?"),
    ],
)
def test_misspelt_and_missing_words(run, words, expected):
    code, output, error = run(*words.split())
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"jaxstyle: error: {expected}")


def test_an_empty_path_is_not_the_current_folder(run, monkeypatch, tmp_path):
    """`jaxstyle stylize "$PHOTO" ...` where the variable is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "stylize_folder", lambda *_: pytest.fail("it ran"))
    code, _, error = run("stylize", "--preset=gram", "", PAINTING, "-o", "out")
    assert code == 2
    assert "an argument is empty" in error


def test_a_loss_that_is_not_finite_saves_nothing(run, tiny_weights, tmp_path):
    out = tmp_path / "out.png"
    huge = ("--style-weight", "3e38", "--content-weight", "3e38", "--init", "noise", "--normalization", "paper")
    words = ("--preset", "gram", "--size", 64, "--steps", 5, "--weights", tiny_weights)
    code, _, error = run("stylize", PHOTO, PAINTING, "-o", out, *words, *huge)
    assert code == 1
    assert "not finite" in error
    assert not out.exists()


def test_ctrl_c_saves_the_picture_so_far(tiny_weights, tmp_path):
    out = tmp_path / "out.png"
    words = ["stylize", PHOTO, PAINTING, "-o", str(out), "--size", "128", "--steps", "100000", "--tolerance", "0"]
    words += ["--preset", "gram", "--weights", tiny_weights, "--save-every", "10"]
    command = [sys.executable, "-m", "jaxstyle", *words]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out_*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    with PIL.Image.open(out) as file:
        assert file.size == (128, 85)


def test_the_demo_stylizes_the_bundled_photo(run, tmp_path):
    """With the real weights, small: the same command that the README begins with."""
    out = tmp_path / "demo.png"
    code, _, error = run("demo", "-o", out, "--size", 96, "--steps", 10)
    assert code == 0, error
    recipe = io.read_recipe(out)
    assert recipe is not None
    assert recipe["settings"]["weights"] == "oxford"
    photo = np.asarray(io.load_image(PHOTO, 96))
    assert np.abs(np.asarray(io.load_image(out)) - photo).mean() > 0.05


def test_python_m_jaxstyle_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "jaxstyle", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("jaxstyle ")
