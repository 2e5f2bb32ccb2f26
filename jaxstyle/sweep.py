"""`jaxstyle sweep`: many settings of one pair of pictures, side by side on a contact sheet."""

import dataclasses
import itertools
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxstyle import io, weights
from jaxstyle.batch import stylize_batch
from jaxstyle.commands import Stylize, recipe_of
from jaxstyle.errors import InputError
from jaxstyle.inputs import read_paintings, read_regions, read_start
from jaxstyle.objective import LossWeights, Objective, a_layer_each
from jaxstyle.reports import BAR, duration, final_loss
from jaxstyle.result import BatchProgress, Result
from jaxstyle.sheet import contact_sheet
from jaxstyle.signals import no_interrupt

# Options whose values may hold commas themselves, or that say nothing about a picture.
NO_AXIS = ("output", "o", "cells", "init", "weights", "content-mask", "style-mask", "region", "mesh", "distributed")
# What is traced, or only a picture to start from: cells that differ in nothing else share a program.
TRACED = (
    *("strength", "content_weight", "style_weight", "tv_weight", "content_layers", "style_layers"),
    *("style_scale", "style_size", "blend", "color", "region", "mosaic", "seed"),
)
MOST_CELLS = 400
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
        base, begin = self.base, time.perf_counter()
        for cell in self.cells:
            cell.check()
        self._check()
        recipes = [recipe_of(cell) for cell in self.cells]
        # Before the work, what could not be stored after it.
        io.recipe_text(recipes[0])
        results = make_cells(self.cells)
        columns = len(next(iter(self.axes.values()))) if len(self.axes) == 2 else min(len(self.cells), PER_ROW)
        names = list(self.axes)
        labels = [[f"--{name} {value}" for value in self.axes[name]] for name in names]
        pictures = [each.image for each in results]
        if len(names) == 2:
            sheet = contact_sheet(_rows(pictures, columns), row_labels=labels[1], column_labels=labels[0])
        else:
            # In rows of several, each with its label: one row after the other.
            parts = [
                contact_sheet([pictures[k : k + columns]], column_labels=labels[0][k : k + columns])
                for k in range(0, len(pictures), columns)
            ]
            width = max(part.shape[1] for part in parts)
            padded = [jnp.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=1) for part in parts]
            sheet = jnp.concatenate(padded)
        recipe = recipes[0] | {"axes": {name: list(values) for name, values in self.axes.items()}}
        with no_interrupt():
            io.save_image(base.output, sheet, recipe=recipe, quality=base.quality)
        losses = [final_loss(each) for each in results]
        for path, told, result, loss in zip(self._paths(), recipes, results, losses, strict=False):
            told |= {"evaluations": result.evaluations, "loss": loss, "status": str(result.status)}
            io.save_image(path, result.image, recipe=told, quality=base.quality)
        print(
            f"{base.output}: {len(results)} pictures of {pictures[0].shape[1]}x{pictures[0].shape[0]} in "
            f"{duration(time.perf_counter() - begin)}"
        )
        return 0

    def _check(self) -> None:
        base = self.base
        if os.path.isdir(base.photo):
            raise InputError(f"{base.photo} is a folder, expected one photo for a sweep")
        if base.save_every is not None:
            raise InputError("--save-every is not for a sweep, expected it left out: use stylize for a single setting")
        io.check_output(base.output)
        if base.cells is not None:
            try:
                base.cells.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot make the folder {base.cells}: {error.strerror}; choose another") from error
        taken = {os.path.realpath(path) for path in (base.output, *self._paths())}
        for source in base.inputs():
            if os.path.realpath(source) in taken:
                raise InputError(f"the output would overwrite {source}, one of the inputs: choose another name")

    def _paths(self) -> list[Path]:
        """The files of the separate pictures, named after their values."""
        if self.base.cells is None:
            return []
        values = [dict(zip(self.axes, each, strict=True)) for each in combinations(self.axes)]
        names = ["_".join(f"{name}-{value}" for name, value in each.items()) or "cell" for each in values]
        # Of values, what any file system takes.
        return [self.base.cells / f"{re.sub(r'[^A-Za-z0-9_.+-]', '-', name)[:200]}.png" for name in names]


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
        if before.startswith("-") and "," in word and name not in NO_AXIS:
            values = tuple(word.split(","))
            if not all(values) or len(set(values)) < len(values):
                raise InputError(f"--{name} is {word}, expected different values between the commas")
            axes[name], places[k] = values, name
    if len(axes) > 2:
        raise InputError(
            f"{', '.join(axes)} have several values, expected at most two options with them: rows and columns"
        )
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST_CELLS:
        raise InputError(f"the sweep has {count} cells, expected at most {MOST_CELLS}")
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


