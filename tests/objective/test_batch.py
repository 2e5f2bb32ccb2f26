"""Leading axes of targets: those of the content, and those of the style."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.objective.batch import mapped_axes

WEIGHTS = js.LossWeights(1.0, 10.0, 1.0, edges=1.0)
LAYERS = ("relu1_2",), ("relu1_1", "relu2_1")
VARIANTS = {
    "edges": js.Objective(*LAYERS, edges=True),
    "neighbors": js.Objective(*LAYERS, style_loss="covariance", neighbor_layers=("relu2_1",), bank_size=8, edges=True),
    "style alone": js.Objective((), ("relu1_1",), edges=True),
}
KINDS = ("plain", "regions", "canvas")


@pytest.fixture(scope="module")
def images():
    return jnp.stack([js.white_noise(k, 16, 20) for k in range(2)])


def targets_of(params, content, objective, kind):
    painting = js.white_noise(7, 20, 16)
    if kind == "canvas":
        content = js.on_canvas(content[:12], 16, 20)
    mask = np.zeros((16, 20, 2), np.float32)
    mask[:, :10, 0] = mask[:, 10:, 1] = 1
    regions = js.Regions(mask, [np.ones(2, np.float32)]) if kind == "regions" else None
    return js.make_targets(params, content, [painting], objective, regions=regions)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_is_a_loop(tiny_params, images, variant, kind):
    objective = VARIANTS[variant]
    singles = [targets_of(tiny_params, content, objective, kind) for content in images[::-1]]
    expected = [
        js.value_and_grad(image, tiny_params, targets, WEIGHTS, objective)
        for image, targets in zip(images, singles, strict=True)
    ]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *expected)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles)
    shared = {name: getattr(singles[0], name) for name in ("style", "means", "banks")}
    for targets in (stacked, stacked._replace(**shared)):
        found = js.value_and_grad(images, tiny_params, targets, WEIGHTS, objective)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5), found, expected)


def test_axes_of_two_leading_axes(tiny_params, images):
    targets = targets_of(tiny_params, images[0], VARIANTS["edges"], "plain")
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), targets)
    mixed = stacked._replace(style=targets.style)
    assert mapped_axes(mixed, 1).content == mapped_axes(mixed, 1).edges == 0
    assert mapped_axes(mixed, 1).style is None
    assert mapped_axes(mixed, 2).content is None


@pytest.mark.usefixtures("unchecked")
def test_targets_of_another_batch(tiny_params, images):
    targets = targets_of(tiny_params, images[0], VARIANTS["edges"], "plain")
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), targets)
    with pytest.raises(js.InputError, match=r"leading axes \(2,\) and the content of targets \(3,\)"):
        js.value_and_grad(images, tiny_params, stacked, WEIGHTS, VARIANTS["edges"])
    with pytest.raises(js.InputError, match=r"leading axes \(\)"):
        js.value_and_grad(images[0], tiny_params, stacked, WEIGHTS, VARIANTS["edges"])
