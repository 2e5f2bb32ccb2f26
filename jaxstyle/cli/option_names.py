"""Names of options on the command line, and in the messages of the library.

The library names parameters (`max_pixels`, `force=True`). The command line shows its options (`--max-pixels`,
`--force`) instead.
"""

import dataclasses
import functools
import re
import typing

from tyro.conf import Fixed, Positional

from jaxstyle.cli.video_options import VideoOptions

# Parameters, or single values of them, whose options are called otherwise.
RENAMED = {
    "b2": "--beta2",
    "callback_every": "--save-every",
    "replace=True": "--force",
    "resume=True": "jaxstyle resume FILE",
    "style_weights": "--blend",
    "window=None": "--window whole",
}
# The library's `weights` are those of the loss, the option's those of the network.
DIFFERENT_MEANING = {"weights"}
# Parameters of the server: options of `jaxstyle serve` alone.
OF_THE_SERVER = {"allow_remote", "gallery", "host", "port"}


def options_with_values(command: type) -> dict[str, str]:
    """Spellings of the options of a command that are followed by a value, with the names of their fields.

    Flags and positional arguments are left out.

    Example:
        >>> options_with_values(VideoOptions)["-o"], "-v" in options_with_values(VideoOptions)
        ('output', False)
    """
    return {spelling: field for spelling, (field, is_flag) in _spellings(command).items() if not is_flag}


def option_names(command: type) -> set[str]:
    """Spellings of all options of a command.

    Example:
        >>> sorted(option_names(VideoOptions) & {"--verbose", "-v", "--no-verbose", "--photo", "--help"})
        ['--help', '--no-verbose', '--verbose', '-v']
    """
    return {"--help", "-h", *_spellings(command)}


def _spellings(command: type) -> dict[str, tuple[str, bool]]:
    """Spellings of the options of a command, with the names of their fields, and True for flags."""
    kinds = typing.get_type_hints(command, include_extras=True)
    # Options that a command has from another one, but does not take.
    (positional,), (fixed,) = Positional[int].__metadata__, Fixed[int].__metadata__  # pyright: ignore[reportAttributeAccessIssue]
    spellings: dict[str, tuple[str, bool]] = {}
    for field in dataclasses.fields(command):
        kind = kinds[field.name]
        metadata = getattr(kind, "__metadata__", ())
        if positional in metadata or fixed in metadata:
            continue
        is_flag = bool in (kind, getattr(kind, "__origin__", None))
        names = [
            option_name(field.name),
            *(alias for item in metadata for alias in getattr(item, "aliases", None) or ()),
        ]
        names += [f"--no-{names[0][2:]}"] if is_flag else []
        spellings |= dict.fromkeys(names, (field.name, is_flag))
    return spellings


def hyphenated(word: str) -> str:
    """An option as its help spells it: `--tv_weight` is `--tv-weight`."""
    return word.replace("_", "-") if word.startswith("--") else word


def takes_several(command: type, name: str) -> bool:
    """True if the option of a field can be followed by several values."""
    kind = typing.get_type_hints(command)[name]
    return any(typing.get_origin(option) is tuple for option in (kind, *typing.get_args(kind)))


def option_name(name: str) -> str:
    """The option of a field: `--max-pixels` of `max_pixels`."""
    return "--" + name.replace("_", "-")


def with_option_names(message: str) -> str:
    """Replace the library's parameters in a message by the options of the command line.

    A parameter is a name with an underscore, or `name=value`: any other word may be plain English.

    Example:
        >>> with_option_names("the size is 9, expected 8: lower style_size or use init='gray' and force=True")
        'the size is 9, expected 8: lower --style-size or use --init gray and --force'
    """
    name, space, rest = message.partition(" ")
    if name in _parameters() and rest.startswith(("is ", "has ", "must ")):
        name = RENAMED.get(name, option_name(name))
    return _pattern().sub(_option_of, f"{name}{space}{rest}")


def _option_of(parameter: re.Match[str]) -> str:
    text, name, value = parameter[0], parameter["name"], parameter["value"]
    if text in RENAMED:
        return RENAMED[text]
    if name not in _parameters() or (value is None and "_" not in name):
        return text
    option = RENAMED.get(name, option_name(name))
    return option if value in (None, "True") else " ".join((option, value.strip("\"'")))


@functools.cache
def _parameters() -> frozenset[str]:
    names = {field.name for field in dataclasses.fields(VideoOptions)} | {text for text in RENAMED if "=" not in text}
    return frozenset(names - DIFFERENT_MEANING | OF_THE_SERVER)


@functools.cache
def _pattern() -> re.Pattern[str]:
    names = "|".join(sorted(_parameters() | {text.partition("=")[0] for text in RENAMED}))
    value = r"""=(?P<value>"[^"]*"|'[^']*'|[\w.+-]*\w)"""
    # No part of a path, of an option, of a longer name or of a call in Python.
    return re.compile(rf"(?<![\w./\\-])(?<!\w\()(?P<name>{names})(?:{value})?(?![\w/\\=-]|\.\w)")
