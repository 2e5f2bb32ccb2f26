"""Checksums of what a run is asked for: equal for equal parts, in every process, and different for different ones."""

import functools
import hashlib
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxstyle as js
from jaxstyle.minimize.fingerprint import bytes_of, fingerprint


def digest(value):
    return fingerprint(part=value)["part"]


def test_it_is_sha256_of_words_and_bytes():
    """By hand, so that it is the same in every process and release."""
    image = np.arange(6, dtype=np.float32).reshape(2, 3)
    words = ["float32", [2, 3], hashlib.sha256(image.tobytes()).hexdigest()]
    assert digest(image) == hashlib.sha256(json.dumps(words).encode()).hexdigest()
    assert digest(5) == hashlib.sha256(b'"5"').hexdigest()
    assert fingerprint(a=1, b=2) == {"a": digest(1), "b": digest(2)}


@given(st.lists(st.floats(width=32), max_size=5), st.lists(st.floats(width=32), max_size=5))
def test_arrays_are_equal_where_their_bytes_are(left, right):
    arrays = [np.array(each, np.float32) for each in (left, right)]
    assert (digest(arrays[0]) == digest(arrays[1])) == (arrays[0].tobytes() == arrays[1].tobytes())


def test_an_array_is_the_same_wherever_it_lies_and_however_it_is_stored():
    image = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    backwards = np.asfortranarray(image)
    assert digest(image) == digest(jnp.asarray(image)) == digest(backwards)
    assert bytes(bytes_of(np.zeros((0, 3)))) == b""
    assert digest(image) != digest(image.reshape(4, 2, 3))
    assert digest(np.zeros(2, np.int32)) != digest(np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        (None, "None"),
        ((1, 2), (2, 1)),
        ({"a": 1}, {"a": 2}),
        (js.Objective(), js.Objective(pooling="avg")),
        (js.LossWeights(), js.LossWeights(style=2.0)),
        (js.lbfgs(), js.lbfgs(memory_size=9)),
        (js.lbfgs(), js.lbfgs(chroma=0.3)),
        (js.lbfgs(), js.lbfgs(precondition=None)),
        (js.lbfgs(), js.adam()),
        (js.adam(), js.adam(b2=0.99)),
        (js.adam(), js.averaged(js.adam())),
        (js.averaged(js.adam(), 0.9), js.averaged(js.adam(), 0.99)),
        (optax.sgd(0.1), optax.sgd(0.2)),
        (optax.adam(optax.linear_schedule(0.1, 0.0, 10)), optax.adam(optax.linear_schedule(0.1, 0.0, 20))),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (max, min),
        (np.float32, np.float64),
        (js.adam(), js.adam()._replace(update=js.lbfgs().update)),
        (lambda count: 0.1 * count, lambda count: 0.2 * count),
        (SimpleNamespace(rate=1), SimpleNamespace(rate=2)),
        (jax.random.key(0), jax.random.key(1)),
        (jnp.zeros(2, jnp.bfloat16), jnp.ones(2, jnp.bfloat16)),
    ],
)
def test_what_behaves_otherwise_differs(one, other):
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_what_is_made_anew_is_equal():
    for make in (lambda: optax.adam(0.1), lambda: js.Objective(style_layers=("relu1_1",)), lambda: jax.jit(jnp.sin)):
        assert digest(make()) == digest(make())
    loop = []
    loop.append(loop)
    assert digest(loop) == digest(loop)


def module(name, rate=0.1):
    """A user's module with an optimizer factory and a schedule."""
    scope = {"__name__": name, "optax": optax}
    source = """
def half(decay):
    def init(params):
        return ()
    def update(updates, state, params=None):
        return -decay * updates, state
    return optax.GradientTransformation(init, update)
def schedule(count):
    return RATE * count
"""
    exec(source.replace("RATE", str(rate)), scope)
    return scope


def test_a_module_that_moves_changes_nothing():
    old, new = module("old"), module("package.new")
    for make in (lambda scope: scope["half"](0.5), lambda scope: optax.chain(scope["half"](0.5), js.adam())):
        assert digest(make(old)) == digest(make(new))
        assert digest(js.averaged(make(old))) == digest(js.averaged(make(new)))
    assert digest(old["half"](0.5)) != digest(old["half"](0.25))
    assert digest(old["schedule"]) == digest(new["schedule"]) != digest(module("old", 0.2)["schedule"])


def test_own_optimizers_are_names_and_numbers():
    """By hand: nothing of their code or of where it lies is in it."""
    described = ["adam", {"b1": "0.9", "b2": "0.999", "learning_rate": "0.02"}]
    assert digest(js.adam()) == hashlib.sha256(json.dumps(described).encode()).hexdigest()
    assert digest(js.averaged(js.adam(), 0)) == digest(js.averaged(js.adam(), 0.0))
    for optimizer in (js.adam(), js.lbfgs(), js.averaged(js.adam())):
        assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
        init, update = optimizer
        assert (init, update) == (optimizer.init, optimizer.update)
