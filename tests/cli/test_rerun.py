"""`jaxstyle resume` and `jaxstyle rerun`, as a user meets them."""

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
from jaxstyle.cli.rerun import Rerun
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
    kept = folder / "run.ckpt"
    stop_at(monkeypatch, 10, number)
    monkeypatch.chdir(folder)
    told = ["photo.png", "painting.png", "-o", "out.png", "--size", 48, "--steps", 30, "--weights", "net.safetensors"]
    ended = run("stylize", *told, "--checkpoint", "run.ckpt", "--save-every", 10)
    assert ended[0] == code
    assert "to go on: jaxstyle resume run.ckpt" in ended[2]
    assert io.read_recipe(folder / "out.png")["status"] in ("interrupted", "terminated")
    assert kept.exists()
    monkeypatch.undo()
    # From another folder: the checkpoint knows the whole paths.
    monkeypatch.chdir("/")
    again = run("resume", kept)
    assert again[0] == 0, again
    assert (folder / "out.png").read_bytes() == expected
    assert not kept.exists()


def test_resume_ends_with_the_file_of_an_unstopped_run(run, folder, monkeypatch):
    assert run(*words(folder))[0] == 0
    expected = (folder / "out.png").read_bytes()
    (folder / "out.png").unlink()
    kept = folder / "run.ckpt"
    stop_at(monkeypatch, 12, signal.SIGTERM)
    assert run(*words(folder, "out.png", "--checkpoint", kept, "--save-every", 6))[0] == 143
    monkeypatch.undo()
    assert run(*words(folder, "out.png", "--checkpoint", kept))[0] == 2
    code, output, _ = run("resume", kept, "--log-json", folder / "log", "-q")
    assert code == 0
    assert "out.png: 48x40, loss" in output
    assert (folder / "out.png").read_bytes() == expected
    assert not kept.exists()
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [line["event"] for line in lines][0 :: len(lines) - 1] == ["begin", "end"]
    assert lines[1]["evaluations"] > 12
    assert lines[-1]["evaluations"] == 30


def test_resume_refuses_what_has_changed(run, folder, monkeypatch):
    kept = folder / "run.ckpt"
    stop_at(monkeypatch, 5, signal.SIGINT)
    assert run(*words(folder, "out.png", "--checkpoint", kept))[0] == 130
    monkeypatch.undo()
    with PIL.Image.open(folder / "photo.png") as photo:
        changed = photo.rotate(180)
    changed.save(folder / "photo.png")
    # Its unfinished picture is of the old photo now.
    code, _, error = run("resume", kept)
    assert (code, "is there already" in error) == (2, True)
    (folder / "out.png").unlink()
    code, _, error = run("resume", kept)
    assert code == 2
    assert "of a run with other content: expected the same pictures and settings" in error
    code, _, error = run("resume", kept, "--force", "-o", folder / "forced.png")
    assert code == 0
    assert "goes on after" in error
    assert "warning: with other content than before, so from the best picture" in error
    # Its recipe says so, and that it is not repeatable.
    assert io.read_recipe(folder / "forced.png")["forced"] == ["content"]
    code, _, error = run("rerun", folder / "forced.png")
    assert (code, "went on by force" in error) == (2, True)


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
    assert output.startswith(f"{folder / 'out.jpg'}: identical, every byte of the file; the new one is in ")
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
    assert "different: 1.25 % of the pixels, by 26 of 255 at most" in output
    assert "it was made with jax 0.1, here" in error


def test_rerun_finds_inputs_by_their_contents(run, folder, tmp_path_factory):
    assert run(*words(folder))[0] == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("photo.png", "painting.png"):
        shutil.move(folder / name, elsewhere / name)
    code, _, error = run("rerun", folder / "out.png")
    assert (code, "photo.png, which" in error, "is not here: name its folder with --inputs" in error) == (2, True, True)
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
        ({"settings": {}, "axes": {}}, "is of a sweep"),
        ({"settings": {**words_of, "size": "large"}, "status": "converged"}, "has size = 'large'"),
        ({"settings": 5}, "holds no recipe"),
        (
            {"settings": {"photo": "a", "painting": "b", "output": "c"}, "status": "converged"},
            "does not say what it was",
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


def test_a_recipe_of_before_there_was_a_choice_is_of_direct_convolutions(run, folder):
    assert run(*words(folder))[0] == 0
    recipe = io.read_recipe(folder / "out.png")
    assert Rerun(folder / "out.png")._options(recipe).algorithm == recipe["settings"].pop("algorithm") == "auto"
    assert Rerun(folder / "out.png")._options(recipe).algorithm == "direct"


def test_an_interrupted_rerun_knows_nothing(run, folder, monkeypatch):
    assert run(*words(folder))[0] == 0
    stop_at(monkeypatch, 5, signal.SIGTERM)
    code, output, error = run("rerun", folder / "out.png", "-o", folder / "again.png")
    assert (code, output) == (143, "")
    assert "terminated, so nothing is known" in error
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


def test_resume_of_a_run_that_may_replace_its_output(run, folder, monkeypatch):
    (folder / "out.png").write_bytes(b"not so precious")
    kept = folder / "run.ckpt"
    real = commands.bar_text

    def text(progress):
        # As by SIGKILL: nothing is written any more.
        if progress.evaluations >= 12:
            raise RuntimeError
        return real(progress)

    monkeypatch.setattr(commands, "bar_text", text)
    with pytest.raises(RuntimeError):
        app.main(
            [str(word) for word in words(folder, "out.png", "--force", "--checkpoint", kept, "--checkpoint-every", 0)]
        )
    monkeypatch.undo()
    assert (folder / "out.png").read_bytes() == b"not so precious"
    assert run("resume", kept)[0] == 0
    assert io.read_recipe(folder / "out.png")["evaluations"] == 30


def test_what_comes_to_the_outputs_place_during_a_run_stays(run, folder, monkeypatch):
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


def test_the_demo_can_be_made_again(run, tmp_path, monkeypatch):
    """Its pictures are found in the package."""
    monkeypatch.chdir(tmp_path)
    assert run("demo", "--size", 48, "--steps", 3)[0] == 0
    assert run("demo", "--size", 48, "--steps", 3)[0] == 2
    code, output, _ = run("rerun", Path("jaxstyle-demo.png"))
    assert (code, "identical" in output) == (0, True)
