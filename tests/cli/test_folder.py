"""A folder of photos on the command line."""

import hashlib
import io as streams
import re
import shutil
import time

import jax
import numpy as np
import PIL.Image
import pytest
from conftest import DATA

import jaxstyle as js
from jaxstyle.cli import app
from jaxstyle.cli import stylize as commands
from jaxstyle.cli.folder import group_sizes
from jaxstyle.cli.stylize import Stylize
from jaxstyle.image import io, source
from jaxstyle.minimize import loop

# tyro's placeholder for a required argument is no path.
pytestmark = pytest.mark.usefixtures("unchecked")

SIZES = [(64, 48), (48, 64), (64, 43), (43, 64), (64, 64), (64, 36)]


@pytest.fixture
def photos(tmp_path):
    """Twelve photos of six sizes, and two files that are no photos."""
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
    """Replace the embedded weights by those of a tiny network."""
    monkeypatch.setattr("jaxstyle.vgg.weights.load_params", lambda *_: tiny_params)


def call(photos, output, *options):
    words = ["stylize", str(photos), str(DATA / "starry_night.jpg"), "-o", str(output), "--size", "64", "--steps", "3"]
    with pytest.raises(SystemExit) as end:
        app.main([*words, "--preset", "gram", *options])
    return end.value.code


@pytest.mark.long
def test_twelve_photos_of_six_sizes_share_one_program(photos, tmp_path, narrow, capsys):
    before = loop.run._cache_size()
    assert call(photos, tmp_path / "out") == 0
    assert loop.run._cache_size() - before == 1
    printed = capsys.readouterr()
    assert "12 pictures with 1 compiled program in" in printed.out
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


def test_finished_pictures_are_not_made_again(photos, tmp_path, narrow, capsys):
    for k in range(3, 12):
        (photos / f"{k:02d}.png").unlink()
    out = tmp_path / "out"
    assert call(photos, out) == 0
    first = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    assert call(photos, out, "--batch", "2") == 0
    assert "3 of 3 pictures exist already" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == first
    # A missing picture is made; one of a changed photo, or with other settings, is replaced only with --force.
    (out / "00.png").unlink()
    assert call(photos, out) == 0
    shutil.copy(photos / "02.png", photos / "01.png")
    capsys.readouterr()
    assert call(photos, out) == 2
    assert (
        "already contains 1 picture made with different settings or inputs, such as 01.png" in capsys.readouterr().err
    )
    assert (out / "01.png").stat().st_mtime_ns == first["01.png"]
    assert call(photos, out, "--force") == 0
    assert "2 of 3 pictures exist already" in capsys.readouterr().err
    assert (out / "02.png").stat().st_mtime_ns == first["02.png"]
    assert call(photos, out, "--style-weight", "5") == 2
    assert "already contains 3 pictures made with different settings" in capsys.readouterr().err
    assert call(photos, out, "--style-weight", "5", "--force") == 0
    assert "exist already" not in capsys.readouterr().err
    assert js.read_recipe(out / "02.png")["settings"]["style_weight"] == [5.0]


def test_a_folder_takes_what_a_single_photo_takes_and_names_the_rest(photos, tmp_path, narrow, capsys):
    for k in range(2, 12):
        (photos / f"{k:02d}.png").unlink()
    with PIL.Image.open(photos / "00.png") as photo:
        for name in ("b.jfif", "b.jpe", "b.JPG", "b.pgm", "b.pnm"):
            photo.convert("L").save(
                photos / name, format="PPM" if name.startswith("b.p") and name != "b.jpe" else "JPEG"
            )
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    for name in ("sub", "out"):
        (photos / name).mkdir()
    (photos / "sub" / "c.png").write_bytes((photos / "00.png").read_bytes())
    assert call(photos, photos / "out") == 1
    error = capsys.readouterr().err
    assert (
        f"warning: 2 of {photos} left out, expected files with the extension of a picture: notes.txt, sub/; " in error
    )
    assert "--recursive takes the photos of subfolders" in error
    assert "gone.jpg: No such file or directory" in error
    made = {path.name for path in (photos / "out").iterdir()}
    assert made == {"00.png", "01.png", *(f"b.{name}.png" for name in ("jfif", "jpe", "JPG", "pgm", "pnm"))}


