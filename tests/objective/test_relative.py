"""Relative weights: the terms in units of the targets' own size, in NumPy float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxstyle as js
from jaxstyle.image.canvas import on_canvas
from jaxstyle.objective.relative import relative_weights

OBJECTIVE = js.Objective(("relu2_2", "relu4_2"), ("relu1_1", "relu3_1"), neighbor_layers=("relu2_1",), bank_size=10)
WEIGHTS = js.LossWeights((2.0, 3.0), (5.0, 7.0), 0.5, neighbors=4.0, edges=6.0, temporal=8.0)


@pytest.mark.parametrize("normalization", ["notebook", "paper"])
def test_terms_are_relative_errors(tiny_params, china, starry, normalization):
    objective = dataclasses.replace(OBJECTIVE, normalization=normalization, edges=True, temporal=True)
    image = 0.5 * china + 0.5 * js.white_noise(0, *china.shape[:2])
    previous = js.Warped(china, jnp.ones((*china.shape[:2], 1)))
    targets = js.make_targets(tiny_params, china, [starry], objective, previous=previous)
    weights = relative_weights(WEIGHTS, targets, objective, china.shape[:2])
    losses, _ = js.value_and_grad(image, tiny_params, targets, weights, objective)

    params, layers = reference.float64(tiny_params), objective.content_layers + objective.style_layers
    ours, photo, style = (reference.features(params, reference.float64(x), layers) for x in (image, china, starry))
    content = [((ours[k] - photo[k]) ** 2).sum() / (photo[k] ** 2).sum() for k in objective.content_layers]
    grams = {k: [reference.raw_gram(x[k]) / reference.positions(x[k]) for x in (ours, style)] for k in layers}
    terms = [((G - A) ** 2).sum() / (A**2).sum() for G, A in (grams[k] for k in objective.style_layers)]
    np.testing.assert_allclose(losses.content, np.dot((2, 3), content), rtol=1e-4)
    np.testing.assert_allclose(losses.style, np.dot((5, 7), terms), rtol=1e-3)
    assert (weights.tv, weights.neighbors, weights.edges, weights.temporal) == (0.5, 4.0, 6.0, 8.0)


@pytest.mark.parametrize("style_loss", ["covariance", "mean+std", "wasserstein"])
def test_other_style_losses_have_units_too(tiny_params, china, starry, style_loss):
    objective = dataclasses.replace(OBJECTIVE, style_loss=style_loss, neighbor_layers=())
    targets = js.make_targets(tiny_params, china, [starry], objective)
    weights = relative_weights(js.LossWeights(), targets, objective, china.shape[:2])
    assert np.all(np.isfinite(weights.style))
    assert np.all(np.asarray(weights.style) > 0)


def test_on_a_canvas_and_in_a_batch_they_are_the_same(tiny_params, china, starry):
    targets = js.make_targets(tiny_params, china, [starry], OBJECTIVE)
    alone = relative_weights(WEIGHTS, targets, OBJECTIVE, china.shape[:2])
    canvas = js.make_targets(tiny_params, on_canvas(china, 80, 112), [starry], OBJECTIVE)
    found = relative_weights(WEIGHTS, canvas, OBJECTIVE, (canvas.extent[0], canvas.extent[1]))
    np.testing.assert_allclose(found.content, alone.content, rtol=1e-5)
    np.testing.assert_allclose(found.style, alone.style, rtol=1e-5)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), targets)
    found = jax.vmap(lambda targets: relative_weights(WEIGHTS, targets, OBJECTIVE, china.shape[:2]))(batch)
    np.testing.assert_allclose(found.content[1], alone.content, rtol=1e-5)


def test_a_black_photo_has_no_weight(tiny_params, starry):
    """Without biases its features are zero."""
    params = jax.tree.map(lambda leaf: leaf if leaf.ndim > 1 else 0 * leaf, tiny_params | {"input": {}})
    params["input"] = {"scale": jnp.ones(3), "shift": jnp.zeros(3)}
    black = jnp.zeros((32, 32, 3))
    targets = js.make_targets(params, black, [starry], OBJECTIVE)
    assert np.all(np.asarray(relative_weights(WEIGHTS, targets, OBJECTIVE, (32, 32)).content) == 0)
