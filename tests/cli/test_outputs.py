"""Where pictures may be written."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.cli.outputs import check_outputs, check_sidecar_path, is_finished, is_unfinished, save_with_fallback
from jaxstyle.errors import InputError
from jaxstyle.image import io

IMAGE = np.full((32, 40, 3), 0.5, np.float32)
RECIPE = {"settings": {"size": 40, "batch": 1}, "weights_sha256": "w", "inputs_sha256": ["i"]}


def test_what_is_there_is_replaced_only_by_force(tmp_path):
    out, photo = tmp_path / "out.png", tmp_path / "photo.png"
    check_outputs([out], [photo], force=False)
    out.write_bytes(b"a thing of value")
    with pytest.raises(InputError, match="exists already: choose another name, or --force"):
        check_outputs([tmp_path / "a.png", out], [photo], force=False)
    check_outputs([out], [photo], force=True)
    out.unlink()
    # A link that leads nowhere would write somewhere else.
    out.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match="exists already"):
        check_outputs([out], [photo], force=False)


@pytest.mark.parametrize("force", [False, True])
def test_inputs_are_never_outputs(tmp_path, force):
    photo, link = tmp_path / "photo.png", tmp_path / "link.png"
    photo.write_bytes(b"a photo")
    link.symlink_to(photo)
    for path in (photo, link, tmp_path / "." / "photo.png"):
        with pytest.raises(InputError, match="is one of the inputs"):
            check_outputs([path], [photo], force)


def test_a_log_or_checkpoint_is_no_picture(tmp_path):
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    for path in (None, Path("-"), tmp_path / "log"):
        check_sidecar_path("--log-json", path, [out], [photo])
    for path in (photo, out, tmp_path / "." / "out.png"):
        with pytest.raises(InputError, match="another file of this run: expected a separate file"):
            check_sidecar_path("--log-json", path, [out], [photo])
    with pytest.raises(InputError, match="no regular file"):
        check_sidecar_path("--checkpoint", tmp_path, [out], [photo])


def test_ones_own_unfinished_picture_is_no_other(tmp_path):
    out = tmp_path / "out.png"
    assert not is_finished(out, RECIPE)
    assert not is_unfinished(out, RECIPE)
    io.save_image(out, IMAGE, recipe=RECIPE | {"status": "interrupted"})
    # How it is made does not matter, what it is does.
    other_way = RECIPE | {"settings": {"size": 40, "batch": 8}}
    assert is_unfinished(out, other_way)
    check_outputs([out], [], False, other_way)
    for other in ({"settings": {"size": 41, "batch": 1}}, {"weights_sha256": "x"}, {"inputs_sha256": ["j"]}):
        assert not is_unfinished(out, RECIPE | other)
        with pytest.raises(InputError, match="exists already"):
            check_outputs([out], [], False, RECIPE | other)
    io.save_image(out, IMAGE, recipe=RECIPE | {"status": "converged"})
    assert is_finished(out, other_way)
    assert not is_unfinished(out, RECIPE)
    with pytest.raises(InputError, match="exists already"):
        check_outputs([out], [], False, RECIPE)


def test_a_picture_that_cannot_be_written_is_rescued(tmp_path, monkeypatch, caplog):
    """The folder went away during the run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = tmp_path / "gone" / "out.png"
    where = save_with_fallback(out, IMAGE, replace=False, recipe=RECIPE)
    assert where != out
    np.testing.assert_allclose(js.load_image(where), IMAGE, atol=1 / 255)
    assert io.read_recipe(where) == RECIPE
    assert f"cannot write {out}" in caplog.text
    assert f"the picture is in {where} instead" in caplog.text
    good = tmp_path / "out.png"
    assert save_with_fallback(good, IMAGE, replace=False) == good


@pytest.mark.parametrize(("name", "side"), [("out.webp", 16384), ("out.jpg", 65501), ("out.JPEG", 65501)])
def test_what_a_format_cannot_hold_is_refused_before_and_rescued_as_png(tmp_path, monkeypatch, caplog, name, side):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    image = np.zeros((32, side, 3), np.float32)
    with pytest.raises(InputError, match=f"at most {side - 1} pixels a side, got {side}x32: save a .png"):
        io.check_sides(tmp_path / name, 32, side)
    io.check_sides(tmp_path / name, side - 1, side - 1)
    rescued = save_with_fallback(tmp_path / name, image, replace=False)
    assert rescued.name == "out.png"
    assert io.picture_size(rescued) == (32, side)
    assert f"the picture is in {rescued} instead" in caplog.text


def test_where_nothing_can_be_written_it_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_with_fallback(tmp_path / "out.png", IMAGE, replace=True)
    assert not list(Path(tmp_path).rglob("*"))
