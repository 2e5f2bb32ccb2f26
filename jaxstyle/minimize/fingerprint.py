"""Checksums of a run's arguments: a run is resumed only with the images and settings that it started with."""

import dataclasses
import functools
import inspect
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.files import sha256
from jaxstyle.optim.named import NamedTransform

# Their versions are compared instead of the constants in their code.
VERSIONED_PACKAGES = ("jax", "jaxstyle", "optax")


def fingerprint(**parts: Any) -> dict[str, str]:
    """Compute a checksum of each argument of a run.

    An optimizer of this package is described by its name and arguments. Another optax transform is described by the
    names of its functions and the values captured in them, wherever its module lies.

    Args:
        parts: numbers, strings, arrays, functions, and dataclasses, tuples, lists and mappings of them.

    Returns:
        SHA-256 of each part, in hexadecimal digits; equal in every process where the parts are equal.

    Example:
        >>> five, same, six = (fingerprint(steps=steps, image=np.zeros(3))["steps"] for steps in (5, 5, 6))
        >>> five == same, five == six
        (True, False)
    """
    return {name: sha256(json.dumps(_describe(part)).encode()) for name, part in parts.items()}


def bytes_of(array: np.ndarray) -> memoryview:
    """Return the memory of a contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8).data


def _describe(value: Any, parents: tuple[int, ...] = ()) -> Any:
    """Return JSON that is equal for values that behave equally; `parents` are the ids of the values around it."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.require(value, requirements="C")
        return [str(array.dtype), list(array.shape), sha256(bytes_of(array))]
    if id(value) in parents:
        return "recursion"
    describe = functools.partial(_describe, parents=(*parents, id(value)))
    kind = type(value)
    if isinstance(value, NamedTransform) and value.name:
        # Equal numbers return the same optimizer, whatever their type.
        numbers = {name: float(item) for name, item in value.arguments.items() if isinstance(item, int | float)}
        return [value.name, describe({**value.arguments, **numbers})]
    if isinstance(value, Mapping):
        return {str(name): describe(item) for name, item in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [kind.__qualname__, [describe(item) for item in value]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [kind.__qualname__, describe(fields)]
    if isinstance(value, functools.partial):
        return [describe(value.func), describe(value.args), describe(value.keywords)]
    if inspect.ismethod(value):
        return [describe(value.__func__), describe(value.__self__)]
    if callable(value) and inspect.unwrap(value) is not value:
        return describe(inspect.unwrap(value))
    if inspect.isfunction(value):
        captured = {**inspect.getclosurevars(value).nonlocals, "defaults": value.__defaults__ or ()}
        if value.__module__.split(".")[0] not in VERSIONED_PACKAGES:
            captured["constants"] = [item for item in value.__code__.co_consts if isinstance(item, int | float)]
        return [value.__qualname__, describe(captured), describe(value.__kwdefaults__ or {})]
    if isinstance(value, type) or inspect.isbuiltin(value):
        return value.__qualname__
    return [kind.__qualname__, describe(vars(value))] if hasattr(value, "__dict__") else kind.__qualname__
