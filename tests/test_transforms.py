"""Every function of the library's pure part under every transformation of JAX: one table, each cell a test."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxstyle as js

OBJECTIVE = js.Objective(("relu1_2",), ("relu1_1", "relu2_1"), edges=True)
WEIGHTS = js.LossWeights(1.0, 10.0, 1.0, edges=1.0)
BATCH = 2


@pytest.fixture(scope="module")
def images():
    return jnp.stack([js.white_noise(k, 8, 12) for k in range(BATCH)])


@pytest.fixture(scope="module")
def functions(tiny_params):
    """Name to a function of an image, or of images with leading axes, that returns numbers or arrays for each."""
    painting, content = js.white_noise(7, 12, 8), js.white_noise(8, 8, 12)
    style = js.style_statistics(tiny_params, [painting], OBJECTIVE)
    targets = js.make_targets(tiny_params, content, [painting], OBJECTIVE)
    gram = js.gram_matrix(painting)

    def value_and_grad(image):
        losses, gradient = js.value_and_grad(image, tiny_params, targets, WEIGHTS, OBJECTIVE)
        return losses.total, gradient

    def perceptual_loss(image):
        return js.perceptual_loss(image, image[..., ::-1], tiny_params, style, WEIGHTS, OBJECTIVE)

    return {
        "features": lambda image: js.features(tiny_params, image, ("relu1_1", "pool1")),
        "gram_matrix": js.gram_matrix,
        "content_loss": lambda image: js.content_loss(image, content),
        "style_loss": lambda image: js.style_loss(js.gram_matrix(image), gram),
        "total_variation": js.total_variation,
        "value_and_grad": value_and_grad,
        "perceptual_loss": perceptual_loss,
    }


NAMES = (
    "features",
    "gram_matrix",
    "content_loss",
    "style_loss",
    "total_variation",
    "value_and_grad",
    "perceptual_loss",
)


def loop(function, images):
    """What a loop of single calls returns."""
    results = [function(image) for image in images]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


@pytest.fixture(scope="module")
def expected(functions, images):
    """What a loop of single calls returns, and of their gradients, by name."""
    values = functools.cache(lambda name: loop(functions[name], images))
    return values, functools.cache(lambda name: loop(jax.jit(jax.grad(scalar(functions[name]))), images))


def scalar(function):
    """Any scalar of what a function returns."""
    return lambda images: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(function(images)))


def leading_axes(function, images):
    twice = function(jnp.stack([images, images]))
    return jax.tree.map(lambda leaf: leaf[1], twice)


def scan(function, images):
    return jax.lax.scan(lambda carry, image: (carry, function(image)), None, images)[1]


def shard_map(function, images):
    mesh = jax.make_mesh((BATCH,), ("d",), (AxisType.Auto,), devices=jax.devices()[:BATCH])
    spec = PartitionSpec("d")
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec))(images)


def export(function, images):
    return jax.export.export(jax.jit(function))(jax.ShapeDtypeStruct(images.shape, images.dtype)).call(images)


def x64(function, images):
    with jax.enable_x64(True):
        results = function(images)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {np.dtype("float32")}
    return results


VALUES = {
    "batch": lambda function, images: function(images),
    "leading axes": leading_axes,
    "jit": lambda function, images: jax.jit(function)(images),
    "vmap": lambda function, images: jax.vmap(function)(images),
    "scan": scan,
    "checkpoint": lambda function, images: jax.checkpoint(function)(images),
    "shard_map": shard_map,
    "export": export,
    "x64": x64,
}
GRADIENTS = {
    "grad": lambda function, images: jax.grad(scalar(function))(images),
    "grad of vmap": lambda function, images: jax.grad(scalar(jax.vmap(function)))(images),
    "grad of checkpoint": lambda function, images: jax.grad(scalar(jax.checkpoint(function)))(images),
    "grad of scan": lambda function, images: jax.grad(scalar(functools.partial(scan, function)))(images),
    "jit of grad": lambda function, images: jax.jit(jax.grad(scalar(function)))(images),
}
# The others are sums of products and differences alone.
REVERSE_MODE_ONLY = ("features", "gram_matrix", "style_loss", "value_and_grad", "perceptual_loss")


def check_equal(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("transform", VALUES)
@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_single_calls(functions, images, expected, name, transform):
    check_equal(VALUES[transform](functions[name], images), expected[0](name))


@pytest.mark.parametrize("transform", GRADIENTS)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_single_calls(functions, images, expected, name, transform):
    gradient = expected[1](name)
    assert np.linalg.norm(gradient) > 0
    check_equal(GRADIENTS[transform](functions[name], images), gradient)


@pytest.mark.parametrize("name", NAMES)
def test_forward_mode(functions, images, name):
    function, tangent = functions[name], images[::-1] ** 2
    if name in REVERSE_MODE_ONLY:
        # By JAX; `linearize` refuses once its function is called.
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(function, (images,), (tangent,))
        with pytest.raises(TypeError, match="forward-mode"):
            jax.linearize(function, images)[1](tangent)
    else:
        _, derivative = jax.jvp(function, (images,), (tangent,))
        gradient = jax.grad(lambda images: jnp.sum(function(images)))(images)
        assert float(jnp.sum(derivative)) == pytest.approx(float(jnp.vdot(gradient, tangent)), rel=1e-4)
        check_equal(jax.linearize(function, images)[1](tangent), derivative)


def test_a_target_is_shared_along_leading_axes(images):
    targets, one = images[::-1], images[0]
    grams, shared = js.gram_matrix(images), js.gram_matrix(one)
    both = jnp.stack([images, targets])
    for function, batches, target in ((js.content_loss, both, targets), (js.style_loss, js.gram_matrix(both), grams)):
        check_equal(function(batches, target), jnp.stack([function(batch, target) for batch in batches]))
    check_equal(js.content_loss(both, one), jnp.stack([js.content_loss(batch, one) for batch in both]))
    check_equal(js.style_loss(grams, shared), jnp.stack([js.style_loss(gram, shared) for gram in grams]))


WRONG = {
    "content_loss": (lambda images: js.content_loss(images, images[:1]), "features has shape"),
    "more target axes": (lambda images: js.content_loss(images[0], images), "features has shape"),
    "style_loss": (lambda images: js.style_loss(jnp.zeros((2, 3, 3)), jnp.zeros((3, 3, 3))), "gram has shape"),
    "features": (lambda images: js.features(js.init_params(jax.random.key(0)), images[..., :2], ("relu1_1",)), "RGB"),
    "total_variation": (lambda images: js.total_variation(images[0, 0]), "height, width, 3"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", WRONG)
def test_leading_axes_that_do_not_fit(images, case):
    function, message = WRONG[case]
    with pytest.raises(js.InputError, match=message):
        function(images)
