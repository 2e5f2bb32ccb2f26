"""`jaxstyle resume` and `jaxstyle rerun`, as a user meets them."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import jaxstyle as js
from jaxstyle.cli import app
from jaxstyle.cli import stylize as commands
from jaxstyle.cli.recipe import recipe_of
from jaxstyle.cli.rerun import Rerun
from jaxstyle.cli.serialize import options_to_json
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def run(capsys):
    def run(*words):
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            with pytest.raises(SystemExit) as stop:
                app.main([str(word) for word in words])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path, tiny_weights):
    """Photo, painting and weights, small."""
    rng = np.random.default_rng(0)
    for name in ("photo.png", "painting.png"):
        PIL.Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(tmp_path / name)
    shutil.copy(tiny_weights, tmp_path / "net.safetensors")
    return tmp_path


def words(folder, out="out.png", *more):
    named = [folder / name for name in ("photo.png", "painting.png")]
    return [
        "stylize",
        *named,
        "-o",
        folder / out,
        "--size",
        48,
        "--steps",
        30,
        "--weights",
        folder / "net.safetensors",
        "--preset",
        "gram",
        *more,
    ]


def stop_at(monkeypatch, count, number):
    """A signal to this process after so many evaluations."""
    real = commands.bar_text

    def text(progress):
        if progress.evaluations >= count:
            os.kill(os.getpid(), number)
        return real(progress)

    monkeypatch.setattr(commands, "bar_text", text)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_goes_on_from_anywhere_to_the_same_file(run, folder, monkeypatch, number, code):
    assert run(*words(folder))[0] == 0
    expected = (folder / "out.png").read_bytes()
    (folder / "out.png").unlink()
    checkpoint = folder / "run.ckpt"
    stop_at(monkeypatch, 10, number)
    monkeypatch.chdir(folder)
    pictures = ["photo.png", "painting.png", "-o", "out.png"]
    sizes = ["--preset", "gram", "--size", 48, "--steps", 30]
    network = ["--weights", "net.safetensors"]
    ended = run("stylize", *pictures, *sizes, *network, "--checkpoint", "run.ckpt", "--save-every", 10)
    assert ended[0] == code
    assert "to continue: jaxstyle resume run.ckpt" in ended[2]
    assert io.read_recipe(folder / "out.png")["status"] in ("interrupted", "terminated")
    assert checkpoint.exists()
    monkeypatch.undo()
    # From another folder: the checkpoint knows the whole paths.
    monkeypatch.chdir("/")
    again = run("resume", checkpoint)
    assert again[0] == 0, again
    assert (folder / "out.png").read_bytes() == expected
    assert not checkpoint.exists()


def test_resume_ends_with_the_file_of_an_unstopped_run(run, folder, monkeypatch):
    assert run(*words(folder))[0] == 0
    expected = (folder / "out.png").read_bytes()
    (folder / "out.png").unlink()
    checkpoint = folder / "run.ckpt"
    stop_at(monkeypatch, 12, signal.SIGTERM)
    assert run(*words(folder, "out.png", "--checkpoint", checkpoint, "--save-every", 6))[0] == 143
    monkeypatch.undo()
    assert run(*words(folder, "out.png", "--checkpoint", checkpoint))[0] == 2
    code, output, _ = run("resume", checkpoint, "--log-json", folder / "log", "-q")
    assert code == 0
    assert "out.png: 48x40, loss" in output
    assert (folder / "out.png").read_bytes() == expected
    assert not checkpoint.exists()
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [line["event"] for line in lines][0 :: len(lines) - 1] == ["begin", "end"]
    assert lines[1]["evaluations"] > 12
    assert lines[-1]["evaluations"] == 30


def test_a_checkpoint_that_could_not_be_saved_is_not_offered(run, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "write", full)
    stop_at(monkeypatch, 10, signal.SIGINT)
    code, _, error = run(*words(folder, "out.png", "--checkpoint", folder / "run.ckpt"))
    assert code == 130
    assert "cannot write the checkpoint" in error
    assert "jaxstyle resume" not in error


def test_resume_refuses_what_has_changed(run, folder, monkeypatch):
    checkpoint = folder / "run.ckpt"
    stop_at(monkeypatch, 5, signal.SIGINT)
    assert run(*words(folder, "out.png", "--checkpoint", checkpoint))[0] == 130
    monkeypatch.undo()
    with PIL.Image.open(folder / "photo.png") as photo:
        changed = photo.rotate(180)
    changed.save(folder / "photo.png")
    # Its unfinished picture is of the old photo now.
    code, _, error = run("resume", checkpoint)
    assert (code, "exists already" in error) == (2, True)
    (folder / "out.png").unlink()
    code, _, error = run("resume", checkpoint)
    assert code == 2
    assert "of a run with other content: expected the same images and settings" in error
    code, _, error = run("resume", checkpoint, "--force", "-o", folder / "forced.png")
    assert code == 0
    assert "resumed after" in error
    assert "warning: other content than before: from the best image, with a new optimizer" in error
    # Its recipe says so, and that it is not repeatable.
    assert io.read_recipe(folder / "forced.png")["forced"] == ["content"]
    code, _, error = run("rerun", folder / "forced.png")
    assert (code, "was resumed by force" in error) == (2, True)


def test_resume_refuses_what_is_no_checkpoint_of_a_command(run, folder):
    path = folder / "run.ckpt"
    assert "cannot read the checkpoint" in run("resume", path)[2]
    checkpoint_file.write(path, checkpoint_file.Contents({}, {"note": {}}))
    assert "was not written by jaxstyle stylize" in run("resume", path)[2]
    checkpoint_file.write(path, checkpoint_file.Contents({}, {"note": {"options": {"photo": 1}}}))
    code, _, error = run("resume", path)
    assert (code, error.count("\n")) == (2, 1)


def test_rerun_gives_the_same_file(run, folder, monkeypatch):
    assert run(*words(folder, "out.jpg", "--window", 32, "--init", folder / "painting.png"))[0] == 0
    monkeypatch.chdir(folder.parent)
    code, output, error = run("rerun", folder / "out.jpg", "-q", "-o", folder / "again.jpg")
    assert (code, error) == (0, "")
    assert output.startswith(f"{folder / 'out.jpg'}: identical, byte for byte; the new picture is in ")
    assert (folder / "again.jpg").read_bytes() == (folder / "out.jpg").read_bytes()
    assert run("rerun", folder / "out.jpg", "-o", folder / "again.jpg")[0] == 2


def test_rerun_tells_what_differs_and_why_that_may_be(run, folder):
    assert run(*words(folder))[0] == 0
    recipe = io.read_recipe(folder / "out.png")
    recipe["versions"]["jax"] = "0.1"
    pixels = np.asarray(PIL.Image.open(folder / "out.png")) / np.float32(255)
    pixels[0, :24] += np.float32(0.1) * (1 - 2 * (pixels[0, :24] > 0.5))
    io.save_image(folder / "out.png", pixels, recipe=recipe)
    code, output, error = run("rerun", folder / "out.png")
    assert code == 1
    assert "different: 1.25 % of the pixels differ; maximum difference 26/255" in output
    assert "made in a different environment (jax 0.1, here" in error


def test_rerun_finds_inputs_by_their_contents(run, folder, tmp_path_factory):
    assert run(*words(folder))[0] == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("photo.png", "painting.png"):
        shutil.move(folder / name, elsewhere / name)
    code, _, error = run("rerun", folder / "out.png")
    assert (code, "photo.png, an input of" in error, "was not found: add its folder with --inputs" in error) == (
        2,
        True,
        True,
    )
    (folder / "photo.png").write_bytes(b"another one")
    assert "is not the file that" in run("rerun", folder / "out.png")[2]
    assert run("rerun", folder / "out.png", "--inputs", elsewhere)[0] == 0


def test_rerun_refuses_what_it_cannot_make_again(run, folder, monkeypatch):
    plain = folder / "photo.png"
    assert "holds no recipe" in run("rerun", plain)[2]
    assert "cannot read" in run("rerun", folder / "none.png")[2]
    stop_at(monkeypatch, 5, signal.SIGINT)
    assert run(*words(folder))[0] == 130
    assert "did not finish (interrupted)" in run("rerun", folder / "out.png")[2]
    image = np.zeros((32, 32, 3), np.float32)
    words_of = {"photo": "a", "painting": "b", "output": "c"}
    for recipe, message in (
        ({"settings": {}, "axes": {}}, "lacks 'batch_sizes', expected one that this release of jaxstyle sweep wrote"),
        ({"settings": {}, "axes": {"seed": 5}, "batch_sizes": [1]}, "expected one that this release"),
        ({"settings": {**words_of, "size": "large"}, "status": "converged"}, "has size = 'large'"),
        ({"settings": 5}, "holds no recipe"),
        (
            {"settings": {"photo": "a", "painting": "b", "output": "c"}, "status": "converged"},
            "has no checksums of its inputs",
        ),
    ):
        io.save_image(folder / "odd.png", image, recipe=recipe)
        code, _, error = run("rerun", folder / "odd.png")
        assert (code, message in error) == (2, True), error


def test_rerun_tells_files_of_one_name_apart(run, folder, monkeypatch):
    for name in ("a", "b"):
        (folder / name).mkdir()
    shutil.move(folder / "photo.png", folder / "a" / "1.png")
    shutil.move(folder / "painting.png", folder / "b" / "1.png")
    named = [folder / "a" / "1.png", folder / "b" / "1.png", "-o", folder / "out.png"]
    assert run("stylize", *named, *words(folder)[5:])[0] == 0
    assert run("rerun", folder / "out.png", "--inputs", folder / "a", folder / "b")[0] == 0


def test_a_recipe_without_an_algorithm_is_of_direct_convolutions(run, folder):
    assert run(*words(folder))[0] == 0
    recipe = io.read_recipe(folder / "out.png")
    assert Rerun(folder / "out.png")._options(recipe).algorithm == recipe["settings"].pop("algorithm") == "auto"
    assert Rerun(folder / "out.png")._options(recipe).algorithm == "direct"


@pytest.mark.parametrize(("matrix_root", "ridge"), [("newton-schulz", 1e-4), ("eigh", None), ("auto", None)])
def test_a_recipe_without_a_ridge_has_that_of_its_matrix_root(run, folder, matrix_root, ridge):
    assert run(*words(folder))[0] == 0
    recipe = io.read_recipe(folder / "out.png")
    assert Rerun(folder / "out.png")._options(recipe).ridge is recipe["settings"].pop("ridge") is None
    recipe["settings"]["matrix_root"] = matrix_root
    assert Rerun(folder / "out.png")._options(recipe).ridge == ridge


def test_an_interrupted_rerun_reports_no_difference(run, folder, monkeypatch):
    assert run(*words(folder))[0] == 0
    stop_at(monkeypatch, 5, signal.SIGTERM)
    code, output, error = run("rerun", folder / "out.png", "-o", folder / "again.png")
    assert (code, output) == (143, "")
    assert "the rerun did not finish (terminated)" in error
    assert not (folder / "again.png").exists()


def test_a_recipe_names_no_place_to_write_to(run, folder):
    """It may come with a picture from anywhere."""
    assert run(*words(folder))[0] == 0
    recipe = io.read_recipe(folder / "out.png")
    sly = {"checkpoint": str(folder / "evil"), "checkpoint_every": 0.0, "log_json": str(folder / "log"), "force": True}
    recipe["settings"] |= sly | {"output": str(folder / "elsewhere" / "out.png"), "save_every": 1}
    io.save_image(folder / "out.png", js.load_image(folder / "out.png"), recipe=recipe)
    before = set(folder.iterdir())
    run("rerun", folder / "out.png")
    assert set(folder.iterdir()) == before
    for wrong in ({"style_scale": []}, {"style_scale": [-1.0]}, {"steps": 0}):
        odd = recipe | {"settings": recipe["settings"] | wrong}
        io.save_image(folder / "odd.png", js.load_image(folder / "out.png"), recipe=odd)
        code, _, error = run("rerun", folder / "odd.png")
        assert (code, error.count("\n")) == (2, 1), error


def test_resume_replaces_an_output_only_with_force_of_its_own(run, folder, monkeypatch):
    """The --force of the first run does not count."""
    (folder / "out.png").write_bytes(b"not so precious")
    checkpoint = folder / "run.ckpt"
    real = commands.bar_text

    def text(progress):
        # Like SIGKILL: nothing is written after this.
        if progress.evaluations >= 12:
            raise RuntimeError
        return real(progress)

    monkeypatch.setattr(commands, "bar_text", text)
    options = words(folder, "out.png", "--force", "--checkpoint", checkpoint, "--checkpoint-every", 0)
    with pytest.raises(RuntimeError):
        app.main([str(word) for word in options])
    monkeypatch.undo()
    code, _, error = run("resume", checkpoint)
    assert (code, "exists already: choose another name, or --force" in error) == (2, True)
    assert (folder / "out.png").read_bytes() == b"not so precious"
    assert run("resume", checkpoint, "--force")[0] == 0
    assert io.read_recipe(folder / "out.png")["evaluations"] == 30


def test_a_hostile_checkpoint_sets_only_pictures_settings_and_output(run, folder, monkeypatch):
    """It names no host, no folder of programs, no log, and replaces nothing."""
    checkpoint = folder / "run.ckpt"
    stop_at(monkeypatch, 5, signal.SIGINT)
    assert run(*words(folder, "out.png", "--checkpoint", checkpoint))[0] == 130
    monkeypatch.undo()
    tensors, stored = checkpoint_file.read(checkpoint)
    precious, free = folder / "precious.png", folder / "free.png"
    precious.write_bytes(b"precious")
    evil = {
        "distributed": "evil.example:1234,2,1",
        "compile_cache": str(folder / "programs"),
        "log_json": str(folder / "log"),
        "checkpoint": str(folder / "other.ckpt"),
        "max_pixels": 2**31 - 1,
        "force": True,
    }
    monkeypatch.setattr("jaxstyle.distributed.initialize", lambda *_, **__: pytest.fail("it contacted a host"))
    used = []
    monkeypatch.setattr(commands, "enable_compilation_cache", lambda *words: used.append(words))
    before = set(folder.iterdir())
    for output, code in ((precious, 2), (free, 0)):
        options = stored["note"]["options"] | evil | {"output": str(output)}
        checkpoint_file.write(checkpoint, checkpoint_file.Contents(tensors, stored | {"note": {"options": options}}))
        ended, _, error = run("resume", checkpoint)
        assert (ended, f"the picture will be written to {output}" in error) == (code, True), error
    assert precious.read_bytes() == b"precious"
    assert set(folder.iterdir()) == before - {checkpoint} | {free}
    assert used == [("auto",)] * 2
    # A bomb is refused, whatever the limit in the file.
    checkpoint_file.write(checkpoint, checkpoint_file.Contents(tensors, stored | {"note": {"options": options}}))
    code, _, error = run("resume", checkpoint, "-o", folder / "small.png", "--max-pixels", 100)
    assert (code, "too many pixels" in error) == (2, True)


@pytest.mark.parametrize("force", [False, True])
def test_snapshots_replace_a_file_that_appears_only_with_force(run, folder, monkeypatch, force):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    real = commands.bar_text

    def text(progress):
        if progress.evaluations == 10:
            (folder / "out_00020.png").write_bytes(b"precious")
        return real(progress)

    monkeypatch.setattr(commands, "bar_text", text)
    code, _, error = run(*words(folder, "out.png", "--save-every", 10, *(["--force"] if force else [])))
    assert code == (0 if force else 1)
    assert ((folder / "out_00020.png").read_bytes() == b"precious") != force
    assert ("out_00020.png: another file has appeared there during the run" in error) != force
    assert len(list(folder.glob("jaxstyle-*/out_00020.png"))) == (0 if force else 1)
    assert io.read_recipe(folder / "out.png")["status"] == "step limit"
    assert io.read_recipe(folder / "out_00010.png")["status"] == "snapshot"


@pytest.mark.parametrize("force", [False, True])
def test_rerun_replaces_a_file_that_appears_only_with_force(run, folder, monkeypatch, force):
    assert run(*words(folder))[0] == 0
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    real, again = commands.bar_text, folder / "again.png"

    def text(progress):
        again.write_bytes(b"precious")
        return real(progress)

    monkeypatch.setattr(commands, "bar_text", text)
    code, output, error = run("rerun", folder / "out.png", "-o", again, *(["--force"] if force else []))
    assert code == (0 if force else 1)
    assert "identical, byte for byte" in output
    assert (again.read_bytes() == b"precious") != force
    assert ("another file has appeared there during the run" in error) != force
    rescued = list(folder.glob("jaxstyle-*/again.png"))
    assert len(rescued) == (0 if force else 1)
    assert f"the new picture is in {again if force else rescued[0]}" in output


def test_the_coordinators_address_is_in_no_recipe_or_checkpoint(folder):
    """Pictures are passed on."""
    options = defaults("default", Stylize, folder / "photo.png", folder / "painting.png", folder / "out.png")
    options = dataclasses.replace(options, distributed="10.0.0.1:1234,2,0")
    for stored in (recipe_of(options), options_to_json(options)):
        assert "10.0.0.1" not in json.dumps(stored)


def test_a_file_that_appears_at_the_outputs_place_during_a_run_stays(run, folder, monkeypatch):
    real = commands.bar_text

    def text(progress):
        (folder / "out.png").write_bytes(b"precious")
        return real(progress)

    monkeypatch.setattr(commands, "bar_text", text)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    code, output, error = run(*words(folder))
    assert code == 1
    assert (folder / "out.png").read_bytes() == b"precious"
    assert "cannot write" in error
    assert len(list(folder.glob("jaxstyle-*/out.png"))) == 1
    assert "jaxstyle-" in output


@pytest.mark.long
def test_the_demo_can_be_made_again(run, tmp_path, monkeypatch):
    """Its pictures are numbered, and found in the package."""
    monkeypatch.chdir(tmp_path)
    small = ("--size", 48, "--steps", 3)
    for name in ("jaxstyle-demo.png", "jaxstyle-demo-2.png", "jaxstyle-demo-3.png"):
        code, output, _ = run("demo", *small)
        assert (code, output.startswith(f"{name}: 48x")) == (0, True)
    code, _, error = run("demo", *small, "-o", "jaxstyle-demo.png")
    assert (code, "exists already: choose another name, or --force to replace it" in error) == (2, True)
    assert run("demo", *small, "--force")[0] == 0
    assert len(list(tmp_path.iterdir())) == 3
    code, output, _ = run("rerun", Path("jaxstyle-demo-2.png"))
    assert (code, "identical" in output) == (0, True)
