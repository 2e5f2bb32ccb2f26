"""Fields of settings: the default, the check, and how the command line shows them as options.

The text below a field in its class is the field's documentation, and the help of its option.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

# Raises InputError for a wrong value; called with the name of the field and the value.
Check = Callable[[str, Any], None]


def option(default: Any, check: Check | None = None, *, values: str | None = None, unset: str = "") -> Any:
    """Return a field that is also an option of the command line.

    Args:
        default: default value.
        check: raises InputError for a wrong value; None if that is checked elsewhere.
        values: placeholder in the help, such as `"auto|NUMBER"`; None derives one from the type.
        unset: meaning of a default that does not explain itself, such as None.
    """
    return dataclasses.field(default=default, metadata={"check": check, "values": values, "unset": unset})


def parameter(default: Any, check: Check | None = None) -> Any:
    """Return a field that is no option of the command line."""
    return dataclasses.field(default=default, metadata={"check": check})


def is_option(field: dataclasses.Field) -> bool:
    """Return True if a field is an option of the command line."""
    return "values" in field.metadata


def check_fields(settings: Any) -> None:
    """Check the fields of a dataclass; raise the InputError of the first wrong one."""
    for field in dataclasses.fields(settings):
        if field.metadata.get("check") is not None:
            field.metadata["check"](field.name, getattr(settings, field.name))