def test_subfolders(photos, tmp_path, narrow, capsys):
    """Each has a picture of the same name, and a mask; the pictures are not taken for photos."""
    for k in range(1, 12):
        (photos / f"{k:02d}.png").unlink()
    masks, out = tmp_path / "masks", photos / "out"
    for name in ("a", "a/b"):
        (photos / name).mkdir()
        shutil.copy(photos / "00.png", photos / name)
        (masks / name).mkdir(parents=True)
    for name in (".", "a", "a/b"):
        PIL.Image.new("L", SIZES[0], 255).save(masks / name / "00.png")
    words = ("--recursive", "--content-mask", str(masks))
    assert call(photos, out, *words) == 0
    names = ["00.png", "a/00.png", "a/b/00.png"]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == names
    capsys.readouterr()
    (out / "a/00.png").unlink()
    assert call(photos, out, *words) == 0
    assert "2 of 3 pictures exist already" in capsys.readouterr().err
    (masks / "a/b/00.png").unlink()
    (out / "a/b/00.png").unlink()
    assert call(photos, out, *words) == 1
    assert "has 0 masks of a/b/00.png, expected one: a/b/00.png" in capsys.readouterr().err


def test_photos_of_a_folder_keep_their_sizes(photos, tmp_path, narrow, capsys):
    for k in range(2, 12):
        (photos / f"{k:02d}.png").unlink()
    out = tmp_path / "out"
    assert call(photos, out, "--size", "original") == 2
    assert "--size original for a folder makes pictures of several sizes: add a --style-size" in capsys.readouterr().err
    assert call(photos, out, "--size", "original", "--style-size", "64") == 0
    for k in range(2):
        with PIL.Image.open(out / f"{k:02d}.png") as picture:
            assert picture.size == SIZES[k]
    words = ["rerun", str(out / "00.png"), "--inputs", str(photos)]
    with pytest.raises(SystemExit) as end:
        app.main(words)
    assert (end.value.code, "identical, byte for byte" in capsys.readouterr().out) == (0, True)


def test_subfolders_of_a_single_photo(photos, tmp_path, capsys):
    assert call(photos / "00.png", tmp_path / "out.png", "--recursive") == 2
    assert "--recursive is for a folder of photos" in capsys.readouterr().err


def test_a_picture_that_the_format_cannot_hold_is_not_made(photos, tmp_path, narrow, capsys, monkeypatch):
    for k in range(2, 12):
        (photos / f"{k:02d}.png").unlink()
    monkeypatch.setitem(io._MAX_SIDE, "WEBP", 63)
    monkeypatch.setattr(commands, "stylize_batch", lambda *_, **__: pytest.fail("a run started"))
    assert call(photos, tmp_path / "out", "--format", "webp") == 1
    error = capsys.readouterr().err
    assert error.count("WEBP holds at most 63 pixels a side") == 2


