"""`jaxstyle sweep`: many settings of one pair of pictures, side by side on a contact sheet."""

import dataclasses
import itertools
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxstyle.cli.inputs import read_photo
from jaxstyle.cli.logs import EventLogger, json_lines, result_printer, set_level
from jaxstyle.cli.outputs import check_outputs, check_sidecar_path, save_with_fallback
from jaxstyle.cli.recipe import recipe_of
from jaxstyle.cli.report import duration, final_loss, run_summary
from jaxstyle.cli.stylize import Stylize
from jaxstyle.cli.sweep_cells import prepare_groups, run_groups
from jaxstyle.cli.validate import check_options
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.contact_sheet import contact_sheet
from jaxstyle.minimize.status import INTERRUPTED, Status
from jaxstyle.transfer.result import Result
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.typing import Image

log = logging.getLogger(__name__)

# Options whose values may hold commas themselves, or that say nothing about a picture.
NOT_SWEEPABLE = (
    *("output", "o", "cells", "init", "weights", "content-mask", "style-mask", "region", "mesh", "distributed"),
    *("checkpoint", "log-json"),
)
MAX_CELLS = 400
PER_ROW = 6

Axes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sweep(Stylize):
    """Try out settings: a contact sheet with a picture for each value, or each pair of values of two options.

    Give any option several values with commas, such as --strength 0.2,0.5,0.8; a value of several words is joined by
    +, such as --style-layers relu1_1+relu2_1,relu4_1.
    """

    size: int = 192
    """Long side of each picture in pixels."""
    cells: Path | None = None
    """A folder for the separate pictures, too; it is made."""


@dataclass(frozen=True)
class Sheet:
    """A sweep with its axes.

    Attributes:
        base: the options, with the first value of each axis.
        axes: option to its values, as they were told; the first goes along the rows.
        cells: the options of each cell, row by row.
    """

    base: Sweep
    axes: Axes
    cells: Sequence[Sweep]

    def run(self) -> int:
        """Make the pictures and the sheet; returns the exit code."""
        set_level(self.base.verbose, self.base.quiet)
        enable_compilation_cache(self.base.compile_cache)
        self._check()
        with json_lines(self.base.log_json) as line:
            return self._run(line)

    def _run(self, line: EventLogger) -> int:
        base, begin = self.base, time.perf_counter()
        photo = read_photo(base, base.photo, min_side=1)
        recipes = [recipe_of(cell) for cell in self.cells]
        # Before the work, what could not be stored after it.
        io.recipe_text(recipes[0])
        groups, paths = prepare_groups(self.cells), self._paths()

        lost: list[Path] = []

        def keep(k: int, result: Result) -> None:
            if not paths or not math.isfinite(final_loss(result)):
                return
            alpha = photo.alpha if photo.pixels.shape == result.image.shape else None
            recipe = recipes[k] | run_summary(result)
            try:
                options = {"alpha": alpha, "recipe": recipe, "quality": base.quality}
                if save_with_fallback(paths[k], result.image, replace=base.force, **options) != paths[k]:
                    lost.append(paths[k])
            except InputError as error:
                # The others, and the sheet, are still worth their time.
                log.error("%s", error)
                lost.append(paths[k])

        found = run_groups(groups, len(self.cells), keep, line, base.quiet)
        recipe = recipes[0] | {"axes": {name: list(values) for name, values in self.axes.items()}}
        try:
            options = {"recipe": recipe, "quality": base.quality}
            path = save_with_fallback(base.output, self._drawn(found), replace=base.force, **options)
        except InputError as error:
            log.error("%s", error)
            return 1
        height, width = next(iter(found.values())).image.shape[:2]
        result_printer(base.log_json)(
            f"{path}: {len(found)} of {len(self.cells)} pictures of {width}x{height} in "
            f"{duration(time.perf_counter() - begin)}"
        )
        stops = [result.status for result in found.values() if result.status in INTERRUPTED]
        if stops or len(found) < len(self.cells):
            return EXIT_CODES[stops[0] if stops else Status.INTERRUPTED]
        failed = sum(not math.isfinite(final_loss(result)) for result in found.values())
        if failed:
            log.error(
                "%d of the pictures, blank on the sheet, had no finite loss, expected weights of ordinary size: lower "
                "them or use --precision highest",
                failed,
            )
        return 1 if failed or lost or path != base.output else 0

    def _drawn(self, found: Mapping[int, Result]) -> Image:
        """The sheet; blank where a picture is missing or has no finite loss."""
        blank = jnp.ones_like(next(iter(found.values())).image)
        good = {k: result.image for k, result in found.items() if math.isfinite(final_loss(result))}
        pictures = [good.get(k, blank) for k in range(len(self.cells))]
        labels = [[f"--{name} {value}" for value in values] for name, values in self.axes.items()]
        if len(labels) == 2:
            return contact_sheet(_rows(pictures, len(labels[0])), row_labels=labels[1], column_labels=labels[0])
        # In rows of several, each with its label: one row after the other.
        columns = min(len(pictures), PER_ROW)
        parts = [
            contact_sheet([row], column_labels=names)
            for row, names in zip(_rows(pictures, columns), _rows(labels[0], columns), strict=True)
        ]
        width = max(part.shape[1] for part in parts)
        padded = [jnp.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=1) for part in parts]
        return jnp.concatenate(padded)

    def _check(self) -> None:
        base = self.base
        for cell in self.cells:
            check_options(cell)
        if os.path.isdir(base.photo):
            raise InputError(f"{base.photo} is a folder, expected one photo for a sweep")
        if base.distributed != "no":
            raise InputError("--distributed is not for a sweep, expected it left out: one host makes the sheet")
        if base.save_every is not None:
            raise InputError("--save-every is not for a sweep, expected it left out: use stylize for a single setting")
        if base.checkpoint is not None:
            raise InputError("--checkpoint is not for a sweep, expected it left out: use stylize for a single setting")
        check_outputs([base.output], base.inputs(), base.force)
        check_sidecar_path("--log-json", base.log_json, [base.output, *self._paths()], base.inputs())
        if base.cells is not None:
            try:
                base.cells.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot make the folder {base.cells}: {error.strerror}; choose another") from error
        check_outputs(self._paths(), base.inputs(), base.force)

    def _paths(self) -> list[Path]:
        """The files of the separate pictures, named after their values."""
        if self.base.cells is None:
            return []
        values = [dict(zip(self.axes, each, strict=True)) for each in combinations(self.axes)]
        names = ["_".join(f"{name}-{value}" for name, value in each.items()) or "cell" for each in values]
        # Of values, what any file system takes.
        plain = [re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:200] for name in names]
        return [self.base.cells / f"{k:03d}_{name}.png" for k, name in enumerate(plain, 1)]


