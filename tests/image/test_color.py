import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.errors import InputError
from jaxstyle.image.color import check_color, prepare, restore
from jaxstyle.image.ops import resize

COLORS = ("style", "luminance", "symmetric", "cholesky", "histogram")
# NTSC's definition: I and Q are B - Y and R - Y, scaled and turned by 33 degrees.
Y = np.array([0.299, 0.587, 0.114])
RED, BLUE = np.eye(3)[0] - Y, np.eye(3)[2] - Y
YIQ = np.stack([Y, 0.735514 * RED - 0.267962 * BLUE, 0.477648 * RED + 0.412626 * BLUE])


def matched(style, content, color):
    _, (picture,) = prepare(content, [style], color)
    assert picture.shape == style.shape
    assert picture.dtype == jnp.float32
    return np.asarray(picture, np.float64)


def samples(picture):
    return np.asarray(picture, np.float64).reshape(-1, 3)


def covariance(picture):
    return np.cov(samples(picture).T, bias=True)


def muted(picture):
    """Around gray, so that matched pictures are not clipped."""
    return 0.5 + 0.2 * (jnp.asarray(picture) - 0.5)


def random_picture(seed, height, width):
    """Correlated channels, around gray."""
    rng = np.random.default_rng(seed)
    mixing = rng.uniform(-1, 1, (3, 3)) + 2 * np.eye(3)
    return np.float32(0.5 + 0.05 * rng.uniform(-1, 1, (height, width, 3)) @ mixing + rng.uniform(-0.1, 0.1, 3))


@pytest.mark.parametrize("color", COLORS[1:])
def test_the_mean_becomes_the_contents(china, starry, color):
    content = muted(china)
    prepared, (style,) = prepare(content, [starry], color)
    np.testing.assert_allclose(samples(style).mean(axis=0), samples(prepared).mean(axis=0), atol=1e-6)
    if color == "luminance":
        np.testing.assert_allclose(prepared, np.repeat((np.asarray(content) @ Y)[..., None], 3, axis=2), atol=1e-6)
        assert np.std(style) == pytest.approx(np.std(samples(content) @ Y), rel=1e-5)
    else:
        np.testing.assert_array_equal(prepared, content)


@pytest.mark.parametrize("color", ["symmetric", "cholesky"])
def test_the_covariance_becomes_the_contents(china, starry, color):
    content = muted(china)
    np.testing.assert_allclose(covariance(matched(starry, content, color)), covariance(content), atol=1e-7)


@given(seed=st.integers(0, 2**32 - 2), height=st.integers(4, 9), width=st.sampled_from([5, 16]))
def test_linear_matching_of_any_pictures(seed, height, width):
    """Cholesky against NumPy's factors; symmetric by the property that only the symmetric root has."""
    content, style = random_picture(seed, 7, 11), random_picture(seed + 1, height, width)
    deviations = samples(style) - samples(style).mean(axis=0)
    source, target = covariance(style), covariance(content)
    triangular = np.linalg.cholesky(target) @ np.linalg.inv(np.linalg.cholesky(source))
    expected = (deviations @ triangular.T + samples(content).mean(axis=0)).reshape(style.shape)
    np.testing.assert_allclose(matched(style, content, "cholesky"), np.clip(expected, 0, 1), atol=1e-5)
    picture = matched(style, content, "symmetric")
    if picture.min() == 0 or picture.max() == 1:
        return
    np.testing.assert_allclose(covariance(picture), target, atol=1e-7)
    # What is left of A = S_c^(1/2) S_s^(-1/2) for whitened pixels is symmetric, and no reflection: the one such root.
    values, vectors = np.linalg.eigh(source)
    whitened = deviations @ vectors / np.sqrt(values) @ vectors.T
    root = np.linalg.lstsq(whitened, samples(picture) - samples(picture).mean(axis=0), rcond=None)[0]
    np.testing.assert_allclose(root, root.T, atol=1e-5)
    assert np.linalg.eigvalsh(root + root.T).min() > 0


@pytest.mark.parametrize("color", ["symmetric", "cholesky", "histogram"])
def test_a_style_with_the_contents_colors_is_unchanged(china, color):
    style = np.asarray(china)[::-1, ::-1]
    np.testing.assert_allclose(matched(style, china, color), style, atol=1e-5)


@pytest.mark.parametrize("color", COLORS)
def test_styles_are_matched_separately(china, starry, color):
    """As NumPy's arrays too; what a match leaves above 1 or below 0 is clipped."""
    other = random_picture(5, 6, 9)
    _, styles = prepare(np.asarray(china), [np.asarray(starry), other], color)
    np.testing.assert_array_equal(styles[0], matched(starry, china, color))
    np.testing.assert_array_equal(styles[1], matched(other, china, color))
    assert all(style.min() >= 0 and style.max() <= 1 for style in styles)


def test_color_style_changes_nothing(china, starry):
    content, (style,) = prepare(china, [starry], "style")
    np.testing.assert_array_equal(content, china)
    np.testing.assert_array_equal(style, starry)


@given(seed=st.integers(0, 2**32 - 2), repeats=st.sampled_from([1, 2, 3]))
def test_the_histogram_becomes_the_contents(seed, repeats):
    """Sorted, a style without ties has the content's values, or the means of as many as there are more of them."""
    rng = np.random.default_rng(seed)
    content = rng.uniform(size=(6 * repeats, 8, 3)).astype(np.float32)
    style = rng.permutation(6 * 8 * 3).reshape(6, 8, 3).astype(np.float32) / 144
    picture = matched(style, content, "histogram")
    for channel in range(3):
        expected = np.sort(content[..., channel], axis=None).reshape(-1, repeats).mean(axis=1)
        np.testing.assert_allclose(np.sort(picture[..., channel], axis=None), expected, atol=1e-6)
        np.testing.assert_array_equal(np.argsort(picture[..., channel], None), np.argsort(style[..., channel], None))


