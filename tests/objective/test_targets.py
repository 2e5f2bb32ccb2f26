"""Targets against the float64 reference, and how several styles blend."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxstyle as js
from jaxstyle.errors import InputError

SMALL = js.Objective(content_layers=("relu2_1",), style_layers=("relu1_1", "conv2_2"))
BOTH = ["paper", "notebook"]


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


def test_targets_against_the_reference(tiny_params):
    content, style = draw(0, 12, 9, 3), draw(1, 8, 15, 3)
    targets = js.make_targets(tiny_params, content, [style], SMALL)
    slow = reference.aim(reference.float64(tiny_params), np.asarray(content, "f8"), [np.asarray(style, "f8")], SMALL)
    assert set(targets.content) == {"relu2_1"}
    assert set(targets.style) == {"relu1_1", "conv2_2"}
    for ours, expected in zip(targets[:2], slow[:2], strict=True):
        for layer in ours:
            np.testing.assert_allclose(ours[layer], expected[layer], rtol=1e-5, atol=1e-5)
    assert targets.edges is None
    edges = js.make_targets(tiny_params, content, [style], dataclasses.replace(SMALL, edges=True)).edges
    np.testing.assert_allclose(edges[:, :, 0], slow[2], atol=1e-6)


@pytest.mark.parametrize(
    ("style_weights", "blend"),
    [(None, (1 / 3, 1 / 3, 1 / 3)), ((2, 0.0, 6), (0.25, 0, 0.75)), ((5e307, 0, 1.5e308), (0.25, 0, 0.75))],
)
def test_styles_blend_by_their_gram_matrices(tiny_params, style_weights, blend):
    content, styles = draw(0, 8, 8, 3), [draw(1, 8, 8, 3), draw(2, 9, 12, 3), draw(3, 8, 8, 3) ** 2]
    blended = js.make_targets(tiny_params, content, styles, SMALL, style_weights)
    alone = [js.make_targets(tiny_params, content, [style], SMALL) for style in styles]
    for layer in SMALL.style_layers:
        expected = sum(w * np.asarray(target.style[layer], "f8") for w, target in zip(blend, alone, strict=True))
        np.testing.assert_allclose(blended.style[layer], expected, rtol=1e-5, atol=1e-6)
        assert not np.allclose(blended.style[layer], alone[0].style[layer], rtol=1e-3)
    np.testing.assert_array_equal(blended.content["relu2_1"], alone[0].content["relu2_1"])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_one_style_weighs_nothing_against_itself(tiny_params, weight):
    content, style = draw(0, 8, 8, 3), draw(1, 8, 8, 3)
    if not weight:
        with pytest.raises(InputError, match="at least one positive"):
            js.make_targets(tiny_params, content, [style], SMALL, [weight])
        return
    one, seven = (js.make_targets(tiny_params, content, [style], SMALL, [w]) for w in (weight, 7.0))
    jax.tree.map(np.testing.assert_array_equal, one, seven)


@pytest.mark.usefixtures("unchecked")
def test_wrong_pictures_are_refused(tiny_params):
    picture = jnp.zeros((8, 8, 3))
    for content, styles, weights, message in (
        (jnp.zeros((3, 8, 3)), [picture], None, "content is 8x3 pixels, expected at least 4 a side"),
        (picture, [picture, jnp.zeros((8, 3, 3))], None, "style is 3x8 pixels"),
        (jnp.zeros((8, 8, 4)), [picture], None, r"content has shape \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.uint8), [picture], None, "content has dtype uint8"),
        (picture, [], None, "expected a list of at least one image"),
        (picture, picture, None, r"expected a list of at least one image, such as \[style\]"),
        (picture, [picture], [1.0, 2.0], "2 style weights for 1 styles, expected one each"),
        (picture, [picture, picture], [1.0, -2.0], r"a style weight is -2\.0, expected a finite number of 0 or more"),
        (picture, [picture, picture], [1.0, float("nan")], "a style weight is nan, expected a finite number"),
        (picture, [picture, picture], [0.0, 0.0], "at least one positive"),
    ):
        with pytest.raises(InputError, match=message):
            js.make_targets(tiny_params, content, styles, SMALL, weights)
