"""The perceptual loss: values of the objective, gradients of what made the image, and bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js

OBJECTIVE = js.Objective(("relu2_2",), ("relu1_1", "relu2_1"))
WEIGHTS = js.LossWeights(1.0, 10.0, 1.0)
VARIANTS = {
    "gram": {},
    "windows": {"window": 32},
    "wasserstein": {"style_loss": "wasserstein"},
    "neighbors and edges": {"neighbor_layers": ("relu2_1",), "bank_size": 16, "edges": True},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.fixture(scope="module")
def pictures():
    """Images, their contents, and a painting."""
    images, contents = (jnp.stack([js.white_noise(10 * n + k, 40, 48) for k in range(2)]) for n in (1, 2))
    return images, contents, js.white_noise(3, 36, 32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_the_loss_of_targets_of_these_contents(tiny_params, pictures, variant):
    images, contents, painting = pictures
    objective = dataclasses.replace(OBJECTIVE, **VARIANTS[variant])
    weights = WEIGHTS._replace(edges=float(objective.edges))
    style = js.style_statistics(tiny_params, [painting], objective)

    def total(images):
        losses = js.perceptual_loss(images, contents, tiny_params, style, weights, objective)
        return jnp.sum(losses.total), losses

    (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(images)
    for k, (image, content) in enumerate(zip(images, contents, strict=True)):
        targets = js.make_targets(tiny_params, content, [painting], objective)
        expected, slope = js.value_and_grad(image, tiny_params, targets, weights, objective)
        tolerance = 2e-2 if variant == "bfloat16" else 1e-4
        for name, one, other in zip(expected._fields, losses, expected, strict=True):
            assert float(one[k]) == pytest.approx(float(other), rel=tolerance, abs=1e-6), name
        assert np.linalg.norm(gradient[k] - slope) < 10 * tolerance * np.linalg.norm(slope)


def test_an_objective_of_one_kind_of_layers(tiny_params, pictures):
    images, contents, painting = pictures
    for layers in ((("relu2_2",), ()), ((), ("relu1_1",))):
        objective = js.Objective(*layers)
        style = js.style_statistics(tiny_params, [painting], objective)
        losses = js.perceptual_loss(images, contents, tiny_params, style, WEIGHTS, objective)
        assert np.all(np.asarray(losses.content) > 0) == bool(layers[0])
        assert np.all(np.asarray(losses.style) > 0) == bool(layers[1])


def test_contents_are_constants(tiny_params, pictures):
    images, contents, painting = pictures
    style = js.style_statistics(tiny_params, [painting], OBJECTIVE)

    def loss(contents):
        return jnp.sum(js.perceptual_loss(images, contents, tiny_params, style, WEIGHTS, OBJECTIVE).total)

    assert not np.any(jax.grad(loss)(contents))


def test_a_network_learns_by_it(tiny_params, pictures):
    """A color matrix, trained on one batch: the loss falls, and its gradient is that of differences."""
    _, contents, painting = pictures
    style = js.style_statistics(tiny_params, [painting], OBJECTIVE)
    optimizer = optax.sgd(0.05)

    def loss(matrix):
        images = jnp.einsum("bhwc,cd->bhwd", contents, matrix)
        return jnp.mean(js.perceptual_loss(images, contents, tiny_params, style, WEIGHTS, OBJECTIVE).total)

    matrix = 0.5 * jnp.eye(3)
    value, gradient = jax.value_and_grad(loss)(matrix)
    direction = gradient / jnp.linalg.norm(gradient)
    slope = (loss(matrix + 1e-2 * direction) - loss(matrix - 1e-2 * direction)) / 2e-2
    assert float(slope) == pytest.approx(float(jnp.linalg.norm(gradient)), rel=2e-2)

    def train(carry, _):
        matrix, state = carry
        value, gradient = jax.value_and_grad(loss)(matrix)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(matrix, updates), state), value

    (matrix, _), values = jax.jit(lambda start: jax.lax.scan(train, start, None, 10))((matrix, optimizer.init(matrix)))
    assert float(values[0]) == pytest.approx(float(value), rel=1e-4)
    assert float(loss(matrix)) < 0.75 * float(value)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_in_one_sentence(tiny_params, pictures):
    images, contents, painting = pictures
    style = js.style_statistics(tiny_params, [painting], OBJECTIVE)
    other = js.Objective(("relu2_2",), ("relu3_1",))
    stacked = jax.tree.map(lambda array: array[None], style)
    right = images, contents, tiny_params, style, WEIGHTS, OBJECTIVE
    for index, wrong, message in (
        (0, images[0], r"image has shape \(40, 48, 3\) and content \(2, 40, 48, 3\)"),
        (0, images[..., 0], "RGB"),
        (0, np.asarray(images * 255, np.uint8), "float32"),
        (1, None, "content is None"),
        (2, {}, "params"),
        (3, style.grams, "style_statistics computes them"),
        (3, style._replace(grams={}), "style has no layer relu1_1"),
        (3, stacked, r"shape \(1, 4, 4\) at relu1_1, expected \(4, 4\)"),
        (4, js.LossWeights(-1.0), "content weight"),
        (5, other, "style has no layer relu3_1"),
        (5, dataclasses.replace(OBJECTIVE, temporal=True), "temporal"),
        (5, None, "objective"),
    ):
        with pytest.raises(js.InputError, match=message):
            js.perceptual_loss(*(wrong if k == index else part for k, part in enumerate(right)))
    with pytest.raises(js.InputError, match="expected a list"):
        js.style_statistics(tiny_params, painting, OBJECTIVE)
    with pytest.raises(js.InputError, match="style"):
        js.style_statistics(tiny_params, [painting[..., :2]], OBJECTIVE)
