"""An image on a larger canvas: all results equal those of the image alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.image.canvas import Canvas, edge_extend, mask_outside, on_canvas, sides
from jaxstyle.minimize.loop import run
from jaxstyle.objective.base import broadcast_weights
from jaxstyle.objective.evaluate import compiled_value_and_grad
from jaxstyle.optim import preconditioners

WEIGHTS = js.LossWeights(1.0, 1e3, 1e4)


def relative(found, expected):
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


def outside(x, height, width):
    """Largest absolute value outside of the image."""
    return max(float(jnp.max(jnp.abs(part), initial=0.0)) for part in (x[height:], x[:, width:]))


def both(params, photo, painting, objective, canvas, on=None):
    """Value and gradient of an image alone, and of the same image on a canvas."""
    height, width = photo.shape[:2]
    start = 0.5 * photo + 0.25
    alone = js.make_targets(params, photo, [painting], objective)
    expected = js.value_and_grad(start, params, js.whiten(alone), WEIGHTS, objective)
    on = objective if on is None else on
    targets = js.make_targets(params, on_canvas(photo, *canvas), [painting], on)
    # Pixels outside of the image must have no effect.
    noise = js.white_noise(5, *canvas)
    pixels = noise.at[:height, :width].set(start)
    losses, gradient = js.value_and_grad(pixels, params, js.whiten(targets), WEIGHTS, on)
    return expected, (losses, gradient)


def check(expected, found, height, width, bound=2e-6):
    for name, value in zip(js.Losses._fields, expected[0], strict=True):
        assert float(getattr(found[0], name)) == pytest.approx(float(value), rel=1e-5), name
    assert relative(found[1][:height, :width], expected[1]) < bound
    assert outside(found[1], height, width) == 0


@pytest.mark.parametrize("size", [(61, 83), pytest.param((47, 96), marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("padding", "pooling"), [("zeros", "max"), ("replicate", "max"), ("zeros", "avg"), ("replicate", "l2")]
)
def test_value_and_gradient_are_those_of_the_image_alone(tiny_params, china, starry, size, padding, pooling):
    objective = js.Objective(("relu3_1", "pool4"), pooling=pooling, padding=padding)
    photo = js.resize(china, *size)
    check(*both(tiny_params, photo, starry, objective, (80, 96)), *size)


@pytest.mark.parametrize("padding", [pytest.param("zeros", marks=pytest.mark.long), "replicate"])
@pytest.mark.parametrize("size", [(150, 203)])
def test_value_and_gradient_in_windows(tiny_params, china, starry, size, padding):
    objective = js.Objective(padding=padding)
    photo = js.resize(china, *size)
    windows = dataclasses.replace(objective, window=64)
    check(*both(tiny_params, photo, starry, objective, (160, 208), windows), *size)


@pytest.mark.parametrize(
    "shards", [pytest.param((2, 1), marks=pytest.mark.long), pytest.param((1, 2), marks=pytest.mark.long), (2, 2)]
)
@pytest.mark.parametrize("padding", [pytest.param("zeros", marks=pytest.mark.long), "replicate"])
def test_value_and_gradient_in_windows_of_each_devices_shard(tiny_params, china, starry, shards, padding):
    """The computation of a mesh, on one device."""
    objective = js.Objective(padding=padding)
    photo = js.resize(china, 240, 375)
    blocks = dataclasses.replace(objective, window=32, shards=shards)
    check(*both(tiny_params, photo, starry, objective, (256, 384), blocks), 240, 375)


@pytest.mark.long
@pytest.mark.parametrize("shards", [(2, 1), (2, 2)])
def test_shards_of_an_image_that_divides_evenly_need_no_canvas(tiny_params, china, starry, shards):
    objective, photo = js.Objective(), js.resize(china, 256, 384)
    blocks = dataclasses.replace(objective, window=64, shards=shards)
    alone = js.make_targets(tiny_params, photo, [starry], objective)
    expected = js.value_and_grad(0.5 * photo, tiny_params, alone, WEIGHTS, objective)
    targets = js.make_targets(tiny_params, Canvas(photo), [starry], blocks)
    check(expected, js.value_and_grad(0.5 * photo, tiny_params, targets, WEIGHTS, blocks), 256, 384)


def test_unaligned_shards_are_refused(tiny_params, china, starry):
    objective = js.Objective(window=64, shards=(2, 1))
    with pytest.raises(js.InputError, match="equal parts of a multiple of"):
        js.make_targets(tiny_params, Canvas(js.resize(china, 264, 300)), [starry], objective)


@pytest.mark.long
def test_shards_without_halos_give_another_gradient(tiny_params, china, starry, monkeypatch):
    """The comparison above fails for a version without halos."""
    from jaxstyle.objective import windows

    objective, photo = js.Objective(normalization="paper"), js.resize(china, 256, 384)
    blocks = dataclasses.replace(objective, window=64, shards=(2, 2))

    def zeros(x, shards, margins=(0, 0)):
        pieces = split(x, shards)
        return jnp.pad(pieces, ((0, 0), (0, 0), *((margin, margin) for margin in margins), (0, 0)))

    split = windows.split
    monkeypatch.setattr(windows, "split", zeros)
    jax.clear_caches()
    expected, found = both(tiny_params, photo, starry, objective, (256, 384), blocks)
    jax.clear_caches()
    assert relative(found[1], expected[1]) > 1e-3


@pytest.mark.parametrize("which", ["spectral", "pyramid"])
@pytest.mark.parametrize("size", [(61, 83), pytest.param((64, 96), marks=pytest.mark.long), (1, 7)])
@pytest.mark.parametrize("exponent", [pytest.param(1.0, marks=pytest.mark.long), 1.7])
def test_preconditioners_are_those_of_the_image_alone(which, size, exponent):
    apply = preconditioners.PRECONDITIONERS[which]
    field = js.white_noise(3, *size) - 0.5
    canvas = on_canvas(field, 64, 96)
    found = jax.jit(lambda x, extent: apply(x, exponent, extent))(canvas.pixels, canvas.extent)
    expected = jax.jit(lambda x: apply(x, exponent, None))(field)
    assert relative(found[: size[0], : size[1]], expected) < 2e-6
    assert outside(found, *size) == 0


@pytest.mark.parametrize(
    "optimizer",
    [
        js.lbfgs(5),
        *(pytest.param(each, marks=pytest.mark.long) for each in (js.lbfgs(5, precondition="pyramid"), js.adam())),
    ],
)
def test_a_run_is_that_of_the_image_alone(tiny_params, china, starry, optimizer, lenient_promotion):
    objective, photo = js.Objective(), js.resize(china, 61, 83)
    weights, length = broadcast_weights(WEIGHTS, objective), jnp.int32(6)
    targets = js.whiten(js.make_targets(tiny_params, photo, [starry], objective))
    problem = tiny_params, targets, weights, objective, optimizer
    expected, rows = run(js.init(photo, *problem), *problem, length)
    canvas = on_canvas(photo, 64, 96)
    targets = js.whiten(js.make_targets(tiny_params, canvas, [starry], objective))
    problem = tiny_params, targets, weights, objective, optimizer
    state, found = run(js.init(canvas.pixels, *problem), *problem, length)
    np.testing.assert_allclose(found[:6], rows[:6], rtol=1e-4)
    assert float(jnp.max(jnp.abs(state.best_image[:61, :83] - expected.best_image))) < 1e-3
    assert outside(state.best_image, 61, 83) == 0


def test_sizes_on_one_canvas_share_a_program(tiny_params, china, starry):
    objective = js.Objective()
    before = compiled_value_and_grad._cache_size()
    for size in ((60, 80), (64, 96), (33, 47)):
        canvas = on_canvas(js.resize(china, *size), 64, 96)
        targets = js.make_targets(tiny_params, canvas, [starry], objective)
        js.value_and_grad(canvas.pixels, tiny_params, targets, WEIGHTS, objective)
    assert compiled_value_and_grad._cache_size() - before == 1


def test_edge_extend_repeats_the_last_row():
    x = jnp.arange(12.0).reshape(4, 3, 1)
    assert edge_extend(x, 0, 2)[:, 0, 0].tolist() == [0, 3, 3, 3]
    assert edge_extend(x, 1, 1)[1, :, 0].tolist() == [3, 3, 3]


def test_mask_outside_without_a_frame_masks_nothing():
    x = jnp.ones((2, 2, 1))
    assert mask_outside(x, None) is x
    assert sides((5, 7, 3), None) == (5, 7)


def test_a_canvas_that_is_too_small_is_refused():
    with pytest.raises(js.InputError, match="does not fit"):
        on_canvas(jnp.ones((4, 5, 3)), 4, 4)
