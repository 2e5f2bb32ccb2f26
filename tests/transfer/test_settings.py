"""Settings: one flat record, with objective, weights and optimizer derived from it."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.transfer.presets import PRESETS
from jaxstyle.transfer.settings import resolve_settings

pytestmark = pytest.mark.usefixtures("unchecked")


def test_an_objective_stands_for_its_attributes():
    objective = js.Objective(("relu2_1",), ("relu1_1",), "paper", pooling="avg", style_loss="mean+std", ridge=0.5)
    settings = js.Settings().override(objective=objective)
    assert settings.objective == objective
    assert (settings.normalization, settings.pooling, settings.ridge) == ("paper", "avg", 0.5)
    assert js.Settings().override(objective=js.Objective(window=64)).window == 64
    assert js.Settings(window=64).override(objective=objective, window="auto").objective.window == 64
    assert js.Settings(window=64).override(window=None).objective.window is None


def test_weights_stand_for_their_attributes():
    weights = js.LossWeights(2.0, jnp.float32([1, 2, 3, 4, 5]), np.float32(0.5), (1.0, 0.25))
    settings = js.Settings().override(weights=weights)
    assert settings.weights == (2.0, (1.0, 2.0, 3.0, 4.0, 5.0), 0.5, (1.0, 0.25), 1.0, 0.0, 0.0)
    assert js.Settings().override(tv_weight=3.0).weights == js.LossWeights(1.0, 1e3, 3.0)


def test_a_term_exists_where_it_has_a_weight():
    assert js.Settings().objective == js.Objective()
    assert js.Settings(edge_weight=2.0).objective == js.Objective(edges=True)
    assert js.Settings(temporal_weight=2.0).objective == js.Objective(temporal=True)
    assert js.Settings().override(weights=js.LossWeights(edges=jnp.float32(2))).objective.edges
    assert js.Settings(edge_weight=2.0, content_layers=("relu1_1",), style_layers=()).min_side == 8


def test_strength_and_weights_exclude_each_other():
    strong = js.Settings().override(strength=0.7)
    assert (strong.strength, strong.content_weight, strong.style_weight) == (0.7, 1.0, 1.0)
    assert strong.override(style_weight=5.0).strength is None
    assert strong.override(weights=js.LossWeights()).strength is None
    assert strong.override(tv_weight=5.0).strength == 0.7
    # Weights of 0 leave layers out.
    both = strong.override(strength=0.2, weights=js.LossWeights(0.0, 1.0))
    assert (both.strength, both.content_weight) == (0.2, 0.0)


def test_another_style_loss_needs_other_weights():
    assert js.Settings().override(style_loss="wasserstein").strength == 0.5
    assert js.Settings().override(style_loss="wasserstein", style_weight=2.0).strength is None
    assert js.Settings().override(style_loss="gram").strength is None
    assert js.Settings(strength=0.3).override(style_loss="wasserstein").strength == 0.5


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (js.Settings(), js.lbfgs()),
        (js.Settings(memory_size=3, precondition="pyramid"), js.lbfgs(3, precondition="pyramid")),
        (js.Settings(precondition="none"), js.lbfgs(precondition=None)),
        (js.Settings(optimizer="adam", learning_rate=0.1, beta2=0.9), js.adam(0.1, b2=0.9)),
        (js.Settings(optimizer="adam", average=0.9), js.averaged(js.adam(), 0.9)),
        (js.Settings(optimizer=js.adam(0.5)), js.adam(0.5)),
    ],
)
def test_the_optimizer_by_name_or_as_it_is(settings, expected):
    assert settings.transform is expected


def test_what_depends_on_others_is_resolved():
    mesh = js.make_mesh(2, 1)
    on_two = resolve_settings(js.Settings(), mesh)
    assert on_two.transform is js.lbfgs(precondition="pyramid")
    assert on_two.objective.shards == (2, 1)
    assert resolve_settings(js.Settings(), mesh, precondition="spectral").transform is js.lbfgs()
    assert resolve_settings(js.Settings(), None).whitening == 1.0
    assert resolve_settings(js.Settings(), None, optimizer="adam").whitening == 0.0
    assert resolve_settings(js.Settings(), None, optimizer=optax.sgd(0.1)).whitening == 0.0
    assert resolve_settings(js.Settings(), None, style_loss="wasserstein", whitening=1.0).whitening == 0.0


WRONG = {
    "edges": (1, "yes", None),
    "steps": (0, 1.5, "many"),
    "scales": (0, 17, "all"),
    "finish": (-1, 1.5, "yes"),
    "detail": (0, 65537, 1.5, "yes"),
    "supersample": (0.5, 4.1, "yes", None),
    "flat_areas": (-0.1, 1.1, "yes", None),
    "share": (0, 1.1),
    "ratio": (1.0, 101),
    "window": (31, "all", 1.5),
    "whitening": (-1, 1.1),
    "init": ("sky", 3),
    "mosaic": (1.1, None),
    "seed": (-1, 2**32),
    "strength": (-0.1, "0.5"),
    "content_weight": ("x", [[1.0]]),
    "style_weight": (None, {}),
    "tv_weight": ("x",),
    "edge_weight": ("x", None),
    "temporal_weight": ("x", None),
    "neighbor_weight": ("x", None),
    "neighbor_layers": (("relu9_1",), 3),
    "bank_size": (0, 1.5, "many"),
    "region_weight": ("x",),
    "color": ("red", 3),
    "optimizer": ("sgd", 3),
    "memory_size": (0, 1.5),
    "precondition": ("some",),
    "draft": ("float16", "highest", 1),
    "learning_rate": (0, -1),
    "beta2": (1, -0.1),
    "average": (1, -0.1),
    "tolerance": (1, -1),
    "content_layers": ("relu9_1", ("relu9_1",)),
    "style_layers": (3, ("relu1_1", "relu1_1")),
    "style_loss": ("none",),
    "normalization": ("sum",),
    "pooling": ("min",),
    "padding": ("same",),
    "precision": ("low",),
    "algorithm": ("fft",),
    "variation": ("cubic",),
    "matrix_root": ("svd",),
    "ridge": (-1, "x"),
    "shards": (3, (0, 1)),
    "name": (3,),
    "source": (None,),
}


def test_every_field_is_checked():
    assert set(WRONG) == {field.name for field in dataclasses.fields(js.Settings)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_wrong_values_are_refused(name, value):
    with pytest.raises(js.InputError) as caught:
        js.Settings(**{name: value})
    # Layers are named by themselves.
    words = [name, name.replace("_", " "), name.removesuffix("s"), "layer" if "layers" in name else name]
    assert any(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(("name", "other"), list(itertools.pairwise(PRESETS)))
def test_overriding_with_every_part_gives_the_other(name, other):
    parts = {key: value for key, value in js.preset(other).parts().items() if value is not None}
    overridden = js.preset(name).override(**parts)
    assert overridden.objective == js.preset(other).objective
    assert overridden.weights == js.preset(other).weights
