"""What holds for every kind of run: one photo, a folder, and a sweep."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import jaxstyle as js
from jaxstyle.cli import app
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint, loop

pytestmark = pytest.mark.usefixtures("unchecked", "lenient_promotion")

SIZES = [(48, 40), (40, 48), (48, 48), (48, 36)]


class KilledError(BaseException):
    """As by SIGKILL: nothing is saved any more."""


@pytest.fixture
def inputs(tmp_path):
    """A painting, and a folder of four photos of several sizes."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for path, (width, height) in (
        (tmp_path / "painting.png", (48, 48)),
        *((folder / f"{k}.png", size) for k, size in enumerate(SIZES)),
    ):
        PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def call(inputs, tiny_weights):
    """Run a kind in a folder of its own; return the exit code."""

    def call(kind, out, *words):
        out.mkdir(exist_ok=True)
        source = inputs / "photos" / ("" if kind == "folder" else "2.png")
        verb, output = ("sweep", out / "sheet.png") if kind == "sweep" else ("stylize", out / "out.png")
        output = out if kind == "folder" else output
        options = {
            "one": [],
            "folder": ["--batch", "3"],
            "sweep": ["--pooling", "max,avg", "--seed", "0,1", "--cells", str(out / "cells")],
        }[kind]
        common = ["--preset", "gram", "--size", "48", "--steps", "24", "--weights", tiny_weights, "-q"]
        arguments = [verb, str(source), str(inputs / "painting.png"), "-o", str(output), *common, *options, *words]
        return main(arguments)

    return call


def main(arguments):
    with pytest.raises(SystemExit) as end:
        app.main(list(map(str, arguments)))
    return end.value.code


