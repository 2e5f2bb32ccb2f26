"""Wrong types and values of every parameter: one sentence that names it, before anything is computed."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.transfer import run, stylize, stylize_batch

NAN, INFINITE = float("nan"), float("inf")
IMAGE = np.full((40, 48, 3), 0.5, np.float32)
NO_FRACTIONS = [-0.1, 1.1, NAN, INFINITE, "0.5", True, [0.5], 1j, np.float32([0.5])]
NO_COUNTS = [0, -1, 1.5, NAN, "5", True, [5], 10**7]
NO_IMAGES = [None, "photo.jpg", 3.0, {}, IMAGE[0], IMAGE[:, :, :1], IMAGE[:10], IMAGE * 255, IMAGE * NAN]
NO_OBJECTS = ["x", 3, {}, (1.0, 2.0), object()]

# Those of both functions; None is a preset's or the default.
SHARED = {
    "params": ["oxford", 3, {}, {"conv1_1": 3}, [IMAGE]],
    "preset": [3, "monet", [], ["default"], js.preset()],
    "settings": [3, "paper", [], js.Objective(), js.Settings],
    "objective": [*NO_OBJECTS, js.Objective],
    "weights": ["x", 3, {}, (1.0, 2.0), js.LossWeights("x"), js.LossWeights({}), js.LossWeights(NAN)],
    "strength": [-0.1, 1.1, NAN, "0.5", {}, 1j],
    "style_weights": ["x", 3, {}, ["1"], [None], [1.0, 2.0], [NAN], [-1.0], [0.0], np.ones((1, 1, 1))],
    "regions": ["x", 3, {}, IMAGE],
    "color": [3, "red", {}],
    "optimizer": [*NO_OBJECTS, js.lbfgs],
    "steps": NO_COUNTS,
    "scales": [*NO_COUNTS, "all", 17],
    "share": [0, *NO_FRACTIONS],
    "window": [1.5, NAN, "all", "512", -1, 3, True, [64], (64, 64), np.float32([64, 64])],
    "mesh": ["x", 3, jax.devices()[:1]],
    "whitening": NO_FRACTIONS,
    "init": [3.0, "sky", {}, [0.5], IMAGE[0], IMAGE * 255, IMAGE * NAN],
    "mosaic": NO_FRACTIONS[:5],
    "tolerance": [1.0, *NO_FRACTIONS],
    "callback": ["x", 3, [print]],
    "callback_every": NO_COUNTS,
    "checkpoint": [3, b"x", {}, ["x"]],
}
WRONG = {
    "stylize": SHARED
    | {
        "content": NO_IMAGES,
        "style": [*NO_IMAGES, [], [None], [IMAGE, "x"], np.stack([IMAGE, IMAGE])],
        "seed": [-1, 2**32, 1.5, NAN, "1", True, [1]],
    },
    "stylize_batch": SHARED
    | {
        "contents": [
            None,
            "photo.jpg",
            3.0,
            {},
            [],
            [None],
            [IMAGE, None],
            IMAGE[0],
            [IMAGE * 255],
            [IMAGE, IMAGE[:9]],
        ],
        "styles": [None, "x", 3.0, {}, [], [None], [[]], [[None]], IMAGE[0], [IMAGE] * 3],
        "weights": [*SHARED["weights"], [], [None, 3], [js.LossWeights()] * 3],
        "strength": [*SHARED["strength"], [], ["0.5", 0.5], [0.5] * 3],
        "style_weights": [*SHARED["style_weights"], [["1"], [1.0]], [[1.0], 1.0], [[1.0]] * 3],
        "regions": [*SHARED["regions"], [], ["x", None]],
        "color": [*SHARED["color"], [], ["red", "style"], ["style"] * 3],
        "mosaic": [*NO_FRACTIONS[:5], [], ["0.5", 0.5], [0.5] * 3],
        "canvas": [None, 3, "ab", (64,), (64, 64, 64), (64.0, 64.0), ("a", "b"), (None, 3), (-1, 64), (NAN, 3), {1, 2}],
        "seeds": [-1, 2**32, 1.5, NAN, "1", {}, [], [1.5, 2], ["1", 1], [1, 2, 3], [True, 1]],
    },
}


@pytest.fixture
def nothing_computed(monkeypatch, unchecked):
    """The first steps of a run fail."""
    for module in (stylize, stylize_batch):
        monkeypatch.setattr(module, "load_params", lambda: pytest.fail("parameters were loaded"))
    monkeypatch.setattr(run, "start_image", lambda *_: pytest.fail("the start was computed"))


@pytest.mark.parametrize("function", WRONG)
def test_the_table_has_every_parameter(function):
    parameters = set(inspect.signature(getattr(js, function)).parameters) - {"overrides"}
    assert parameters <= set(WRONG[function])
    settings = {field.name for field in dataclasses.fields(js.Settings)} | {"objective", "weights"}
    assert set(WRONG[function]) - parameters <= settings


@pytest.mark.parametrize(("function", "name"), [(function, name) for function in WRONG for name in WRONG[function]])
def test_wrong_values_are_refused(nothing_computed, function, name):
    images = {
        "stylize": {"content": IMAGE, "style": IMAGE},
        "stylize_batch": {"contents": [IMAGE] * 2, "styles": IMAGE},
    }
    for value in WRONG[function][name]:
        with pytest.raises(js.InputError) as caught:
            getattr(js, function)(**(images[function] | {name: value}))
        message = str(caught.value)
        # Singular or plural; some name the thing instead.
        words = [name, name.rstrip("s"), name.replace("_", " ").rstrip("s"), *OTHER_WORDS.get(name, [])]
        assert any(word in message for word in words), (value, message)
        assert len(message) < 300, message
        assert "\n" not in message


def test_either_all_images_of_a_batch_have_a_strength_or_none(nothing_computed):
    with pytest.raises(js.InputError, match="strength"):
        js.stylize_batch([IMAGE] * 2, IMAGE, preset="gram", strength=[0.5, None])


OTHER_WORDS = {"regions": ["mask"], "objective": ["layers"]}


@pytest.mark.parametrize("name", [None, 3, [], {}, "monet", b"default"])
def test_preset_refuses_what_is_no_name(unchecked, name):
    with pytest.raises(js.InputError, match=r"unknown preset .*, expected one of default, "):
        js.preset(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", value) for value in (None, 3)),
        *((name, value) for name in ("optimizer", "steps", "scales", "share") for value in SHARED[name]),
        *((name, value) for name in ("init", "mosaic") for value in SHARED[name][:2]),
        *(("ratio", value) for value in (None, 1.0, 0.5, 101, NAN, "2")),
        ("source", None),
        ("strength", 2.0),
    ],
)
def test_a_preset_is_checked_when_it_is_made(unchecked, field, value):
    settings = js.preset()
    fields = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    with pytest.raises(js.InputError, match=field):
        js.Settings(**(fields | {field: value}))


def test_numbers_of_numpy_will_do(unchecked, tiny_params):
    result = js.stylize(
        IMAGE,
        IMAGE,
        params=tiny_params,
        steps=np.int64(2),
        mosaic=np.float32(0.5),
        seed=np.uint32(3),
        tolerance=np.float64(0.0),
        style_weights=jnp.ones(1),
        init=IMAGE,
        preset="gram",
    )
    assert result.evaluations == 2
