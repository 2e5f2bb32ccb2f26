"""The public functions inside `jax.shard_map`, and with a batch that is sharded on a mesh of Explicit axes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxstyle as js
from jaxstyle.minimize.step import init_unchecked
from jaxstyle.vgg.layers import MIN_CHANNELS, convolution

DEVICES = 2
SPEC = PartitionSpec("d")
OBJECTIVE = js.Objective(("relu3_1",), ("relu1_1", "relu2_1", "pool2"))
LAYERS = ("relu1_1", "relu2_1")


@pytest.fixture(scope="module")
def batch():
    return jnp.stack([js.white_noise(k, 32, 36) for k in range(DEVICES)])


def shard_mapped(function, in_specs=SPEC, out_specs=SPEC):
    """The function of the images of each device."""
    mesh = jax.make_mesh((DEVICES,), ("d",), (AxisType.Auto,), devices=jax.devices()[:DEVICES])
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs))


def on_explicit_mesh(function, batch, *others):
    """The function of a batch that is sharded on a mesh of Explicit axes."""
    mesh = jax.make_mesh((DEVICES,), ("d",), (AxisType.Explicit,), devices=jax.devices()[:DEVICES])
    with jax.set_mesh(mesh):
        placed = jax.tree.map(lambda array: jax.device_put(array, NamedSharding(mesh, SPEC)), batch)
        return jax.tree.map(np.asarray, jax.jit(function)(placed, *others))


def check_equal(found, expected, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


def feature_loss(params, image):
    maps = js.features(params, image, LAYERS)
    grams = [js.gram_matrix(features) for features in maps.values()]
    return sum(js.style_loss(gram, jnp.eye(len(gram))) for gram in grams) + js.total_variation(image)


def batch_loss(params, images):
    return jnp.mean(jax.vmap(functools.partial(feature_loss, params))(images))


def test_the_image_gradient(tiny_params, batch):
    gradient = jax.vmap(jax.grad(functools.partial(feature_loss, tiny_params)))
    expected = gradient(batch)
    check_equal(shard_mapped(gradient)(batch), expected)
    mesh = jax.make_mesh((DEVICES,), ("d",), (AxisType.Auto,), devices=jax.devices()[:DEVICES])
    check_equal(jax.shard_map(gradient, mesh=mesh, in_specs=SPEC, out_specs=SPEC)(batch), expected)
    check_equal(on_explicit_mesh(gradient, batch), expected)


def test_the_parameters_gradient_is_summed_over_the_devices(tiny_params, batch):
    """As for the weights of any network in data-parallel training: replicated weights, a sum over the devices."""
    used = {layer: tiny_params[layer] for layer in ("conv1_1", "conv1_2", "conv2_1")}

    def loss(params, images):
        return batch_loss({**tiny_params, **params}, images)

    expected = jax.grad(loss)(used, batch)
    assert all(np.linalg.norm(leaf) > 0 for leaf in jax.tree.leaves(expected))

    def of_device(params, images):
        return jax.tree.map(lambda leaf: leaf / DEVICES, jax.grad(loss)(params, images))

    found = shard_mapped(of_device, (PartitionSpec(), SPEC), PartitionSpec())(used, batch)
    check_equal(found, expected)
    found = on_explicit_mesh(lambda images, params: jax.grad(loss)(params, images), batch, used)
    check_equal(found, expected)


def test_varying_parameters_and_one_image(tiny_params, batch):
    """An ensemble: the devices have parameters of their own. The gradient of the one image is a sum over them."""
    kernels = jnp.stack([tiny_params["conv1_1"]["kernel"] * (1 + k / 8) for k in range(DEVICES)])

    def gradients(kernels):
        def of_one(kernel):
            params = {**tiny_params, "conv1_1": {**tiny_params["conv1_1"], "kernel": kernel}}
            return jax.grad(functools.partial(feature_loss, params))(batch[0])

        return jax.vmap(of_one)(kernels)

    found = shard_mapped(gradients, out_specs=PartitionSpec())(kernels)
    check_equal(found, jnp.sum(gradients(kernels), axis=0, keepdims=True))


VARIANTS = {
    "gram": {},
    "avg": {"pooling": "avg"},
    "l2": {"pooling": "l2"},
    "replicate": {"padding": "replicate"},
    "covariance": {"style_loss": "covariance"},
    "edges": {"edges": True},
    "temporal": {"temporal": True},
    "winograd": {"algorithm": "winograd"},
    "window": {"window": 32},
    "wasserstein": {"style_loss": "wasserstein"},
    "eigh": {"style_loss": "wasserstein", "matrix_root": "eigh"},
    "newton-schulz": {"style_loss": "wasserstein", "matrix_root": "newton-schulz"},
    "neighbors": {"neighbor_layers": ("relu3_1",), "bank_size": 32},
    "neighbors in windows": {"neighbor_layers": ("relu3_1",), "bank_size": 32, "window": 32},
}


def problem(params, batch, variant):
    objective = dataclasses.replace(OBJECTIVE, **VARIANTS[variant])
    previous = js.Warped(batch[1], batch[1, :, :, :1]) if objective.temporal else None
    targets = js.make_targets(params, batch[0], [batch[1, :30, :33]], objective, previous=previous)
    weights = js.LossWeights(1.0, 1e3, 1e3, edges=float(objective.edges), temporal=float(objective.temporal))
    return params, targets, weights, objective


@pytest.mark.parametrize("variant", VARIANTS)
def test_value_and_grad_in_shard_map(tiny_params, batch, variant):
    arguments = problem(tiny_params, batch, variant)
    evaluate = jax.vmap(lambda image: js.value_and_grad(image, *arguments))
    check_equal(shard_mapped(evaluate)(batch), evaluate(batch), 1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_value_and_grad_on_an_explicit_mesh(tiny_params, batch, variant):
    arguments = problem(tiny_params, batch, variant)
    evaluate = jax.vmap(lambda image: js.value_and_grad(image, *arguments))
    check_equal(on_explicit_mesh(evaluate, batch), evaluate(batch), 1e-4)


def test_wide_layers():
    """In which the algorithm depends on the platform of the compiled program."""
    channels = MIN_CHANNELS
    images = jnp.asarray(np.float32(np.random.default_rng(0).normal(size=(DEVICES, 32, 32, channels))))
    kernel = jnp.asarray(np.float32(np.random.default_rng(1).normal(size=(3, 3, channels, channels))))

    def loss(image):
        return jnp.sum(jnp.square(convolution(image, kernel, jnp.ones(channels), True, "highest", "auto")))

    gradient = jax.vmap(jax.grad(loss))
    check_equal(shard_mapped(gradient)(images), gradient(images))
    check_equal(on_explicit_mesh(gradient, images), gradient(images))


OPTIMIZERS = {"lbfgs": js.lbfgs(2), "adam": js.adam()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps(tiny_params, batch, name):
    optimizer = OPTIMIZERS[name]
    arguments = *problem(tiny_params, batch, "gram"), optimizer

    def steps(state):
        step = jax.vmap(lambda state: js.step(state, *arguments))
        state = jax.lax.fori_loop(0, 3, lambda _, state: step(state), state)
        return state.best_image, state.best_loss

    def start(images):
        return init_unchecked(images, optimizer)

    expected = steps(start(batch))
    check_equal(shard_mapped(lambda images: steps(start(images)))(batch), expected, 1e-4)
    check_equal(on_explicit_mesh(steps, start(batch)), expected, 1e-4)
