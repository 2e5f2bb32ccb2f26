"""Stylize a folder of photos with few compiled programs; each picture is written when it is finished, none made twice.

Before the first batch only headers are read, except for photos whose output exists, which are hashed. A photo is
decoded when its batch starts.
"""

import functools
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxstyle.cli.batch_checkpoint import BatchCheckpoint, with_note
from jaxstyle.cli.inputs import Controls, photo_size, pictures_in, read_photo, read_regions
from jaxstyle.cli.logs import EventLogger, ResultPrinter
from jaxstyle.cli.options import Options
from jaxstyle.cli.outputs import blocks_output, is_finished, numbered, write_picture
from jaxstyle.cli.recipe import BatchPlace, photo_recipe
from jaxstyle.cli.report import BAR, batch_line, duration, picture_fields
from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.image.ops import resize
from jaxstyle.minimize.checkpoint import Checkpoint, remove_checkpoint
from jaxstyle.minimize.status import INTERRUPTED, Status
from jaxstyle.objective.mesh import broadcast_from_first_host
from jaxstyle.transfer.memory import OUT_OF_MEMORY
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.transfer.summary import final_loss, run_summary
from jaxstyle.typing import AnyImage

log = logging.getLogger(__name__)

Size = tuple[int, int]
# Stylizes photos with their regions together, on a canvas, with a callback and a checkpoint.
BatchMaker = Callable[
    [Sequence[tuple[AnyImage, Controls]], Size, Callable[[BatchProgress], None], Checkpoint | None],
    list[Result],
]

# Canvas sides are rounded up to a multiple of this many pixels: slightly more computation, but few programs to compile.
CANVAS_MULTIPLE = 64
# Of the files that are left out, this many are named.
MAX_NAMES = 5
# Sentinel for batches whose images all have the same size and need no padding to a common canvas.
NO_CANVAS = (0, 0)


@dataclass(frozen=True)
class Folder:
    """A folder of photos and what to do with it.

    Attributes:
        options: of the command.
        styles: the paintings.
        min_side: least pixels per side of every image.
        share: index i of this host and number n of hosts: it makes the pictures k with k mod n = i.
        factors: function from a photo's size to those of its scales; all photos of a batch have the same.
        make: function that stylizes photos together, on a canvas of the given size.
        checkpoint: settings of the checkpoint of the batch in progress; None for none.
        recipe: recipe of the run.
        log_event: function that logs an event.
        print_result: function that prints a result.
    """

    options: Options
    styles: Sequence[AnyImage]
    min_side: int
    share: tuple[int, int]
    factors: Callable[[Size], tuple[float, ...]]
    make: BatchMaker
    checkpoint: BatchCheckpoint | None
    recipe: dict[str, Any]
    log_event: EventLogger
    print_result: ResultPrinter

    def name_of(self, photo: Path) -> str:
        """Return the name of a photo, below the folder."""
        return str(photo.relative_to(self.options.photo))

    def mask_of(self, photo: Path) -> Path | None:
        """Return the mask of a photo: `--content-mask`, or the file with the photo's name in that folder.

        Raises:
            InputError: if there is not one such file.
        """
        mask = self.options.content_mask
        if mask is None or not mask.is_dir():
            return mask
        name = Path(self.name_of(photo))
        masks = self._masks_by_name.get(name.with_suffix(""), [])
        if len(masks) != 1:
            raise InputError(f"{mask} has {len(masks)} masks of {name}, expected one: {name.with_suffix('.png')}")
        return masks[0]

    @functools.cached_property
    def _masks_by_name(self) -> dict[Path, list[Path]]:
        """The files in the folder of the masks, which is read once for all photos, by their names below it."""
        folder = self.options.content_mask
        assert folder is not None
        masks: dict[Path, list[Path]] = {}
        for path in pictures_in(folder, self.options.recursive).pictures:
            masks.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
        return masks


class Task(NamedTuple):
    """A picture to make: its photo, its output, and the size at which the photo will be read."""

    photo: Path
    output: Path
    size: Size


