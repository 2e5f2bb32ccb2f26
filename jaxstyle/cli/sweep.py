"""`jaxstyle sweep`: many settings of one pair of pictures, side by side on a contact sheet."""

import itertools
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
from tyro.conf import arg

from jaxstyle.cli.inputs import read_photo
from jaxstyle.cli.logs import EventLogger, json_lines, result_printer, set_level
from jaxstyle.cli.option_names import option_name, options_with_values, takes_several
from jaxstyle.cli.outputs import NOT_IN_RECIPE, check_outputs, check_sidecar_path, save_with_fallback
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

# Options that cannot be an axis: they change no picture, or commas can be part of their values.
NOT_SWEEPABLE = {
    *NOT_IN_RECIPE,
    *("output", "cells", "init", "weights", "content_mask", "style_mask", "region", "mesh", "distributed", "quality"),
}
MAX_CELLS = 400
# Of a sweep with one axis.
PICTURES_PER_ROW = 6

Axes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sweep(Stylize):
    """Compare settings: a contact sheet with one picture per value, or per pair of values of two options.

    Give one or two options several values with commas, such as --strength 0.2,0.5,0.8.
    Join the parts of a value that has several with +, such as --style-layers relu1_1+relu2_1,relu4_1.
    """

    size: int = 192
    """Long side of each picture in pixels, 1 to 65536."""
    cells: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """Folder that each picture is also saved to, as a file of its own. It is created if necessary."""


@dataclass(frozen=True)
class Sheet:
    """A sweep with its axes.

    Attributes:
        base: options, with the first value of each axis.
        axes: name of each option that varies, with its values as text; the first axis runs along the rows.
        cells: options of each cell, row by row.
    """

    base: Sweep
    axes: Axes
    cells: Sequence[Sweep]

    def run(self) -> int:
        """Compute the pictures and write the sheet; return the exit code."""
        set_level(self.base.verbose, self.base.quiet)
        enable_compilation_cache(self.base.compile_cache)
        self._check()
        with json_lines(self.base.log_json) as line:
            return self._run(line)

    def _run(self, line: EventLogger) -> int:
        base, begin = self.base, time.perf_counter()
        photo = read_photo(base, base.photo, min_side=1)
        recipes = [recipe_of(cell) for cell in self.cells]
        # Fails before the work if the recipe is too long to be stored after it.
        io.recipe_text(recipes[0])
        groups, paths = prepare_groups(self.cells), self._cell_paths()

        unsaved: list[Path] = []

        def save_cell(k: int, result: Result) -> None:
            if not paths or not math.isfinite(final_loss(result)):
                return
            alpha = photo.alpha if photo.pixels.shape == result.image.shape else None
            recipe = recipes[k] | run_summary(result)
            try:
                options = {"alpha": alpha, "recipe": recipe, "quality": base.quality}
                if save_with_fallback(paths[k], result.image, replace=base.force, **options) != paths[k]:
                    unsaved.append(paths[k])
            except InputError as error:
                # The other cells and the sheet are still useful.
                log.error("%s", error)
                unsaved.append(paths[k])

        results = run_groups(groups, len(self.cells), save_cell, line, base.quiet)
        recipe = recipes[0] | {"axes": {name: list(values) for name, values in self.axes.items()}}
        try:
            options = {"recipe": recipe, "quality": base.quality}
            path = save_with_fallback(base.output, self._draw(results), replace=base.force, **options)
        except InputError as error:
            log.error("%s", error)
            return 1
        height, width = next(iter(results.values())).image.shape[:2]
        result_printer(base.log_json)(
            f"{path}: {len(results)} of {len(self.cells)} pictures of {width}x{height} in "
            f"{duration(time.perf_counter() - begin)}"
        )
        interruptions = [result.status for result in results.values() if result.status in INTERRUPTED]
        if interruptions or len(results) < len(self.cells):
            return EXIT_CODES[interruptions[0] if interruptions else Status.INTERRUPTED]
        num_nonfinite = sum(not math.isfinite(final_loss(result)) for result in results.values())
        if num_nonfinite:
            log.error(
                "%d of the pictures had no finite loss and are blank on the sheet: lower the weights or use "
                "--precision highest",
                num_nonfinite,
            )
        return 1 if num_nonfinite or unsaved or path != base.output else 0

    def _draw(self, results: Mapping[int, Result]) -> Image:
        """Arrange the sheet; a cell without a result, or without a finite loss, is blank."""
        blank = jnp.ones_like(next(iter(results.values())).image)
        finite = {k: result.image for k, result in results.items() if math.isfinite(final_loss(result))}
        pictures = [finite.get(k, blank) for k in range(len(self.cells))]
        labels = [[f"--{name} {value}" for value in values] for name, values in self.axes.items()]
        if len(labels) == 2:
            return contact_sheet(_rows(pictures, len(labels[0])), row_labels=labels[1], column_labels=labels[0])
        # One axis is broken into rows, each a small sheet with labels of its own.
        columns = min(len(pictures), PICTURES_PER_ROW)
        rows = [
            contact_sheet([row], column_labels=names)
            for row, names in zip(_rows(pictures, columns), _rows(labels[0], columns), strict=True)
        ]
        width = max(row.shape[1] for row in rows)
        padded = [jnp.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=1) for row in rows]
        return jnp.concatenate(padded)

    def _check(self) -> None:
        base = self.base
        if not self.axes:
            raise InputError("no option has several values, expected one or two, such as --strength 0.2,0.5,0.8")
        for cell in self.cells:
            check_options(cell)
        if os.path.isdir(base.photo):
            raise InputError(f"{base.photo} is a folder, expected one photo for a sweep")
        if base.distributed != "no":
            raise InputError("--distributed does not apply to a sweep, which runs on one host: omit it")
        for name in ("save_every", "checkpoint"):
            if getattr(base, name) is not None:
                raise InputError(f"{option_name(name)} does not apply to a sweep: omit it, or use jaxstyle stylize")
        check_outputs([base.output], base.inputs(), base.force)
        check_sidecar_path("--log-json", base.log_json, [base.output, *self._cell_paths()], base.inputs())
        if base.cells is not None:
            try:
                base.cells.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot make the folder {base.cells}: {error.strerror}; choose another") from error
        check_outputs(self._cell_paths(), base.inputs(), base.force)

    def _cell_paths(self) -> list[Path]:
        """Files of the separate pictures, named after their values."""
        if self.base.cells is None:
            return []
        names = [
            "_".join(f"{name}-{value}" for name, value in zip(self.axes, values, strict=True))
            for values in combinations(self.axes)
        ]
        # Characters and lengths that any file system takes.
        safe = [re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:200] for name in names]
        return [self.base.cells / f"{k:03d}_{name}.png" for k, name in enumerate(safe, 1)]


