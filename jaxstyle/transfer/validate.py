"""Types and ranges of the options of a run: one rule for each parameter, before anything is computed."""

import math
import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import optax

from jaxstyle.errors import InputError, quote
from jaxstyle.fields import Check
from jaxstyle.image.color import check_color
from jaxstyle.image.ops import check_image, check_range
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.checkpoint import Checkpoint
from jaxstyle.objective.base import MAX_WINDOW, MIN_WINDOW

# Larger numbers are typing errors.
MAX_STEPS = 1_000_000
MAX_SCALES = 16
MAX_SEED = 2**32 - 1
OPTIMIZERS = ("lbfgs", "adam")
INITS = ("content", "noise", "gray", "grey")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse a value of the wrong type or out of range.

    Args:
        parameters: name to value; each name has a rule in `RULES`, and None means the default where there is one.

    Raises:
        InputError: naming the first such parameter.
    """
    for name, value in parameters.items():
        RULES[name](name, value)


def is_integer(value: Any) -> bool:
    """Return True for a whole number of Python or NumPy; bool is not one."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return True for a finite real number of Python or NumPy; bool is not one."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value and abs(value) != math.inf


def whole_number(low: int, high: int) -> Check:
    """Return a check for whole numbers in a range."""

    def check(name: str, value: Any) -> None:
        if not is_integer(value):
            raise InputError(f"{name} is {quote(value)}, expected a whole number from {low} to {high}")
        if not low <= value <= high:
            raise InputError(f"{name} is {value}, expected {low} to {high}")

    return check


def number(accepts: Callable[[float], bool], expected: str) -> Check:
    """Return a check for finite numbers that a function accepts; `expected` describes them."""

    def check(name: str, value: Any) -> None:
        if not (is_number(value) and accepts(value)):
            raise InputError(f"{name} is {quote(value)}, expected {expected}")

    return check


def _instance(kind: type | tuple[type, ...], expected: str) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise InputError(f"{name} is {quote(value)}, expected {expected}")

    return check


def optional(rule: Check) -> Check:
    """Return a check that also lets None pass."""

    def check(name: str, value: Any) -> None:
        if value is not None:
            rule(name, value)

    return check


def check_scales(name: str, value: Any) -> None:
    """Check the number of scales."""
    known = value == "auto" if isinstance(value, str) else is_integer(value) and 1 <= value <= MAX_SCALES
    if not known:
        raise InputError(f"{name} is {quote(value)}, expected 'auto' or a number from 1 to {MAX_SCALES}")


def check_window(name: str, value: Any) -> None:
    """Check a window."""
    is_valid = (
        value in ("auto", "whole")
        if isinstance(value, str)
        else is_integer(value) and MIN_WINDOW <= value <= MAX_WINDOW
    )
    if not is_valid:
        raise InputError(f"{name} is {quote(value)}, expected auto, whole, or {MIN_WINDOW} pixels or more")


def check_init(name: str, value: Any) -> None:
    """Check the initial image, or its name."""
    if not isinstance(value, str):
        check_image(value, name)
        check_range(value, name)
    elif value not in INITS:
        raise InputError(f"unknown {name} {value!r}, expected 'content', 'noise', 'gray' or an image")


def check_color_name(name: str, value: Any) -> None:
    """Check the source of the colors."""
    _instance(str, "the name of a way to choose colors")(name, value)
    check_color(value)


def _callback(name: str, value: Any) -> None:
    if not callable(value):
        raise InputError(f"{name} is {quote(value)}, expected a function of the progress")


def _canvas(name: str, value: Any) -> None:
    sides = (
        isinstance(value, tuple | list) and len(value) == 2 and all(is_integer(side) and side >= 0 for side in value)
    )
    if not sides:
        raise InputError(f"{name} is {quote(value)}, expected a height and a width in pixels")


def _params(name: str, value: Any) -> None:
    layers = isinstance(value, Mapping) and all(isinstance(part, Mapping) for part in value.values())
    if not layers or not {"input", "conv1_1"} <= set(value):
        raise InputError(f"{name} is {quote(value)}, expected the network's parameters: load_params loads them")


def check_optimizer(name: str, value: Any) -> None:
    """Check the name of an optimizer, or an optax transform."""
    if not (isinstance(value, optax.GradientTransformation) or (isinstance(value, str) and value in OPTIMIZERS)):
        raise InputError(
            f"{name} is {quote(value)}, expected 'lbfgs', 'adam', or an optax GradientTransformation such as lbfgs()"
        )


def _style_weights(name: str, value: Any) -> None:
    numbers = value.tolist() if getattr(value, "ndim", None) == 1 else value
    if not (isinstance(numbers, tuple | list) and all(map(is_number, numbers))):
        raise InputError(f"{name} is {quote(value)}, expected a sequence of one finite number for each style")


FRACTION = number(lambda value: 0 <= value <= 1, "a number from 0 to 1")
check_share = number(lambda value: 0 < value <= 1, "a fraction of the steps above 0, at most 1")
check_ratio = number(lambda value: 1.1 <= value <= 100, "1.1 to 100, such as 2")
check_supersample = number(lambda value: 1 <= value <= 4, "1 to 4, such as 2")
check_text = _instance(str, "a string")
check_flag = _instance(bool, "True or False")

RULES: dict[str, Check] = {
    "params": optional(_params),
    "style_weights": optional(_style_weights),
    "regions": optional(_instance(Regions, "Regions(content, styles)")),
    "callback": optional(_callback),
    "callback_every": optional(whole_number(1, MAX_STEPS)),
    "checkpoint": optional(_instance((Checkpoint, str, os.PathLike), "the path of a file, or a Checkpoint")),
    "canvas": _canvas,
}