class Group(NamedTuple):
    """Sizes that share a compiled program."""

    canvas: Size
    factors: tuple[float, ...]


class Loaded(NamedTuple):
    """A photo in memory.

    Attributes:
        task: the picture to make.
        picture: the photo.
        controls: its regions, and the style weight of each.
        recipe: of its picture.
    """

    task: Task
    picture: io.Picture
    controls: Controls
    recipe: dict[str, Any]


class Batch(NamedTuple):
    """Photos that are stylized together, and the number of photos in the batches before."""

    photos: list[Loaded]
    canvas: Size
    num_preceding: int


def stylize_folder(folder: Folder) -> int:
    """Make every picture that does not exist yet. A failure is logged, and the other photos continue.

    A picture exists if its recipe has the same settings and the same files.

    Returns:
        Exit code: 0 if all pictures of this host exist now, 1 if some failed or had to be written to a fallback path,
        130 after Ctrl-C, 143 after another signal.

    Raises:
        InputError: for a folder without photos, or an output folder that cannot be used.
    """
    start, outputs = time.perf_counter(), _outputs(folder)
    checksum_of = functools.cache(checksum)
    sizes, tasks = _pending_tasks(outputs, folder, checksum_of)
    # Group all photos, including finished ones, so that a resumed run uses the same compiled programs as an
    # uninterrupted one.
    longest = folder.options.side() or max(map(max, sizes.values()), default=1)
    groups = group_sizes(sizes.values(), longest, folder.factors)
    index, hosts = folder.share
    failed = sum(k % hosts == index and photo not in sizes for k, photo in enumerate(outputs))
    if not tasks and is_first():
        text = f"{folder.options.output}: nothing to make" + (f"; {failed} failed" if failed else "")
        folder.print_result(text, output=str(folder.options.output), pictures=0, failed=failed)
    made = 0
    disable = folder.options.quiet or not is_first() or not tasks
    with tqdm(total=float(len(tasks)), bar_format=BAR, dynamic_ncols=True, disable=disable) as bar:
        for batch in _batches(tasks, groups, folder, checksum_of):
            results = _make_batch(batch, len(tasks), folder, bar)
            saved = sum(_save(batch, k, result, folder) for k, result in enumerate(results))
            made += saved
            stopped = next((result.status for result in results if result.status in INTERRUPTED), None)
            # It holds the pictures that could not be written.
            if folder.checkpoint is not None and results and saved == len(results) and is_first():
                remove_checkpoint(folder.checkpoint.checkpoint.path)
            if stopped:
                _log_info(f"{stopped} after {made} pictures; run the same command again to make the rest")
                return EXIT_CODES[stopped]
    failed += len(tasks) - made
    if made and is_first():
        seconds = time.perf_counter() - start
        programs = len({groups[task.size] for task in tasks})
        folder.print_result(
            f"{folder.options.output}: {made} picture{'s' if made > 1 else ''} with {programs} compiled program"
            f"{'s' if programs > 1 else ''} in {duration(seconds)}, {60 * made / seconds:.2f} per minute"
            + (f"; {failed} failed" if failed else ""),
            output=str(folder.options.output),
            pictures=made,
            failed=failed,
            seconds=round(seconds, 3),
        )
    return 1 if failed else 0


