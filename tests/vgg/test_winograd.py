"""Winograd convolution against float64 references, with every division into strips and parts."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxstyle as js
from jaxstyle.vgg import winograd as module
from jaxstyle.vgg.winograd import winograd_convolution as eager

winograd = jax.jit(eager, static_argnames=("relu", "transpose"))

# At least one of every width.
LAYERS = ("relu1_1", "conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_1")


def draw(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (4, 4), (5, 8), (19, 13)])
def test_convolution_and_its_transpose(height, width):
    x, kernel, bias = draw(0, height, width, 3), draw(1, 3, 3, 3, 2), draw(2, 2)
    exact = reference.convolve(np.float64(x), np.float64(kernel))
    np.testing.assert_allclose(winograd(jnp.asarray(x), jnp.asarray(kernel)), exact, atol=2e-5)
    ours = winograd(jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(bias), relu=True)
    np.testing.assert_allclose(ours, np.maximum(exact + bias, 0), atol=2e-5)
    y = draw(3, height, width, 2)
    flipped = np.float64(kernel)[::-1, ::-1].swapaxes(2, 3)
    ours = winograd(jnp.asarray(y), jnp.asarray(kernel), transpose=True)
    np.testing.assert_allclose(ours, reference.convolve(np.float64(y), flipped), atol=2e-5)


@pytest.mark.parametrize(("strip", "parallel"), [(4, 2**24), (4, 1), (10**6, 2**24), (10**6, 1)])
@pytest.mark.parametrize("transpose", [False, True])
def test_strips_and_parts_do_not_change_the_result(monkeypatch, strip, parallel, transpose):
    monkeypatch.setattr(module, "TILES_PER_STRIP", strip)
    monkeypatch.setattr(module, "MIN_PARALLEL_MULTIPLICATIONS", parallel)
    winograd = jax.jit(functools.partial(eager, transpose=transpose))
    x, kernel = draw(0, 21, 18, 5 if transpose else 4), draw(1, 3, 3, 4, 5)
    exact = np.float64(kernel)[::-1, ::-1].swapaxes(2, 3) if transpose else np.float64(kernel)
    ours = winograd(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(ours, reference.convolve(np.float64(x), exact), atol=3e-5)


def test_nonfinite_inputs_stay_nonfinite():
    for value, transpose in itertools.product((jnp.nan, jnp.inf), (False, True)):
        x = jnp.ones((9, 9, 2)).at[5, 5, 0].set(value)
        y = np.asarray(winograd(x, jnp.ones((3, 3, 2, 2)), transpose=transpose))
        assert not np.isfinite(y[4:7, 4:7]).any()


@pytest.mark.long
@pytest.mark.parametrize("side", [64, 100])
def test_features_of_the_real_network_equal_those_of_direct_convolution(real_params, side):
    image = js.white_noise(0, side, side)
    direct = js.features(real_params, image, LAYERS, algorithm="direct")
    ours = js.features(real_params, image, LAYERS, algorithm="winograd")
    for layer in LAYERS:
        error = np.linalg.norm(ours[layer] - direct[layer]) / np.linalg.norm(direct[layer])
        assert error < 3e-6, (layer, error)


def float64_gradient(params, photo, painting, image):
    """The notebook's loss by direct convolutions in float64, differentiated by JAX."""
    style = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

    def wide(x):
        return jnp.asarray(np.float64(x))

    def features(x):
        x, found = x * wide(params["input"]["scale"])[None, None] + wide(params["input"]["shift"])[None, None], {}
        for block, count in enumerate((2, 2, 4, 4, 1), 1):
            if block > 1:
                x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))
            for number in range(1, count + 1):
                layer = params[f"conv{block}_{number}"]
                y = jax.lax.conv_general_dilated(
                    x[None], wide(layer["kernel"]), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )[0]
                x = found[f"relu{block}_{number}"] = jnp.maximum(y + wide(layer["bias"])[None, None], 0.0)
        return found

    def gram(x):
        flat = x.reshape(-1, x.shape[-1])
        return flat.T @ flat / flat.shape[0]

    content = features(wide(photo))["relu4_2"]
    grams = {layer: gram(x) for layer, x in features(wide(painting)).items() if layer in style}

    def loss(x):
        found = features(x)
        terms = [
            1e3 / len(target) ** 2 * jnp.mean((gram(found[layer]) - target) ** 2) for layer, target in grams.items()
        ]
        return jnp.mean((found["relu4_2"] - content) ** 2) + sum(terms)

    return np.asarray(jax.grad(loss)(wide(image)))


@pytest.mark.long
def test_gradient_of_the_real_network_equals_that_of_direct_convolution_in_float64(real_params):
    photo, painting, image = (js.white_noise(seed, 96, 96) for seed in (0, 1, 2))
    numbers = jax.tree.map(np.asarray, (real_params, photo, painting, image))
    with jax.enable_x64(True):
        exact = float64_gradient(*numbers)
    for algorithm, bar in (("direct", 1e-5), ("winograd", 1e-5)):
        objective = js.Objective(algorithm=algorithm)
        targets = js.make_targets(real_params, photo, [painting], objective)
        _, ours = js.value_and_grad(image, real_params, targets, js.LossWeights(), objective)
        error = np.linalg.norm(np.float64(ours) - exact) / np.linalg.norm(exact)
        assert error < bar, (algorithm, error)


def test_a_batch_is_convolved_image_by_image_and_shares_the_kernels():
    x, kernel = draw(0, 3, 21, 18, 4), jnp.asarray(draw(1, 3, 3, 4, 5))
    x[0, 0, 0] = np.nan  # Must not affect the others.
    batched = jax.vmap(eager, in_axes=(0, None))
    y = batched(jnp.asarray(x), kernel)
    for k in (1, 2):
        # Against the reference: batched and single products may be summed in other orders (jaxlib 0.12 does so).
        np.testing.assert_allclose(y[k], reference.convolve(np.float64(x[k]), np.float64(kernel)), atol=3e-5)
    # One set of transformed kernels, in however many parts.
    assert "[3,18,4,5]" not in str(jax.make_jaxpr(batched)(jnp.asarray(x), kernel))
