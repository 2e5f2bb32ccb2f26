"""The one error that bad input raises, and the checks that raise it most often.

Everything a caller can get wrong (a missing file, an unknown layer, a negative weight) raises `InputError` with one
sentence: what was got, what is expected, what to do. The command line turns it into exit code 2; any other exception
is a defect of this library and keeps its traceback.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class InputError(ValueError):
    """Input that cannot be used; the message says what was got, what is expected and what to do.

    Example:
        >>> import jaxstyle as js
        >>> js.white_noise(-1, 4, 6)
        Traceback (most recent call last):
        jaxstyle.errors.InputError: ...
    """


def quote(value: Any) -> str:
    """Format a value for an error message as one short line."""
    if getattr(value, "shape", ()):
        return f"an array of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def shape_fits(shape: Sequence[int], sizes: Sequence[int | None]) -> bool:
    """Return True for an array shape of these sizes; None is any positive size."""
    return len(shape) == len(sizes) and all(n == size if size else n > 0 for n, size in zip(shape, sizes, strict=True))


def check_integer(value: Any, name: str, low: int, high: int) -> None:
    """Raise InputError unless `value` is an integer from `low` to `high`."""
    if isinstance(value, bool) or not (isinstance(value, int | np.integer) and low <= value <= high):
        raise InputError(f"{name} is {quote(value)}, expected an integer from {low} to {high}")


def check_number(value: Any, name: str, low: float, high: float = math.inf) -> None:
    """Raise InputError unless `value` is a finite number from `low` to `high`."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (number and low <= value <= high and value != math.inf):
        limits = f"of {low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
        raise InputError(f"{name} is {quote(value)}, expected a finite number {limits}")


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Raise InputError unless `value` is one of the `choices`."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"unknown {name} {quote(value)}, expected one of {', '.join(map(repr, choices))}")


def check_sequence(value: Any, name: str, items: str, least: int = 0) -> None:
    """Raise InputError unless `value` is a list or tuple of `least` elements or more; `items` names the elements."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) < least:
        raise InputError(f"{name} is {quote(value)}, expected a list of {f'{least} or more ' if least else ''}{items}")
