"""What a run was asked for, as checksums: so that it goes on only with the pictures and settings that it began with."""

import dataclasses
import functools
import inspect
import json
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.files import sha256


def fingerprint(**parts: Any) -> dict[str, str]:
    """A checksum of each part of what a run is asked for.

    Args:
        parts: numbers, words, arrays, and whatever is made of such: dataclasses, tuples, mappings; and functions, such
            as optax transforms are made of, for which their name and the values that they were made with stand.

    Returns:
        SHA-256 of each, in hexadecimal digits; equal in every process where the parts are equal.

    Example:
        >>> one, same, other = (fingerprint(steps=steps, image=np.zeros(3))["steps"] for steps in (5, 5, 6))
        >>> one == same, one == other
        (True, False)
    """
    return {name: sha256(json.dumps(_described(part)).encode()) for name, part in parts.items()}


def bytes_of(array: np.ndarray) -> memoryview:
    """What a contiguous array has in memory, not copied."""
    return array.reshape(-1).view(np.uint8).data


def _described(value: Any, above: tuple[int, ...] = ()) -> Any:
    """A value as JSON; of what it is made of, what decides how it behaves."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.require(value, requirements="C")
        return [str(array.dtype), list(array.shape), sha256(bytes_of(array))]
    if id(value) in above:
        return "itself"
    inside = functools.partial(_described, above=(*above, id(value)))
    kind = type(value)
    if isinstance(value, Mapping):
        return {str(name): inside(each) for name, each in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [kind.__qualname__, [inside(each) for each in value]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [kind.__qualname__, inside({each.name: getattr(value, each.name) for each in dataclasses.fields(value)})]
    if isinstance(value, functools.partial):
        return [inside(value.func), inside(value.args), inside(value.keywords)]
    if inspect.ismethod(value):
        return [inside(value.__func__), inside(value.__self__)]
    if callable(value) and inspect.unwrap(value) is not value:
        return inside(inspect.unwrap(value))
    if inspect.isfunction(value):
        numbers = [each for each in value.__code__.co_consts if not isinstance(each, str | types.CodeType)]
        made_with = {
            **inspect.getclosurevars(value).nonlocals,
            "defaults": value.__defaults__ or (),
            "numbers": numbers,
        }
        return [f"{value.__module__}.{value.__qualname__}", inside(made_with), inside(value.__kwdefaults__ or {})]
    name = f"{kind.__module__}.{kind.__qualname__}"
    return [name, inside(vars(value))] if hasattr(value, "__dict__") and not isinstance(value, type) else name
