import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.image.masks import RegionSpec, parse_region_specs, regions_of

RED, GREEN, BLUE, WHITE, BLACK = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])


def stripes(height, width, *colors):
    """Columns of equal width."""
    return np.stack(
        [np.tile(np.repeat(color[None], width // len(colors), axis=0), (height, 1, 1)) for color in colors], 1
    ).reshape(height, -1, 3)


@pytest.fixture
def photo():
    return js.white_noise(0, 60, 90)


@pytest.fixture
def painting():
    return js.white_noise(1, 40, 80)


def test_white_gets_the_style_and_black_keeps_the_photo(photo, painting):
    regions, strengths = regions_of(photo, stripes(20, 30, WHITE, BLACK), [painting])
    assert regions.content.shape == (60, 90, 1)
    np.testing.assert_array_equal(regions.content[:, :40, 0], 1)
    np.testing.assert_array_equal(regions.content[:, 50:, 0], 0)
    assert [mask.tolist() for mask in regions.styles] == [[1.0]]
    assert strengths == (1.0,)


def test_grays_are_soft_edges(photo, painting):
    regions, _ = regions_of(photo, np.full((60, 90, 3), 0.25, np.float32), [painting])
    np.testing.assert_allclose(regions.content, 0.25, atol=1e-6)


def test_black_gets_the_second_painting(photo, painting):
    regions, _ = regions_of(photo, stripes(60, 90, WHITE, BLACK), [painting, photo])
    assert regions.content.shape == (60, 90, 2)
    np.testing.assert_allclose(np.sum(regions.content, axis=2), 1, atol=1e-6)
    assert [mask.tolist() for mask in regions.styles] == [[1, 0], [0, 1]]


def test_colors_match_the_same_colors_in_style_masks(photo, painting):
    mask, style_mask = stripes(60, 90, RED, GREEN, BLUE), stripes(40, 80, BLUE, RED)
    wishes = {"#00ff00": RegionSpec(0)}
    regions, _ = regions_of(photo, mask, [painting, photo], [style_mask, None], wishes)
    # Green keeps the photo; of red and blue, in the order of the palette, the style mask has one half each.
    assert regions.content.shape == (60, 90, 2)
    thirds = [int(np.argmax(np.asarray(regions.content)[0, :, r])) // 30 for r in (0, 1)]
    assert sorted(thirds) == [0, 2]
    red, blue = thirds.index(0), thirds.index(2)
    own = np.asarray(regions.styles[0])
    np.testing.assert_array_equal(own[:, 40:, red], 1)
    np.testing.assert_array_equal(own[:, :40, blue], 1)
    np.testing.assert_array_equal(own[:, 40:, blue], 0)
    # A style without a mask is the model of no region here.
    assert not np.any(regions.styles[1])


def test_wishes_name_styles_and_strengths(photo, painting):
    wishes = parse_region_specs(["red=2:0.5", "#00ff00=1", "blue=keep"], 2)
    regions, strengths = regions_of(photo, stripes(60, 90, RED, GREEN, BLUE), [painting, photo], (), wishes)
    assert sorted(strengths) == [0.5, 1.0]
    red = strengths.index(0.5)
    assert int(np.argmax(np.asarray(regions.content)[0, :, red])) < 30
    assert regions.styles[1][red] == 1
    assert regions.styles[0][red] == 0
    assert regions.styles[0][1 - red] == 1


def test_colors_that_jpeg_moved_are_the_same(photo, painting):
    mask = stripes(60, 90, RED, GREEN)
    moved = np.clip(mask + np.random.default_rng(0).uniform(-0.04, 0.04, mask.shape).astype(np.float32), 0, 1)
    wishes = parse_region_specs(["red=1", "green=keep"], 1)
    clean, _ = regions_of(photo, mask, [painting], (), wishes)
    noisy, _ = regions_of(photo, moved, [painting], (), wishes)
    np.testing.assert_allclose(noisy.content, clean.content)


@pytest.mark.parametrize(
    ("mask", "masks", "words", "message"),
    [
        (stripes(60, 60, WHITE, BLACK), (), (), "60x60 pixels for an image of 90x60, expected the same aspect ratio"),
        (stripes(60, 90, WHITE, BLACK), (stripes(40, 40, WHITE, BLACK),), (), "mask of style 1 is 40x40"),
        (
            stripes(60, 90, RED, GREEN),
            (),
            (),
            "and there are 1 styles: name the style of each color",
        ),
        (stripes(60, 90, RED, GREEN), (), ("red=1", "green=keep", "blue=1"), "has no #0000ff, expected one of its"),
        (
            stripes(60, 90, RED, GREEN),
            (stripes(40, 80, RED, BLUE),),
            (),
            "has #00ff00, which no style mask has",
        ),
        (stripes(60, 90, WHITE, BLACK), (), ("white=keep",), "every region keeps the content image"),
        (stripes(60, 90, WHITE, BLACK), (None, None), (), "2 masks for 1 styles"),
        (
            np.random.default_rng(0).random((60, 90, 3)).astype(np.float32),
            (),
            ("red=1",),
            "colors, expected 1 to 16 flat ones",
        ),
    ],
)
def test_masks_that_cannot_be_used(photo, painting, mask, masks, words, message):
    with pytest.raises(InputError, match=message):
        regions_of(photo, mask, [painting], masks, parse_region_specs(words, 1))


WRONG_FORMS = (
    *("red", "red=", "red=0", "red=3", "red=1:x", "red=-1", "=1", "red=1:" + 400 * "9"),
    *("mauve=1", "#12345=1", "#ffff=1", "256=1", "hsl=1"),
)


@pytest.mark.parametrize("word", WRONG_FORMS)
def test_region_specs_of_another_form(word):
    with pytest.raises(InputError, match="expected"):
        parse_region_specs([word], 2)


# --- labels --------------------------------------------------------------------------------------------------------


def label_stripes(height, width, *labels):
    return np.tile(np.repeat(np.array(labels), width // len(labels)), (height, 1))


def as_picture(labels):
    return np.repeat((labels / 255).astype(np.float32)[:, :, None], 3, axis=2)


FORMS = pytest.mark.parametrize("form", [lambda labels: labels, as_picture], ids=["integers", "picture"])


@FORMS
def test_labels_with_names(photo, painting, form):
    wishes = parse_region_specs(["1=2", "2=keep"], 2)
    regions, strengths = regions_of(photo, form(label_stripes(60, 90, 0, 1, 2)), [painting, photo], (), wishes)
    assert strengths == (1.0,)
    np.testing.assert_array_equal(regions.content[:, 30:60, 0], 1)
    np.testing.assert_array_equal(regions.content[:, :30, 0], 0)
    np.testing.assert_array_equal(regions.content[:, 60:, 0], 0)
    assert [mask.tolist() for mask in regions.styles] == [[0], [1]]


@FORMS
def test_labels_0_and_1_are_black_and_white(photo, painting, form):
    mask = form(label_stripes(60, 90, 0, 1))
    regions, _ = regions_of(photo, mask, [painting])
    np.testing.assert_array_equal(regions.content[:, :, 0], label_stripes(60, 90, 0, 1))
    regions, _ = regions_of(photo, mask, [painting, photo])
    assert [style.tolist() for style in regions.styles] == [[0, 1], [1, 0]]


@FORMS
def test_labels_match_the_same_labels_in_style_masks(photo, painting, form):
    mask, style_mask = form(label_stripes(60, 90, 0, 1, 2)), form(label_stripes(40, 80, 2, 1))
    regions, _ = regions_of(photo, mask, [painting], [style_mask])
    # Label 0, which the painting does not have, keeps the photo.
    assert regions.content.shape == (60, 90, 2)
    own = np.asarray(regions.styles[0])
    np.testing.assert_array_equal(own[:, :, 0], label_stripes(40, 80, 0, 1))
    np.testing.assert_array_equal(own[:, :, 1], label_stripes(40, 80, 1, 0))


def test_labels_may_be_bright_if_they_are_named(photo, painting):
    mask = as_picture(label_stripes(60, 90, 0, 63, 255))
    regions, _ = regions_of(photo, mask, [painting], (), {63: 1})
    np.testing.assert_array_equal(regions.content[:, :, 0], label_stripes(60, 90, 0, 1, 0))


@FORMS
def test_labels_without_names_are_not_ignored(photo, painting, form):
    with pytest.raises(InputError, match=r"labels: 0, 1, 2 and there are 1 styles.*such as 1=1"):
        regions_of(photo, form(label_stripes(60, 90, 0, 1, 2)), [painting])


def test_labels_of_a_mask_that_has_others(photo, painting):
    with pytest.raises(InputError, match="has no 3, expected one of its labels: 0, 1"):
        regions_of(photo, label_stripes(60, 90, 0, 1), [painting], (), {3: 1})
    with pytest.raises(InputError, match="has no 1, expected one of its colors"):
        regions_of(photo, stripes(60, 90, RED, GREEN), [painting], (), {1: 1})
    with pytest.raises(InputError, match="17 regions, expected 1 to 16"):
        regions_of(photo, label_stripes(60, 90, *range(18)), [painting], (), dict.fromkeys(range(17), 1))


@pytest.mark.parametrize(
    ("word", "color"),
    [
        ("gray", "#808080"),
        ("grey", "#808080"),
        ("orange", "#ffa500"),
        ("#fff", "#ffffff"),
        ("#F80", "#ff8800"),
        ("steelblue", "#4682b4"),
        ("green", "#00ff00"),
        ("lime", "#00ff00"),
        ("01", "1"),
        ("255", "255"),
    ],
)
def test_names_of_colors_and_labels(word, color):
    assert parse_region_specs([f"{word}=1"], 1) == {color: RegionSpec(1)}
