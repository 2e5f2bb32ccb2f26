"""Arguments of wrong types and values: one sentence that names the argument, never another exception."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.image import color, io, masks, regions

NAN, INF = float("nan"), float("inf")
IMAGE = np.full((40, 50, 3), 0.5, np.float32)
# Arrays that are no float32 image: rank, channels, dtype, emptiness; and what is no array.
NO_IMAGES = (
    None,
    "photo.jpg",
    3,
    [[1.0]],
    np.float32(1),
    np.zeros((4, 5), np.float32),
    np.zeros((4, 5, 4), np.float32),
    np.zeros((1, 4, 5, 3), np.float32),
    np.zeros((4, 5, 3), np.uint8),
    np.zeros((4, 5, 3), np.complex64),
    np.full((4, 5, 3), "x"),
    np.full((4, 5, 3), None),
    np.zeros((0, 5, 3), np.float32),
)
# Images with values that no pixels have.
NO_PIXELS = (np.full((4, 5, 3), NAN, np.float32), 255 * IMAGE)
# Integers that are no labels of pixels.
NO_LABELS = (
    *(np.full((40, 50), 256), np.full((40, 50), -1), np.zeros((0, 50), int), np.zeros((40, 50), np.uint8)),
    np.ma.masked_array(np.ones((40, 50), int)),
)
NO_LISTS = (None, "ab", b"ab", 3, IMAGE, jnp.asarray(IMAGE), {"a": IMAGE}, iter([IMAGE]))
NO_SIZES = (0, -1, 2.0, "5", None, NAN, INF, 10**9, 10**30, True, jnp.float32(4), [4])
NO_SEEDS = (-1, 2**32, 1.5, "1", None, NAN, True, [1])
NO_PATHS = (None, 3, b"a.png", IMAGE, ["a.png"], "a\0b.png")
NO_TEXTS = (None, 3, b"a", ["a"])


def white_half(**changes):
    """Regions that fit IMAGE twice, with some fields changed."""
    return regions.Regions(
        **{"content": np.ones((40, 50, 1), np.float32), "styles": (np.ones(1, np.float32),), **changes}
    )


def check(value):
    regions.check_regions(value, IMAGE.shape, [IMAGE.shape])


# A call with one argument left open, and values that it refuses.
CASES = {
    "resize image": (lambda x: js.resize(x, 2, 3), NO_IMAGES),
    "resize height": (lambda x: js.resize(jnp.asarray(IMAGE), x, 3), NO_SIZES),
    "resize width": (lambda x: js.resize(jnp.asarray(IMAGE), 3, x), NO_SIZES),
    "white_noise seed": (lambda x: js.white_noise(x, 4, 4), NO_SEEDS),
    "white_noise height": (lambda x: js.white_noise(0, x, 3), NO_SIZES),
    "white_noise width": (lambda x: js.white_noise(0, 3, x), NO_SIZES),
    "on_canvas image": (lambda x: js.on_canvas(x, 60, 60), NO_IMAGES),
    "on_canvas height": (lambda x: js.on_canvas(IMAGE, x, 60), (*NO_SIZES, 39)),
    "on_canvas width": (lambda x: js.on_canvas(IMAGE, 60, x), (*NO_SIZES, 49)),
    "style_mosaic seed": (lambda x: js.style_mosaic(x, [IMAGE], 8, 8), NO_SEEDS),
    "style_mosaic styles": (lambda x: js.style_mosaic(0, x, 8, 8), (*NO_LISTS, [], ())),
    "style_mosaic style": (lambda x: js.style_mosaic(0, [IMAGE, x], 8, 8), NO_IMAGES),
    "style_mosaic height": (lambda x: js.style_mosaic(0, [IMAGE], x, 8), NO_SIZES),
    "style_mosaic width": (lambda x: js.style_mosaic(0, [IMAGE], 8, x), NO_SIZES),
    "style_mosaic piece": (lambda x: js.style_mosaic(0, [IMAGE], 8, 8, piece=x), NO_SIZES),
    "style_mosaic shares": (
        lambda x: js.style_mosaic(0, [IMAGE, IMAGE], 8, 8, shares=x),
        (3, "ab", [1.0], [0.5, 0.4], [2.0, -1.0], [NAN, 1.0], [INF, 0.0], ["a", "b"], [None, 1.0], [0, 0]),
    ),
    "contact_sheet pictures": (
        lambda x: js.contact_sheet(x),
        (*NO_LISTS, [], [[]], [IMAGE], [None], ["ab"], [[IMAGE], []], [[IMAGE, IMAGE], [IMAGE]]),
    ),
    "contact_sheet picture": (lambda x: js.contact_sheet([[IMAGE, x]]), (*NO_IMAGES, *NO_PIXELS)),
    "contact_sheet row_labels": (lambda x: js.contact_sheet([[IMAGE]], row_labels=x), ("a", None, 3, ["a", "b"])),
    "contact_sheet column_labels": (lambda x: js.contact_sheet([[IMAGE]], column_labels=x), ("a", None, ["a", "b"])),
    "contact_sheet label": (lambda x: js.contact_sheet([[IMAGE]], [x], ["a"]), NO_TEXTS),
    "contact_sheet title": (lambda x: js.contact_sheet([[IMAGE]], title=x), NO_TEXTS),
    "contact_sheet gap": (lambda x: js.contact_sheet([[IMAGE]], gap=x), [size for size in NO_SIZES if size != 0]),
    "regions_of content": (lambda x: js.regions_of(x, IMAGE, [IMAGE]), (*NO_IMAGES, *NO_PIXELS)),
    "regions_of mask": (lambda x: js.regions_of(IMAGE, x, [IMAGE]), (*NO_IMAGES, *NO_PIXELS, *NO_LABELS)),
    "regions_of styles": (lambda x: js.regions_of(IMAGE, IMAGE, x), (*NO_LISTS, [], [None])),
    "regions_of style_masks": (
        lambda x: js.regions_of(IMAGE, IMAGE, [IMAGE], x),
        (*NO_LISTS, [IMAGE, IMAGE], [np.zeros((40, 50), int)], *([image] for image in (*NO_IMAGES[1:], *NO_PIXELS))),
    ),
    "regions_of wishes": (
        lambda x: js.regions_of(IMAGE, IMAGE, [IMAGE], (), x),
        (
            *(
                3,
                "white=1",
                ["white"],
                {1: 1},
                {None: 1},
                {"mauve": 1},
                {"#ffff": 1},
                {"#12345g": 1},
                {256: 1},
                {"1": 2},
            ),
            *({"white": wish} for wish in (None, "1", 1.0, -1, 2, NAN, True, (1, 1.0), masks.RegionSpec(2))),
            *({"white": masks.RegionSpec(1, strength)} for strength in (-1.0, NAN, INF, None, "1")),
        ),
    ),
    "regions_of guidance": (lambda x: js.regions_of(IMAGE, IMAGE, [IMAGE], guidance=x), (None, "outside", 3, ["all"])),
    "parse_region_specs words": (lambda x: masks.parse_region_specs(x, 1), (None, "white=1", 3, [3], [None])),
    "regions": (check, (None, "left", 3, IMAGE, (IMAGE, [IMAGE]))),
    "regions content": (
        lambda x: check(white_half(content=x)),
        (None, "x", 3, [[[1.0]]], IMAGE[:, :, 0], np.full((40, 50, 1), None), np.full((40, 50, 1), NAN, np.float32)),
    ),
    "regions styles": (
        lambda x: check(white_half(styles=x)),
        (None, 3, "x", np.ones(1, np.float32), (), (None,), ("x",), (np.full(1, "x"),), (np.ones((2, 1)),)),
    ),
    "regions guidance": (lambda x: check(white_half(guidance=x)), (None, 3, ["all"])),
    "color": (color.check_color, (None, 3, "gray", ["style"])),
    "load_image path": (js.load_image, (*NO_PATHS, "none.png", "", ".")),
    "load_image size": (lambda x: js.load_image("in.png", x), [size for size in NO_SIZES if size is not None]),
    "load_image min_side": (lambda x: js.load_image("in.png", min_side=x), NO_SIZES),
    "load_image max_pixels": (lambda x: js.load_image("in.png", max_pixels=x), [x for x in NO_SIZES if x != 10**9]),
    "load_mask path": (js.load_mask, (*NO_PATHS, "none.png", "", ".")),
    "load_mask max_pixels": (lambda x: js.load_mask("in.png", max_pixels=x), [x for x in NO_SIZES if x != 10**9]),
    "picture_size path": (io.picture_size, (*NO_PATHS, "none.png", "", ".")),
    "picture_size size": (lambda x: io.picture_size("in.png", x), [size for size in NO_SIZES if size is not None]),
    "picture_size min_side": (lambda x: io.picture_size("in.png", min_side=x), NO_SIZES),
    "picture_size max_pixels": (
        lambda x: io.picture_size("in.png", max_pixels=x),
        [x for x in NO_SIZES if x != 10**9],
    ),
    "read_recipe path": (js.read_recipe, (*NO_PATHS, "none.png", "", ".")),
    "check_output path": (io.check_output, (*NO_PATHS, "", ".", "none/out.png", "out")),
    "save_image path": (lambda x: js.save_image(x, IMAGE), (*NO_PATHS, "", ".", "none/out.png", "out")),
    "save_image image": (
        lambda x: js.save_image("out.png", x),
        (*NO_IMAGES, [[[1.0], [1.0, 2.0]]], *NO_PIXELS, object()),
    ),
    "save_image alpha": (
        lambda x: js.save_image("out.png", IMAGE, alpha=x),
        ("x", 3, 1.0, IMAGE, np.ones((40, 50), np.uint8), np.full((40, 50), NAN), [[1.0], [1.0, 2.0]]),
    ),
    "save_image recipe": (
        lambda x: js.save_image("out.png", IMAGE, recipe=x),
        (3, "text", [1, 2], {"a": NAN}, {"a": object()}, {(1, 2): 3}),
    ),
    "save_image quality": (lambda x: js.save_image("out.png", IMAGE, quality=x), (*NO_SIZES, 101, 95.0, "95")),
    "save_image bit_depth": (lambda x: js.save_image("out.png", IMAGE, bit_depth=x), (*NO_SIZES, 10, 16.0)),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", CASES)
def test_wrong_arguments_raise_input_errors(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    js.save_image("in.png", IMAGE)
    call, values = CASES[name]
    for value in values:
        with pytest.raises(js.InputError) as caught:
            call(value)
        message = str(caught.value)
        assert 20 < len(message) < 400, message
        assert "\n" not in message.strip(), message
        assert "--" not in message, "the library has parameters, not options"
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_other_libraries_are_numbers_too():
    assert js.white_noise(np.uint32(1), np.int64(4), np.int32(5)).shape == (4, 5, 3)
    assert js.resize(IMAGE, np.int64(4), np.int32(5)).shape == (4, 5, 3)
    assert js.style_mosaic(0, (IMAGE, IMAGE), 4, 5, shares=(np.float64(0.5), 0.5)).shape == (4, 5, 3)
    regions.check_regions(white_half(content=np.ones((40, 50, 1), bool)), IMAGE.shape, [IMAGE.shape])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [
        (0, 255, "divide 8-bit pixels by 255"),
        (0, 65535, "divide 16-bit pixels by 65535"),
        (-1, 1, r"pixels in \[-1, 1\] become \(x \+ 1\) / 2"),
        (-2.1, 2.6, r"ImageNet's mean and standard deviation become x \* std \+ mean"),
        (-120, 150, "undo the normalization"),
    ],
)
def test_pixels_on_other_scales(tmp_path, low, high, advice):
    image = np.linspace(low, high, 40 * 50 * 3, dtype=np.float32).reshape(40, 50, 3)
    message = rf"image has values from {low:g} to {high:g}, expected \[0, 1\]: .*{advice}"
    with pytest.raises(js.InputError, match=message):
        js.save_image(tmp_path / "out.png", image)
    with pytest.raises(js.InputError, match=message.replace("image has", "mask has")):
        js.regions_of(IMAGE, image, [IMAGE])


def test_a_few_values_outside_are_an_optimizers(tmp_path):
    image = IMAGE.copy()
    image[0, 0] = -0.7
    js.save_image(tmp_path / "out.png", image)


@pytest.mark.usefixtures("unchecked")
def test_a_result_is_no_image(tmp_path, tiny_params):
    result = js.stylize(IMAGE, IMAGE, params=tiny_params, preset="gram", steps=1, scales=1)
    with pytest.raises(js.InputError, match=r"image is Result\(.*give its field image"):
        js.save_image(tmp_path / "out.png", result)