def pictures(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def die_after(monkeypatch, saves):
    """Every evaluation ends a chunk and is saved; the process dies after so many saves."""
    real, count = checkpoint._save, 0

    def save(*arguments):
        nonlocal count
        real(*arguments)
        count += 1
        if count == saves:
            raise KilledError

    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_save", save)


KINDS = [
    pytest.param(kind, optimizer, count, marks=marks)
    for kind in ("one", "folder", "sweep")
    for optimizer, count, marks in (("lbfgs", 1, ()), ("lbfgs", 5, pytest.mark.long), ("adam", 5, pytest.mark.long))
]


@pytest.mark.parametrize(("kind", "optimizer", "count"), KINDS)
def test_a_run_killed_anywhere_ends_in_the_same_files(inputs, call, monkeypatch, kind, optimizer, count):
    """A single photo continues with `jaxstyle resume`, the others with the same command."""
    options, file = ("--optimizer", optimizer), inputs / "state"
    assert call(kind, inputs / "expected", *options) == 0
    expected = pictures(inputs / "expected")
    assert len(expected) == {"one": 1, "folder": 4, "sweep": 5}[kind]
    # The number of saves of a whole run: each call of the driver saves 24 times.
    total = 24 * {"one": 1, "folder": 2, "sweep": 2}[kind]
    for k, place in enumerate(np.random.default_rng(len(kind)).integers(2, total, count)):
        out, words = inputs / f"out{k}", (*options, "--checkpoint", file, "--checkpoint-every", 0)
        with monkeypatch.context() as patch:
            die_after(patch, place)
            with pytest.raises(KilledError):
                call(kind, out, *words)
        assert file.exists()
        # What has ended does not start again.
        with monkeypatch.context() as patch:
            die_after(patch, total - place + 1)
            assert (main(["resume", file, "-q"]) if kind == "one" else call(kind, out, *words)) == 0
        assert pictures(out) == expected
        assert not file.exists()


@pytest.mark.parametrize("kind", ["one", "folder", "sweep"])
def test_every_picture_can_be_made_again(inputs, call, capsys, tiny_weights, kind):
    folders = inputs, inputs / "photos", Path(tiny_weights).parent
    assert call(kind, inputs / "out") == 0
    capsys.readouterr()
    for path in sorted((inputs / "out").rglob("*.png")):
        assert main(["rerun", path, "--inputs", *folders, "-q"]) == 0
        printed = capsys.readouterr()
        assert ("identical, byte for byte" in printed.out, printed.err) == (True, "")


@pytest.fixture
def masks(inputs):
    """A folder of masks for the photos: the left half is white."""
    (inputs / "masks").mkdir()
    for k, (width, height) in enumerate(SIZES):
        mask = np.zeros((height, width, 3), np.uint8)
        mask[:, : width // 2] = 255
        PIL.Image.fromarray(mask).save(inputs / "masks" / f"{k}.png")
    return inputs / "masks"


@pytest.mark.parametrize("kind", ["one", "folder", "sweep"])
def test_masks(inputs, call, masks, capsys, tiny_weights, kind):
    """Black stays; each photo of a folder has its own mask; what was made can be made again."""
    mask = masks if kind == "folder" else masks / "2.png"
    words = ("--content-mask", mask, "--region", "white=1", "black=keep")
    assert call(kind, inputs / "out", *words) == 0
    folders, paths = (inputs, inputs / "photos", masks, Path(tiny_weights).parent), pictures(inputs / "out")
    for name in paths:
        if name != "sheet.png":
            photo = inputs / "photos" / (name if kind == "folder" else "2.png")
            before, after = (np.asarray(js.load_image(path)) for path in (photo, inputs / "out" / name))
            half = before.shape[1] // 2
            np.testing.assert_array_equal(after[:, half + 1 :], before[:, half + 1 :])
            assert np.abs(after - before)[:, : half - 1].mean() > 0.01
        capsys.readouterr()
        assert main(["rerun", inputs / "out" / name, "--inputs", *folders, "-q"]) == 0
        assert "identical, byte for byte" in capsys.readouterr().out
    capsys.readouterr()
    if kind == "folder":
        assert call(kind, inputs / "out", *words) == 0
        assert "nothing to make" in capsys.readouterr().out


@pytest.mark.long
def test_photos_of_a_folder_with_different_regions(inputs, call, masks, capsys):
    """They are made in separate batches; a photo without a mask is left out."""
    (masks / "0.png").unlink()
    with PIL.Image.open(masks / "3.png") as mask:
        mask.paste((255, 0, 0), (0, 0, 24, 18))
        mask.save(masks / "3.png")
    style_mask = np.zeros((48, 48, 3), np.uint8)
    style_mask[:24], style_mask[24:, :24] = 255, (255, 0, 0)
    PIL.Image.fromarray(style_mask).save(inputs / "parts.png")
    assert call("folder", inputs / "out", "--content-mask", masks, "--style-mask", inputs / "parts.png") == 1
    assert "masks has 0 masks of 0.png, expected one: 0.png; skipped" in capsys.readouterr().err
    recipes = {path.name: io.read_recipe(path) for path in (inputs / "out").iterdir()}
    assert {name: recipe["settings"]["content_mask"] for name, recipe in recipes.items()} == {
        f"{k}.png": f"{k}.png" for k in (1, 2, 3)
    }
    assert [len(recipes[f"{k}.png"]["loss_weights"]["regions"]) for k in (1, 2, 3)] == [2, 2, 3]
    # Other files of the name are no masks, and masks are not replaced.
    (masks / "1.json").write_text("no mask")
    assert call("folder", inputs / "out", "--content-mask", masks, "--style-mask", inputs / "parts.png") == 1
    assert call("folder", masks, "--content-mask", masks, "--force") == 2
    assert "is the folder of the masks, expected another one" in capsys.readouterr().err
    assert call("one", inputs / "one", "--content-mask", masks) == 2
    assert "--content-mask is the folder" in capsys.readouterr().err


def test_numbered_cells(inputs, call):
    assert call("sweep", inputs / "out", "--save-every", 10) == 0
    names = sorted(path.stem for path in (inputs / "out" / "cells").iterdir())
    assert len(names) == 4 * 3
    for cell in names[::3]:
        images = [js.load_image(inputs / "out" / "cells" / f"{cell}{end}.png") for end in ("_00010", "_00020", "")]
        assert {image.shape for image in images} == {(48, 48, 3)}
        assert np.abs(images[0] - images[2]).mean() > np.abs(images[1] - images[2]).mean() > 0


@pytest.mark.parametrize("kind", ["folder", "one"])
def test_numbered_pictures(inputs, call, kind):
    """At the full size, and not of the copies that fill a batch."""
    assert call(kind, inputs / "out", "--save-every", 10) == 0
    stems = range(4) if kind == "folder" else ("out",)
    names = {f"{stem}{number}.png" for stem in stems for number in ("", "_00010", "_00020")}
    assert {path.name for path in (inputs / "out").iterdir()} == names
    for stem, (width, height) in zip(stems, SIZES if kind == "folder" else SIZES[2:], strict=False):
        recipe = io.read_recipe(inputs / "out" / f"{stem}_00020.png")
        assert (recipe["status"], recipe["evaluations"]) == ("snapshot", 20)
        images = [js.load_image(inputs / "out" / f"{stem}{number}.png") for number in ("_00010", "_00020", "")]
        assert {image.shape for image in images} == {(height, width, 3)}
        assert np.abs(images[0] - images[2]).mean() > np.abs(images[1] - images[2]).mean() > 0


def test_a_sweep_with_a_checkpoint_needs_no_cells(inputs, call, monkeypatch, tiny_weights, capsys):
    """The finished cells wait beside the checkpoint, until the sheet is written."""
    pictures_of = inputs / "photos" / "2.png", inputs / "painting.png"
    command = ["sweep", *pictures_of, "--preset", "gram", "--size", 48, "--steps", 5, "--weights", tiny_weights]
    command += ["--pooling", "max,avg"]
    saved = ["--checkpoint", inputs / "state", "--checkpoint-every", 0]
    assert main([*command, "-o", inputs / "expected.png"]) == 0
    with monkeypatch.context() as patch:
        die_after(patch, 8)
        with pytest.raises(KilledError):
            main([*command, "-o", inputs / "sheet.png", *saved])
    assert len(list((inputs / "state.cells").iterdir())) == 1
    assert main(["resume", inputs / "state"]) == 2
    assert "is of a sweep: the same command as before continues it" in capsys.readouterr().err
    assert main([*command, "-o", inputs / "sheet.png", *saved]) == 0
    assert "1 of 2 cells exist already" in capsys.readouterr().err
    np.testing.assert_array_equal(*(js.load_image(inputs / name) for name in ("sheet.png", "expected.png")))
    assert not list(inputs.glob("state*"))


def test_hosts_share_the_photos_without_joining(inputs, call):
    """Every other picture each; a host that is gone leaves its share to the next command."""
    assert call("folder", inputs / "out", "--distributed", "10.0.0.1:1,2,1") == 0
    assert sorted(path.name for path in (inputs / "out").iterdir()) == ["1.png", "3.png"]
    before = pictures(inputs / "out")
    assert call("folder", inputs / "out") == 0
    assert len(pictures(inputs / "out")) == 4
    assert pictures(inputs / "out").items() >= before.items()


@pytest.mark.long
def test_a_killed_host_loses_only_the_picture_in_progress(inputs, tiny_weights):
    def start(index):
        words = ["stylize", inputs / "photos", inputs / "painting.png", "-o", inputs / "out", "--size", 48]
        words += ["--preset", "gram", "--steps", 300, "--tolerance", 0, "--weights", tiny_weights]
        words += ["--distributed", f"10.0.0.1:1,2,{index}"]
        command = [sys.executable, "-m", "jaxstyle", *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    for k in range(4, 12):
        shutil.copy(inputs / "photos" / "3.png", inputs / "photos" / f"{k:02d}.png")
    hosts = [start(0), start(1)]
    deadline = time.monotonic() + 120
    while not (inputs / "out" / "1.png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    hosts[1].send_signal(signal.SIGKILL)
    assert [host.wait(200) for host in hosts] == [0, -signal.SIGKILL]
    before = pictures(inputs / "out")
    assert 7 <= len(before) < 12
    assert [host.wait(200) for host in (start(0), start(1))] == [0, 0]
    assert len(pictures(inputs / "out")) == 12
    assert pictures(inputs / "out").items() >= before.items()


@pytest.mark.long
def test_a_thousand_photos_start_soon_and_take_no_more_memory(inputs, tiny_weights):
    def first_chunk(count):
        """Seconds from the start of the process to the first step, and the memory there."""
        photos = inputs / f"{count} photos"
        photos.mkdir()
        for k in range(count):
            shutil.copy(inputs / "photos" / f"{k % 4}.png", photos / f"{k}.png")
        words = [photos, inputs / "painting.png", "-o", inputs / f"{count}", "--size", 48, "--weights", tiny_weights]
        words += ["--preset", "gram", "--log-json", "-", "-q"]
        command = [sys.executable, "-m", "jaxstyle", "stylize", *map(str, words)]
        begin = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            line = json.loads(process.stdout.readline())
            seconds = time.monotonic() - begin
            process.kill()
        assert line["event"] == "chunk"
        return seconds, line["memory"]

    few, many = first_chunk(10), first_chunk(1000)
    assert many[1] - few[1] < 20e6
    # A time is no test of speed here: reading every photo first would take minutes.
    assert many[0] < few[0] + 10


def test_a_file_that_is_no_checkpoint_of_the_command_stays(inputs, call, capsys, monkeypatch):
    """Another file, a damaged checkpoint, and that of another command; --force replaces only the last."""
    file = inputs / "state"
    words = ("--checkpoint", file, "--checkpoint-every", 0)
    for kind in ("folder", "sweep"):
        file.write_text("notes")
        assert call(kind, inputs / kind, *words) == 2
        assert "is no checkpoint" in capsys.readouterr().err
        assert file.read_text() == "notes"
        file.unlink()
    with monkeypatch.context() as patch:
        die_after(patch, 5)
        with pytest.raises(KilledError):
            call("one", inputs / "single", *words)
    saved = file.read_bytes()
    for kind in ("folder", "sweep"):
        assert call(kind, inputs / kind, *words) == 2
        assert "exists already, of another command" in capsys.readouterr().err
    assert file.read_bytes() == saved
    assert call("folder", inputs / "folder", *words, "--force") == 0
    assert not file.exists()


def test_an_interrupted_batch_comes_first(inputs, call, monkeypatch, capsys):
    """Although a photo before it failed the first time, and is pending again."""
    photo, file, words = inputs / "photos" / "0.png", inputs / "state", ("--batch", "1")
    assert call("folder", inputs / "expected", *words) == 0
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    words = (*words, "--checkpoint", file, "--checkpoint-every", 0)
    with monkeypatch.context() as patch:
        die_after(patch, 24 + 20)
        with pytest.raises(KilledError):
            call("folder", inputs / "out", *words)
    photo.write_bytes(whole)
    with monkeypatch.context() as patch:
        # What is left of the second picture, and the other two.
        die_after(patch, 4 + 2 * 24 + 1)
        assert call("folder", inputs / "out", *words) == 0
    assert pictures(inputs / "out") == pictures(inputs / "expected")


def test_a_numbered_picture_takes_no_ones_place(inputs, call, capsys):
    (inputs / "photos" / "0.png").rename(inputs / "photos" / "1_00010.png")
    assert call("folder", inputs / "out", "--save-every", 10) == 2
    assert "a numbered picture of 1 could take the place of" in capsys.readouterr().err


@pytest.mark.long
def test_cells_of_a_sheet_of_another_format_can_be_made_again(inputs, call, capsys, tiny_weights):
    words = ["sweep", inputs / "photos" / "2.png", inputs / "painting.png", "-o", inputs / "sheet.jpg", "--size", 48]
    words += ["--steps", 3, "--weights", tiny_weights, "--seed", "0,1", "--cells", inputs / "cells"]
    assert main(words) == 0
    folders = inputs, inputs / "photos", Path(tiny_weights).parent
    for picture in (inputs / "sheet.jpg", *(inputs / "cells").iterdir()):
        capsys.readouterr()
        assert main(["rerun", picture, "--inputs", *folders, "-q"]) == 0
        assert "identical, byte for byte" in capsys.readouterr().out
