"""Options as JSON and back."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.cli.serialize import COMMAND_LINE_ONLY, options_from_json, options_to_json, with_relocated_paths
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.errors import InputError
from jaxstyle.transfer.presets import PRESETS

pytestmark = pytest.mark.usefixtures("unchecked")

# Options that come from the command line alone, and are defaults here.
UNSTORED = {"compile_cache": "auto", "checkpoint": None, "log_json": None}


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = defaults("default", Stylize, Path("photo.jpg"), Path("art/a.jpg"), Path("out.png"))
    return dataclasses.replace(
        base,
        more=(Path("b.jpg"),),
        init="start.png",
        weights="net.safetensors",
        compile_cache="programs",
        content_mask=Path("mask.png"),
        style_mask=("none", "other.png"),
        checkpoint=Path("/tmp/run"),
        log_json=Path("-"),
        blend=(1.0, 2.0),
        scales=2,
        window=64,
        strength=0.5,
    )


def test_they_come_back_with_whole_paths(options, tmp_path):
    words = json.loads(json.dumps(options_to_json(options)))
    assert not set(words) & set(COMMAND_LINE_ONLY)
    found = options_from_json(Stylize, words, "here")
    assert found == dataclasses.replace(with_relocated_paths(options, lambda path: str(tmp_path / path)), **UNSTORED)
    assert (found.photo, found.more) == (tmp_path / "photo.jpg", (tmp_path / "b.jpg",))
    assert (found.init, found.weights) == (str(tmp_path / "start.png"), str(tmp_path / "net.safetensors"))
    assert found.style_mask == ("none", str(tmp_path / "other.png"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back(name):
    options = defaults(name, Stylize, Path("/a"), Path("/b"), Path("/c.png"))
    assert options_from_json(Stylize, json.loads(json.dumps(options_to_json(options))), "here") == options


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.text(max_size=3), inside, max_size=2),
    max_leaves=3,
)
NAMES = [each.name for each in dataclasses.fields(Stylize)]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), VALUES, max_size=4) | VALUES)
def test_anything_else_is_one_sentence_or_options(changes):
    words = options_to_json(defaults("default", Stylize, Path("/a"), Path("/b"), Path("/c.png")))
    words = words | changes if isinstance(changes, dict) else changes
    message = ""
    try:
        assert isinstance(options_from_json(Stylize, words, "the file x"), Stylize)
    except InputError as error:
        message = str(error)
    assert message == "" or (message.startswith("the file x") and len(message) < 250)


def test_what_is_missing_or_unknown_is_named(options):
    words = options_to_json(options)
    for change, message in (
        ({"photo": None}, "has photo = 'None'"),
        ({"size": 1.5}, "has size = '1.5'"),
        ({"size": True}, "has size = 'True'"),
        ({"optimizer": "sgd"}, "has optimizer = 'sgd'"),
        ({"bit_depth": 10}, "has bit_depth = '10'"),
        ({"bit_depth": "8"}, "has bit_depth = '8'"),
        ({"magic": 1}, "has the setting 'magic'"),
        ({"photo": "a\0b"}, "has photo"),
    ):
        with pytest.raises(InputError, match=message):
            options_from_json(Stylize, words | change, "x")
    del words["painting"]
    with pytest.raises(InputError, match="does not say its painting"):
        options_from_json(Stylize, words, "x")


def test_what_an_earlier_release_did_not_store_is_as_the_preset_says():
    options = defaults("crowsonkb", Stylize, Path("/a"), Path("/b"), Path("/c.png"))
    words = {name: value for name, value in options_to_json(options).items() if name not in ("ratio", "finish")}
    assert options_from_json(Stylize, words, "here") == options


def test_recipes_without_a_finish_had_none():
    options = defaults("default", Stylize, Path("/a"), Path("/b"), Path("/c.png"))
    words = {name: value for name, value in options_to_json(options).items() if name != "finish"}
    assert options.finish == 12
    assert options_from_json(Stylize, words, "here") == dataclasses.replace(options, finish=0)
