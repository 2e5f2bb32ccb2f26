"""Types and ranges of the options of a run: one rule for each parameter, before anything is computed."""

import math
import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import optax

from jaxstyle.errors import InputError, quote
from jaxstyle.image.color import check_color
from jaxstyle.image.ops import check_image, check_range
from jaxstyle.image.regions import Regions
from jaxstyle.minimize.checkpoint import Checkpoint
from jaxstyle.objective.balance import check_strength
from jaxstyle.objective.base import LossWeights, Objective

# Larger numbers are typing errors.
MAX_STEPS = 1_000_000
MAX_SCALES = 16
MAX_SEED = 2**32 - 1
MAX_RATIO = 100.0
MIN_RATIO = 1.1
INITS = ("content", "noise", "gray", "grey")

Rule = Callable[[str, Any], None]


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


def _integer(low: int, high: int) -> Rule:
    def check(name: str, value: Any) -> None:
        if not is_integer(value):
            raise InputError(f"{name} is {quote(value)}, expected a whole number")
        if not low <= value <= high:
            raise InputError(f"{name} is {value}, expected {low} to {high}")

    return check


def _number(accepts: Callable[[float], bool], expected: str) -> Rule:
    def check(name: str, value: Any) -> None:
        if not (is_number(value) and accepts(value)):
            raise InputError(f"{name} is {quote(value)}, expected {expected}")

    return check


def _instance(kind: type | tuple[type, ...], expected: str) -> Rule:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise InputError(f"{name} is {quote(value)}, expected {expected}")

    return check


def _optional(rule: Rule) -> Rule:
    def check(name: str, value: Any) -> None:
        if value is not None:
            rule(name, value)

    return check


def _scales(name: str, value: Any) -> None:
    known = value == "auto" if isinstance(value, str) else is_integer(value) and 1 <= value <= MAX_SCALES
    if not known:
        raise InputError(f"{name} is {quote(value)}, expected 'auto' or a number from 1 to {MAX_SCALES}")


def _window(name: str, value: Any) -> None:
    # `Objective` checks the least number of pixels.
    if value is not None and not is_integer(value) and not (isinstance(value, str) and value == "auto"):
        raise InputError(f"{name} is {quote(value)}, expected 'auto', a number of pixels, or None for the whole image")


def _init(name: str, value: Any) -> None:
    if not isinstance(value, str):
        check_image(value, name)
        check_range(value, name)
    elif value not in INITS:
        raise InputError(f"unknown {name} {value!r}, expected 'content', 'noise', 'gray' or an image")


def _color(name: str, value: Any) -> None:
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


def _weights(name: str, value: Any) -> None:
    _instance(LossWeights, "LossWeights")(name, value)
    for term, weight in value._asdict().items():
        try:
            np.asarray(weight, np.float64)
        except (TypeError, ValueError):
            raise InputError(f"the {term} weight is {quote(weight)}, expected one number, or one per layer") from None


def _style_weights(name: str, value: Any) -> None:
    numbers = value.tolist() if getattr(value, "ndim", None) == 1 else value
    if not (isinstance(numbers, tuple | list) and all(map(is_number, numbers))):
        raise InputError(f"{name} is {quote(value)}, expected a sequence of one finite number for each style")


_TEXT = _instance(str, "a string")
_FROM_0_TO_1 = _number(lambda value: 0 <= value <= 1, "a number from 0 to 1")
_SHARE = _number(lambda value: 0 < value <= 1, "a part of the steps above 0, up to 1")

RULES: dict[str, Rule] = {
    "name": _TEXT,
    "source": _TEXT,
    "params": _optional(_params),
    "objective": _instance(Objective, "an Objective"),
    "weights": _weights,
    "strength": lambda _, value: check_strength(value),
    "style_weights": _optional(_style_weights),
    "regions": _optional(_instance(Regions, "Regions(content, styles)")),
    "color": _color,
    "optimizer": _instance(optax.GradientTransformation, "an optax GradientTransformation, such as lbfgs()"),
    "steps": _integer(1, MAX_STEPS),
    "scales": _scales,
    "share": _SHARE,
    "ratio": _number(lambda value: MIN_RATIO <= value <= MAX_RATIO, f"{MIN_RATIO} to {MAX_RATIO:g}, such as 2"),
    "window": _window,
    "whitening": _optional(_FROM_0_TO_1),
    "init": _init,
    "mosaic": _FROM_0_TO_1,
    "seed": _integer(0, MAX_SEED),
    "tolerance": _number(lambda value: 0 <= value < 1, "a number from 0 to 1 such as 1e-6"),
    "callback": _optional(_callback),
    "callback_every": _optional(_integer(1, MAX_STEPS)),
    "checkpoint": _optional(_instance((Checkpoint, str, os.PathLike), "the path of a file, or a Checkpoint")),
    "canvas": _canvas,
}
