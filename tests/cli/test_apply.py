"""`jaxstyle apply`: pictures and clips through a feed-forward network."""

import jax
import numpy as np
import PIL.Image
import pytest

import jaxstyle as js
from jaxstyle.cli.app import main
from jaxstyle.video.clip import clip_frames, open_clip

# Types are unchecked, as for users.
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def network():
    return js.init_network(jax.random.key(0), width=2, blocks=1)


@pytest.fixture
def files(network, tmp_path):
    """A network and a photo with transparency, in the present folder."""
    js.save_network(tmp_path / "net.safetensors", network)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["apply", *map(str, arguments)])
    return stop.value.code, *capsys.readouterr()


def test_a_photo_is_painted_in_its_size(capsys, files, network):
    code, out, _ = run(capsys, files / "net.safetensors", files / "photo.png", "-o", files / "out.png")
    assert code == 0
    assert "out.png: 50x40 in" in out
    photo = js.load_image(files / "photo.png")
    with PIL.Image.open(files / "out.png") as image:
        assert image.mode == "RGBA"
    expected = js.apply_network(network, photo, "default")
    visible = np.asarray(PIL.Image.open(files / "photo.png"))[..., 3] > 0
    found = np.asarray(PIL.Image.open(files / "out.png"))[..., :3] / 255
    assert np.abs(found - expected)[visible].max() < 0.01


def test_another_size_and_an_output_that_exists(capsys, files):
    PIL.Image.open(files / "photo.png").convert("RGB").save(files / "opaque.png")
    arguments = [files / "net.safetensors", files / "opaque.png", "-o", files / "out.jpg", "--size", 32]
    assert run(capsys, *arguments)[0] == 0
    with PIL.Image.open(files / "out.jpg") as image:
        assert image.size == (32, 26)
    before = (files / "out.jpg").read_bytes()
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert "exists already" in error
    assert (files / "out.jpg").read_bytes() == before
    assert run(capsys, *arguments, "--force")[0] == 0


def test_a_folder_is_painted_and_what_exists_is_kept(capsys, files):
    photos, outputs = files / "photos", files / "out"
    photos.mkdir()
    for name, color in (("a.png", "red"), ("b.jpg", "blue")):
        PIL.Image.new("RGB", (24, 20), color).save(photos / name)
    (photos / "broken.png").write_bytes(b"no picture")
    code, _, error = run(capsys, files / "net.safetensors", photos, "-o", outputs)
    assert code == 1
    assert "broken.png" in error
    assert sorted(path.name for path in outputs.iterdir()) == ["a.png", "b.png"]
    before = {path: path.stat().st_mtime_ns for path in outputs.iterdir()}
    (photos / "broken.png").unlink()
    assert run(capsys, files / "net.safetensors", photos, "-o", outputs)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in outputs.iterdir()} == before
    assert run(capsys, files / "net.safetensors", photos, "-o", files / "out.png")[0] == 2


def test_a_clip_keeps_its_times(capsys, files, network):
    frames = files / "frames"
    frames.mkdir()
    for k in range(3):
        PIL.Image.fromarray(np.full((32, 48, 3), 60 * k, np.uint8)).save(frames / f"{k}.png")
    code, out, _ = run(capsys, files / "net.safetensors", frames, "-o", files / "out.mp4")
    assert (code, "3 frames of 48x32" in out) == (0, True)
    clip = open_clip(files / "out.mp4")
    assert (clip.size, len(clip.times), float(clip.end)) == ((48, 32), 3, 3 / 25)
    assert run(capsys, files / "net.safetensors", frames, "-o", files / "out.mp4")[0] == 2
    painted = np.stack(list(clip_frames(clip, clip.size)))
    expected = [js.apply_network(network, js.load_image(frames / f"{k}.png")) for k in range(3)]
    # H.264 rounds the colors.
    assert np.abs(painted - np.stack(expected)).mean() < 0.03


def test_a_clip_does_not_replace_itself(capsys, files):
    PIL.Image.new("RGB", (32, 32), "red").save(files / "clip.gif")
    before = (files / "clip.gif").read_bytes()
    code, _, error = run(capsys, files / "net.safetensors", files / "clip.gif", "-o", files / "clip.gif", "--force")
    assert code == 2
    assert "one of the inputs" in error
    assert (files / "clip.gif").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.safetensors", "none.png", "-o", "out.png"], "cannot read"),
        (["none.safetensors", "photo.png", "-o", "out.png"], "No such file"),
        (["photo.png", "photo.png", "-o", "out.png"], "no safetensors file"),
        (["net.safetensors", "photo.png", "-o", "photo.png", "--force"], "one of the inputs"),
        (["net.safetensors", "photo.png", "-o", "out.xyz"], "xyz"),
        (["net.safetensors", "photo.png", "-o", "out.png", "--size", "8"], "--size is 8, expected 16 to 65536"),
        (["net.safetensors", "photo.png", "-o", "out.png", "--size", "big"], "--size"),
        (["net.safetensors", "photo.png", "-o", "none/out.png"], "none"),
        (["net.safetensors", "none.mp4", "-o", "out.mp4"], "none.mp4"),
        (["net.safetensors", "photo.png"], "expected also -o FILE"),
    ],
)
def test_bad_input_is_one_sentence(capsys, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    code, out, error = run(capsys, *arguments)
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert out == ""
    assert {path.name for path in files.iterdir()} == {"net.safetensors", "photo.png"}
