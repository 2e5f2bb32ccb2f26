"""The presets named after other programs: their losses and gradients, from PyTorch by make_peers_golden.py."""

import dataclasses
from pathlib import Path
from unittest import mock

import golden_pictures
import jax.numpy as jnp
import numpy as np
import pytest
from golden_pictures import DATA, pattern, picture

import jaxstyle as js
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.transfer.presets import PRESETS

GOLDEN = np.load(DATA / "peers.npz")
PEERS = {
    "gatys-notebook": "notebook",
    "paper": "paper",
    "neural-style-pt": "neural_style_pt",
    "pastiche": "pastiche",
    "crowsonkb": "crowsonkb_steps32",
}


def drawn(kind, size):
    with mock.patch.multiple(golden_pictures, HEIGHT=int(size[0]), WIDTH=int(size[1])):
        return jnp.asarray(pattern(kind))


def evaluated(params, objective, weights, image, content, style):
    targets = js.make_targets(params, content, [style], objective)
    return js.value_and_grad(image, params, targets, weights, objective)


@pytest.fixture(scope="module")
def pictures():
    """Image, content and style; odd sizes, each another."""
    height, width = GOLDEN["size"]
    content = jnp.asarray(picture())[:height, :width]
    return drawn(1, GOLDEN["size"]), content, drawn(2, GOLDEN["style_size"])


def relative(found, expected):
    return np.linalg.norm(np.asarray(found, "f8") - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", PEERS)
def test_losses_and_gradient_are_the_peers(real_params, pictures, name):
    settings, key = js.preset(name), PEERS[name]
    losses, gradient = evaluated(real_params, settings.objective, settings.weights, *pictures)
    np.testing.assert_allclose(losses.total, GOLDEN[f"{key}_loss"], rtol=1e-4)
    # One by one, since one is far smaller than the others.
    terms = [losses.content, losses.style, losses.tv]
    np.testing.assert_allclose(terms, GOLDEN[f"{key}_terms"], rtol=1e-4)
    assert relative(gradient, GOLDEN[f"{key}_gradient"]) < 1e-4
    stride = int(GOLDEN["stride"])
    for term in ("content", "variation"):
        if f"{key}_{term}_gradient" in GOLDEN:
            alone = js.LossWeights(0.0, 0.0, settings.weights.tv)
            if term == "content":
                alone = js.LossWeights(settings.weights.content, 0.0)
            _, gradient = evaluated(real_params, settings.objective, alone, *pictures)
            found, expected = np.asarray(gradient[::stride, ::stride]), GOLDEN[f"{key}_{term}_gradient"]
            # Of magnitudes, where neighbors are equal in float32 and not in float64, the gradient may be any.
            off = np.abs(found - expected) > 1e-3 * np.abs(expected).max()
            assert off.mean() < 1e-2
            assert relative(found[~off], expected[~off]) < 1e-4, term


def test_exact_roots_are_those_of_float64(real_params, pictures):
    """Without a ridge that float32 can see: crowsonkb's loss with the exact roots that its iteration approaches."""
    objective = dataclasses.replace(
        js.preset("crowsonkb").objective, matrix_root="eigh", ridge=None, style_layers=("relu1_1",)
    )
    weights = js.LossWeights(0.0, 256 / 341)
    losses, _ = evaluated(real_params, objective, weights, *pictures)
    # The ridge takes some of the distance in weak directions.
    np.testing.assert_allclose(losses.style, GOLDEN["crowsonkb_exact_layers"][0], rtol=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_line_has_the_preset(name):
    """Options are numbers and words, the preset objects: both mean the same run."""
    settings, options = js.preset(name), defaults(name, Stylize, *map(Path, ("photo.jpg", "painting.jpg", "out.png")))
    assert options.settings() == settings
    assert options.settings().transform is settings.transform
    for field in ("steps", "scales", "share", "init", "mosaic", "strength"):
        assert getattr(options, field) == getattr(settings, field), field
