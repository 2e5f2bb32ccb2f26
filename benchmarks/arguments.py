"""Command-line arguments shared by all benchmarks."""

import argparse
from collections.abc import Iterable

from jaxstyle.errors import InputError


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with `--name` and `--plot`, described by the first line of the module's docstring."""
    argument_parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}", description=(description or "").split("\n", 1)[0]
    )
    argument_parser.add_argument("--name", default=name, help="base name of the result files (default: %(default)s)")
    argument_parser.add_argument(
        "--plot", action="store_true", help="regenerate plot and table from the JSON without measuring"
    )
    return argument_parser


def positive(text: str) -> int:
    """Parse a positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return int(text)


def check_sizes(sizes: Iterable[int], min_side: int) -> None:
    """Raise `InputError` if an image is too small for the network."""
    if (smallest := min(sizes)) < min_side:
        raise InputError(f"got a size of {smallest}, expected at least {min_side} pixels")
