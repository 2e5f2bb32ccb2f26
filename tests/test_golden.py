"""The network and the losses against PyTorch, whose values make_golden.py has stored."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from golden_pictures import DATA, pattern, picture

import jaxstyle as js

GOLDEN = json.loads((DATA / "golden.json").read_text())


def assert_agrees(array, golden, label):
    """To 1e-4 of the mean size of a value, or of the value itself."""
    flat = np.asarray(array, "f8").ravel()
    assert list(array.shape) == golden["shape"], label
    size = golden["norm"] / np.sqrt(flat.size)
    assert size > 0
    np.testing.assert_allclose(np.linalg.norm(flat), golden["norm"], rtol=1e-4, err_msg=label)
    np.testing.assert_allclose(flat.mean(), golden["mean"], rtol=1e-4, atol=1e-5 * size, err_msg=label)
    places = np.linspace(0, flat.size - 1, len(golden["samples"])).astype(int)
    np.testing.assert_allclose(flat[places], golden["samples"], rtol=1e-4, atol=1e-4 * size, err_msg=label)


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("name", ["pattern", "picture"])
def test_features_and_gram_matrices(real_params, name, pooling):
    image = jnp.asarray(pattern(0) if name == "pattern" else picture())
    golden = GOLDEN["features"][f"{name}-{pooling}"]
    assert len(golden) == 25
    taps = js.features(real_params, image, tuple(golden), pooling=pooling)
    for layer, tap in taps.items():
        assert_agrees(tap, golden[layer], layer)
    for layer, gram in GOLDEN["grams"][f"{name}-{pooling}"].items():
        assert_agrees(js.gram_matrix(taps[layer]), gram, layer)


@pytest.mark.parametrize(("pooling", "normalization"), [("max", "notebook"), ("avg", "paper")])
def test_losses_and_gradient(real_params, pooling, normalization):
    golden = GOLDEN["objectives"][f"{pooling}-{normalization}"]
    objective = js.Objective(normalization=normalization, pooling=pooling)
    targets = js.make_targets(real_params, jnp.asarray(pattern(0)), [jnp.asarray(picture())], objective)
    weights = js.LossWeights(content=1.0, style=GOLDEN["style_weight"])
    losses, gradient = js.value_and_grad(jnp.asarray(pattern(1)), real_params, targets, weights, objective=objective)
    np.testing.assert_allclose(losses.content, golden["content"], rtol=1e-4)
    np.testing.assert_allclose(losses.style, golden["style"], rtol=1e-4)
    assert_agrees(gradient, golden["gradient"], "gradient")
    # Neither term is lost beside the other.
    assert 1e-2 < golden["style"] / golden["content"] < 1e2
