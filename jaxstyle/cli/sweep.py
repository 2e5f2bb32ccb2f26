"""`jaxstyle sweep`: many settings of one pair of pictures, side by side on a contact sheet."""

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from tyro.conf import arg

from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.batch_checkpoint import BatchCheckpoint, open_checkpoint
from jaxstyle.cli.inputs import read_photo, with_native_size
from jaxstyle.cli.logs import EventLogger, ResultPrinter, json_lines, set_level
from jaxstyle.cli.option_names import hyphenated, option_name, options_with_values, takes_several
from jaxstyle.cli.outputs import (
    NOT_IN_RECIPE,
    check_outputs,
    check_sidecar_path,
    is_finished,
    numbered,
    write_picture,
)
from jaxstyle.cli.pipes import run_with_files
from jaxstyle.cli.recipe import BatchPlace, recipe_of, recipe_settings
from jaxstyle.cli.report import duration
from jaxstyle.cli.stylize import Stylize
from jaxstyle.cli.sweep_cells import Group, prepare_groups, run_groups
from jaxstyle.cli.validate import check_options
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.contact_sheet import contact_sheet
from jaxstyle.image.ops import resize
from jaxstyle.minimize.status import COMPLETED, INTERRUPTED, Status
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.transfer.summary import final_loss, run_summary
from jaxstyle.typing import AnyImage, Image

log = logging.getLogger(__name__)

