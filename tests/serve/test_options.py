"""The options of the page are those of the settings, with their help; what the page sends becomes the settings."""

import dataclasses
import json

import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.fields import is_option
from jaxstyle.serve.options import LIVE, options_json, parse, recipe_values
from jaxstyle.transfer.change import Change
from jaxstyle.transfer.presets import PRESETS
from jaxstyle.transfer.settings import RunOptions

pytestmark = pytest.mark.usefixtures("unchecked")


def test_every_option_of_the_settings_is_on_the_page_with_its_help():
    fields = {field["name"]: field for field in options_json()["fields"]}
    expected = {field.name for field in dataclasses.fields(RunOptions) if is_option(field)}
    assert set(fields) == expected | {"preset", "size", "style_scale"}
    assert all(field["help"] and field["label"] for field in fields.values())
    assert fields["strength"]["help"].startswith("Strength of the style, from 0 (the photo) to 1")
    assert fields["style_loss"]["choices"] == ["gram", "covariance", "mean+std", "wasserstein"]
    assert (fields["finish"]["type"], fields["finish"]["default"]) == ("integer", 12)
    main = [name for name, field in fields.items() if field["group"] == "main"]
    assert main[:3] == ["size", "strength", "style_scale"]
    json.dumps(options_json(), allow_nan=False)


def test_what_is_live_is_what_a_change_takes():
    live = {field["name"] for field in options_json()["fields"] if field["live"] != "restart"}
    assert live == set(LIVE)
    assert live - {"style_scale"} <= {field.name for field in dataclasses.fields(Change)}


@pytest.mark.parametrize("name", PRESETS)
def test_the_defaults_of_a_preset_are_its_settings(name):
    wanted = parse({"preset": name})
    assert wanted.settings == dataclasses.replace(js.preset(name), edges=True)
    # All that the page shows, sent back, is the same again.
    assert parse(options_json()["presets"][name]) == wanted


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"scales": "3"}, {"scales": 3}),
        ({"scales": "auto"}, {"scales": "auto"}),
        ({"window": "64"}, {"window": 64}),
        ({"style_layers": "relu1_1 relu2_1"}, {"style_layers": ("relu1_1", "relu2_1")}),
        ({"style_layers": ["relu1_1"]}, {"style_layers": ("relu1_1",)}),
        ({"content_weight": "2"}, {"content_weight": 2.0, "strength": None}),
        ({"style_weight": "1 2 3 4 5"}, {"style_weight": (1.0, 2.0, 3.0, 4.0, 5.0)}),
        ({"content_weight": ""}, {"strength": 0.5}),
        ({"whitening": None, "detail": 100}, {"whitening": None, "detail": 100}),
        ({"strength": 1}, {"strength": 1}),
    ],
)
def test_words_become_values(values, expected):
    settings = parse(values).settings
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 8}, "size is 8"),
        ({"size": 64.5}, "size is 64.5"),
        ({"style_scale": 0}, "style_scale is 0"),
        ({"preset": "none"}, "unknown preset 'none'"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ({"init": "photo.png"}, "unknown init 'photo.png'"),
        ({"style_layers": "relu9_9"}, "relu9_9"),
        ({"style_weight": "1 2"}, "the style weight has 2 numbers"),
        ({"style_weight": "a"}, "the style weight is 'a'"),
        ({"seed": True}, "seed is True"),
        ({"content_layers": 3}, "content_layers"),
        ({"edges": True}, "there is no option 'edges'"),
        ([], "settings is \\[\\]"),
    ],
)
def test_wrong_values_are_sentences(values, words):
    with pytest.raises(js.InputError, match=words):
        parse(values)


def test_a_recipe_of_the_command_line_fills_the_page(tmp_path):
    settings = {
        "photo": "a.jpg",
        "painting": "b.jpg",
        "size": 300,
        "strength": 0.25,
        "style_scale": [2.0],
        "mesh": "1x1",
    }
    settings |= {"content_weight": [], "neighbor_weight": [1.0], "init": "elsewhere.png", "steps": 33}
    js.save_image(tmp_path / "made.png", np.zeros((40, 40, 3), np.float32), recipe={"settings": settings})
    values = recipe_values(js.read_recipe(tmp_path / "made.png"))
    wanted = parse(values)
    assert (wanted.size, wanted.style_scale) == (300, 2.0)
    assert (wanted.settings.strength, wanted.settings.steps, wanted.settings.init) == (0.25, 33, "content")


@pytest.mark.parametrize("recipe", [None, {}, {"settings": 3}, {"settings": {"size": "x", "steps": -1, "other": 1}}])
def test_a_strange_recipe_fills_nothing(recipe):
    assert recipe_values(recipe) == {}
