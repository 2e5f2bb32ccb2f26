"""A folder of photos: in few compiled programs, each picture written as soon as it is there, and none made twice."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxstyle.cli.buckets import Size, canvases
from jaxstyle.cli.logs import EventLogger
from jaxstyle.cli.outputs import blocks_output, is_finished
from jaxstyle.cli.report import BAR, batch_line, duration, final_loss, run_summary
from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.minimize.status import INTERRUPTED, Status
from jaxstyle.objective.mesh import broadcast_from_first_host
from jaxstyle.transfer.memory import OUT_OF_MEMORY
from jaxstyle.transfer.result import BatchProgress, Result
from jaxstyle.transfer.signals import EXIT_CODES, no_interrupt
from jaxstyle.typing import AnyImage

log = logging.getLogger(__name__)

# What is taken for a photo.
READABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".ppm")


@dataclass(frozen=True)
class Folder:
    """What to do with a folder.

    Attributes:
        photos: the folder.
        output: the folder for the pictures; made if it is not there.
        inputs: other files that the pictures are made from.
        format: extension of the pictures.
        batch: how many at once.
        read: a file to its pixels; raises InputError.
        scales: how many sizes a photo of this size goes through: pictures of a batch have that in common.
        make: pixels, a canvas and a callback to results.
        recipe: photo and output to what is stored in the picture.
        quality: of JPEG and WebP.
        force: whether pictures that are there, and others, may be replaced.
        quiet: whether there is no progress bar.
        line: logs an event.
        tell: tells a result.
    """

    photos: Path
    output: Path
    inputs: Sequence[Path]
    format: str
    batch: int
    read: Callable[[Path], io.Picture]
    scales: Callable[[Size], int]
    make: Callable[[Sequence[AnyImage], Size, Callable[[BatchProgress], None]], list[Result]]
    recipe: Callable[[Path, Path], dict[str, Any]]
    quality: int
    force: bool
    quiet: bool
    line: EventLogger
    tell: Callable[[str], None]


def stylize_folder(folder: Folder) -> int:
    """Make every picture that is not there yet. One that fails is reported, and the others go on.

    A picture is there if its recipe says the same settings and the same files.

    Args:
        folder: see there.

    Returns:
        Exit code: 0 if all pictures are there now, 1 if some failed, 130 after Ctrl-C.

    Raises:
        InputError: for a folder without photos, or an output that cannot be.
    """
    begin, jobs = time.perf_counter(), _jobs(folder)
    sizes, failed = _sizes(jobs, folder)
    if not sizes:
        if is_first():
            folder.tell(f"{folder.output}: nothing to make" + (f"; {failed} failed" if failed else ""))
        return 1 if failed else 0
    canvas_of, made = canvases(list(sizes.values())), 0
    silent = folder.quiet or not is_first()
    with tqdm(total=float(len(sizes)), bar_format=BAR, dynamic_ncols=True, disable=silent) as bar:
        for photos in _batches(sizes, canvas_of, folder):
            names = [photo.name for photo in photos]

            def tell(progress: BatchProgress, before: int = made, names: Sequence[str] = names) -> None:
                told = f"{before} of {len(sizes)} done, {max(progress.evaluations)} evaluations of the next"
                bar.set_postfix_str(told, refresh=False)
                bar.update(before + progress.fraction * len(names) - bar.n)
                folder.line("chunk", **batch_line(progress), photos=names, done=before)

            try:
                read = [folder.read(photo) for photo in photos]
                # The same number each time: another one would be another program.
                pixels = [picture.pixels for picture in (*read, *read[-1:] * (folder.batch - len(read)))]
                results = folder.make(pixels, _shared(canvas_of, sizes[photos[0]]), tell)
            except (InputError, jax.errors.JaxRuntimeError) as error:
                if isinstance(error, jax.errors.JaxRuntimeError) and not OUT_OF_MEMORY.search(str(error)):
                    raise
                failed += sum(_fail(photo, error) for photo in photos)
                continue
            stopped = None
            for photo, picture, result in zip(photos, read, results, strict=False):
                if result.status in INTERRUPTED:
                    stopped = result.status
                    continue
                try:
                    made += _save(photo, jobs[photo], picture, result, folder)
                except InputError as error:
                    failed += _fail(photo, error)
            if stopped:
                _say(f"{stopped} after {made} pictures; the same command goes on with the others")
                return EXIT_CODES[stopped]
    seconds, count = time.perf_counter() - begin, len(set(canvas_of.values()))
    if made and is_first():
        folder.tell(
            f"{folder.output}: {made} picture{'s' if made > 1 else ''} on {count} canvas{'es' if count > 1 else ''} in "
            f"{duration(seconds)}, {60 * made / seconds:.2f} a minute" + (f"; {failed} failed" if failed else "")
        )
    return 1 if failed else 0


def _jobs(folder: Folder) -> dict[Path, Path]:
    """Photo to picture, in the order of their names."""
    photos = sorted(
        path
        for path in folder.photos.iterdir()
        if path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()
    )
    if not photos:
        raise InputError(f"{folder.photos} has no photos, expected files such as .jpg or .png in it")
    if folder.output.exists() and not folder.output.is_dir():
        raise InputError(f"the output {folder.output} is a file, expected a folder for the pictures of a folder")
    if folder.output.exists() and folder.output.samefile(folder.photos):
        raise InputError(f"the output {folder.output} is the folder of the photos, expected another one")
    stems = [photo.stem.casefold() for photo in photos]
    # Of a.jpg and a.png the pictures have other names.
    names = [photo.name if stems.count(photo.stem.casefold()) > 1 else photo.stem for photo in photos]
    jobs = {photo: folder.output / f"{name}.{folder.format}" for photo, name in zip(photos, names, strict=True)}
    taken = [output.name.casefold() for output in jobs.values()]
    sources = {path.resolve() for path in (*photos, *folder.inputs)}
    for output in jobs.values():
        if output.resolve() in sources:
            raise InputError(f"the output {output} is one of the inputs, expected another folder")
        if taken.count(output.name.casefold()) > 1:
            raise InputError(f"two photos would become {output}, expected photos of different names")
    if is_first():
        try:
            folder.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder.output}: {error.strerror}; choose another") from error
        io.check_output(next(iter(jobs.values())))
        io.recipe_text(folder.recipe(*next(iter(jobs.items()))))
    return jobs


def _sizes(jobs: dict[Path, Path], folder: Folder) -> tuple[dict[Path, Size], int]:
    """Sizes of the photos whose pictures are to be made, and how many photos cannot be used.

    On several hosts the first one decides: only there are the pictures sure to be found.
    """
    found, there, failed, others = np.zeros((len(jobs), 2), np.int32), 0, 0, []
    for k, (photo, output) in enumerate(jobs.items() if is_first() else ()):
        try:
            recipe = folder.recipe(photo, output)
            if is_finished(output, recipe):
                there += 1
                continue
            if blocks_output(output, folder.force, recipe):
                others.append(output)
            found[k] = folder.read(photo).pixels.shape[:2]
        except InputError as error:
            failed += _fail(photo, error)
    if there:
        _say(f"{there} of {len(jobs)} pictures are there already, with these settings")
    count = int(broadcast_from_first_host(np.int32(len(jobs))))
    if count != len(jobs):
        raise InputError(
            f"{folder.photos} has {len(jobs)} photos here and {count} on the first host, expected the same"
        )
    found, failed, taken = broadcast_from_first_host((found, np.int32(failed), np.int32(len(others))))
    if taken:
        such = f", such as {others[0].name}" if others else ""
        raise InputError(
            f"{folder.output} has {taken} pictures already that were made otherwise{such}: expected another folder, or "
            "--force to replace them"
        )
    sizes = [(int(height), int(width)) for height, width in found]
    return {photo: size for photo, size in zip(jobs, sizes, strict=True) if all(size)}, int(failed)


def _batches(sizes: dict[Path, Size], canvas_of: dict[Size, Size], folder: Folder) -> Iterator[list[Path]]:
    """So many photos at a time, all for one canvas and as many scales."""
    kinds = {photo: (canvas_of[size], folder.scales(size)) for photo, size in sizes.items()}
    for kind in sorted(set(kinds.values())):
        members = [photo for photo in sizes if kinds[photo] == kind]
        for start in range(0, len(members), folder.batch):
            yield members[start : start + folder.batch]


def _shared(canvas_of: dict[Size, Size], size: Size) -> Size:
    """The canvas of a size if it has it in common with others: nothing has to be masked where it is alone."""
    canvas = canvas_of[size]
    return canvas if list(canvas_of.values()).count(canvas) > 1 else (0, 0)


def _save(photo: Path, output: Path, picture: io.Picture, result: Result, folder: Folder) -> int:
    """Write a picture; 1 for one that is made."""
    loss = final_loss(result)
    if result.status is Status.NOT_FINITE or loss == float("inf"):
        raise InputError("its loss was not finite: expected weights of ordinary size, or --precision highest")
    if not is_first():
        return 1
    recipe = folder.recipe(photo, output) | run_summary(result)
    with no_interrupt():
        io.save_image(output, result.image, alpha=picture.alpha, recipe=recipe, quality=folder.quality)
    height, width = result.image.shape[:2]
    folder.tell(f"{output}: {width}x{height}, loss {loss:.6g} after {result.evaluations} evaluations ({result.status})")
    return 1


def _fail(photo: Path, error: Exception) -> int:
    message = str(error).splitlines()[0]
    if is_first():
        log.error("%s; skipped", message if str(photo) in message else f"{photo}: {message}")
    return 1


def _say(text: str) -> None:
    if is_first():
        log.info("%s", text)
