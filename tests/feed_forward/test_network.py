"""The feed-forward network against a slow reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.feed_forward.network import flat, nested, structure


@pytest.fixture(scope="module")
def network():
    """Every parameter random, because zeros and ones would hide a wrong place for them."""
    start = js.init_network(jax.random.key(0), width=3, blocks=2)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda array: jnp.asarray(array + rng.normal(0, 0.2, array.shape), jnp.float32), start)


def convolve(x, kernel, stride=1):
    """NumPy, float64, with a mirrored border."""
    margin = kernel.shape[0] // 2
    x = np.pad(x, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    rows, columns = ((side - kernel.shape[0]) // stride + 1 for side in x.shape[:2])
    y = np.zeros((rows, columns, kernel.shape[3]))
    for u in range(kernel.shape[0]):
        for v in range(kernel.shape[1]):
            y += x[u : u + stride * rows : stride, v : v + stride * columns : stride] @ kernel[u, v]
    return y


def reference(network, image):
    arrays = {name: np.asarray(array, np.float64) for name, array in flat(network).items()}

    def layer(x, name, stride=1, relu=True):
        y = convolve(x, arrays[f"{name}.convolution.kernel"], stride)
        y = (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-5)
        y = y * arrays[f"{name}.scale"] + arrays[f"{name}.offset"]
        return np.maximum(y, 0) if relu else y

    def doubled(x):
        return x.repeat(2, 0).repeat(2, 1)

    height, width = image.shape[:2]
    x = np.pad(np.asarray(image, np.float64), ((0, -height % 4), (0, -width % 4), (0, 0)), "edge") - 0.5
    x = layer(layer(layer(x, "first"), "down_1", 2), "down_2", 2)
    for block in ("block_1", "block_2"):
        x = x + layer(layer(x, f"{block}_1"), f"{block}_2", relu=False)
    x = convolve(layer(doubled(layer(doubled(x), "up_1")), "up_2"), arrays["last.kernel"])
    return 1 / (1 + np.exp(-(x + arrays["bias"])))[:height, :width]


@pytest.mark.parametrize("size", [(24, 20), (17, 22)])
def test_images_are_those_of_the_reference(network, size):
    image = js.white_noise(3, *size)
    np.testing.assert_allclose(js.apply_network(network, image), reference(network, image), atol=2e-5)


def test_leading_axes_and_precisions(network):
    images = jnp.stack([js.white_noise(k, 18, 21) for k in range(2)])
    alone = np.stack([js.apply_network(network, image) for image in images])
    np.testing.assert_allclose(js.apply_network(network, images), alone, atol=1e-6)
    np.testing.assert_allclose(js.apply_network(network, images[None])[0], alone, atol=1e-6)
    rough = js.apply_network(network, images, "bfloat16")
    assert rough.dtype == jnp.float32
    assert 0 < np.abs(rough - alone).mean() < 0.05


def test_the_gradient_is_that_of_differences(network):
    image = js.white_noise(3, 16, 16)

    def mean(network):
        return jnp.mean(jnp.square(js.apply_network(network, image)))

    gradient = jax.grad(mean)(network)
    assert all(np.linalg.norm(leaf) > 0 for leaf in jax.tree.leaves(gradient))
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    ahead, behind = (
        mean(jax.tree.map(lambda array, slope, sign=sign: array + sign * 1e-3 * slope / norm, network, gradient))
        for sign in (1, -1)
    )
    assert float((ahead - behind) / 2e-3) == pytest.approx(float(norm), rel=2e-2)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_one_sentence(network):
    image = js.white_noise(3, 16, 16)
    cut = {name: part for name, part in network.items() if name != "block_2_2"}
    for function, message in (
        (lambda: js.apply_network(network, image[:15]), "at least 16 a side"),
        (lambda: js.apply_network(network, image, "half"), "precision"),
        (lambda: js.apply_network({}, image), "load_network returns"),
        (lambda: js.apply_network({"first": {"convolution": image}}, image), "first.convolution of shape"),
        (lambda: js.apply_network({"first": {"convolution": {"kernel": jnp.float32(1)}}}, image), "width"),
        (lambda: js.apply_network({1: image}, image), "of a feed-forward network"),
        (lambda: js.apply_network(None, image), "network is None"),
        (lambda: js.apply_network(cut, image), "block_2_1"),
        (lambda: js.apply_network({**network, "bias": jnp.zeros(4)}, image), r"bias of shape \(4,\), expected \(3,\)"),
        (lambda: js.init_network(jax.random.key(0), width=0), "width is 0"),
        (lambda: js.init_network(jax.random.key(0), blocks=1.5), "blocks is 1.5"),
        (lambda: js.init_network("seed"), "random key"),
    ):
        with pytest.raises(js.InputError, match=message) as error:
            function()
        assert "\n" not in str(error.value)


def test_full_names_and_the_structure(network):
    assert structure(network) == (3, 2)
    again = nested(flat(network))
    assert jax.tree.structure(again) == jax.tree.structure(network)
