"""A folder of photos on the command line."""

import shutil

import jax
import numpy as np
import PIL.Image
import pytest
from conftest import DATA

import jaxstyle as js
from jaxstyle.cli import app
from jaxstyle.cli import stylize as commands
from jaxstyle.cli.stylize import Stylize
from jaxstyle.minimize import batch_loop

# tyro's placeholder for a required argument is no path.
pytestmark = pytest.mark.usefixtures("unchecked")

SIZES = [(64, 48), (48, 64), (64, 43), (43, 64), (64, 64), (64, 36)]


@pytest.fixture
def photos(tmp_path):
    """Twelve photos of six sizes, and what is no photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with PIL.Image.open(DATA / "china.jpg") as photo:
        for k in range(12):
            turned = photo.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if k % 2 else photo
            turned.resize(SIZES[k % 6]).save(folder / f"{k:02d}.png")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(b"no photo either")
    return folder


@pytest.fixture
def narrow(monkeypatch, tiny_params):
    """The embedded weights are those of a tiny network."""
    monkeypatch.setattr("jaxstyle.vgg.weights.load_params", lambda *_: tiny_params)


def call(photos, output, *options):
    words = ["stylize", str(photos), str(DATA / "starry_night.jpg"), "-o", str(output), "--size", "64", "--steps", "3"]
    with pytest.raises(SystemExit) as end:
        app.main([*words, *options])
    return end.value.code


def test_twelve_photos_of_six_sizes_compile_three_programs(photos, tmp_path, narrow, capsys):
    before = batch_loop.run_batch._cache_size()
    assert call(photos, tmp_path / "out") == 0
    assert batch_loop.run_batch._cache_size() - before == 3
    printed = capsys.readouterr()
    assert "12 pictures on 3 canvases" in printed.out
    made = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in made] == [f"{k:02d}.png" for k in range(12)]
    for k, path in enumerate(made):
        with PIL.Image.open(path) as picture:
            assert picture.size == SIZES[k % 6]
        recipe = js.read_recipe(path)
        assert (recipe["settings"]["photo"], recipe["settings"]["output"]) == (path.name, path.name)
        assert recipe["evaluations"] == 3


def test_a_picture_of_a_folder_is_that_of_a_single_photo(photos, tmp_path, narrow):
    assert call(photos, tmp_path / "out", "--batch", "5") == 0
    assert call(photos / "02.png", tmp_path / "alone.png") == 0
    found, expected = (np.asarray(js.load_image(path)) for path in (tmp_path / "out/02.png", tmp_path / "alone.png"))
    np.testing.assert_allclose(found, expected, atol=1.5 / 255)
    recipes = js.read_recipe(tmp_path / "out/02.png"), js.read_recipe(tmp_path / "alone.png")
    assert recipes[0]["loss"] == pytest.approx(recipes[1]["loss"], rel=1e-3)


def test_what_is_there_is_not_made_again(photos, tmp_path, narrow, capsys):
    for k in range(3, 12):
        (photos / f"{k:02d}.png").unlink()
    out = tmp_path / "out"
    assert call(photos, out) == 0
    first = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    assert call(photos, out, "--batch", "2") == 0
    assert "3 of 3 pictures are there already" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == first
    # A missing one is made; that of a changed photo, or with other settings, takes the old one's place only by force.
    (out / "00.png").unlink()
    assert call(photos, out) == 0
    shutil.copy(photos / "02.png", photos / "01.png")
    capsys.readouterr()
    assert call(photos, out) == 2
    assert "has 1 pictures already that were made otherwise, such as 01.png" in capsys.readouterr().err
    assert (out / "01.png").stat().st_mtime_ns == first["01.png"]
    assert call(photos, out, "--force") == 0
    assert "2 of 3 pictures are there already" in capsys.readouterr().err
    assert (out / "02.png").stat().st_mtime_ns == first["02.png"]
    assert call(photos, out, "--style-weight", "5") == 2
    assert "has 3 pictures already" in capsys.readouterr().err
    assert call(photos, out, "--style-weight", "5", "--force") == 0
    assert "there already" not in capsys.readouterr().err
    assert js.read_recipe(out / "02.png")["settings"]["style_weight"] == [5.0]


def test_a_failing_picture_is_reported_and_skipped(photos, tmp_path, narrow, capsys):
    for k in range(2, 12):
        (photos / f"{k:02d}.png").unlink()
    (photos / "broken.jpg").write_bytes(b"no picture")
    PIL.Image.new("RGB", (400, 8)).save(photos / "thin.png")
    assert call(photos, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "broken.jpg is no image" in printed.err
    assert "thin.png" in printed.err
    assert "2 failed" in printed.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00.png", "01.png"]


def test_photos_of_one_stem_keep_their_names_apart(photos, tmp_path, narrow):
    for k in range(1, 12):
        (photos / f"{k:02d}.png").unlink()
    shutil.copy(DATA / "china.jpg", photos / "00.jpg")
    assert call(photos, tmp_path / "out", "--format", "jpg") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00.jpg.jpg", "00.png.jpg"]


def test_ctrl_c_keeps_what_is_finished(photos, tmp_path, narrow, capsys, monkeypatch):
    """Of the batch that it comes into too."""
    made, original = [], commands.stylize_batch

    def interrupted(*arguments, **options):
        results = original(*arguments, **options)
        made.append(len(results))
        if len(made) == 2:
            results[1] = results[1]._replace(status=js.Status.INTERRUPTED)
        return results

    monkeypatch.setattr(commands, "stylize_batch", interrupted)
    assert call(photos, tmp_path / "out", "--batch", "2") == 130
    assert "interrupted after 3 pictures" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_batch_that_fails_is_skipped(photos, tmp_path, narrow, capsys, monkeypatch):
    original = commands.stylize_batch

    def failing(contents, *arguments, **options):
        if contents[0].shape[0] > contents[0].shape[1]:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(contents, *arguments, **options)

    monkeypatch.setattr(commands, "stylize_batch", failing)
    assert call(photos, tmp_path / "out") == 1
    assert "4 failed" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--save-every", "2"), "--save-every is for a single photo"),
        (("--batch", "0"), "--batch is 0"),
        (("--mesh", "3"), "--mesh is '3'"),
        (("--mesh", "4x4"), "needs 16 devices, there are 8"),
        (("--distributed", "maybe"), "--distributed is 'maybe'"),
    ],
)
def test_bad_options_are_refused(photos, tmp_path, narrow, capsys, options, message):
    assert call(photos, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_folders_are_refused(photos, tmp_path, narrow, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "00.png").symlink_to(photos / "00.png")
    for source, output, message in (
        (empty, tmp_path / "out", "has no photos"),
        (photos, photos, "is the folder of the photos"),
        (photos, photos / "00.png", "is a file, expected a folder"),
        (photos, tmp_path / "linked", "is one of the inputs"),
    ):
        assert call(source, output) == 2
        assert message in capsys.readouterr().err


def test_a_single_photo_over_a_mesh(photos, tmp_path, narrow, capsys):
    assert call(photos / "00.png", tmp_path / "spread.png", "--mesh", "2x2") == 0
    assert call(photos / "00.png", tmp_path / "alone.png", "--precondition", "pyramid") == 0
    losses = [js.read_recipe(tmp_path / name)["loss"] for name in ("spread.png", "alone.png")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert jax.device_count() == 8


def test_auto_takes_all_devices():
    options = {"photo": DATA / "china.jpg", "painting": DATA / "starry_night.jpg", "output": DATA / "none.png"}
    assert Stylize(**options, mesh="auto").shards() == (4, 2)
    assert Stylize(**options).devices() is None
