"""The part of the command line that benchmarks share."""

import argparse
from collections.abc import Iterable

from jaxstyle.errors import InputError


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with `--name` and `--plot`; the first line of a module's docstring describes it."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}", description=(description or "").split("\n", 1)[0]
    )
    made.add_argument("--name", default=name, help="of the result's files (default: %(default)s)")
    made.add_argument("--plot", action="store_true", help="make plot and table again from the JSON, measure nothing")
    return made


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return int(text)


def check_sizes(sizes: Iterable[int], min_side: int) -> None:
    """Refuse pictures that are too small for the network."""
    if (least := min(sizes)) < min_side:
        raise InputError(f"got a size of {least}, expected at least {min_side} pixels")
