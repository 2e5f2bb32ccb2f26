"""Every public function of the network and its weights answers wrong types and values with `InputError`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.vgg import network, weights

pytestmark = pytest.mark.usefixtures("unchecked")

IMAGE = np.full((32, 32, 3), 0.5, np.float32)
LAYERS = ("relu1_1", "relu2_1")


def assert_refused(match, function, *args, **options):
    """`InputError` itself, in one line."""
    with pytest.raises(InputError, match=match) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "layers",
    [None, 3, 1.5, "relu1_1", b"relu1_1", (1,), (None,), ([],), ({},), (np.zeros(3),), ("relu1_1", 2), ("fc6",)],
    ids=str,
)
def test_layers(tiny_params, layers):
    for function in (network.check_layers, network.receptive_radius, network.layers_between):
        assert_refused("layer", function, layers)
    assert_refused("layer", js.features, tiny_params, IMAGE, layers)


@pytest.mark.parametrize("layer", [None, 3, "fc6", ("relu1_1",), np.zeros(2)], ids=str)
def test_layer(tiny_params, layer):
    assert_refused("layer", network.stride, layer)
    if layer is not None:
        assert_refused("layer", network.receptive_radius, LAYERS, after=layer)
        assert_refused("layer", network.layers_between, LAYERS, after=layer)
        assert_refused("layer", js.features, tiny_params, IMAGE, LAYERS, after=layer)


def test_no_layers():
    for function in (network.receptive_radius, network.layers_between):
        assert_refused("layers is empty, expected at least one", function, ())


def test_layers_that_are_not_deeper():
    for function in (network.receptive_radius, network.layers_between):
        assert_refused("must all be deeper than relu2_1", function, LAYERS, after="relu2_1")


@pytest.mark.parametrize("option", ["pooling", "padding", "precision", "algorithm"])
@pytest.mark.parametrize("value", [None, 3, "", "none", [], ("max",), np.zeros(2)], ids=str)
def test_options(tiny_params, option, value):
    assert_refused(f"unknown {option}", js.features, tiny_params, IMAGE, LAYERS, **{option: value})


@pytest.mark.parametrize(
    "image", [None, 3, "photo.jpg", [[[0.5] * 3]], IMAGE[0], IMAGE[None, ..., :2], IMAGE.astype("u1")]
)
def test_image(tiny_params, image):
    assert_refused("image", js.features, tiny_params, image, LAYERS)


@pytest.mark.parametrize("frame", [3, "all", (0, 0, 32, 32), {"top": 0}])
def test_frame(tiny_params, frame):
    assert_refused("frame", js.features, tiny_params, IMAGE, LAYERS, frame=frame)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, "expected a feature map"),
        ("relu1_2", "expected a feature map"),
        (np.zeros((32, 4), np.float32), r"of shape \(32, 4\) .* shape \(\.\.\., height, width, 4\)"),
        (np.zeros((32, 32, 3), np.float32), r"expected .* \(\.\.\., height, width, 4\)"),
        (np.zeros((32, 32, 4), np.int32), "dtype int32, expected .* float32"),
        (np.zeros((1, 32, 4), np.float32), "at least 2 a side"),
    ],
)
def test_feature_map_of_another_layer(tiny_params, x, message):
    assert_refused(message, js.features, tiny_params, x, ("relu2_1",), after="relu1_2")


def replaced(params, layer, part, value):
    return {**params, layer: {**params[layer], part: value}}


def removed(params, layer):
    return {name: parts for name, parts in params.items() if name != layer}


NOT_A_DICT = "params is .*, expected the nested dict that load_params returns"
WRONG_PARAMS = {
    "None": (lambda params: None, NOT_A_DICT),
    "path": (lambda params: "vgg19.safetensors", NOT_A_DICT),
    "list": (lambda params: list(params.values()), NOT_A_DICT),
    "empty": (lambda params: {}, "params has no array input.scale"),
    "no input": (lambda params: removed(params, "input"), "params has no array input.scale"),
    "no layer": (lambda params: removed(params, "conv1_2"), "params has no array conv1_2.kernel"),
    "no bias": (lambda params: {**params, "conv1_1": removed(params["conv1_1"], "bias")}, "no array conv1_1.bias"),
    "layer is None": (lambda params: {**params, "conv1_1": None}, "no array conv1_1.kernel"),
    "layer is an array": (lambda params: {**params, "conv1_1": jnp.zeros(3)}, "no array conv1_1.kernel"),
    "kernel is None": (lambda params: replaced(params, "conv1_1", "kernel", None), "no array conv1_1.kernel"),
    "kernel in lists": (lambda params: replaced(params, "conv1_1", "kernel", [[1.0]]), "no array conv1_1.kernel"),
    "rank": (
        lambda params: replaced(params, "conv1_1", "kernel", jnp.zeros((3, 3))),
        r"conv1_1.kernel of params has shape \(3, 3\), expected \(3, 3, 3, any\)",
    ),
    "5x5": (
        lambda params: replaced(params, "conv1_1", "kernel", jnp.zeros((5, 5, 3, 4))),
        r"conv1_1.kernel of params has shape \(5, 5, 3, 4\), expected \(3, 3, 3, any\)",
    ),
    "channels": (
        lambda params: replaced(params, "conv1_2", "kernel", jnp.zeros((3, 3, 7, 4))),
        r"conv1_2.kernel of params has shape \(3, 3, 7, 4\), expected \(3, 3, 4, any\)",
    ),
    "no channels": (
        lambda params: replaced(params, "conv1_2", "kernel", jnp.zeros((3, 3, 4, 0))),
        r"conv1_2.kernel of params has shape \(3, 3, 4, 0\), expected \(3, 3, 4, any\)",
    ),
    "bias": (
        lambda params: replaced(params, "conv1_2", "bias", jnp.zeros(5)),
        r"conv1_2.bias of params has shape \(5,\), expected \(4\)",
    ),
    "scale": (
        lambda params: replaced(params, "input", "scale", jnp.zeros(())),
        r"input.scale of params has shape \(\), expected \(3\)",
    ),
    "integers": (
        lambda params: jax.tree.map(lambda x: x.astype(jnp.int32), params),
        "input.scale of params has dtype int32, expected float32",
    ),
}


@pytest.mark.parametrize("case", WRONG_PARAMS)
def test_params(tiny_params, case):
    change, message = WRONG_PARAMS[case]
    assert_refused(message, js.features, change(tiny_params), IMAGE, LAYERS)


def test_numpy_params_are_fine(tiny_params):
    features = js.features(jax.tree.map(np.asarray, tiny_params), IMAGE, LAYERS)
    np.testing.assert_array_equal(features["relu2_1"], js.features(tiny_params, IMAGE, LAYERS)["relu2_1"])


@pytest.mark.parametrize("key", [None, 0, "key", np.zeros(2), jnp.zeros(2), jnp.zeros(3, jnp.uint32)], ids=str)
def test_key(key):
    assert_refused("key", js.init_params, key, widths=(2,) * 5)


def test_several_keys():
    assert_refused("key", js.init_params, jax.random.split(jax.random.key(0)), widths=(2,) * 5)


@pytest.mark.parametrize(
    "widths",
    [None, 8, "8", "abcde", (), (8,) * 4, (8,) * 6, (8, 8, 0, 8, 8), (8, 8, -8, 8, 8), (8.5,) * 5, (None,) * 5],
)
def test_widths(widths):
    assert_refused("widths", js.init_params, jax.random.key(0), widths=widths)


@pytest.mark.parametrize(
    "source",
    [None, 3, 1.5, True, b"oxford", [], ["oxford"], ("oxford",), {}, np.array(["oxford", "x"]), print],
    ids=repr,
)
def test_weights(source):
    assert_refused("expected", js.load_params, source)
    assert_refused("expected", weights.weights_sha256, source)
    for function in (weights.verify_weights, weights.fetch_weights):
        assert_refused("unknown weights", function, source)


class BytesPath:
    """A path whose text is bytes, as `os.scandir(b".")` yields."""

    def __fspath__(self):
        return b"missing.safetensors"


def test_path_of_bytes():
    assert_refused("'missing.safetensors' is neither", js.load_params, BytesPath())
