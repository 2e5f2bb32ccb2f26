"""The options of the page: the fields of `Settings` with their help, and the settings that a request asks for."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Union

from jaxstyle.errors import InputError, check_choice, check_integer, check_number, quote
from jaxstyle.fields import documentation, is_option
from jaxstyle.objective.base import check_weights
from jaxstyle.transfer.presets import PRESETS, preset
from jaxstyle.transfer.settings import RunOptions, Settings

# Fields beside the settings: the preset, and how the pictures are read.
MIN_SIZE, MAX_SIZE = 32, 4096
MIN_SCALE, MAX_SCALE = 0.1, 8.0
MAX_PAINTINGS = 8

# Shown first. The others are folded away.
MAIN = ("size", "strength", "style_scale", "edge_weight", "color", "steps", "preset")
# A change compiles and evaluates nothing; a change computes new targets. All others start a run anew.
INSTANT = ("strength", "content_weight", "style_weight", "tv_weight", "edge_weight", "neighbor_weight")
TARGETS = ("style_scale", "color")
LIVE = (*INSTANT, *TARGETS)
# Words of painters for them.
LABELS = {"style_scale": "Stroke size", "edge_weight": "Edges", "color": "Colors", "steps": "Evaluations"}
# What a sheet may vary: numbers and names that show their effect in a small picture.
AXES = ("strength", "style_scale", "edge_weight", "color", "mosaic", "seed", "steps", "finish", "style_loss", "preset")
# Least and greatest value and step of a slider.
RANGES: dict[str, tuple[float, float, float]] = {
    "size": (MIN_SIZE, MAX_SIZE, 1),
    "strength": (0, 1, 0.01),
    "style_scale": (0.25, 4, 0.05),
    "edge_weight": (0, 5, 0.1),
    "steps": (1, 2000, 1),
    "finish": (0, 200, 1),
    "mosaic": (0, 1, 0.01),
    "whitening": (0, 1, 0.01),
    "share": (0.01, 1, 0.01),
}
# An image as the start is a snapshot of a run, never the path of a file.
CHOICES = {"init": ["content", "noise", "gray"], "optimizer": ["lbfgs", "adam"], "preset": list(PRESETS)}


class Wanted(NamedTuple):
    """What a request asks for.

    Attributes:
        settings: of the run.
        size: long side of the result in pixels.
        style_scale: factor of the size of the paintings.
        preset: name of the settings that the others differ from.
    """

    settings: Settings
    size: int
    style_scale: float
    preset: str

    def to_json(self) -> dict[str, Any]:
        """Return every option of the page with its value."""
        values = {"preset": self.preset, "size": self.size, "style_scale": self.style_scale}
        return values | {
            field.name: _plain(getattr(self.settings, field.name))
            for field in _option_fields()
            if not _is_other(getattr(self.settings, field.name))
        }

    def change(self, values: Mapping[str, Any]) -> "Wanted":
        """Return other values of the options that a running picture may change.

        Raises:
            InputError: for an option that it may not, or a wrong value.
        """
        for name in values:
            if name not in LIVE:
                raise InputError(f"{quote(name)} does not change in a run, expected one of {', '.join(LIVE)}")
        parsed = {name: _parse(name, value) for name, value in values.items()}
        scale = parsed.pop("style_scale", None)
        settings = self.settings.override(**parsed)
        check_weights(settings.weights, settings.objective)
        return self._replace(settings=settings, style_scale=self.style_scale if scale is None else scale)


def options_json() -> dict[str, Any]:
    """Describe all options."""
    defaults = parse({}).to_json()
    texts, kinds = documentation(RunOptions), typing.get_type_hints(RunOptions)
    texts |= {
        "preset": "Named settings, which the others differ from: the default, a faster one, or a published method.",
        "size": "Long side of the picture in pixels.",
        "style_scale": "Size of the brush strokes: the painting is resized by this factor. 2 doubles the strokes.",
    }
    fields = []
    for name in sorted(defaults, key=lambda name: MAIN.index(name) if name in MAIN else len(MAIN)):
        kind = {"preset": str, "size": int, "style_scale": float}.get(name) or kinds[name]
        type_, choices = _type_of(name, kind)
        low, high, step = RANGES.get(name, (None, None, 1 if type_ == "integer" else None))
        live = "instant" if name in INSTANT else "targets" if name in TARGETS else "restart"
        unset = "" if name not in _by_name() else _by_name()[name].metadata.get("unset", "")
        field = {
            "name": name,
            "label": LABELS.get(name, name.replace("_", " ").capitalize()),
            "help": texts.get(name, ""),
        }
        field |= {"type": type_, "default": defaults[name], "min": low, "max": high, "step": step, "choices": choices}
        fields.append(field | {"group": "main" if name in MAIN else "more", "live": live, "unset": unset})
    presets = {name: parse({"preset": name}).to_json() for name in PRESETS}
    return {"fields": fields, "presets": presets, "axes": list(AXES)}


def parse(values: Any) -> Wanted:
    """Return the settings that a request asks for.

    Args:
        values: option names and plain values; those that are missing or null are the preset's.

    Raises:
        InputError: for an unknown name or a wrong value.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"settings is {quote(values)}, expected names and values of options")
    known = {"preset", "size", "style_scale", *_by_name()}
    for name in values:
        if name not in known:
            raise InputError(f"there is no option {quote(name)}, expected a field of the settings")
    parsed = {name: _parse(name, value) for name, value in values.items() if not _is_unset(name, value)}
    name, size, scale = (parsed.pop(*pair) for pair in (("preset", "default"), ("size", 512), ("style_scale", 1.0)))
    base = preset(name)
    given = {key: value for key, value in parsed.items() if value != getattr(base, key)}
    # An edge term in every run, so that a change of its weight compiles nothing.
    settings = dataclasses.replace(base.override(**given), edges=True)
    check_weights(settings.weights, settings.objective)
    return Wanted(settings, size, scale, name)


