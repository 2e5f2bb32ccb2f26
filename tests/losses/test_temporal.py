"""The temporal loss against sums written out in NumPy float64, finite differences, and what must not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.image.canvas import on_canvas
from jaxstyle.losses.temporal import Warped, check_warped, temporal_loss


def draw(seed, height, width, channels=3):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=(height, width, channels))))


def slow(image, target):
    """Pixel by pixel, as the formula is written."""
    total = 0.0
    for i, j, k in np.ndindex(image.shape):
        total += float(target.weights[i, j, 0]) * (image[i, j, k] - float(target.pixels[i, j, k])) ** 2
    return total / image.size


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1)])
def test_value_and_gradient_against_float64(size):
    image, target = draw(0, *size), Warped(draw(1, *size), draw(2, *size, 1))
    value, gradient = jax.value_and_grad(temporal_loss)(image, target)
    pixels = np.asarray(image, "f8")
    assert value == pytest.approx(slow(pixels, target), rel=1e-6)
    for index in np.ndindex(image.shape):
        one = np.zeros(image.shape)
        one[index] = 1.0
        expected = reference.derivative(lambda x: slow(x, target), pixels, one, 1e-4)
        assert gradient[index] == pytest.approx(expected, abs=1e-7)


def test_hidden_pixels_do_not_count():
    """Neither in the value nor in the gradient, whatever they show."""
    pixels, weights = draw(1, 6, 8), jnp.ones((6, 8, 1)).at[2:4].set(0.0)
    image = pixels.at[2:4].set(1 - pixels[2:4])
    assert temporal_loss(image, Warped(pixels, weights)) == 0
    gradient = jax.grad(temporal_loss)(image + 0.25, Warped(pixels, weights))
    assert not np.any(gradient[2:4])
    assert np.all(gradient[4:] > 0)


def test_on_a_canvas_only_the_image_counts():
    image, target = draw(0, 5, 7), Warped(draw(1, 5, 7), draw(2, 5, 7, 1))
    expected = jax.value_and_grad(temporal_loss)(image, target)
    placed = Warped(on_canvas(target.pixels, 8, 9).pixels, jnp.pad(target.weights, ((0, 3), (0, 2), (0, 0))))
    noisy, extent = draw(3, 8, 9).at[:5, :7].set(image), jnp.array([5, 7], jnp.int32)
    value, gradient = jax.value_and_grad(temporal_loss)(noisy, placed, extent)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[:5, :7], expected[1], rtol=1e-5)
    assert not np.any(gradient[5:])
    assert not np.any(gradient[:, 7:])


def test_without_a_temporal_term_its_weight_is_not_read(tiny_params):
    objective = js.Objective(("relu2_1",), ("relu1_1",))
    image = draw(0, 8, 12)
    targets = js.make_targets(tiny_params, image, [draw(1, 8, 8)], objective)
    assert targets.previous is None
    results = [
        js.value_and_grad(image, tiny_params, targets, js.LossWeights(temporal=jnp.float32(weight)), objective)
        for weight in (0.0, jnp.inf)
    ]
    assert jnp.isfinite(results[1][0].total)
    assert results[0][0].total == results[1][0].total
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("previous", "message"),
    [
        (None, r"previous is None, expected Warped\(pixels, weights\)"),
        (draw(0, 8, 12), "previous is an array"),
        (Warped(draw(0, 12, 8), draw(0, 8, 12, 1)), r"previous\.pixels is .* expected shape \(8, 12, 3\)"),
        (Warped(draw(0, 8, 12), draw(0, 8, 12)), r"previous\.weights is .* expected shape \(8, 12, 1\)"),
        (Warped(draw(0, 8, 12) * 255, draw(0, 8, 12, 1)), r"previous\.pixels has values from .* expected 0 to 1"),
        (Warped(draw(0, 8, 12) * jnp.nan, draw(0, 8, 12, 1)), r"previous\.pixels has values from nan"),
    ],
)
def test_wrong_frames_are_refused(tiny_params, previous, message):
    objective = js.Objective(("relu2_1",), ("relu1_1",), temporal=True)
    with pytest.raises(InputError, match=message):
        js.make_targets(tiny_params, draw(0, 8, 12), [draw(1, 8, 8)], objective, previous=previous)


@pytest.mark.usefixtures("unchecked")
def test_a_frame_needs_its_term(tiny_params):
    frame = Warped(draw(0, 8, 12), draw(0, 8, 12, 1))
    check_warped(frame, 8, 12)
    with pytest.raises(InputError, match="previous is a frame, expected None, or an objective with temporal=True"):
        js.make_targets(
            tiny_params, draw(0, 8, 12), [draw(1, 8, 8)], js.Objective(("relu2_1",), ("relu1_1",)), previous=frame
        )
    with pytest.raises(InputError, match=r"previous is None, expected Warped"):
        js.stylize(draw(0, 32, 32), draw(1, 32, 32), params=tiny_params, temporal_weight=1.0, steps=2)
