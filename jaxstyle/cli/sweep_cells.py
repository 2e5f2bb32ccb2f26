"""The cells of a sweep: those that share a structure run in one compiled program, as many at once as fit in memory."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxstyle.cli.batch_checkpoint import BatchCheckpoint, with_note
from jaxstyle.cli.inputs import read_paintings, read_photo, read_regions, read_start
from jaxstyle.cli.logs import EventLogger
from jaxstyle.cli.recipe import BatchPlace
from jaxstyle.cli.report import BAR, batch_line
from jaxstyle.cli.stylize import Stylize
from jaxstyle.minimize.checkpoint import Checkpoint, remove_checkpoint
from jaxstyle.minimize.status import INTERRUPTED
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, check_weights
from jaxstyle.transfer.memory import fits, largest, memory, usable_memory
from jaxstyle.transfer.program import StageShape
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.stylize_batch import stylize_batch
from jaxstyle.typing import AnyImage
from jaxstyle.vgg import weights

# Options whose values are traced numbers or input images: cells that differ in nothing else share a program.
TRACED = (
    *("strength", "content_weight", "style_weight", "tv_weight", "content_layers", "style_layers"),
    *("style_scale", "style_size", "blend", "color", "region", "mosaic", "seed"),
)


class CellInputs(NamedTuple):
    """The options of one cell, with its images.

    Attributes:
        position: of the cell on the sheet, row by row.
        options: of the cell.
        photo: `(H, W, 3)`.
        paintings: each at its size for this cell.
    """

    position: int
    options: Stylize
    photo: AnyImage
    paintings: list[AnyImage]


class Group(NamedTuple):
    """Cells that share a structure, and so a compiled program.

    Attributes:
        indices: positions of the cells on the sheet.
        batch_size: number of cells per call of `stylize_batch`.
        layers: content layers and style layers of all cells together.
        shared_arguments: arguments of `stylize_batch` that are the same for all cells.
        cell_arguments: arguments of `stylize_batch` with one entry per cell.
    """

    indices: list[int]
    batch_size: int
    layers: tuple[tuple[str, ...], tuple[str, ...]]
    shared_arguments: dict[str, Any]
    cell_arguments: dict[str, list[Any]]


def prepare_groups(cells: Sequence[Stylize], batch_sizes: Sequence[int] | None = None) -> list[Group]:
    """Read and check the inputs of all cells before the first one runs, and group the cells by structure.

    Args:
        cells: options of each cell; all have the same photo.
        batch_sizes: of each group, if they are known.

    Returns:
        The groups.

    Raises:
        InputError: for any input or option that cannot be used.
    """
    groups: dict[str, list[CellInputs]] = {}
    for inputs in _read_inputs(cells):
        groups.setdefault(_structure(inputs), []).append(inputs)
    sizes = [None] * len(groups) if batch_sizes is None else batch_sizes
    return [group_of(members, batch_size=size) for members, size in zip(groups.values(), sizes, strict=True)]


def run_groups(
    groups: Sequence[Group],
    pending: Collection[int],
    on_result: Callable[[int, Result, BatchPlace], None],
    on_progress: Callable[[Sequence[int], BatchProgress], None],
    line: EventLogger,
    quiet: bool,
    checkpoint: BatchCheckpoint | None = None,
) -> None:
    """Run group after group, until Ctrl-C.

    Args:
        groups: from `prepare_groups`.
        pending: indices of the cells to make.
        on_result: called with the index of each cell, its result, and its place in the batch, as soon as it is done.
        on_progress: called with the indices of the cells in work, and their progress.
        line: logs an event.
        quiet: if True, there is no progress bar.
        checkpoint: of the call in progress.
    """
    done, sizes = 0, [group.batch_size for group in groups]
    interrupted = set() if checkpoint is None else checkpoint.interrupted_batch(pending)
    with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, smoothing=0.3, disable=quiet) as bar:
        for group, rows in _calls(groups, pending, interrupted):
            indices = [group.indices[row] for row in rows]

            def show(progress: BatchProgress, indices: Sequence[int] = indices, done: int = done) -> None:
                bar.set_postfix_str(f"{done + len(indices)} of {len(pending)} pictures", refresh=False)
                bar.update((done + progress.fraction * len(indices)) / len(pending) - bar.n)
                line("chunk", **batch_line(progress), done=done)
                on_progress(indices, progress)

            batch = run_call(group, rows, show, with_note(checkpoint, batch=indices, batch_sizes=sizes))
            for k, (index, result) in enumerate(zip(indices, batch, strict=True)):
                on_result(index, result, BatchPlace(group.batch_size, k, (0, 0), *group.layers))
            if any(result.status in INTERRUPTED for result in batch):
                return
            if checkpoint is not None:
                remove_checkpoint(checkpoint.checkpoint.path)
            done += len(rows)


def _calls(groups: Sequence[Group], pending: Collection[int], interrupted: set[int]) -> list[tuple[Group, list[int]]]:
    """Return groups, and the rows of the cells to make at once; an interrupted call comes first, as it was."""
    first, others = [], []
    for group in groups:
        rows = [row for row, index in enumerate(group.indices) if index in pending]
        again = [row for row in rows if group.indices[row] in interrupted]
        first += [(group, again)] if again else []
        rows = [row for row in rows if row not in again]
        others += [(group, rows[k : k + group.batch_size]) for k in range(0, len(rows), group.batch_size)]
    return first + others


def run_call(
    group: Group,
    rows: Sequence[int],
    callback: Callable[[BatchProgress], None],
    checkpoint: Checkpoint | None = None,
) -> list[Result]:
    """Make the cells in these rows of a group, at most `group.batch_size`, in one call."""
    # Filled up with the last cell: the same size reuses the compiled program.
    filled = [*rows, *[rows[-1]] * (group.batch_size - len(rows))]
    arguments = {name: [values[row] for row in filled] for name, values in group.cell_arguments.items()}
    options = group.shared_arguments | {"callback": callback, "checkpoint": checkpoint}
    return stylize_batch(**arguments, **options)[: len(rows)]


def _read_inputs(cells: Sequence[Stylize]) -> list[CellInputs]:
    """Read each image once for all cells that use it at the same size."""
    # Cells are all combinations of values, so the deepest layers meet every size.
    min_side = max(cell.settings().min_side for cell in cells)
    photos: dict[Any, AnyImage] = {}
    paintings: dict[Any, list[AnyImage]] = {}
    for cell in cells:
        if cell.size not in photos:
            photos[cell.size] = read_photo(cell, cell.photo, min_side).pixels
        if _painting_size(cell) not in paintings:
            paintings[_painting_size(cell)] = read_paintings(cell, min_side)
    return [CellInputs(k, cell, photos[cell.size], paintings[_painting_size(cell)]) for k, cell in enumerate(cells)]


def _painting_size(cell: Stylize) -> tuple[Any, ...]:
    return cell.size, cell.style_size, cell.style_scale


def _structure(inputs: CellInputs) -> str:
    """Key of the compiled program: the options that are not traced, and what else changes the program."""
    cell, settings = inputs.options, inputs.options.settings()
    fixed = {name: value for name, value in dataclasses.asdict(cell).items() if name not in TRACED}
    # A batch has one number of scales for all: cells that differ in it would not be what `stylize` gives.
    scales: tuple[int, ...] = (1,)
    if cell.scales != 1:
        sizes: list[tuple[int, int]] = [(image.shape[0], image.shape[1]) for image in inputs.paintings]
        height, width = inputs.photo.shape[:2]
        scales = (len(cell.scales_of((height, width), sizes)), settings.min_side)
    return repr((fixed, settings.strength is None, scales))


def group_of(members: Sequence[CellInputs], place: BatchPlace | None = None, batch_size: int | None = None) -> Group:
    """Return a group of cells of one structure.

    Every cell has the layers of all, with weight 0 where it leaves one out.

    Args:
        members: the cells.
        place: of a cell that is made again: its layers and its number of cells; None finds them.
        batch_size: number of cells per call; None for the fewest calls that fit into memory.
    """
    cells, photo = [member.options for member in members], members[0].photo
    first = cells[0]
    layers = (
        tuple(dict.fromkeys(layer for cell in cells for layer in getattr(cell, name)))
        for name in ("content_layers", "style_layers")
    )
    content_layers, style_layers = layers if place is None else (place.content_layers, place.style_layers)
    common = dataclasses.replace(first, content_layers=content_layers, style_layers=style_layers)
    settings = common.settings(read_start(first))
    objective = settings.objective
    regions = [read_regions(member.options, photo, member.paintings, first.content_mask) for member in members]
    cell_arguments: dict[str, list] = {
        "contents": [photo] * len(cells),
        "styles": [member.paintings for member in members],
        "weights": [
            _weights_of_all_layers(cell, objective, strengths)
            for cell, (_, strengths) in zip(cells, regions, strict=True)
        ],
        "style_weights": [cell.blend or (1.0,) * len(cell.paintings()) for cell in cells],
        "color": [cell.color for cell in cells],
        "mosaic": [cell.mosaic for cell in cells],
        "seeds": [cell.seed for cell in cells],
    }
    if first.content_mask is not None:
        cell_arguments["regions"] = [masks for masks, _ in regions]
    if settings.strength is not None:
        cell_arguments["strength"] = [cell.settings().strength for cell in cells]
    params = weights.load_params(first.weights)
    shared_arguments = {"settings": settings, "mesh": common.devices(), "params": params}
    shared_arguments |= {"callback_every": common.save_every}
    batch_size = place.photos if place is not None else batch_size
    if batch_size is None:
        options = {"batch": len(cells), "regions": 0 if first.content_mask is None else len(regions[0][1])}
        batch_size = _batch_size(common.stage_shapes((photo.shape[0], photo.shape[1]), (), params=params, **options))
    indices, layers = [member.position for member in members], (content_layers, style_layers)
    return Group(indices, batch_size, layers, shared_arguments, cell_arguments)


def _batch_size(stages: Sequence[StageShape]) -> int:
    """Number of cells per call: the fewest calls of about equal size that fit in memory."""
    needs, usable, cells = largest(map(memory, stages)), usable_memory(stages[0]), stages[0].batch
    if fits(needs, usable):
        return cells
    calls = math.ceil(min(cells, needs.peak / max(1.0, usable)))
    return -(-cells // calls)


def _weights_of_all_layers(cell: Stylize, objective: Objective, regions: tuple[float, ...]) -> LossWeights:
    """A cell's loss weights in terms of the layers of all cells."""
    count = len(regions) if cell.content_mask is not None else None
    settings = cell.settings(regions=regions)
    cell_weights, cell_objective = settings.weights, settings.objective
    check_weights(cell_weights, cell_objective, count)
    broadcast = broadcast_weights(cell_weights, cell_objective, count)

    def expand(
        values: Any, names: tuple[str, ...], all_names: tuple[str, ...], factor: float = 1.0
    ) -> tuple[float, ...]:
        by_layer = dict(zip(names, values.tolist(), strict=True))
        return tuple(factor * by_layer.get(name, 0.0) for name in all_names)

    # The paper's style loss is a mean over layers, which divides by the number of all cells' layers.
    mean = len(objective.style_layers) / len(cell.style_layers) if cell.normalization == "paper" else 1.0
    return LossWeights(
        expand(broadcast.content, cell.content_layers, objective.content_layers),
        expand(broadcast.style, cell.style_layers, objective.style_layers, mean),
        float(broadcast.tv),
        tuple(np.asarray(broadcast.regions).tolist()) if count else 1.0,
        settings.weights.neighbors,
        float(broadcast.edges),
        float(broadcast.temporal),
    )