def recipe_values(recipe: Any) -> dict[str, Any]:
    """Return the options in a recipe of ours that the page has; those of other kinds are left out."""
    stored = recipe.get("settings") if isinstance(recipe, Mapping) else None
    if not isinstance(stored, Mapping):
        return {}
    known = {"preset", "size", "style_scale", *_by_name()}
    values = {}
    for name in known & set(stored):
        value = stored[name]
        if name == "style_scale" and isinstance(value, list) and len(value) == 1:
            (value,) = value
        if value in (None, [], ()):
            continue
        try:
            parse({name: value})
        except InputError:
            continue
        values[name] = value
    return values


def _is_unset(name: str, value: Any) -> bool:
    """True for nothing in an input of the page; of layers, nothing is none."""
    return value is None or (value == "" and not name.endswith("_layers"))


def _parse(name: str, value: Any) -> Any:
    """Return a plain value as the type of an option; the settings check the rest."""
    if name == "preset":
        check_choice(value, "preset", PRESETS)
    elif name == "size":
        check_integer(value, "size", MIN_SIZE, MAX_SIZE)
    elif name == "style_scale":
        check_number(value, "style_scale", MIN_SCALE, MAX_SCALE)
        return float(value)
    elif name in CHOICES:
        check_choice(value, name, CHOICES[name])
    elif isinstance(value, list):
        return tuple(value)
    elif isinstance(value, str):
        return _from_text(value, typing.get_type_hints(RunOptions)[name])
    return value


def _from_text(text: str, kind: Any) -> Any:
    """Return what a word, or several, stand for: numbers, layers, or a name."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    words = text.split()
    sequences = [kind for kind in kinds if typing.get_origin(kind) is tuple]
    if sequences and typing.get_args(sequences[0])[0] is str:
        return tuple(words)
    try:
        numbers = [int(word) if int in kinds else float(word) for word in words]
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else tuple(numbers) if sequences else text


def _type_of(name: str, kind: Any) -> tuple[str, list[str] | None]:
    """Return the type of an input on the page, and its choices."""
    if name in CHOICES:
        return "choice", CHOICES[name]
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    kinds = [kind for kind in kinds if kind is not types.NoneType]
    if len(kinds) == 1 and typing.get_origin(kinds[0]) is Literal:
        return "choice", list(typing.get_args(kinds[0]))
    names = {int: "integer", float: "number", bool: "boolean"}
    return (names[kinds[0]], None) if len(kinds) == 1 and kinds[0] in names else ("text", None)


def _option_fields() -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(RunOptions) if is_option(field)]


def _by_name() -> dict[str, dataclasses.Field]:
    return {field.name: field for field in _option_fields()}


def _plain(value: Any) -> Any:
    """Return a value as the page shows it: several words in one line."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _is_other(value: Any) -> bool:
    """True for an image or a function, which the page cannot show."""
    return not isinstance(value, str | int | float | bool | tuple | None)
