"""Options as JSON and back: in a checkpoint, to go on, and in a picture's recipe, to make it again."""

import dataclasses
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union

from jaxstyle.cli.options import STARTS, AnyOptions, Options
from jaxstyle.errors import InputError
from jaxstyle.vgg.weights import NAMES


def options_to_json(options: Options) -> dict[str, Any]:
    """The options as JSON, with the whole paths of their files, so that they mean the same in every folder.

    Args:
        options: any.

    Returns:
        Names to plain values.
    """
    return {
        name: _plain(value)
        for name, value in dataclasses.asdict(with_relocated_paths(options, os.path.abspath)).items()
    }


def with_relocated_paths(options: AnyOptions, move: Callable[[str], str]) -> AnyOptions:
    """The options with other paths for all files that they name.

    Args:
        options: any.
        move: from one path to the other.

    Returns:
        The options.
    """
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(options):
        value = getattr(options, each.name)
        if isinstance(value, Path):
            changed[each.name] = value if str(value) == "-" else Path(move(str(value)))
        elif each.name == "more":
            changed["more"] = tuple(Path(move(str(path))) for path in value)
    changed["style_mask"] = tuple(path if path == "none" else move(path) for path in options.style_mask)
    if options.init not in STARTS:
        changed["init"] = move(options.init)
    if options.weights not in NAMES:
        changed["weights"] = move(options.weights)
    if options.compile_cache not in ("auto", "off"):
        changed["compile_cache"] = move(options.compile_cache)
    return dataclasses.replace(options, **changed)


def options_from_json(kind: type[AnyOptions], words: Any, where: str) -> AnyOptions:
    """Options from what `options_to_json`, or a recipe, says; those that are not told have their defaults.

    Args:
        kind: of options.
        words: names to plain values.
        where: the words are from, for messages.

    Returns:
        The options.

    Raises:
        InputError: for names or values that no options have.
    """
    if not isinstance(words, Mapping):
        raise InputError(f"{where} has no settings: expected what jaxstyle stylize wrote")
    kinds = typing.get_type_hints(kind)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    for name in sorted(set(words) - set(fields)):
        raise InputError(
            f"{where} has the setting {name!r}, which this release does not know: use the one that wrote it"
        )
    found = {}
    for name, each in fields.items():
        if name in words:
            found[name] = _typed(words[name], kinds[name], f"{where} has {name} = {str(words[name])[:40]!r}")
        elif each.default is dataclasses.MISSING:
            raise InputError(f"{where} does not say its {name}: expected what jaxstyle stylize wrote")
    return kind(**found)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _typed(value: Any, kind: Any, what: str) -> Any:
    """A plain value as what an option has."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        for each in arguments:
            try:
                return _typed(value, each, what)
            except InputError:
                continue
    elif origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_typed(each, arguments[0], what) for each in value)
    elif kind is Path:
        if isinstance(value, str) and "\0" not in value:
            return Path(value)
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is kind:
        return value
    raise InputError(f"{what}, which this release does not know: use the one that wrote it")