def make_cells(cells: Sequence[Stylize]) -> list[Result]:
    """The result of each cell: those that share a structure in one compiled program.

    Args:
        cells: options, all of the same photo.

    Returns:
        Results, in their order.

    Raises:
        InputError: for anything that cannot be used.
    """
    groups: dict[str, list[int]] = {}
    for k, cell in enumerate(cells):
        # What is left when all that is traced is taken away; whether a strength is told changes the program too.
        left = {name: value for name, value in dataclasses.asdict(cell).items() if name not in TRACED}
        groups.setdefault(repr((left, cell.found_strength() is None)), []).append(k)
    found: dict[int, Result] = {}
    with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, smoothing=0.3) as bar:

        def callback(progress: BatchProgress) -> None:
            share = sum(len(group) for group in done) + progress.fraction * len(members)
            bar.set_postfix_str(f"{len(found) + len(members)} of {len(cells)} pictures", refresh=False)
            bar.update(share / len(cells) - bar.n)

        done: list[list[int]] = []
        for members in groups.values():
            results = _together([cells[k] for k in members], callback)
            found |= dict(zip(members, results, strict=True))
            done.append(members)
    return [found[k] for k in range(len(cells))]


def _together(cells: Sequence[Stylize], callback: Any) -> list[Result]:
    """Cells of one structure: their layers are those of all, with weight 0 where a cell leaves one out."""
    first = cells[0]
    layers = {
        name: tuple(dict.fromkeys(layer for cell in cells for layer in getattr(cell, name)))
        for name in ("content_layers", "style_layers")
    }
    common = dataclasses.replace(first, **layers)
    objective = common.objective()
    photo = io.read_picture(first.photo, first.size, smallest=objective.smallest).pixels
    paintings: dict[Any, list] = {}
    each: dict[str, Any] = {name: [] for name in ("styles", "weights", "regions")}
    for cell in cells:
        # A painting is measured once for all cells that see it alike.
        key = cell.style_scale, cell.style_size
        if key not in paintings:
            paintings[key] = read_paintings(cell, objective.smallest)
        regions, strengths = read_regions(cell, photo, paintings[key])
        each["styles"].append(paintings[key])
        each["regions"].append(regions)
        each["weights"].append(_of_all_layers(cell, objective, strengths))
    if first.content_mask is None:
        del each["regions"]
    arguments = common.arguments() | {
        "strength": None if first.found_strength() is None else [cell.found_strength() for cell in cells],
        "style_weights": [cell.blend or (1.0,) * len(cell.paintings()) for cell in cells],
        "color": [cell.color for cell in cells],
        "mosaic": [cell.mosaic for cell in cells],
        "seeds": [cell.seed for cell in cells],
    }
    params = weights.load_params(first.weights)
    return stylize_batch(
        [photo] * len(cells), init=read_start(first), params=params, callback=callback, **arguments, **each
    )


def _of_all_layers(cell: Stylize, objective: Objective, regions: tuple[float, ...]) -> LossWeights:
    """A cell's weights in terms of the layers of all cells."""
    count = len(regions) if cell.content_mask is not None else None
    own = a_layer_each(cell.loss_weights(regions), cell.objective(), count)

    def spread(
        values: Any, names: tuple[str, ...], all_names: tuple[str, ...], factor: float = 1.0
    ) -> tuple[float, ...]:
        told = dict(zip(names, values.tolist(), strict=True))
        return tuple(factor * told.get(name, 0.0) for name in all_names)

    # The paper's loss is a mean over the layers: that of all cells divides by more.
    mean = len(objective.style_layers) / len(cell.style_layers) if cell.normalization == "paper" else 1.0
    return LossWeights(
        spread(own.content, cell.content_layers, objective.content_layers),
        spread(own.style, cell.style_layers, objective.style_layers, mean),
        float(own.tv),
        tuple(np.asarray(own.regions).tolist()) if count else 1.0,
    )


def _rows(pictures: Sequence[Any], columns: int) -> list[list[Any]]:
    return [list(pictures[k : k + columns]) for k in range(0, len(pictures), columns)]