def test_a_histogram_from_fewer_pixels_and_with_ties():
    """By hand: five values from the two 0.2 and 0.8, of which the third is half of each; two that are equal."""
    ramp, pair = np.float32([0.9, 0.1, 0.5, 0.3, 0.7]), np.float32([0.8, 0.2])
    style, content = (np.tile(each[None, :, None], (1, 1, 3)) for each in (ramp, pair))
    np.testing.assert_allclose(matched(style, content, "histogram")[0, :, 0], [0.8, 0.2, 0.5, 0.2, 0.8], atol=1e-6)
    ties = np.tile(np.float32([0.4, 0.0, 0.4, 1.0])[None, :, None], (1, 1, 3))
    content = np.tile(np.float32([0.1, 0.9, 0.3, 0.4])[None, :, None], (1, 1, 3))
    np.testing.assert_allclose(matched(ties, content, "histogram")[0, :, 0], [0.35, 0.1, 0.35, 0.9], atol=1e-6)


def test_restored_colors_have_the_pictures_luminance_and_the_contents_chrominance(china, starry):
    image, content = resize(starry, 64, 96), muted(china)
    image = 0.4 + 0.2 * image  # Nothing is clipped.
    restored = np.asarray(restore(image, content, "luminance"))
    expected = samples(content) @ YIQ.T
    expected[:, 0] = samples(image) @ Y
    np.testing.assert_allclose(samples(restored) @ YIQ.T, expected, atol=1e-6)
    np.testing.assert_allclose(samples(restored), expected @ np.linalg.inv(YIQ).T, atol=1e-6)


def test_restored_colors_are_clipped_and_of_the_pictures_size(china):
    restored = restore(jnp.ones((32, 48, 3)), china, "luminance")
    assert restored.shape == (32, 48, 3)
    assert restored.dtype == jnp.float32
    small = np.asarray(resize(china, 32, 48), np.float64)
    np.testing.assert_allclose(restored, np.clip(small + 1 - (small @ Y)[..., None], 0, 1), atol=1e-6)


def test_restoring_what_luminance_prepared_gives_the_content(china):
    content, _ = prepare(china, [], "luminance")
    np.testing.assert_allclose(restore(content, china, "luminance"), china, atol=1e-6)


@pytest.mark.parametrize("color", ["style", "symmetric", "cholesky", "histogram"])
def test_other_color_modes_do_not_change_the_result(china, starry, color):
    np.testing.assert_array_equal(restore(starry - 0.1, china, color), starry - 0.1)


def poor(kind, china):
    """A picture of few colors; the nearly gray one has errors of 1/255 in its channels, as after compression."""
    gray = np.repeat(np.asarray(china)[::-1, :, :1], 3, axis=2)
    pictures = {
        "gray": gray,
        "nearly gray": gray + np.random.default_rng(0).choice(np.float32([-1, 0, 1]) / 255, gray.shape),
        "constant": np.full((9, 5, 3), 0.3, np.float32),
        "black": np.zeros((4, 4, 3), np.float32),
        "one pixel": np.full((1, 1, 3), 0.7, np.float32),
    }
    return pictures[kind].clip(0, 1)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", ["gray", "nearly gray", "constant", "black", "one pixel"])
def test_pictures_of_few_colors(china, kind, color):
    picture = poor(kind, china)
    for content, style in ((china, picture), (picture, china), (picture, picture)):
        prepared, (other,) = prepare(content, [style], color)
        for result in (prepared, other, restore(prepared, content, color)):
            assert np.isfinite(result).all()
            assert result.min() >= 0
            assert result.max() <= 1
        if color == "style":
            continue
        if kind in ("constant", "black", "one pixel"):  # One color: the content's mean.
            np.testing.assert_allclose(other, np.broadcast_to(np.mean(prepared, axis=(0, 1)), other.shape), atol=1e-5)
    if kind != "nearly gray":
        # The triangle of a singular covariance, unlike its symmetric root, is another one with the floor.
        np.testing.assert_allclose(
            prepare(picture, [picture], color)[1][0], picture, atol=1e-3 if color == "cholesky" else 1e-5
        )


@pytest.mark.parametrize("color", ["symmetric", "cholesky"])
def test_a_gray_content_makes_gray_styles(china, starry, color):
    picture = matched(starry, poor("gray", china), color)
    assert np.ptp(picture, axis=2).max() < 1e-5
    assert picture.std() > 0.1


@pytest.mark.parametrize("color", ["symmetric", "cholesky"])
def test_compression_artifacts_are_not_amplified(china, color):
    """The map is the one for a style with a thousandth of its largest variance in all directions that have less."""
    style, content = poor("nearly gray", china), muted(china)
    picture = samples(matched(style, content, color))
    deviations = samples(style) - samples(style).mean(axis=0)
    linear = np.linalg.lstsq(deviations, picture - picture.mean(axis=0), rcond=None)[0].T
    values, vectors = np.linalg.eigh(covariance(style))
    assert values[1] < 1e-4 * values[2]
    floored = vectors @ np.diag([values[2] / 1000, values[2] / 1000, values[2]]) @ vectors.T
    np.testing.assert_allclose(linear @ floored @ linear.T, covariance(content), atol=1e-7)


@pytest.mark.usefixtures("unchecked")
def test_refusals():
    names = "'style', 'luminance', 'symmetric', 'cholesky', 'histogram'"
    with pytest.raises(InputError, match=f"unknown color 'gray', expected one of {names}"):
        check_color("gray")
    for color in COLORS:
        check_color(color)
