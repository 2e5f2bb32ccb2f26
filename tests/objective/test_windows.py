"""Windows give the whole picture's numbers, whatever its size; a halo that is too small does not."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.image.ops import fit
from jaxstyle.objective.base import segments_of
from jaxstyle.objective.evaluate import compiled_value_and_grad
from jaxstyle.objective.tiling import Segment
from jaxstyle.objective.windows import Inputs, compute_statistics
from jaxstyle.vgg import network

DATA = Path(network.__file__).parents[1] / "data"
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


def distance(actual, expected):
    return float(jnp.linalg.norm(actual - expected) / jnp.linalg.norm(expected))


def both_ways(params, image, content, style, objective, window):
    """Losses, gradient and targets, whole and in windows."""
    weights, found = js.LossWeights(content=1.0, style=100.0, tv=0.1), []
    for each in (None, window):
        settings = dataclasses.replace(objective, window=each)
        targets = js.whiten(js.make_targets(params, content, [style], settings))
        found.append((*js.value_and_grad(image, params, targets, weights, settings), targets))
    return found


def check(found, tolerance):
    (whole, whole_gradient, whole_targets), (windowed, gradient, targets) = found
    # The style's terms are squares of small differences between sums.
    np.testing.assert_allclose(np.stack(windowed), np.stack(whole), rtol=4 * tolerance)
    assert distance(gradient, whole_gradient) < tolerance
    for one, other in zip(jax.tree.leaves(targets[:2]), jax.tree.leaves(whole_targets[:2]), strict=True):
        assert distance(one, other) < tolerance


@pytest.mark.parametrize(
    "size", [(256, 192), (131, 199), *(pytest.param(size, marks=pytest.mark.long) for size in ((64, 290), (250, 33)))]
)
@pytest.mark.parametrize("window", [32, pytest.param(56, marks=pytest.mark.long)])
def test_windows_of_a_tiny_network_are_exact(tiny_params, size, window):
    pictures = draw(0, *size, 3), draw(1, *size, 3), draw(2, 150, 90, 3) ** 2
    check(both_ways(tiny_params, *pictures, js.Objective(), window), 5e-6)


EVERY_DEPTH = {
    "content_layers": ("conv3_1", "relu4_2"),
    "style_layers": ("conv1_1", "pool1", "pool3", "conv5_2", "pool5"),
}


@pytest.mark.parametrize(
    ("pooling", "padding", "layers"),
    [
        ("avg", "replicate", EVERY_DEPTH),
        ("l2", "zeros", EVERY_DEPTH),
        ("max", "replicate", {}),
        # One segment is enough.
        ("max", "zeros", {"content_layers": ("pool2",), "style_layers": ("relu1_1", "relu3_4")}),
        ("l2", "replicate", {"content_layers": (), "style_layers": ("relu4_1",)}),
        ("avg", "zeros", {"content_layers": ("relu4_2",), "style_layers": ()}),
    ],
)
def test_windows_are_exact_for_every_kind_of_layer(tiny_params, pooling, padding, layers):
    objective = js.Objective(pooling=pooling, padding=padding, **layers)
    pictures = draw(0, 147, 201, 3), draw(1, 147, 201, 3), draw(2, 150, 90, 3) ** 2
    check(both_ways(tiny_params, *pictures, objective, 32), 5e-6)


@pytest.mark.long
@pytest.mark.parametrize(("size", "window"), [((384, 512), 64), ((333, 500), 96), ((251, 1023), 128)])
def test_windows_of_the_real_network_are_exact(real_params, starry, size, window):
    photo = js.load_image(DATA / "china.jpg")
    content, style = fit(photo, *size), fit(starry, 160, 192)
    image = 0.7 * content + 0.3 * js.white_noise(0, *size)
    check(both_ways(real_params, image, content, style, js.Objective(algorithm="direct"), window), 5e-6)


@pytest.mark.long
def test_windows_by_winograd_agree_but_for_nearly_equal_values(real_params, starry):
    """Its rounding depends on where tiles begin, and decides which of two equal values max pooling takes."""
    content, style = fit(js.load_image(DATA / "china.jpg"), 256, 320), fit(starry, 160, 192)
    image = 0.7 * content + 0.3 * js.white_noise(0, 256, 320)
    objective = js.Objective(algorithm="winograd")
    (whole, gradient, _), (windowed, gradient_in_windows, _) = both_ways(
        real_params, image, content, style, objective, 128
    )
    np.testing.assert_allclose(np.stack(windowed), np.stack(whole), rtol=2e-5)
    assert distance(gradient_in_windows, gradient) < 3e-3
    # Nothing but that: where it has nothing to decide, they are equal.
    found = both_ways(real_params, image, content, style, dataclasses.replace(objective, pooling="avg"), 128)
    assert distance(found[1][1], found[0][1]) < 1e-4


def test_a_halo_too_small_is_noticed(tiny_params, monkeypatch):
    """The same comparison, with the halo one step of alignment smaller."""
    image = draw(0, 160, 200, 3)

    def gradient(window):
        def loss(image):
            found = compute_statistics(
                image, tiny_params, Inputs(), segments_of(js.Objective((), LAYERS, window=window))
            )
            return sum(jnp.sum(jnp.square(product)) for product in found.products.values())

        return jax.grad(loss)(image)

    whole = gradient(None)
    assert distance(gradient(32), whole) < 5e-6
    exact = Segment.halo.fget
    monkeypatch.setattr(Segment, "halo", property(lambda self: exact(self) - self.alignment))
    assert distance(gradient(32), whole) > 1e-4


def test_the_radius_is_that_of_the_network(tiny_params):
    """Positions farther than the radius change nothing; one at the radius does."""
    assert network.receptive_radius(("relu4_2",)) == 38
    assert network.receptive_radius(("relu5_1",)) == 70
    for layer in ("conv1_2", "relu2_2", "conv3_1", "relu4_1"):
        spacing, reach = network.stride(layer), network.receptive_radius((layer,))
        image = draw(0, 8, 160, 3)
        middle = 80 // spacing * spacing
        # A smooth network: with max pooling a pixel at the radius need not be the largest anywhere.
        changed = jax.jacrev(
            lambda x, layer=layer, middle=middle, spacing=spacing: jnp.sum(
                network.features(tiny_params, x, (layer,), pooling="avg")[layer][:, middle // spacing]
            )
        )(image)
        columns = np.flatnonzero(np.abs(np.asarray(changed)).sum(axis=(0, 2)))
        assert columns.min() >= middle - reach
        assert columns.max() <= middle + spacing - 1 + reach
        assert columns.max() - columns.min() > 1.2 * reach


@pytest.mark.long
def test_the_memory_is_that_of_a_window():
    """256 times the pixels, the same window of the real network: beside the picture's own buffers the compiler's
    temporaries stay the same. Its own are the map between the segments (4 floats a pixel) and its gradient, the
    gradient of the windows, and that of the total variation (3 each)."""
    objective, weights = js.Objective(window=128), js.LossWeights()

    def temporary(side):
        content = {"relu4_2": jax.ShapeDtypeStruct((side // 8, side // 8, 512), jnp.float32)}
        style = {
            layer: jax.ShapeDtypeStruct((width, width), jnp.float32)
            for layer, width in zip(LAYERS, (64, 128, 256, 512, 512), strict=True)
        }
        image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
        params = jax.eval_shape(js.init_params, jax.random.key(0))
        lowered = compiled_value_and_grad.lower(image, params, js.Targets(content, style), weights, objective)
        return lowered.compile().memory_analysis().temp_size_in_bytes - 4 * (4 + 4 + 3 + 3) * side**2

    small = temporary(1024)
    assert small < 200e6
    assert temporary(16384) == pytest.approx(small, rel=0.05)


def test_windows_too_small_are_refused(unchecked):
    with pytest.raises(InputError, match="window is 16, expected an integer from 32"):
        js.Objective(window=16)
    with pytest.raises(InputError, match=r"window is 64\.5"):
        js.Objective(window=64.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("layer", ["relu2_1", "relu4_2"])
@pytest.mark.parametrize("more", [-1, 1])
def test_the_content_needs_the_pictures_size(tiny_params, unchecked, layer, more):
    side = 200 // network.stride(layer) + more
    content = {layer: jnp.zeros((side, side, tiny_params[layer.replace("relu", "conv")]["bias"].shape[0]))}
    with pytest.raises(InputError, match="the image needs the size of the content"):
        compute_statistics(
            draw(0, 200, 200, 3), tiny_params, Inputs(content), segments_of(js.Objective((layer,), (), window=32))
        )


def test_pictures_too_small_are_refused(tiny_params):
    with pytest.raises(InputError, match="expected at least 16 a side"):
        compute_statistics(draw(0, 10, 90, 3), tiny_params, Inputs(), segments_of(js.Objective((), LAYERS, window=32)))
