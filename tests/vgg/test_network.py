"""The network against a slow float64 reference; its layers, options and random params."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jaxstyle.errors import InputError
from jaxstyle.vgg import network


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


def assert_close(actual, expected, tolerance, layer=""):
    """Compare within a fraction of the largest value, since small values are differences of large ones."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(
        actual, expected, atol=tolerance * max(np.abs(expected).max(), 1e-30), rtol=0, err_msg=layer
    )


def test_layers_are_those_of_the_paper():
    assert len(network.LAYERS) == 16 + 16 + 5
    assert network.LAYERS[:6] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1")
    assert network.LAYERS[-3:] == ("conv5_4", "relu5_4", "pool5")
    assert tuple(layer for layer in network.LAYERS if layer.startswith("conv")) == network.CONVOLUTIONS


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
@pytest.mark.parametrize("size", [(37, 50), (32, 33)])
def test_every_layer_against_the_reference(tiny_params, size, pooling, padding):
    image = draw(0, *size, 3)
    taps = network.features(tiny_params, image, network.LAYERS, pooling=pooling, padding=padding)
    slow = reference.features(
        reference.float64(tiny_params), np.asarray(image, "f8"), network.LAYERS, pooling=pooling, padding=padding
    )
    assert set(taps) == set(network.LAYERS)
    for layer in network.LAYERS:
        assert taps[layer].shape[:2] == (size[0] // network.stride(layer), size[1] // network.stride(layer))
        assert taps[layer].dtype == jnp.float32
        assert_close(taps[layer], slow[layer], 2e-6, layer)


def test_real_weights_against_the_reference(real_params, china):
    layers = ("conv1_1", "relu1_1", "pool1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
    taps = network.features(real_params, china, layers)
    slow = reference.features(reference.float64(real_params), np.asarray(china, "f8"), layers)
    for layer in layers:
        assert_close(taps[layer], slow[layer], 5e-6, layer)
        # Dead layers would agree too.
        assert np.mean(np.abs(taps[layer]) > 0) > 0.02


def test_replicated_borders_change_the_border_only(tiny_params):
    image = draw(0, 16, 16, 3)
    zeros, copies = (
        network.features(tiny_params, image, ("conv1_1",), padding=padding)["conv1_1"]
        for padding in ("zeros", "replicate")
    )
    np.testing.assert_array_equal(zeros[1:-1, 1:-1], copies[1:-1, 1:-1])
    assert np.abs(zeros - copies)[0].min() > 0
    # A constant image gives constant features.
    flat = network.features(tiny_params, jnp.full((16, 16, 3), 0.3), ("conv1_1",), padding="replicate")["conv1_1"]
    np.testing.assert_allclose(flat, jnp.broadcast_to(flat[8, 8], flat.shape), atol=1e-6)


def test_input_scaling_is_part_of_the_params(tiny_params):
    image = draw(0, 8, 8, 3)
    scale, shift = jnp.array([255.0, 100.0, 1.0]), jnp.array([-1.0, 2.0, 0.5])
    params = {**tiny_params, "input": {"scale": scale, "shift": shift}}
    plain = {**tiny_params, "input": {"scale": jnp.ones(3), "shift": jnp.zeros(3)}}
    np.testing.assert_allclose(
        network.features(params, image, ("relu1_1",))["relu1_1"],
        network.features(plain, image * scale[None, None] + shift[None, None], ("relu1_1",))["relu1_1"],
        rtol=1e-5,
        atol=1e-4,
    )


def count_convolutions(jaxpr):
    """Number of convolutions in a jaxpr and all nested ones."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == "conv_general_dilated"
        for parameter in equation.params.values():
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                count += count_convolutions(inner)
    return count


@pytest.mark.parametrize(
    ("layers", "convolutions"),
    [
        (("conv1_1",), 1),
        (("relu1_1",), 1),
        (("relu2_1",), 3),
        (("pool2", "relu1_2"), 4),
        (("relu4_2",), 10),
        (("relu1_1", "relu5_1"), 13),
        (("pool5",), 16),
    ],
)
def test_only_the_requested_depth_is_evaluated(tiny_params, layers, convolutions):
    jaxpr = jax.make_jaxpr(lambda params, image: network.features(params, image, layers))(
        tiny_params, jnp.zeros((32, 32, 3))
    )
    assert count_convolutions(jaxpr.jaxpr) == convolutions


def test_no_layers_give_no_features(tiny_params):
    assert network.features(tiny_params, jnp.zeros((1, 1, 3)), ()) == {}


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
def test_constant_images_have_finite_gradients(tiny_params, pooling, value):
    gradient = _gradient_of_everything(tiny_params, jnp.full((32, 32, 3), value), pooling)
    assert jnp.all(jnp.isfinite(gradient))
    assert jnp.any(gradient != 0)


@functools.partial(jax.jit, static_argnames="pooling")
def _gradient_of_everything(params, image, pooling):
    def total(image):
        taps = network.features(params, image, network.LAYERS, pooling=pooling)
        return sum(jnp.sum(tap) for tap in taps.values())

    return jax.grad(total)(image)


def test_bfloat16_is_a_few_per_cent_off(real_params, china):
    layers = ("relu1_1", "relu3_1", "relu5_1")
    exact, draft = (
        network.features(real_params, china, layers, precision=precision) for precision in ("highest", "bfloat16")
    )
    for layer in layers:
        assert draft[layer].dtype == jnp.float32
        error = jnp.linalg.norm(draft[layer] - exact[layer]) / jnp.linalg.norm(exact[layer])
        # Rounded to 8 bits, so neither exact nor far.
        assert 1e-4 < error < 0.03, layer


def test_default_precision_is_float32_on_cpu(tiny_params):
    image = draw(0, 16, 16, 3)
    highest, default = (
        network.features(tiny_params, image, ("relu2_1",), precision=p)["relu2_1"] for p in ("highest", "default")
    )
    np.testing.assert_allclose(default, highest, atol=1e-6)


def test_init_params_have_the_shapes_of_vgg():
    params = jax.eval_shape(network.init_params, jax.random.key(0))
    assert set(params) == {"input", *network.CONVOLUTIONS}
    assert params["conv1_1"]["kernel"].shape == (3, 3, 3, 64)
    assert params["conv3_1"]["kernel"].shape == (3, 3, 128, 256)
    assert params["conv5_4"]["bias"].shape == (512,)
    # The convolutional part of VGG-19: a published number.
    convolutions = sum(leaf.size for layer in network.CONVOLUTIONS for leaf in params[layer].values())
    assert convolutions == 20_024_384


def test_init_params_are_he_normal():
    params = network.init_params(jax.random.key(3), widths=(4, 4, 8, 8, 8))
    # All with 8 channels in, together enough numbers to judge by.
    layers = [layer for layer in network.CONVOLUTIONS if params[layer]["kernel"].shape[2] == 8]
    kernels = np.stack([params[layer]["kernel"] for layer in layers])
    assert len(layers) == 11
    np.testing.assert_allclose(kernels.std(), np.sqrt(2 / (9 * 8)), rtol=0.04)
    assert abs(kernels.mean()) < 0.05 * kernels.std()
    assert len({kernel.tobytes() for kernel in kernels}) == 11
    for layer in network.CONVOLUTIONS:
        np.testing.assert_array_equal(params[layer]["bias"], 0)
    # White is 1 and black is -1.
    np.testing.assert_array_equal(params["input"]["scale"], 2.0)
    np.testing.assert_array_equal(params["input"]["shift"], -1.0)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("relu4_2", "relu4_5", "block1"), "unknown layer 'relu4_5', 'block1': expected .*relu4_2 is after the ReLU"),
        (("conv1_3",), "unknown layer 'conv1_3'"),
        (("pool6",), "unknown layer 'pool6'"),
        (("relu1_1", "relu2_1", "relu1_1"), "contains duplicates"),
        ("relu4_2", r"layers is 'relu4_2', expected a sequence of layer names such as \('relu4_2',\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_layers_are_refused(tiny_params, layers, message):
    with pytest.raises(InputError, match=message):
        network.features(tiny_params, jnp.zeros((32, 32, 3)), layers)


@pytest.mark.usefixtures("unchecked")
def test_wrong_options_are_refused(tiny_params):
    for options, message in (
        ({"pooling": "mean"}, "unknown pooling 'mean', expected one of 'max', 'avg', 'l2'"),
        ({"padding": "reflect"}, "unknown padding 'reflect', expected one of 'zeros', 'replicate'"),
        ({"precision": "float64"}, "unknown precision 'float64', expected one of 'highest', 'default', 'bfloat16'"),
    ):
        with pytest.raises(InputError, match=message):
            network.features(tiny_params, jnp.zeros((32, 32, 3)), ("relu1_1",), **options)


@pytest.mark.usefixtures("unchecked")
def test_wrong_images_are_refused(tiny_params):
    for image, message in (
        (np.zeros((32, 32, 3), np.uint8), "8-bit pixels are divided by 255"),
        (np.zeros((32, 32), np.float32), r"expected \(..., height, width, 3\): RGB, for a gray image"),
        (np.zeros((15, 32, 3), np.float32), "32x15 pixels, expected at least 16 a side"),
    ):
        with pytest.raises(InputError, match=message):
            network.features(tiny_params, image, ("relu5_1",))
    assert network.features(tiny_params, jnp.zeros((16, 17, 3)), ("relu5_1",))["relu5_1"].shape == (1, 1, 8)


def test_stride():
    assert [network.stride(f"relu{block}_1") for block in range(1, 6)] == [1, 2, 4, 8, 16]
    assert [network.stride(f"pool{block}") for block in range(1, 6)] == [2, 4, 8, 16, 32]
    with pytest.raises(InputError, match="unknown layer 'fc6'"):
        network.stride("fc6")


@pytest.mark.parametrize("after", ["conv1_2", "conv4_2"])
def test_after_a_convolution_the_relu_is_applied(tiny_params, after):
    layers = (after, "relu" + after[4:], "relu4_4")
    taps = network.features(
        tiny_params, jnp.asarray(np.float32(np.random.default_rng(0).random((48, 48, 3)))) - 0.5, layers
    )
    assert float(taps[after].min()) < 0
    later = network.features(tiny_params, taps[after], layers[1:], after=after)
    for layer in layers[1:]:
        np.testing.assert_allclose(later[layer], taps[layer], atol=1e-6)


def test_winograd_is_float32_only(tiny_params):
    with pytest.raises(InputError, match="supports float32 only, got precision 'bfloat16'"):
        network.features(tiny_params, jnp.zeros((32, 32, 3)), ("relu1_1",), algorithm="winograd", precision="bfloat16")
