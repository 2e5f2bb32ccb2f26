"""Many settings of one pair of pictures: those of one structure in one compiled program, as many as fit at once."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxstyle.cli.inputs import read_paintings, read_photo, read_regions, read_start
from jaxstyle.cli.logs import EventLogger
from jaxstyle.cli.report import BAR, batch_line
from jaxstyle.cli.stylize import Stylize
from jaxstyle.minimize.status import INTERRUPTED
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, check_weights
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.transfer.memory import USABLE, estimate
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.stylize_batch import stylize_batch
from jaxstyle.vgg import weights

# What is traced, or only a picture to start from: cells that differ in nothing else share a program.
TRACED = (
    *("strength", "content_weight", "style_weight", "tv_weight", "content_layers", "style_layers"),
    *("style_scale", "style_size", "blend", "color", "region", "mosaic", "seed"),
)


class Group(NamedTuple):
    """Cells that share a structure, and so a compiled program.

    Attributes:
        members: their places.
        at_once: how many fit into the memory together.
        settings: arguments of `stylize_batch` that they have in common.
        each: arguments with one entry a cell.
    """

    members: list[int]
    at_once: int
    settings: dict[str, Any]
    each: dict[str, list[Any]]


def prepare(cells: Sequence[Stylize]) -> list[Group]:
    """Read and check what all cells need, before the first is made.

    Args:
        cells: options, all of the same photo.

    Returns:
        The groups.

    Raises:
        InputError: for anything that cannot be used.
    """
    groups: dict[str, list[int]] = {}
    for k, cell in enumerate(cells):
        # What is left when all that is traced is taken away; whether a strength is told changes the program too.
        left = {name: value for name, value in dataclasses.asdict(cell).items() if name not in TRACED}
        groups.setdefault(repr((left, cell.found_strength() is None)), []).append(k)
    return [_group([cells[k] for k in members], members) for members in groups.values()]


def make_cells(
    groups: Sequence[Group], count: int, keep: Callable[[int, Result], None], line: EventLogger, quiet: bool
) -> dict[int, Result]:
    """The results, group by group; after Ctrl-C those that are there.

    Args:
        groups: see `prepare`.
        count: of all cells.
        keep: called with the place and the result of each, as soon as it is there.
        line: logs an event.
        quiet: whether there is no progress bar.

    Returns:
        Place to result.
    """
    found: dict[int, Result] = {}
    with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, smoothing=0.3, disable=quiet) as bar:
        for group in groups:
            for start in range(0, len(group.members), group.at_once):
                members = group.members[start : start + group.at_once]

                # The last ones are as many as the others, so that they find the same program.
                places = [min(start + k, len(group.members) - 1) for k in range(group.at_once)]
                arguments: dict[str, Any] = {name: [values[k] for k in places] for name, values in group.each.items()}
                arguments |= group.settings | {"callback": _shown(bar, line, len(found), len(members), count)}
                results = stylize_batch(**arguments)[: len(members)]
                found |= dict(zip(members, results, strict=True))
                for k, result in zip(members, results, strict=True):
                    keep(k, result)
                if any(result.status in INTERRUPTED for result in results):
                    return found
    return found


def _shown(bar: tqdm, line: EventLogger, before: int, now: int, count: int) -> Callable[[BatchProgress], None]:
    """A callback that moves the bar, with so many cells behind and so many under way."""

    def callback(progress: BatchProgress) -> None:
        bar.set_postfix_str(f"{before + now} of {count} pictures", refresh=False)
        bar.update((before + progress.fraction * now) / count - bar.n)
        line("chunk", **batch_line(progress), done=before)

    return callback


def _group(cells: Sequence[Stylize], members: list[int]) -> Group:
    """Cells of one structure: their layers are those of all, with weight 0 where a cell leaves one out."""
    first = cells[0]
    layers = {
        name: tuple(dict.fromkeys(layer for cell in cells for layer in getattr(cell, name)))
        for name in ("content_layers", "style_layers")
    }
    common = dataclasses.replace(first, **layers)
    objective = common.objective()
    photo = read_photo(first, first.photo, objective.min_side).pixels
    paintings: dict[Any, list] = {}
    each: dict[str, list] = {name: [] for name in ("styles", "weights", "regions")}
    for cell in cells:
        # A painting is measured once for all cells that see it alike.
        key = cell.style_scale, cell.style_size
        if key not in paintings:
            paintings[key] = read_paintings(cell, objective.min_side)
        regions, strengths = read_regions(cell, photo, paintings[key])
        each["styles"].append(paintings[key])
        each["regions"].append(regions)
        each["weights"].append(_of_all_layers(cell, objective, strengths))
    if first.content_mask is None:
        del each["regions"]
    if first.found_strength() is not None:
        each["strength"] = [cell.found_strength() for cell in cells]
    each |= {
        "contents": [photo] * len(cells),
        "style_weights": [cell.blend or (1.0,) * len(cell.paintings()) for cell in cells],
        "color": [cell.color for cell in cells],
        "mosaic": [cell.mosaic for cell in cells],
        "seeds": [cell.seed for cell in cells],
    }
    settings = {name: value for name, value in common.arguments().items() if name not in each and name != "strength"}
    settings |= {"init": read_start(first), "params": weights.load_params(first.weights)}
    needs = estimate(photo.shape[0], photo.shape[1], objective, common.transform())
    free = free_memory()
    most = len(cells) if free is None else max(1, int(USABLE * free // (needs.peak - needs.process)))
    # In parts of about equal size.
    at_once = -(-len(cells) // -(-len(cells) // most))
    return Group(members, at_once, settings, each)


def _of_all_layers(cell: Stylize, objective: Objective, regions: tuple[float, ...]) -> LossWeights:
    """A cell's weights in terms of the layers of all cells."""
    count = len(regions) if cell.content_mask is not None else None
    told_weights, structure = cell.loss_weights(regions), cell.objective()
    check_weights(told_weights, structure, count)
    own = broadcast_weights(told_weights, structure, count)

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