def group_sizes(sizes: Iterable[Size], longest: int, factors: Callable[[Size], tuple[float, ...]]) -> dict[Size, Group]:
    """Assign a canvas to every size: its sides rounded up, unless no other size would share the canvas.

    Args:
        sizes: heights and widths of all photos.
        longest: largest side of any photo, which no canvas exceeds.
        factors: see `Folder`.

    Example:
        >>> groups = group_sizes([(342, 512), (340, 512), (512, 384)], 512, lambda size: (1.0,))
        >>> [groups[size].canvas for size in sorted(groups)]
        [(384, 512), (384, 512), (512, 384)]
    """

    def rounded(side: int) -> int:
        return min(-(-side // CANVAS_MULTIPLE) * CANVAS_MULTIPLE, max(side, longest))

    groups = {size: Group((rounded(size[0]), rounded(size[1])), factors(size)) for size in set(sizes)}
    shared = Counter(groups.values())
    # If only one size maps to a canvas, use that size as the canvas: no padding or mask is needed.
    return {size: group if shared[group] > 1 else group._replace(canvas=size) for size, group in groups.items()}


def _outputs(folder: Folder) -> dict[Path, Path]:
    """Return the output of each photo, in the order of their names."""
    root, output_folder = folder.options.photo, folder.options.output
    photos, others = pictures_in(root, folder.options.recursive, output_folder)
    if not photos:
        _log_others(folder, others)
        raise InputError(f"{root} contains no photos, expected files such as .jpg or .png")
    if output_folder.exists() and not output_folder.is_dir():
        raise InputError(f"the output {output_folder} is a file, expected a folder for the pictures")
    for inputs, name in ((root, "photos"), (folder.options.content_mask, "masks")):
        if inputs is not None and output_folder.exists() and output_folder.samefile(inputs):
            raise InputError(f"the output {output_folder} is the folder of the {name}, expected another one")
    paths = [output_folder / folder.name_of(photo) for photo in photos]
    stems = Counter(_folded(path.with_suffix("")) for path in paths)
    # The pictures of a.jpg and a.png get different names.
    names = [path.name if stems[_folded(path.with_suffix(""))] > 1 else path.stem for path in paths]
    outputs = {
        photo: path.with_name(f"{name}.{folder.options.format}")
        for photo, path, name in zip(photos, paths, names, strict=True)
    }
    num_photos = Counter(map(_folded, outputs.values()))
    sources = {path.resolve() for path in (*photos, *folder.options.inputs()[1:])}
    for output in outputs.values():
        if output.resolve() in sources:
            raise InputError(f"the output {output} is one of the inputs, expected another folder")
        if num_photos[_folded(output)] > 1:
            raise InputError(f"two photos would become {output}, expected photos of different names")
        snapshot = re.fullmatch(r"(.+)_\d{5}", output.stem)
        unnumbered = output.with_name(f"{snapshot[1]}{output.suffix}") if snapshot else output
        if folder.options.save_every and snapshot and _folded(unnumbered) in num_photos:
            raise InputError(
                f"a numbered picture of {snapshot[1]} could take the place of {output}, expected photos of other names"
            )
    if is_first():
        _log_others(folder, others)
        try:
            for parent in {output_folder, *(output.parent for output in outputs.values())}:
                parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {output_folder}: {error.strerror}; choose another") from error
        io.check_output(next(iter(outputs.values())))
        io.recipe_text(folder.recipe)
    return outputs


def _folded(path: Path) -> str:
    """A path as file systems compare them that ignore case."""
    return str(path).casefold()


def _log_others(folder: Folder, others: Sequence[str]) -> None:
    """Name the files and folders that are left out."""
    if not others:
        return
    has_folders = any(name.endswith(os.sep) for name in others) and not folder.options.recursive
    log.warning(
        "%d of %s left out, expected files with the extension of a picture: %s%s%s",
        len(others),
        folder.options.photo,
        ", ".join(others[:MAX_NAMES]),
        ", ..." if len(others) > MAX_NAMES else "",
        "; --recursive takes the photos of subfolders" if has_folders else "",
    )


def _pending_tasks(
    outputs: dict[Path, Path], folder: Folder, checksum_of: Callable[[Path], str]
) -> tuple[dict[Path, Size], list[Task]]:
    """Return the sizes of all photos with a readable header, and the pictures to make.

    In a multi-host run the first host decides: the pictures may exist only there.
    """
    sizes, is_pending, blocking = np.zeros((len(outputs), 2), np.int32), np.zeros(len(outputs), bool), []
    index, hosts = folder.share
    for k, (photo, output) in enumerate(outputs.items() if is_first() else ()):
        try:
            sizes[k] = photo_size(folder.options, photo, folder.min_side)
            io.check_sides(output, *map(int, sizes[k]))
            if k % hosts != index:
                continue
            is_pending[k] = True
            if os.path.lexists(output):
                recipe = _recipe(folder, photo, output, checksum_of)
                is_pending[k] = not is_finished(output, recipe)
                if is_pending[k] and blocks_output(output, folder.options.force, recipe):
                    blocking.append(output)
        except InputError as error:
            sizes[k] = 0
            is_pending[k] = False
            if k % hosts == index:
                _log_failure(photo, error)
    num_photos = int(broadcast_from_first_host(np.int32(len(outputs))))
    if num_photos != len(outputs):
        raise InputError(
            f"{folder.options.photo} has {len(outputs)} photos here and {num_photos} on the first host, expected as "
            "many"
        )
    sizes, is_pending, num_blocking = broadcast_from_first_host((sizes, is_pending, np.int32(len(blocking))))
    own = np.arange(len(outputs)) % hosts == index
    num_finished = int(np.count_nonzero(own & sizes.all(axis=1) & ~is_pending))
    if num_finished:
        _log_info(f"{num_finished} of {np.count_nonzero(own)} pictures exist already with these settings")
    if num_blocking:
        example = f", such as {blocking[0].name}" if blocking else ""
        raise InputError(
            f"{folder.options.output} already contains {num_blocking} picture{'s' if num_blocking > 1 else ''} made "
            f"with different settings or inputs{example}: choose another folder, or use --force to replace them"
        )
    readable = {photo: (int(size[0]), int(size[1])) for photo, size in zip(outputs, sizes, strict=True) if all(size)}
    pending = [photo for photo, flag in zip(outputs, is_pending, strict=True) if flag]
    return readable, [Task(photo, outputs[photo], readable[photo]) for photo in pending]


def _batches(
    tasks: Sequence[Task], groups: dict[Size, Group], folder: Folder, checksum_of: Callable[[Path], str]
) -> Iterator[Batch]:
    """Read the photos, and yield them in batches that share a program. Log those that cannot be read."""
    members: dict[Group, list[Task]] = {}
    for task in tasks:
        members.setdefault(groups[task.size], []).append(task)
    shared = Counter(groups.values())
    num_preceding = 0
    # The batch that was interrupted comes first, as it was.
    names = [folder.name_of(task.photo) for task in tasks]
    interrupted = set() if folder.checkpoint is None else folder.checkpoint.interrupted_batch(names)
    for tasks_of_group in members.values():
        tasks_of_group.sort(key=lambda task: folder.name_of(task.photo) not in interrupted)
    for group in sorted(members, key=lambda group: (folder.name_of(members[group][0].photo) not in interrupted, group)):
        # Images of equal size fill their canvas.
        canvas = group.canvas if shared[group] > 1 else NO_CANVAS
        loaded: list[Loaded] = []
        for task in members[group]:
            try:
                photo = _load(folder, task, checksum_of)
            except InputError as error:
                _log_failure(task.photo, error)
                continue
            if photo.picture.pixels.shape[:2] != task.size:
                # The file has changed, or its header lacks the orientation (PNG).
                yield Batch([photo], NO_CANVAS, num_preceding)
                num_preceding += 1
                continue
            if loaded and _kind(loaded[0]) != _kind(photo):
                # Photos with other regions need another program.
                yield Batch(loaded, canvas, num_preceding)
                num_preceding += len(loaded)
                loaded = []
            loaded.append(photo)
            if len(loaded) == folder.options.batch or {folder.name_of(one.task.photo) for one in loaded} == interrupted:
                yield Batch(loaded, canvas, num_preceding)
                num_preceding += len(loaded)
                loaded = []
        if loaded:
            yield Batch(loaded, canvas, num_preceding)
            num_preceding += len(loaded)


def _load(folder: Folder, task: Task, checksum_of: Callable[[Path], str]) -> Loaded:
    recipe = _recipe(folder, task.photo, task.output, checksum_of)
    picture = read_photo(folder.options, task.photo, folder.min_side)
    controls = read_regions(folder.options, picture.pixels, folder.styles, folder.mask_of(task.photo))
    return Loaded(task, picture, controls, recipe)


def _kind(photo: Loaded) -> int | None:
    """Number of regions of a photo; None without a mask."""
    regions, _ = photo.controls
    return None if regions is None else regions.content.shape[2]


def _recipe(folder: Folder, photo: Path, output: Path, checksum_of: Callable[[Path], str]) -> dict[str, Any]:
    """Return the recipe of one picture, from that of the folder."""
    return photo_recipe(folder.recipe, output, checksum_of, photo, folder.mask_of(photo))


def _make_batch(batch: Batch, num_tasks: int, folder: Folder, bar: tqdm) -> list[Result]:
    """Stylize a batch. On invalid input or out of memory, log the failure and return an empty list."""
    names = [folder.name_of(photo.task.photo) for photo in batch.photos]

    def show(progress: BatchProgress) -> None:
        evaluations = max(progress.evaluations)
        bar.set_postfix_str(
            f"{batch.num_preceding} of {num_tasks} done, current batch: {evaluations} evaluations", False
        )
        bar.update(batch.num_preceding + progress.fraction * len(names) - bar.n)
        folder.log_event("chunk", **batch_line(progress), photos=names, done=batch.num_preceding)
        if folder.options.save_every and max(progress.evaluations) % folder.options.save_every == 0:
            _save_snapshots(batch, progress, folder)

    # Pad the batch with copies of the last photo: a different batch size would require another compilation.
    copies = [batch.photos[-1]] * (folder.options.batch - len(batch.photos))
    inputs = [(photo.picture.pixels, photo.controls) for photo in (*batch.photos, *copies)]
    try:
        checkpoint = with_note(folder.checkpoint, batch=names)
        return folder.make(inputs, batch.canvas, show, checkpoint)[: len(batch.photos)]
    except (InputError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        for photo in batch.photos:
            _log_failure(photo.task.photo, error)
        return []


def _save(batch: Batch, index: int, result: Result, folder: Folder) -> bool:
    """Write a picture; return True if it is at its intended path. Results of interrupted runs are discarded."""
    if result.status in INTERRUPTED:
        return False
    task, picture, _, recipe = batch.photos[index]
    loss = final_loss(result)
    if result.status is Status.NOT_FINITE or loss == float("inf"):
        message = "its loss was not finite: use smaller loss weights, or --precision highest"
        _log_failure(task.photo, InputError(message))
        return False
    if not is_first():
        return True
    recipe = recipe | run_summary(result) | {"batch": BatchPlace(folder.options.batch, index, batch.canvas).to_json()}
    options = {"force": folder.options.force, "alpha": picture.alpha, **folder.options.encoding()}
    path = write_picture(task.output, result.image, recipe, **options)
    if path is None:
        return False
    height, width = result.image.shape[:2]
    folder.print_result(
        f"{path}: {width}x{height}, loss {loss:.6g} after {result.evaluations} evaluations ({result.status})",
        **picture_fields(path, result),
    )
    return path == task.output


def _save_snapshots(batch: Batch, progress: BatchProgress, folder: Folder) -> None:
    """Write the best pictures so far, at full size, to numbered files beside the outputs."""
    images, evaluations = progress.images(), max(progress.evaluations)
    for photo, image in zip(batch.photos, images, strict=False):
        path = numbered(photo.task.output, evaluations)
        recipe = photo.recipe | {"status": "snapshot", "evaluations": evaluations}
        options = {"force": folder.options.force, "alpha": photo.picture.alpha, **folder.options.encoding()}
        if is_first():
            write_picture(path, resize(image, *photo.picture.pixels.shape[:2]), recipe, **options)


def _log_failure(photo: Path, error: Exception) -> None:
    message = str(error).splitlines()[0]
    if is_first():
        log.error("%s; skipped", message if str(photo) in message else f"{photo}: {message}")


def _log_info(text: str) -> None:
    if is_first():
        log.info("%s", text)