def test_a_failing_picture_is_reported_and_skipped(photos, tmp_path, narrow, capsys):
    for k in range(2, 12):
        (photos / f"{k:02d}.png").unlink()
    (photos / "broken.jpg").write_bytes(b"no picture")
    PIL.Image.new("RGB", (400, 8)).save(photos / "thin.png")
    assert call(photos, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "broken.jpg is a text, expected a picture" in printed.err
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
    """Also of the batch during which it is pressed."""
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
        (("--batch", "0"), "--batch is 0"),
        (("--mesh", "3"), "--mesh is '3'"),
        (("--mesh", "4x4"), "needs 16 devices, there are 8"),
        (("--distributed", "maybe"), "distributed is 'maybe'"),
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
    for folder, output, message in (
        (empty, tmp_path / "out", "contains no photos"),
        (photos, photos, "is the folder of the photos"),
        (photos, photos / "00.png", "is a file, expected a folder"),
        (photos, tmp_path / "linked", "is one of the inputs"),
    ):
        assert call(folder, output) == 2
        assert message in capsys.readouterr().err


def test_outputs_that_cannot_be_are_refused(photos, tmp_path, narrow, capsys):
    (tmp_path / "file").write_text("no folder")
    assert call(photos, tmp_path / "file" / "out") == 2
    assert "cannot make the folder" in capsys.readouterr().err
    for name in ("00.jpg", "00.png.jpg"):
        shutil.copy(photos / "00.png", photos / name)
    assert call(photos, tmp_path / "out") == 2
    assert "two photos would become" in capsys.readouterr().err


def test_photos_that_fail_are_skipped(photos, tmp_path, narrow, capsys):
    """A damaged one, and one whose loss is not finite; the others are made."""
    keep_first(photos, 2)
    whole = (photos / "00.png").read_bytes()
    (photos / "00.png").write_bytes(whole[: len(whole) // 2])
    assert call(photos, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert re.search("00.png is damaged or incomplete .*; skipped", printed.err), printed.err
    assert "1 picture with 1 compiled program" in printed.out
    assert call(photos, tmp_path / "other", "--tv-weight", "3e38", "--variation", "absolute") == 1
    assert (
        "its loss was not finite: use smaller loss weights, or --precision highest; skipped" in capsys.readouterr().err
    )
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.long
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


def keep_first(photos, count):
    for path in sorted(photos.glob("[0-9]*.png"))[count:]:
        path.unlink()


def test_equal_sizes_need_no_mask_and_share_one_program(photos, tmp_path, narrow):
    """Next to another size on a canvas of its own."""
    keep_first(photos, 2)
    shutil.copy(photos / "00.png", photos / "02.png")
    with PIL.Image.open(photos / "01.png") as photo:
        photo.resize((32, 96)).save(photos / "01.png")
    before = loop.run._cache_size()
    assert call(photos, tmp_path / "out", "--size", "96") == 0
    assert loop.run._cache_size() - before == 2
    for path in (tmp_path / "out").iterdir():
        assert js.read_recipe(path)["batch"] == {"photos": 1, "position": 0, "canvas": [0, 0]}


def test_before_the_first_picture_only_headers_are_read(photos, tmp_path, narrow, monkeypatch):
    """Every photo is hashed once and decoded once."""
    keep_first(photos, 6)
    events = []

    def record(module, name, event, path_of):
        real = getattr(module, name)

        def recorded(*arguments, **options):
            path = path_of(arguments[0])
            if path.startswith(str(photos)):
                events.append((event, path[len(str(photos)) + 1 :]))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, recorded)

    record(source, "_opened_file", "open", str)
    record(io, "upright", "decode", lambda file: str(file.fp.name))
    record(hashlib, "file_digest", "hash", lambda file: str(file.name))
    names = [f"{k:02d}.png" for k in range(6)]
    assert call(photos, tmp_path / "out") == 0
    assert events[:6] == [("open", name) for name in names]
    assert sorted(events[6:]) == sorted((event, name) for name in names for event in ("open", "decode", "hash"))
    assert events[6:9] == [("hash", events[6][1]), ("open", events[6][1]), ("decode", events[6][1])]
    # Once all are finished, nothing is decoded.
    events.clear()
    assert call(photos, tmp_path / "out") == 0
    assert sorted(events) == sorted((event, name) for name in names for event in ("open", "hash"))


def test_ten_thousand_sizes_are_grouped_at_once():
    rng = np.random.default_rng(0)
    sizes = [(int(side), 1024) if k % 2 else (1024, int(side)) for k, side in enumerate(rng.integers(32, 1025, 10_000))]
    start = time.perf_counter()
    groups = group_sizes(sizes, 1024, lambda size: (1.0,) * (1 + (min(size) > 256)))
    assert time.perf_counter() - start < 0.5
    assert len(set(groups.values())) <= 33
    for height, width in sizes:
        canvas = groups[height, width].canvas
        assert 0 <= canvas[0] - height < 64
        assert 0 <= canvas[1] - width < 64
        assert max(canvas) == 1024


def test_sides_of_canvases_are_no_longer_than_the_longest_side():
    groups = group_sizes([(400, 500), (390, 500), (500, 500)], 500, lambda size: (1.0,))
    assert groups[390, 500].canvas == groups[400, 500].canvas == (448, 500)
    assert groups[500, 500].canvas == (500, 500)
    # Alone on its canvas, and of other scales.
    assert group_sizes([(400, 500)], 500, lambda size: (1.0,))[400, 500].canvas == (400, 500)
    assert group_sizes([(400, 500), (390, 500)], 500, lambda size: (float(size[0]),))[390, 500].canvas == (390, 500)


def test_a_png_whose_orientation_comes_after_its_pixels(photos, tmp_path, narrow):
    """Its header has the wrong sides."""
    keep_first(photos, 2)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    stream = streams.BytesIO()
    with PIL.Image.open(photos / "00.png") as photo:
        photo.save(stream, "PNG", exif=exif)
    data = stream.getvalue()
    start, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
    chunk, trailer = data[start:end], data[-12:]
    (photos / "00.png").write_bytes(data[:start] + data[end:-12] + chunk + trailer)
    assert call(photos, tmp_path / "out", "--batch", "3") == 0
    with PIL.Image.open(tmp_path / "out" / "00.png") as picture:
        assert picture.size == (48, 64)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_appears_during_the_run_is_replaced_only_with_force(
    photos, tmp_path, narrow, capsys, monkeypatch, force
):
    keep_first(photos, 2)
    original = commands.stylize_batch

    def appearing(*arguments, **options):
        (tmp_path / "out" / "01.png").write_bytes(b"precious")
        return original(*arguments, **options)

    monkeypatch.setattr(commands, "stylize_batch", appearing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert call(photos, tmp_path / "out", "--batch", "3", *(["--force"] if force else [])) == (0 if force else 1)
    assert ((tmp_path / "out" / "01.png").read_bytes() == b"precious") != force
    printed = capsys.readouterr()
    assert ("another file has appeared there during the run; the picture is in" in printed.err) != force
    assert ("1 failed" in printed.out) != force
    assert len(list(tmp_path.glob("jaxstyle-*/01.png"))) == (0 if force else 1)


@pytest.mark.parametrize("batch", [*(pytest.param(count, marks=pytest.mark.long) for count in "12"), "3"])
def test_rerun_of_a_folders_picture_is_identical(photos, tmp_path, narrow, capsys, batch):
    """Through the same program: 1 and 3 on one device, 2 on two; the last batch is filled with copies."""
    keep_first(photos, 4)
    out = tmp_path / "out"
    assert call(photos, out, "--batch", batch, "--steps", "25") == 0
    for name in ("01.png", "03.png"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.main(["rerun", str(out / name), "--inputs", str(photos), "-q"])
        printed = capsys.readouterr()
        assert (end.value.code, printed.err) == (0, ""), printed
        assert "identical, byte for byte" in printed.out


@pytest.mark.parametrize(
    "batch",
    [
        5,
        {"photos": 0, "position": 0, "canvas": [0, 0]},
        {"photos": 1, "position": 1, "canvas": [0, 0]},
        {"photos": True, "position": 0, "canvas": [0, 0]},
        {"photos": 1, "position": 0, "canvas": [64]},
        {"photos": 1, "position": 0, "canvas": [64, 10**9]},
        {"photos": 1, "position": 0},
    ],
)
def test_rerun_refuses_a_batch_that_cannot_be(photos, tmp_path, narrow, capsys, batch):
    keep_first(photos, 1)
    assert call(photos / "00.png", tmp_path / "out.png") == 0
    recipe = js.read_recipe(tmp_path / "out.png") | {"batch": batch}
    js.save_image(tmp_path / "odd.png", js.load_image(tmp_path / "out.png"), recipe=recipe)
    with pytest.raises(SystemExit) as end:
        app.main(["rerun", str(tmp_path / "odd.png"), "--inputs", str(photos)])
    assert end.value.code == 2
    assert "expected photos, position and canvas" in capsys.readouterr().err
