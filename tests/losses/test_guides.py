import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.image.regions import Regions, check_regions, resize_mask
from jaxstyle.losses.guides import make_guides, propagate
from jaxstyle.vgg.network import receptive_radius, stride

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def halves(height, width, at=None):
    """Left and right."""
    at = width // 2 if at is None else at
    left = np.broadcast_to(np.arange(width) < at, (height, width))
    return np.stack([left, ~left], axis=2).astype(np.float32)


@given(seed=st.integers(0, 1000), size=st.sampled_from([(48, 64), (33, 50)]))
def test_simple_guides_are_means_over_each_position(seed, size):
    masks = np.random.default_rng(seed).random((*size, 2)).astype(np.float32)
    for layer, found in propagate(jnp.asarray(masks), LAYERS, "simple").items():
        k = stride(layer)
        h, w = size[0] // k, size[1] // k
        expected = masks[: h * k, : w * k].reshape(h, k, w, k, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("guidance", ["inside", "all"])
@pytest.mark.parametrize("layer", ["relu1_1", "conv2_1", "relu3_1", "pool1"])
def test_inside_and_all_are_the_receptive_field(tiny_params, guidance, layer):
    """A position is inside, or touched, as the network itself sees pixels: by the support of its gradient's bound."""
    del tiny_params
    masks = halves(32, 48, 21)[:, :, :1]
    found = np.asarray(propagate(jnp.asarray(masks), (layer,), guidance)[layer])[:, :, 0]
    spacing, reach = stride(layer), receptive_radius((layer,))
    for column in range(found.shape[1]):
        first, last = column * spacing - reach, column * spacing + spacing - 1 + reach
        seen = masks[0, max(first, 0) : last + 1, 0]
        expected = seen.min() if guidance == "inside" else seen.max()
        assert set(found[:, column]) == {expected}, column


def test_the_network_does_not_see_beyond_inside(tiny_params):
    """Changing all pixels outside of a region changes no feature that the guide keeps."""
    masks = halves(160, 320, 160)[:, :, :1]
    before, other = js.white_noise(0, 160, 320), js.white_noise(1, 160, 320)
    after = jnp.where(jnp.asarray(masks) > 0, before, other)
    guides = make_guides(masks, LAYERS, "inside").weights
    maps = [js.features(tiny_params, image, LAYERS) for image in (before, after)]
    for layer in LAYERS:
        assert float(jnp.max(guides[layer])) > 0
        np.testing.assert_array_equal(maps[0][layer] * guides[layer], maps[1][layer] * guides[layer])
        # With "simple" something does get through.
    loose = make_guides(masks, LAYERS, "simple").weights["relu5_1"]
    assert float(jnp.max(jnp.abs((maps[0]["relu5_1"] - maps[1]["relu5_1"]) * loose))) > 0


@pytest.mark.parametrize("guidance", ["simple", "inside", "all"])
def test_a_canvas_has_the_same_guides(guidance):
    masks = np.random.default_rng(0).integers(0, 2, (50, 67, 2)).astype(np.float32)
    masks[:, :, 0] = np.maximum(masks[:, :, 0], halves(50, 67)[:, :, 0])
    canvas = np.pad(masks, ((0, 14), (0, 29), (0, 0)), constant_values=0.7)
    alone = make_guides(masks, LAYERS, guidance)
    placed = make_guides(canvas, LAYERS, guidance, jnp.array([50, 67], jnp.int32))
    np.testing.assert_allclose(placed.shares, alone.shares, rtol=1e-6)
    for layer, guide in alone.weights.items():
        h, w = guide.shape[:2]
        np.testing.assert_allclose(placed.weights[layer][:h, :w], guide, atol=1e-6)
        assert not np.any(placed.weights[layer][h:])
        assert not np.any(placed.weights[layer][:, w:])


@pytest.mark.parametrize("guidance", ["simple", "inside", "all"])
def test_a_region_that_is_everything_is_no_region(tiny_params, china, starry, guidance):
    objective, weights = js.Objective(), js.LossWeights()
    everything = Regions(np.ones((*china.shape[:2], 1), np.float32), (np.ones(1, np.float32),), guidance)
    plain = js.make_targets(tiny_params, china, [starry], objective)
    guided = js.make_targets(tiny_params, china, [starry], objective, regions=everything)
    start = 0.5 * china + 0.25
    (a, x), (b, y) = (js.value_and_grad(start, tiny_params, each, weights, objective) for each in (plain, guided))
    np.testing.assert_allclose(a.total, b.total, rtol=1e-5)
    np.testing.assert_allclose(x, y, atol=1e-5 * float(jnp.max(jnp.abs(x))))


def test_guided_grams_against_numpy(tiny_params, china, starry):
    """The style term in float64, by the paper's formula, with masks on both sides and strengths."""
    random = np.random.default_rng(0)
    content_mask, style_mask = (
        random.random((*size, 2)).astype(np.float32) for size in (china.shape[:2], starry.shape[:2])
    )
    objective, weights = js.Objective(), js.LossWeights(content=0.0, style=1e3, regions=(1.0, 0.25))
    regions = Regions(content_mask, (style_mask,))
    targets = js.make_targets(tiny_params, china, [starry], objective, regions=regions)
    losses, _ = js.value_and_grad(china, tiny_params, targets, weights, objective)

    def guided(image, masks):
        grams = {}
        for layer, tap in reference.features(params, np.asarray(image, "f8"), LAYERS).items():
            k, h, w = stride(layer), *tap.shape[:2]
            T = masks.astype("f8")[: h * k, : w * k].reshape(h, k, w, k, 2).mean(axis=(1, 3))
            T = T / np.sqrt((T**2).sum(axis=(0, 1)))
            grams[layer] = [
                np.einsum("hwc,hwd->cd", tap * T[:, :, r : r + 1], tap * T[:, :, r : r + 1]) for r in (0, 1)
            ]
        return grams

    params = reference.float64(tiny_params)
    here, style = guided(china, content_mask), guided(starry, style_mask)
    shares = content_mask.mean(axis=(0, 1)) * (1.0, 0.25)
    expected = 1e3 * sum(
        shares[r] * ((here[layer][r] - style[layer][r]) ** 2).sum() / len(here[layer][r]) ** 4
        for layer in LAYERS
        for r in (0, 1)
    )
    np.testing.assert_allclose(losses.style, expected, rtol=1e-4)


def test_pixels_without_a_region_stay(tiny_params, china, starry):
    masks = halves(*china.shape[:2])[:, :, :1]
    result = js.stylize(
        china,
        starry,
        params=tiny_params,
        regions=Regions(masks, (np.ones(1, np.float32),)),
        steps=5,
        tolerance=0.0,
        preset="gram",
    )
    unchanged = masks[:, :, 0] == 0
    np.testing.assert_array_equal(np.asarray(result.image)[unchanged], np.asarray(china)[unchanged])
    assert np.abs(np.asarray(result.image - china))[~unchanged].mean() > 0.01


@pytest.mark.parametrize("optimizer", [pytest.param(js.lbfgs(), marks=pytest.mark.long), js.averaged(js.lbfgs(), 0.9)])
def test_pixels_without_a_region_stay_in_every_kind_of_result(tiny_params, photograph, starry, optimizer):
    """As an average, and where a run is stopped at a coarse scale, whose picture is enlarged; alone and in a batch."""
    photo, mask = photograph("china.jpg", 144, 96), halves(96, 144)[:, :, :1]
    options = {"params": tiny_params, "steps": 40, "scales": 2, "optimizer": optimizer, "callback": lambda now: True}
    options["regions"] = Regions(mask, (np.ones(1, np.float32),))
    for result in (
        js.stylize(photo, starry, **options, preset="gram"),
        js.stylize_batch(photo, starry, **options, preset="gram")[0],
    ):
        assert len(result.scales) == 1
        unchanged = mask[:, :, 0] == 0
        np.testing.assert_array_equal(np.asarray(result.image)[unchanged], np.asarray(photo)[unchanged])


@pytest.mark.long
def test_each_side_of_an_edge_gets_its_own_style(real_params, photograph):
    """Nothing bleeds: either half's Gram matrices are nearer to its own style's than to the other's, by far."""
    photo = photograph("china.jpg", 288, 96)
    night = photograph("starry_night.jpg", 128, 96)
    styles = [night, 1 - night[::-1, :, ::-1]]
    masks = halves(96, 288)
    regions = Regions(masks, (np.float32([1, 0]), np.float32([0, 1])))
    result = js.stylize(photo, styles, params=real_params, regions=regions, steps=24, strength=0.9, preset="gram")

    layers = ("relu1_1", "relu2_1", "relu3_1")

    def grams(image):
        return {layer: js.gram_matrix(tap) for layer, tap in js.features(real_params, image, layers).items()}

    aims = [grams(style) for style in styles]
    # Without the columns that see across the edge.
    for k, half in enumerate((result.image[:, :134], result.image[:, 154:])):
        for layer, gram in grams(half).items():
            own, other = (float(jnp.linalg.norm(gram - aims[i][layer])) for i in (k, 1 - k))
            assert own < 0.35 * other, (k, layer, own / other)


def test_masks_resize_softly():
    found = np.asarray(resize_mask(halves(8, 8), 4, 3))
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    np.testing.assert_allclose(found[:, :, 0], [[1, 0.5, 0]] * 4, atol=0.1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("left", "expected Regions"),
        (Regions(np.ones((64, 96, 1), "f4"), (np.ones(1, "f4"),), "outside"), "unknown guidance 'outside'"),
        (Regions(np.ones((64, 96, 1), "f4"), ()), "regions.styles has 0 entries, expected one for each of the 1"),
        (Regions(np.ones((64, 95, 1), "f4"), (np.ones(1, "f4"),)), "mask has shape"),
        (Regions(np.full((64, 96, 1), 2, "f4"), (np.ones(1, "f4"),)), r"outside of \[0, 1\]"),
        (Regions(np.ones((64, 96, 1), "f4"), (np.full(1, np.nan, "f4"),)), r"outside of \[0, 1\]"),
        (Regions(np.ones((64, 96, 2), "f4"), (np.ones(3, "f4"),)), "mask of style 1 has shape"),
        (Regions(np.zeros((64, 96, 1), "f4"), (np.ones(1, "f4"),)), "region 1 covers no content pixels"),
        (Regions(np.ones((64, 96, 1), "f4"), (np.zeros(1, "f4"),)), "region 1 covers no pixels of any style"),
    ],
)
def test_regions_that_do_not_fit(regions, message):
    with pytest.raises(InputError, match=message):
        check_regions(regions, (64, 96, 3), [(80, 96, 3)])


def test_a_region_too_small_for_a_layer(tiny_params, china, starry):
    regions = Regions(halves(*china.shape[:2]), (np.ones(2, np.float32),), "inside")
    with pytest.raises(InputError, match=r"region 1 of the content has no position at relu._1 with guidance 'inside'"):
        js.make_targets(tiny_params, china, [starry], js.Objective(), regions=regions)
    with pytest.raises(InputError, match=r"region 1 of the content has no position at relu._1 with guidance 'inside'"):
        js.stylize_batch(china, starry, params=tiny_params, regions=regions, steps=2, preset="gram")


def test_a_region_whose_styles_weigh_nothing(tiny_params, china, starry):
    regions = Regions(halves(*china.shape[:2]), (np.float32([1, 0]), np.float32([0, 1])))
    with pytest.raises(InputError, match="region 2 has only styles of weight 0"):
        js.make_targets(tiny_params, china, [starry, starry], js.Objective(), [1.0, 0.0], regions)
