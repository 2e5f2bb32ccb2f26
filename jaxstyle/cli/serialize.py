"""Options as JSON and back: in a checkpoint, to resume a run, and in a recipe, to make a picture again."""

import dataclasses
import os
import types
import typing
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Literal, Union

from jaxstyle.cli.options import STARTS, AnyOptions, Options, default_options
from jaxstyle.errors import InputError
from jaxstyle.transfer.presets import PRESETS
from jaxstyle.vgg.weights import NAMES

# A checkpoint neither stores nor sets these. It may come from elsewhere, and they name hosts to contact, programs to
# load and files to write, or permit what is refused by default.
COMMAND_LINE_ONLY = ("distributed", "compile_cache", "log_json", "checkpoint", "force", "max_pixels")
COMMAND_LINE_ONLY += ("verbose", "quiet", "json", "animation")


def options_to_json(options: Options) -> dict[str, Any]:
    """Return the options that a checkpoint stores as JSON, with absolute paths, so that they hold in every folder."""
    absolute = with_relocated_paths(options, os.path.abspath)
    return {
        field.name: _to_json(getattr(absolute, field.name))
        for field in dataclasses.fields(absolute)
        if field.name not in COMMAND_LINE_ONLY
    }


def with_relocated_paths(options: AnyOptions, move: Callable[[str], str]) -> AnyOptions:
    """Return the options with `move` applied to the path of every picture, mask, weights file and output."""
    changes: dict[str, Any] = {
        field.name: Path(move(str(getattr(options, field.name))))
        for field in dataclasses.fields(options)
        if field.name not in COMMAND_LINE_ONLY and isinstance(getattr(options, field.name), Path)
    }
    changes["more"] = tuple(Path(move(str(path))) for path in options.more)
    changes["style_mask"] = tuple(path if path == "none" else move(path) for path in options.style_mask)
    if options.init not in STARTS:
        changes["init"] = move(options.init)
    if options.weights not in NAMES:
        changes["weights"] = move(options.weights)
    return dataclasses.replace(options, **changes)


def options_from_json(kind: type[AnyOptions], settings: Any, source: str, ignored: Container[str] = ()) -> AnyOptions:
    """Return the options that `options_to_json` or a recipe stored; those that are missing have their defaults.

    Args:
        kind: class of the options.
        settings: option names and plain values.
        source: name of the file, for messages.
        ignored: names of options whose stored values are not used.

    Raises:
        InputError: for names or values that no options have.
    """
    if not isinstance(settings, Mapping):
        raise InputError(f"{source} has no settings: expected a file that jaxstyle stylize wrote")
    settings = {name: value for name, value in settings.items() if name not in ignored}
    kinds = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in sorted(set(settings) - set(fields)):
        raise InputError(
            f"{source} has the setting {name!r}, which this release does not know: use the release that wrote it"
        )
    named = settings.get("preset")
    # What an earlier release did not store is as its preset says.
    values = default_options(named) if isinstance(named, str) and named in PRESETS else {}
    # The releases that did not store these had no finish, took the content from the photo at every scale and position,
    # and made every picture at its own size.
    values |= {"finish": 0, "detail": None, "flat_areas": 1.0, "supersample": 1.0}
    for name, field in fields.items():
        if name in settings:
            values[name] = _from_json(
                settings[name], kinds[name], f"{source} has {name} = {str(settings[name])[:40]!r}"
            )
        elif field.default is dataclasses.MISSING:
            raise InputError(f"{source} does not say its {name}: expected a file that jaxstyle stylize wrote")
    return kind(**values)


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _from_json(value: Any, kind: Any, description: str) -> Any:
    """Return a plain value as the type of an option."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        for alternative in arguments:
            try:
                return _from_json(value, alternative, description)
            except InputError:
                continue
    elif origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in arguments):
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_from_json(item, arguments[0], description) for item in value)
    elif kind is Path:
        if isinstance(value, str) and "\0" not in value:
            return Path(value)
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is kind:
        return value
    raise InputError(f"{description}, which this release does not know: use the release that wrote it")