def read_axes(argv: Sequence[str]) -> tuple[Axes, list[list[str]]]:
    """Split the command line of a sweep into one command line per cell.

    Args:
        argv: the arguments after `sweep`.

    Returns:
        Each option with several values, and those; for each combination, row by row, the arguments with one value each.

    Raises:
        InputError: for more than two axes, an empty or repeated value, or too many cells.

    Example:
        >>> axes, cells = read_axes(["a.jpg", "--strength", "0.2,0.8", "--style-layers=relu1_1+relu2_1,relu4_1"])
        >>> axes
        {'strength': ('0.2', '0.8'), 'style-layers': ('relu1_1+relu2_1', 'relu4_1')}
        >>> cells[1]
        ['a.jpg', '--strength', '0.8', '--style-layers', 'relu1_1', 'relu2_1']
    """
    options = {name: field for name, field in options_with_values(Sweep).items() if field not in NOT_SWEEPABLE}
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        words += [name, value] if equals and _hyphenated(name) in options and "," in value else [word]
    axes: dict[str, tuple[str, ...]] = {}
    # Index of the word that holds the values of an axis -> field of the axis.
    positions: dict[int, str] = {}
    for k, (before, word) in enumerate(itertools.pairwise(words), 1):
        field = options.get(_hyphenated(before))
        if field is not None and "," in word:
            values = tuple(word.split(","))
            if not all(values) or len(set(values)) < len(values):
                raise InputError(f"{option_name(field)} is {word}, expected different values between the commas")
            axes[option_name(field)[2:]], positions[k] = values, field
    if len(axes) > 2:
        raise InputError(
            f"{', '.join(axes)} have several values, expected at most two such options: one for rows, one for columns"
        )
    count = math.prod(map(len, axes.values()))
    if count > MAX_CELLS:
        raise InputError(f"the sweep has {count} cells, expected at most {MAX_CELLS}")
    cells = []
    for combination in combinations(axes):
        chosen = dict(zip(axes, combination, strict=True))
        parts = [_parts(positions[k], chosen) if k in positions else [word] for k, word in enumerate(words)]
        cells.append(list(itertools.chain(*parts)))
    return axes, cells


def _hyphenated(word: str) -> str:
    """An option as its help spells it: `--tv_weight` is `--tv-weight`."""
    return word.replace("_", "-") if word.startswith("--") else word


def _parts(field: str, chosen: Mapping[str, str]) -> list[str]:
    """The value of an axis in one cell, split at each + if its option takes several values."""
    value = chosen[option_name(field)[2:]]
    return value.split("+") if takes_several(Sweep, field) else [value]


def combinations(axes: Axes) -> Iterator[tuple[str, ...]]:
    """Values of all axes for each cell, row by row: the first axis changes fastest."""
    for values in itertools.product(*reversed(list(axes.values()))):
        yield values[::-1]


def _rows(pictures: Sequence[Any], columns: int) -> list[list[Any]]:
    return [list(pictures[k : k + columns]) for k in range(0, len(pictures), columns)]
