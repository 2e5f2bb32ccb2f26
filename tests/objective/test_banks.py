"""The neighbor term: the same numbers as a plain search, whole, in windows, on a canvas, over devices, in a batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from placement import check_losses_and_gradient, odd_pictures, placed

import jaxstyle as js
from jaxstyle.image.regions import Regions
from jaxstyle.objective.evaluate import compiled_value_and_grad

LAYERS = ("relu1_1", "relu2_2", "relu3_1", "relu4_1")
OBJECTIVE = js.Objective(style_layers=("relu2_1",), neighbor_layers=LAYERS, bank_size=100)
WEIGHTS = js.LossWeights(1.0, 50.0, 10.0, neighbors=(4.0, 3.0, 2.0, 1.0))


def regions(photo, paintings, guidance="simple"):
    """A left part, and a lower part that overlaps it; the second painting has a mask of its own."""
    height, width = photo.shape[:2]
    masks = np.zeros((height, width, 2), np.float32)
    masks[:, : 3 * width // 4, 0] = 1
    masks[height // 4 :, :, 1] = 0.75
    part = np.zeros((*paintings[1].shape[:2], 2), np.float32)
    part[:, 20:, 1] = 1
    return Regions(masks, (np.float32([1.0, 0.5]), part), guidance)


def evaluated(params, image, photo, paintings, objective=OBJECTIVE, masks=None, mesh=None, canvas=None):
    """Losses and gradient."""
    size, weights = photo.shape[:2], WEIGHTS._replace(regions=1.0 if masks is None else (1.0, 0.5))
    pictures = image, photo, paintings
    params, weights, (image, photo, paintings), objective = placed(
        params, weights, pictures, objective, mesh, canvas, plain_paintings=masks is not None
    )
    targets = js.make_targets(params, photo, paintings, objective, [3, 1], regions=masks)
    losses, gradient = js.value_and_grad(image.pixels, params, targets, weights, objective)
    return np.stack(losses), np.asarray(js.gather(gradient, *size))


@pytest.fixture(scope="module")
def pictures(photograph):
    return odd_pictures(photograph)


def plain_distance(features, bank):
    """Mean over positions of 1 - the largest cosine."""
    center = bank.mean(axis=0)
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (features - center, bank - center)]
    return 1 - np.max(unit[0] @ unit[1].T, axis=-1).mean()


def test_the_term_is_the_plain_mean_with_all_of_the_styles_features(tiny_params, china, starry):
    """A bank with room for all positions has all of them, of each layer of each style."""
    params, styles = reference.float64(tiny_params), [starry, 1 - starry[:40]]
    objective = dataclasses.replace(OBJECTIVE, bank_size=30_000)
    targets = js.make_targets(tiny_params, china, styles, objective)
    losses, _ = js.value_and_grad(china, tiny_params, targets, WEIGHTS, objective)
    taps = reference.features(params, reference.float64(china), LAYERS)
    banks = [reference.features(params, reference.float64(style), LAYERS) for style in styles]
    terms = [
        plain_distance(taps[layer], np.concatenate([bank[layer].reshape(-1, bank[layer].shape[2]) for bank in banks]))
        for layer in LAYERS
    ]
    assert min(terms) > 1e-3
    np.testing.assert_allclose(losses.neighbors, np.dot(WEIGHTS.neighbors, terms), rtol=1e-4)
    np.testing.assert_allclose(losses.total, losses.content + losses.style + losses.tv + losses.neighbors, rtol=1e-6)
    np.testing.assert_allclose(losses.surrogate, losses.total, rtol=1e-6)


def test_the_gradient_is_the_slope_of_the_plain_term(tiny_params, china, starry):
    """By a central difference in float64, so small that hardly a position changes its neighbor.

    A small style: among many features two can be equally near, and rounding decides which is taken.
    """
    layers, starry = ("relu1_1", "relu2_1", "relu3_1"), starry[:20, :20]
    objective = js.Objective((), (), pooling="avg", neighbor_layers=layers, bank_size=30_000)
    targets = js.make_targets(tiny_params, china, [starry], objective)
    _, gradient = js.value_and_grad(china, tiny_params, targets, js.LossWeights(), objective)
    params = reference.float64(tiny_params)
    banks = reference.features(params, reference.float64(starry), layers, "avg")

    def value(image):
        taps = reference.features(params, image, layers, "avg")
        return sum(plain_distance(taps[layer], banks[layer].reshape(-1, taps[layer].shape[2])) for layer in layers)

    direction = np.random.default_rng(0).normal(size=china.shape)
    slope = reference.derivative(value, reference.float64(china), direction)
    gradient = np.asarray(gradient, "f8")
    # Along a random direction the terms of the product nearly cancel.
    assert np.sum(gradient * direction) == pytest.approx(slope, abs=2e-3 * np.linalg.norm(gradient))


@pytest.mark.parametrize("guidance", [None, pytest.param("simple", marks=pytest.mark.long), "all"])
def test_all_ways_agree(tiny_params, pictures, guidance):
    masks = None if guidance is None else regions(*pictures[1:], guidance)
    whole = evaluated(tiny_params, *pictures, masks=masks)
    assert whole[0][js.Losses._fields.index("neighbors")] > 0.1
    check_losses_and_gradient(
        evaluated(tiny_params, *pictures, dataclasses.replace(OBJECTIVE, window=56), masks), whole
    )
    check_losses_and_gradient(evaluated(tiny_params, *pictures, masks=masks, canvas=(230, 260)), whole)
    if guidance != "all":
        check_losses_and_gradient(evaluated(tiny_params, *pictures, masks=masks, mesh=js.make_mesh(4, 2)), whole)


@pytest.mark.long
@pytest.mark.parametrize("guided", [False, True])
def test_windows_of_every_devices_part_and_on_a_canvas(tiny_params, pictures, guided):
    layers = ("relu1_1", "relu1_2", "relu2_1", "relu3_1")
    objective = dataclasses.replace(OBJECTIVE, content_layers=("relu3_1",), neighbor_layers=layers, window=32)
    masks = regions(*pictures[1:]) if guided else None
    whole = evaluated(tiny_params, *pictures, dataclasses.replace(objective, window=None), masks)
    check_losses_and_gradient(evaluated(tiny_params, *pictures, objective, masks, mesh=js.make_mesh(2, 2)), whole)
    check_losses_and_gradient(evaluated(tiny_params, *pictures, objective, masks, canvas=(230, 260)), whole)


def test_nothing_is_gathered(tiny_params):
    """Devices search for their own positions: no map, and no list of its positions, is put together."""
    mesh = js.make_mesh(4, 2)
    objective = js.on_mesh(OBJECTIVE, mesh)
    photo = js.shard(js.white_noise(0, 256, 256), mesh, objective)
    params, weights = js.replicated((tiny_params, WEIGHTS), mesh)
    targets = js.make_targets(params, photo, [js.shard(js.white_noise(1, 64, 64), mesh, objective)], objective)
    text = compiled_value_and_grad.lower(photo.pixels, params, targets, weights, objective).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text
    assert "all-to-all" not in text


def test_a_batch_is_a_loop(tiny_params, china, starry):
    """Banks of different sizes: the paintings have different numbers of positions."""
    objective = dataclasses.replace(OBJECTIVE, bank_size=400)
    options = {"params": tiny_params, "objective": objective, "weights": WEIGHTS, "steps": 2, "mosaic": 0.0}
    styles = [starry, 1 - starry[:40, :50]]
    batch = js.stylize_batch([china, china], styles, **options, preset="gram")
    for result, style in zip(batch, styles, strict=True):
        alone = js.stylize(china, style, **options, preset="gram")
        np.testing.assert_allclose(np.stack(result.losses), np.stack(alone.losses), rtol=1e-4)


def test_a_bank_has_no_more_features_than_its_size_and_shares_them_by_weight(tiny_params, china, starry):
    """The second style is white: its features are all alike away from the border."""
    objective = js.Objective((), (), neighbor_layers=("conv1_1",), bank_size=64)
    targets = js.make_targets(tiny_params, china, [starry, jnp.ones((400, 400, 3))], objective, [1, 3])
    bank = targets.banks["conv1_1"]
    assert bank.directions.shape == (64, 4)
    same = np.linalg.norm(bank.directions - bank.directions[-1][None, :], axis=1) < 1e-5
    assert 46 <= np.sum(same) <= 48


def test_each_region_has_a_bank_of_its_own(tiny_params, pictures):
    """The first region's is the first painting's alone, whose positions all have the same weight there."""
    photo, paintings = pictures[1:]
    objective = js.Objective((), (), neighbor_layers=("relu2_1",), bank_size=10**4)
    found = regions(photo, paintings)
    found = found._replace(styles=(np.float32([1, 0]), found.styles[1]))
    bank = js.make_targets(tiny_params, photo, paintings, objective, regions=found).banks["relu2_1"]
    first = js.make_targets(tiny_params, photo, paintings[:1], objective).banks["relu2_1"]
    second = js.make_targets(tiny_params, photo, [paintings[1][:, 20:]], objective).banks["relu2_1"]
    np.testing.assert_allclose(bank.directions[0], first.directions, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bank.center[1], second.center, rtol=0.05)
    # The rest of a bank that the painting does not fill is its first features again.
    count = (paintings[0].shape[0] // 2) * (paintings[0].shape[1] // 2)
    assert count < bank.size == 10**4
    np.testing.assert_array_equal(bank.directions[0], np.resize(bank.directions[0, :count], first.directions.shape))


def test_other_weights_of_the_term_compile_nothing(tiny_params, china, starry):
    targets = js.make_targets(tiny_params, china, [starry], OBJECTIVE)
    before = compiled_value_and_grad._cache_size()
    values = [
        js.value_and_grad(china, tiny_params, targets, js.LossWeights(0.0, 0.0, neighbors=jnp.float32(w)), OBJECTIVE)[0]
        for w in (1.0, 2.0)
    ]
    assert compiled_value_and_grad._cache_size() == before + 1
    assert float(values[1].total) == pytest.approx(2 * float(values[0].total))


def test_wrong_values_are_refused(tiny_params, china, starry, unchecked):
    with pytest.raises(js.InputError, match="bank_size is 0, expected an integer from 1"):
        js.Objective(bank_size=0)
    with pytest.raises(js.InputError, match="relu9_9"):
        js.Objective(neighbor_layers=("relu9_9",))
    without = js.make_targets(tiny_params, china, [starry], dataclasses.replace(OBJECTIVE, neighbor_layers=()))
    with pytest.raises(js.InputError, match=r"targets\.banks has no layer relu1_1"):
        js.value_and_grad(china, tiny_params, without, WEIGHTS, OBJECTIVE)
    targets = js.make_targets(tiny_params, china, [starry], OBJECTIVE)
    with pytest.raises(js.InputError, match="the neighbors weight has 2 numbers"):
        js.value_and_grad(china, tiny_params, targets, WEIGHTS._replace(neighbors=(1.0, 2.0)), OBJECTIVE)
    with pytest.raises(js.InputError, match="targets hold the layers"):
        js.init(china, tiny_params, without, WEIGHTS, OBJECTIVE, js.lbfgs())
    assert jax.tree.all(jax.tree.map(lambda leaf: np.all(np.isfinite(leaf)), targets))
