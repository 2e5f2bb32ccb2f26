"""Fields of settings: the default, the check, and how the command line shows them as options.

The text below a field in its class is the field's documentation, and the help of its option.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

# Raises InputError for a wrong value; called with the name of the field and the value.
Check = Callable[[str, Any], None]


def as_tuple(items: Sequence[Item]) -> tuple[Item, ...]:
    """Type of a field that accepts any sequence and is stored as a tuple."""
    return tuple(items)


def as_pair(items: Sequence[Item]) -> tuple[Item, Item]:
    """Type of a field that accepts any sequence of two and is stored as a tuple."""
    first, second = items
    return first, second


def option(
    default: Any,
    check: Check | None = None,
    *,
    values: str | None = None,
    unset: str = "",
    converter: Callable[[Any], Any] | None = None,
) -> Any:
    """Return a field that is also an option of the command line.

    Args:
        default: default value.
        check: raises InputError for a wrong value; None if that is checked elsewhere.
        values: placeholder in the help, such as `"auto|NUMBER"`; None derives one from the type.
        unset: meaning of a default that does not explain itself, such as None.
        converter: tells type checkers what else the field accepts; the class converts it.
    """
    del converter
    return dataclasses.field(default=default, metadata={"check": check, "values": values, "unset": unset})


def parameter(default: Any, check: Check | None = None, *, converter: Callable[[Any], Any] | None = None) -> Any:
    """Return a field that is no option of the command line; see `option`."""
    del converter
    return dataclasses.field(default=default, metadata={"check": check})


@typing.dataclass_transform(frozen_default=True, field_specifiers=(option, parameter))
def settings_class(cls: type[Item]) -> type[Item]:
    """Decorate a class of settings: a frozen dataclass whose fields have converters for type checkers."""
    return dataclasses.dataclass(frozen=True)(cls)


def is_option(field: dataclasses.Field) -> bool:
    """Return True if a field is an option of the command line."""
    return "values" in field.metadata


def documentation(kind: type) -> dict[str, str]:
    """Return the text below each field of a dataclass and of its bases."""
    # For the help alone: the library itself does not need the package.
    import docstring_parser

    return {
        parameter.arg_name: inspect.cleandoc("    " + (parameter.description or ""))
        for base in reversed(inspect.getmro(kind)[:-1])
        for parameter in docstring_parser.parse_from_object(base).params
    }


def check_fields(settings: Any) -> None:
    """Check the fields of a dataclass; raise the InputError of the first wrong one."""
    for field in dataclasses.fields(settings):
        if field.metadata.get("check") is not None:
            field.metadata["check"](field.name, getattr(settings, field.name))