def read_axes(argv: Sequence[str]) -> tuple[Axes, list[list[str]]]:
    """The options that have several values, and the words of each cell.

    Args:
        argv: the words after `sweep`.

    Returns:
        Option to values, and for each combination, row by row, the words with one value each.

    Raises:
        InputError: for more than two axes, an empty or repeated value, or too many cells.

    Example:
        >>> axes, cells = read_axes(["a.jpg", "--strength", "0.2,0.8", "--style-layers=relu1_1+relu2_1,relu4_1"])
        >>> axes
        {'strength': ('0.2', '0.8'), 'style-layers': ('relu1_1+relu2_1', 'relu4_1')}
        >>> cells[1]
        ['a.jpg', '--strength', '0.8', '--style-layers', 'relu1_1', 'relu2_1']
    """
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        # --name=value is two words here, where it may be an axis.
        words += [name, value] if equals and name.startswith("--") and "," in value else [word]
    axes: dict[str, tuple[str, ...]] = {}
    places: dict[int, str] = {}
    for k, (before, word) in enumerate(itertools.pairwise(words), 1):
        name = before.lstrip("-").replace("_", "-")
        if before.startswith("-") and "," in word and name not in NOT_SWEEPABLE:
            values = tuple(word.split(","))
            if not all(values) or len(set(values)) < len(values):
                raise InputError(f"--{name} is {word}, expected different values between the commas")
            axes[name], places[k] = values, name
    if not axes and not {"-h", "--help"} & set(words):
        raise InputError("no option has several values, expected one or two that do, such as --strength 0.2,0.5,0.8")
    if len(axes) > 2:
        raise InputError(
            f"{', '.join(axes)} have several values, expected at most two options with them: rows and columns"
        )
    count = math.prod(map(len, axes.values()))
    if count > MAX_CELLS:
        raise InputError(f"the sweep has {count} cells, expected at most {MAX_CELLS}")
    cells = []
    for combination in combinations(axes):
        told = dict(zip(axes, combination, strict=True))
        cells.append([part for k, word in enumerate(words) for part in _words(places.get(k), told, word)])
    return axes, cells


def _words(name: str | None, told: Mapping[str, str], word: str) -> list[str]:
    """The value of an axis as words, several where its option takes several; any other word as it is."""
    if name is None:
        return [word]
    several = {field.name.replace("_", "-") for field in dataclasses.fields(Sweep) if "tuple" in str(field.type)}
    return told[name].split("+") if name in several else [told[name]]


def combinations(axes: Axes) -> Iterator[tuple[str, ...]]:
    """Values of all axes for each cell, row by row: the first axis changes fastest."""
    for values in itertools.product(*reversed(list(axes.values()))):
        yield values[::-1]


def _rows(pictures: Sequence[Any], columns: int) -> list[list[Any]]:
    return [list(pictures[k : k + columns]) for k in range(0, len(pictures), columns)]