# Options that cannot be an axis: they change no picture, or commas can be part of their values.
NOT_SWEEPABLE = {
    *NOT_IN_RECIPE,
    *("output", "cells", "init", "weights", "content_mask", "style_mask", "region", "mesh", "distributed"),
    *("quality", "bit_depth"),
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

    size: Annotated[Literal["original"] | int, arg(metavar="PIXELS|original")] = 192
    """Long side of each picture in pixels, 1 to 65536. original: that of the photo."""
    cells: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """Folder that each picture is also saved to, as a file of its own. It is created if necessary."""


@dataclass(frozen=True)
class Sheet:
    """A sweep with its axes.

    Attributes:
        base: options, with the first value of each axis.
        axes: name of each option that varies, with its values as text; the first varies across the columns.
        cells: options of each cell, row by row.
        batch_sizes: number of cells per call in each group, of a sheet that is made again; None chooses them from the
            free memory.
    """

    base: Sweep
    axes: Axes
    cells: Sequence[Sweep]
    batch_sizes: Sequence[int] | None = None

    def run(self) -> int:
        """Compute the pictures and write the sheet; return the exit code."""
        return run_with_files(
            [self.base, *self.cells],
            lambda options: self._with(list(map(with_native_size, options)))._go(),
        )

    def _with(self, options: Sequence[Sweep]) -> "Sheet":
        return dataclasses.replace(self, base=options[0], cells=options[1:])

    def _go(self) -> int:
        set_level(self.base.verbose, self.base.quiet)
        enable_compilation_cache(self.base.compile_cache)
        check_backend()
        self._check()
        with json_lines(self.base.log_json) as line:
            return self._run(line)

    def make(self, line: EventLogger) -> "MadeSheet":
        """Make the cells that do not exist yet, and arrange the sheet; only cells are written."""
        base = self.base
        photo = read_photo(base, base.photo, min_side=1)
        checkpoint, sizes = self._checkpoint(), self.batch_sizes
        if checkpoint is not None and sizes is None:
            # Other sizes would be other programs.
            sizes = checkpoint.interrupted.get("batch_sizes")
        groups, paths, recipes = prepare_groups(self.cells, sizes), self._cell_paths(), self._cell_recipes
        recipe = self._recipe | {"axis_settings": self._axis_settings()}
        recipe |= {"batch_sizes": [group.batch_size for group in groups]}
        # Fails before the work if the recipe is too long to be stored after it.
        io.recipe_text(recipe)
        sizes = [_full_size(groups, k) for k in range(len(self.cells))]
        blanks = [np.broadcast_to(np.float32(1), (*size, 3)) for size in sizes]
        sheet = self._draw({k: Cell(blank, True, Status.STEP_LIMIT) for k, blank in enumerate(blanks)})
        io.check_sides(base.output, *sheet.shape[:2])
        results = {k: _read_cell(path) for k, path in enumerate(paths) if is_finished(path, recipes[k])}
        if results:
            log.info("%d of %d cells exist already with these settings", len(results), len(self.cells))
        unsaved: list[Path] = []

        def save_cell(k: int, result: Result, place: BatchPlace) -> None:
            results[k] = Cell(result.image, math.isfinite(final_loss(result)), result.status)
            if not paths or not results[k].is_finite:
                return
            alpha = photo.alpha if photo.pixels.shape == result.image.shape else None
            cell_recipe = recipes[k] | run_summary(result) | {"batch": place.to_json()}
            options = {"force": base.force, "alpha": alpha, **base.encoding()}
            # Without it, the other cells and the sheet are still useful.
            if write_picture(paths[k], result.image, cell_recipe, **options) != paths[k]:
                unsaved.append(paths[k])

        def save_numbered_cells(indices: Sequence[int], progress: BatchProgress) -> None:
            evaluations = max(progress.evaluations)
            if base.save_every is None or evaluations % base.save_every:
                return
            for k, image in zip(indices, progress.images(), strict=False):
                path, size = numbered(paths[k], evaluations), _full_size(groups, k)
                snapshot = recipes[k] | {"status": "snapshot", "evaluations": evaluations}
                options = {"force": base.force, **base.encoding()}
                if write_picture(path, resize(image, *size), snapshot, **options) != path:
                    unsaved.append(path)

        pending = {k for k in range(len(self.cells)) if k not in results}
        run_groups(groups, pending, save_cell, save_numbered_cells, line, base.quiet, checkpoint)
        ends = [cell.status for cell in results.values() if cell.status not in COMPLETED]
        recipe |= {"status": str(ends[0] if ends else Status.STEP_LIMIT)}
        return MadeSheet(self._draw(results), results, recipe, unsaved)

    def _run(self, line: EventLogger) -> int:
        base, begin, paths = self.base, time.perf_counter(), self._cell_paths()
        image, results, recipe, unsaved = self.make(line)
        options = {"force": base.force, **base.encoding()}
        path = write_picture(base.output, image, recipe, **options)
        if path is None:
            return 1
        height, width = next(iter(results.values())).image.shape[:2]
        ResultPrinter(base.log_json, base.json)(
            f"{path}: {len(results)} of {len(self.cells)} pictures of {width}x{height} in "
            f"{duration(time.perf_counter() - begin)}",
            output=str(path),
            pictures=len(results),
            failed=len(self.cells) - len(results),
            seconds=round(time.perf_counter() - begin, 3),
        )
        interruptions = [cell.status for cell in results.values() if cell.status in INTERRUPTED]
        if interruptions or len(results) < len(self.cells):
            return EXIT_CODES[interruptions[0] if interruptions else Status.INTERRUPTED]
        if base.cells is None and base.checkpoint is not None and path == base.output:
            # The cells were kept for a second run only.
            for cell_path in paths:
                cell_path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                paths[0].parent.rmdir()
        num_nonfinite = sum(not cell.is_finite for cell in results.values())
        if num_nonfinite:
            log.error(
                "%d of the pictures had no finite loss and are blank on the sheet: lower the weights or use "
                "--precision highest",
                num_nonfinite,
            )
        return 1 if num_nonfinite or unsaved or path != base.output else 0

    @functools.cached_property
    def _recipe(self) -> dict[str, Any]:
        """The recipe of the sheet. Its inputs are those of every cell, and are hashed once."""
        return recipe_of(self.base) | {"axes": {name: list(values) for name, values in self.axes.items()}}

    @functools.cached_property
    def _cell_recipes(self) -> list[dict[str, Any]]:
        common = {name: value for name, value in self._recipe.items() if name != "axes"}
        # A cell is a picture of its own.
        outputs = self._cell_paths() or [self.base.output] * len(self.cells)
        return [
            common | {"settings": recipe_settings(cell) | {"output": output.name}}
            for cell, output in zip(self.cells, outputs, strict=True)
        ]

    def _axis_settings(self) -> dict[str, list[dict[str, Any]]]:
        """Return, for each value of each axis, the settings of its first cell that differ from the first cell's."""
        base, settings, step = recipe_settings(self.base), {}, 1
        for name, values in self.axes.items():
            firsts = [recipe_settings(self.cells[step * k]) for k in range(len(values))]
            settings[name] = [
                {field: value for field, value in first.items() if value != base[field]} for first in firsts
            ]
            step *= len(values)
        return settings

    def _checkpoint(self) -> BatchCheckpoint | None:
        base = self.base
        if base.checkpoint is None:
            return None
        command = {"command": "sweep", "settings": self._recipe["settings"], "axes": self.axes}
        return open_checkpoint(base.checkpoint, base.checkpoint_every, base.force, command)

    def _cells_folder(self) -> Path | None:
        """Folder of the separate pictures; with a checkpoint, a second run reads from it what is finished."""
        if self.base.cells is None and self.base.checkpoint is not None:
            return Path(f"{self.base.checkpoint}.cells")
        return self.base.cells

    def _draw(self, results: Mapping[int, "Cell"]) -> Image:
        """Arrange the sheet; a cell without a result, or without a finite loss, is blank."""
        blank = jnp.ones_like(next(iter(results.values())).image)
        finite = {k: cell.image for k, cell in results.items() if cell.is_finite}
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
        if base.animation is not None:
            raise InputError("--animation shows a single run, but a sweep has many: omit it")
        if base.distributed != "no":
            raise InputError("--distributed does not apply to a sweep, which runs on one host: omit it")
        if base.save_every is not None and base.cells is None:
            raise InputError("--save-every saves numbered pictures beside the cells of a sweep: add --cells FOLDER")
        check_outputs([base.output], base.inputs(), base.force, self._recipe)
        outputs = [base.output, *self._cell_paths()]
        check_sidecar_path("--checkpoint", base.checkpoint, outputs, base.inputs())
        outputs += [] if base.checkpoint is None else [base.checkpoint]
        check_sidecar_path("--log-json", base.log_json, outputs, base.inputs())
        folder = self._cells_folder()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot make the folder {folder}: {error.strerror}; choose another") from error
        for path, recipe in zip(self._cell_paths(), self._cell_recipes, strict=bool(folder)):
            if not is_finished(path, recipe):
                check_outputs([path], base.inputs(), base.force, recipe)

    def _cell_paths(self) -> list[Path]:
        """Files of the separate pictures, named after their values."""
        folder = self._cells_folder()
        if folder is None:
            return []
        names = [
            "_".join(f"{name}-{value}" for name, value in zip(self.axes, values, strict=True))
            for values in combinations(self.axes)
        ]
        # Characters and lengths that any file system takes.
        safe = [re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:200] for name in names]
        return [folder / f"{k:03d}_{name}.png" for k, name in enumerate(safe, 1)]


