"""The neighbor loss against a plain search in NumPy float64, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.losses import neighbors
from jaxstyle.losses.neighbors import make_bank, neighbor_distances, spread_positions


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).normal(size=shape)))


def nearest(features, style):
    """Largest cosine of every position, and whose it is; one position and one feature of the style at a time."""
    features, style = np.asarray(features, "f8"), np.asarray(style, "f8")
    center = style.mean(axis=0)
    cosines = np.empty((*features.shape[:2], len(style)))
    for row, column, k in np.ndindex(*cosines.shape):
        one, other = features[row, column] - center, style[k] - center
        cosines[row, column, k] = one @ other / np.sqrt((one @ one) * (other @ other))
    return cosines.max(axis=2), cosines.argmax(axis=2), center


# Fewer positions than a block, several blocks, and a last one that is not full.
@pytest.mark.parametrize("block", [256, 16, 7])
def test_distances_are_those_of_a_plain_search(monkeypatch, block):
    monkeypatch.setattr(neighbors, "BLOCK", block)
    features, style = draw(0, 6, 8, 5), 2 + draw(1, 30, 5)
    expected = 1 - nearest(features, style)[0]
    np.testing.assert_allclose(neighbor_distances(features, make_bank(style)), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_the_distance_to_the_chosen_one():
    """In closed form, and by differences that are too small for another choice."""
    features, style, weights = draw(0, 4, 5, 6), 1 + draw(1, 40, 6), draw(2, 4, 5)
    gradient = jax.grad(lambda x: jnp.sum(weights * neighbor_distances(x, make_bank(style))))(features)
    cosines, chosen, center = nearest(features, style)
    offsets = np.asarray(features, "f8") - center
    lengths = np.linalg.norm(offsets, axis=2, keepdims=True)
    directions = np.asarray(style, "f8")[chosen] - center
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    expected = -np.asarray(weights, "f8")[..., None] * (directions - cosines[..., None] * offsets / lengths) / lengths
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)

    direction, width = np.random.default_rng(3).normal(size=features.shape), 1e-6
    moved = [nearest(np.asarray(features, "f8") + sign * width * direction, style) for sign in (1, -1)]
    np.testing.assert_array_equal(moved[0][1], moved[1][1])
    slope = -np.sum(np.asarray(weights, "f8") * (moved[0][0] - moved[1][0])) / (2 * width)
    assert float(jnp.vdot(gradient, jnp.asarray(np.float32(direction)))) == pytest.approx(slope, rel=1e-4)


def test_a_feature_of_the_style_is_at_distance_zero_at_any_contrast():
    style = draw(0, 24, 4)
    bank = make_bank(style)
    scaled = bank.center[None, :] + 3 * (style - bank.center[None, :])
    np.testing.assert_allclose(neighbor_distances(scaled.reshape(4, 6, 4), bank), 0, atol=1e-6)


def test_a_feature_at_the_center_has_a_finite_gradient():
    bank = make_bank(draw(0, 10, 4))
    centers = jnp.broadcast_to(bank.center, (2, 2, 4))
    distances, pull = jax.vjp(lambda x: neighbor_distances(x, bank), centers)
    np.testing.assert_allclose(distances, 1)
    assert np.all(np.isfinite(pull(jnp.ones((2, 2)))[0]))


def test_a_style_without_variation_has_a_bank():
    bank = make_bank(jnp.ones((10, 3)))
    assert np.all(np.isfinite(neighbor_distances(draw(0, 2, 3, 3), bank)))


def test_the_memory_is_that_of_a_block():
    """Four times the positions: more temporary memory by the features, not by their similarities to the bank."""

    def temporary(side):
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((side, side, 8), (4096, 8), (8,))]
        compiled = jax.jit(lambda x, *bank: neighbor_distances(x, neighbors.Bank(*bank))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(256) - temporary(128) < 3 * 4 * 10 * (256**2 - 128**2)


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (17, 300)])
def test_positions_are_spread_evenly(size):
    """Every part has its share of them, along either axis, and no row or column is left out."""
    positions = spread_positions(np.ones(size, bool), size[0] * size[1] // 8)
    assert len(positions) == len(np.unique(positions, axis=0)) == size[0] * size[1] // 8
    for axis, side in enumerate(size):
        counts, all_counts = (np.bincount(index * 4 // side) for index in (positions[:, axis], np.arange(side)))
        np.testing.assert_allclose(counts / len(positions), all_counts / side, atol=0.03)
        if size[1 - axis] >= 40:
            assert len(np.unique(positions[:, axis])) == side


def test_positions_are_of_the_mask_alone():
    mask = np.random.default_rng(0).uniform(size=(30, 20)) < 0.3
    positions = spread_positions(mask, 50)
    assert len(positions) == 50
    assert np.all(mask[positions[:, 0], positions[:, 1]])
    # All that there are, in order.
    np.testing.assert_array_equal(spread_positions(mask, 1000), np.argwhere(mask))
