"""Every control of the command line changes the picture, and is refused in one sentence where it cannot be used."""

import jaxtyping
import numpy as np
import PIL.Image
import pytest

import jaxstyle as js
from jaxstyle.cli.app import main

MASKS = {
    "halves.png": ("#ffffff", "#000000"),
    "flags.png": ("#ff0000", "#00ff00", "#000000"),
    "paint.png": ("#00ff00", "#ff0000"),
    "square.png": ("#ffffff",),
}


@pytest.fixture(scope="module", autouse=True)
def as_users():
    """Array types unchecked: options of the command line are no paths before they are parsed."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, china, starry):
    """A photo, two paintings and some masks."""
    folder = tmp_path_factory.mktemp("control")
    js.save_image(folder / "photo.png", china)
    js.save_image(folder / "painting.png", starry)
    js.save_image(folder / "second.png", 1 - starry)
    for name, colors in MASKS.items():
        mask = PIL.Image.new("RGB", (60, 40) if name != "square.png" else (40, 40))
        if name == "paint.png":
            mask = mask.resize((60, 50))
        for k, color in enumerate(colors):
            mask.paste(color, (k * 60 // len(colors), 0, (k + 1) * 60 // len(colors), mask.height))
        mask.save(folder / name)
    return folder


@pytest.fixture(scope="module")
def stylize(folder, tiny_weights):
    """Run the command with these words more; exit code, and the picture if there is one."""

    def stylize(*words, second=False):
        out = folder / "out.png"
        out.unlink(missing_ok=True)
        paintings = ["painting.png", *(["second.png"] if second else [])]
        named = [str(folder / word) if word in (*MASKS, "second.png") else word for word in words]
        start = ["stylize", str(folder / "photo.png"), *(str(folder / name) for name in paintings), "-o", str(out)]
        with pytest.raises(SystemExit) as ended:
            main([*start, "--preset", "gram", "--size", "64", "--steps", "3", "--weights", tiny_weights, *named])
        return ended.value.code, np.asarray(js.load_image(out)) if out.exists() else None

    return stylize


@pytest.fixture(scope="module")
def plain(stylize):
    """Without and with a second painting."""
    return [stylize(second=second)[1] for second in (False, True)]


@pytest.mark.parametrize(
    "words",
    [
        ("--strength", "0.2"),
        ("--color", "luminance"),
        ("--color", "symmetric"),
        ("--color", "cholesky"),
        ("--color", "histogram"),
        ("--style-loss", "covariance"),
        ("--style-loss", "mean+std"),
        ("--style-loss", "wasserstein"),
        ("--tv-weight", "1e5"),
        ("--edge-weight", "1e4"),
        ("--tv-weight", "1e5", "--variation", "nine-point"),
        ("--average", "0.8"),
        ("--style-scale", "0.6"),
        ("--content-mask", "halves.png"),
        ("--init", "gray"),
    ],
)
def test_every_control_changes_the_picture(stylize, plain, words):
    code, picture = stylize(*words)
    assert code == 0
    assert np.abs(picture - plain[0]).mean() > 1e-3


def test_variations_differ(stylize):
    weight = ("--tv-weight", "1e5", "--content-weight", "0", "--style-weight", "0")
    pictures = [stylize(*weight, "--variation", kind)[1] for kind in ("squared", "absolute", "nine-point")]
    for k, picture in enumerate(pictures):
        assert np.abs(picture - pictures[k - 1]).mean() > 1e-4


def test_regions_by_color(stylize, folder):
    """Red gets the second painting weakly, green the first one, black keeps the photo."""
    words = ("--content-mask", "flags.png", "--region", "red=2:0.5", "green=1", "black=keep")
    code, picture = stylize(*words, second=True)
    assert code == 0
    photo = np.asarray(js.load_image(folder / "photo.png", size=64))
    np.testing.assert_allclose(picture[:, 44:], photo[:, 44:], atol=1 / 255)
    assert np.abs(picture[:, :42] - photo[:, :42]).mean() > 1e-2
    for other in (
        (*words[:3], "red=1:0.5", *words[4:]),
        (*words[:3], "red=2", *words[4:]),
        (*words, "--guidance", "all"),
        # The painting's own parts of these colors.
        ("--content-mask", "flags.png", "--region", "black=keep", "--style-mask", "paint.png", "none"),
    ):
        code, changed = stylize(*other, second=True)
        assert code == 0, other
        assert np.abs(picture - changed).mean() > 1e-4, other


@pytest.mark.filterwarnings("default:.*is enlarged")
def test_a_scale_for_each_painting(stylize, plain):
    pictures = [stylize("--style-scale", *scales, second=True)[1] for scales in (("1", "2"), ("2", "1"))]
    assert np.abs(pictures[0] - pictures[1]).mean() > 1e-3
    assert np.abs(pictures[0] - plain[1]).mean() > 1e-3


@pytest.mark.filterwarnings("default:.*is enlarged")
def test_enlarging_a_painting_is_told(stylize, capsys):
    stylize("--style-scale", "3")
    assert "has 96 pixels on its long side and is enlarged to 192" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strength", "2"), "strength is 2.0, expected a number from 0"),
        (("--strength", "0.5", "--style-weight", "7"), "--strength computes the weights"),
        (("--content-mask", "square.png"), "expected the same aspect ratio"),
        (("--content-mask", "nowhere.png"), "cannot read nowhere.png"),
        (("--content-mask", "flags.png"), "name the style of each color"),
        (("--content-mask", "halves.png", "--region", "blue=1"), "has no #0000ff"),
        (("--content-mask", "halves.png", "--region", "white=2"), "names painting 2"),
        (("--content-mask", "halves.png", "--region", "white"), "expected COLOR=PAINTING"),
        (("--content-mask", "halves.png", "--guidance", "inside"), "has no position at relu4_1 with guidance 'inside'"),
        (("--region", "white=1"), "add --content-mask"),
        (("--style-mask", "paint.png"), "add --content-mask"),
        (
            ("--content-mask", "flags.png", "--style-mask", "paint.png", "none"),
            "--style-mask has 2 values, expected one per painting: 1",
        ),
        (("--content-mask", "flags.png", "--style-mask", "square.png"), "mask of style 1 is 40x40"),
        (("--style-scale", "1", "2"), "--style-scale has 2 numbers, expected 1, or one per painting: 1"),
        (("--average", "1"), "--average is 1.0"),
        (("--beta2", "1", "--optimizer", "adam"), "--beta2 is 1.0"),
    ],
)
def test_bad_controls_get_one_sentence(stylize, capsys, words, message):
    code, picture = stylize(*words)
    error = capsys.readouterr().err
    assert code == 2
    assert picture is None
    assert message in error
    # Beside what a run announces of itself.
    assert len([line for line in error.splitlines() if "error" in line]) == 1
    assert "Traceback" not in error


def test_regions_by_label(stylize, folder):
    """Label 1 gets the second painting, labels 0 and 2 keep the photo."""
    labels = np.repeat(np.repeat(np.uint8([[0, 1, 2]]), 20, axis=1), 40, axis=0)
    PIL.Image.fromarray(labels).save(folder / "labels.png")
    code, picture = stylize("--content-mask", str(folder / "labels.png"), "--region", "1=2", "2=keep", second=True)
    assert code == 0
    photo = np.asarray(js.load_image(folder / "photo.png", size=64))
    np.testing.assert_allclose(picture[:, 44:], photo[:, 44:], atol=1 / 255)
    np.testing.assert_allclose(picture[:, :20], photo[:, :20], atol=1 / 255)
    assert np.abs(picture[:, 23:41] - photo[:, 23:41]).mean() > 1e-2


def test_a_mask_in_the_alpha_channel(stylize, folder):
    """What background removers write: the photo, with alpha."""
    photo = PIL.Image.open(folder / "photo.png").convert("RGBA")
    alpha = PIL.Image.new("L", photo.size)
    alpha.paste(255, (0, 0, photo.width // 2, photo.height))
    photo.putalpha(alpha)
    photo.save(folder / "cutout.png")
    (code, cutout), (_, halves) = (
        stylize("--content-mask", str(folder / name)) for name in ("cutout.png", "halves.png")
    )
    assert code == 0
    original = np.asarray(js.load_image(folder / "photo.png", size=64))
    np.testing.assert_allclose(cutout[:, 34:], original[:, 34:], atol=1 / 255)
    assert np.abs(cutout - halves).mean() < 1e-2


@pytest.mark.parametrize("option", ["--region", "--style-mask", "--blend", "--style-scale"])
def test_an_option_of_several_values_without_any(stylize, capsys, option):
    code, _ = stylize("--content-mask", "halves.png", option, "--guidance", "simple")
    error = capsys.readouterr().err
    assert code == 2
    assert f"{option} has no value, expected one or more" in error
    assert ('quote a color that starts with #, such as "#ffffff=1"' in error) == (option == "--region")


def test_a_picture_of_16_bits(stylize, folder):
    code, _ = stylize("--bit-depth", "16")
    assert code == 0
    assert (folder / "out.png").read_bytes()[24] == 16, "the depth in the header"


def test_16_bits_in_a_jpeg_are_refused_before_the_run(stylize, capsys, tmp_path):
    code, _ = stylize("--bit-depth", "16", "-o", str(tmp_path / "out.jpg"))
    assert code == 2
    assert "--bit-depth is 16, which .jpg files do not hold" in capsys.readouterr().err


def test_pillows_warnings_are_not_shown(stylize, folder, capfd):
    """Of metadata that is cut: the pixels are sound."""
    exif = PIL.Image.Exif()
    exif[0x010E] = "words " * 20
    PIL.Image.open(folder / "photo.png").convert("RGB").save(folder / "cut.jpg", exif=exif.tobytes()[:60])
    code, _ = stylize("--init", str(folder / "cut.jpg"))
    assert code == 0
    assert "EXIF" not in capfd.readouterr().err