class Cell(NamedTuple):
    """A picture on the sheet."""

    image: AnyImage
    is_finite: bool
    status: Status


class MadeSheet(NamedTuple):
    """A sheet before it is written.

    Attributes:
        image: the sheet.
        cells: its pictures, by index.
        recipe: to store in the file.
        unsaved: files of cells that could not be written.
    """

    image: Image
    cells: dict[int, Cell]
    recipe: dict[str, Any]
    unsaved: list[Path]


def _read_cell(path: Path) -> Cell:
    recipe = io.read_recipe(path)
    assert recipe is not None
    return Cell(io.load_image(path, min_side=1), True, Status(recipe["status"]))


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
        words += [name, value] if equals and hyphenated(name) in options and "," in value else [word]
    axes: dict[str, tuple[str, ...]] = {}
    # Index of the word that holds the values of an axis -> field of the axis.
    positions: dict[int, str] = {}
    for k, (before, word) in enumerate(itertools.pairwise(words), 1):
        field = options.get(hyphenated(before))
        if field is not None and "," in word:
            values = tuple(word.split(","))
            if not all(values) or len(set(values)) < len(values):
                raise InputError(f"{option_name(field)} is {word}, expected different values between the commas")
            axes[option_name(field)[2:]], positions[k] = values, field
    if len(axes) > 2:
        raise InputError(
            f"{', '.join(axes)} have several values, expected at most two such options: one for columns, one for rows"
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


def _parts(field: str, chosen: Mapping[str, str]) -> list[str]:
    """The value of an axis in one cell, split at each + if its option takes several values."""
    value = chosen[option_name(field)[2:]]
    return value.split("+") if takes_several(Sweep, field) else [value]


def combinations(axes: Axes) -> Iterator[tuple[str, ...]]:
    """Values of all axes for each cell, row by row: the first axis changes fastest."""
    for values in itertools.product(*reversed(list(axes.values()))):
        yield values[::-1]


def _full_size(groups: Sequence[Group], index: int) -> tuple[int, int]:
    """Height and width of a cell."""
    sizes = {
        k: content.shape[:2]
        for group in groups
        for k, content in zip(group.indices, group.cell_arguments["contents"], strict=True)
    }
    return sizes[index]


def _rows(pictures: Sequence[Any], columns: int) -> list[list[Any]]:
    return [list(pictures[k : k + columns]) for k in range(0, len(pictures), columns)]
