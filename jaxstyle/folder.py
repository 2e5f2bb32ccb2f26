"""A folder of photos: in few compiled programs, each picture written as soon as it is there, and none made twice."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxstyle import io
from jaxstyle.batch import BatchProgress
from jaxstyle.buckets import Size, canvases
from jaxstyle.descent import Status
from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.reports import duration, final_loss
from jaxstyle.result import Result
from jaxstyle.typing import AnyImage

# What is taken for a photo.
READABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".ppm")
# Settings that change how a picture is made, but not the picture.
INDIFFERENT = ("batch", "mesh", "distributed", "window", "save_every")
FINISHED = (Status.STEP_LIMIT, Status.CONVERGED)
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"


@dataclass(frozen=True)
class Folder:
    """What to do with a folder.

    Attributes:
        photos: the folder.
        output: the folder for the pictures; made if it is not there.
        paintings: files that the pictures depend on too.
        format: extension of the pictures.
        batch: how many at once.
        read: a file to its pixels; raises InputError.
        make: pixels, a canvas and a callback to results.
        recipe: photo and output to what is stored in the picture.
        quality: of JPEG and WebP.
    """

    photos: Path
    output: Path
    paintings: Sequence[Path]
    format: str
    batch: int
    read: Callable[[Path], io.Picture]
    make: Callable[[Sequence[AnyImage], Size, Callable[[BatchProgress], None]], list[Result]]
    recipe: Callable[[Path, Path], dict[str, Any]]
    quality: int


def stylize_folder(folder: Folder) -> int:
    """Make every picture that is not there yet. One that fails is reported, and the others go on.

    A picture is there if its recipe says the same settings, and no file that it was made from is newer.

    Args:
        folder: see there.

    Returns:
        Exit code: 0 if all pictures are there now, 1 if some failed, 130 after Ctrl-C.

    Raises:
        InputError: for a folder without photos, or an output that is no folder.
    """
    begin = time.perf_counter()
    jobs = _jobs(folder)
    todo = {photo: output for photo, output in jobs.items() if not _is_there(photo, output, folder)}
    if len(todo) < len(jobs):
        _say(f"jaxstyle: {len(jobs) - len(todo)} of {len(jobs)} pictures are there already, with these settings")
    sizes, failed = {}, 0
    for photo in todo:
        try:
            height, width = folder.read(photo).pixels.shape[:2]
            sizes[photo] = height, width
        except InputError as error:
            failed += _fail(photo, error)
    canvas_of = canvases(list(sizes.values()))
    count = len(set(canvas_of.values()))
    made = 0
    with tqdm(total=float(len(sizes)), bar_format=BAR, dynamic_ncols=True, disable=not is_first()) as bar:
        for batch in _batches(sizes, canvas_of, folder.batch):
            before, photos, read = made, [], []
            for photo in batch:
                try:
                    read.append(folder.read(photo))
                    photos.append(photo)
                except InputError as error:
                    failed += _fail(photo, error)
            if not photos:
                continue
            # The same number each time: another one would be another program.
            pixels = [picture.pixels for picture in (*read, *read[-1:] * (folder.batch - len(read)))]

            def tell(progress: BatchProgress, before: int = before, count: int = len(photos)) -> None:
                told = f"{before} of {len(sizes)} done, {max(progress.evaluations)} evaluations of the next"
                bar.set_postfix_str(told, refresh=False)
                bar.update(before + progress.fraction * count - bar.n)

            results = folder.make(pixels, _shared(canvas_of, sizes[photos[0]]), tell)
            if any(result.status is Status.INTERRUPTED for result in results):
                _say(f"jaxstyle: interrupted after {made} pictures; the same command goes on with the others")
                return 130
            for photo, picture, result in zip(photos, read, results, strict=False):
                try:
                    _save(photo, todo[photo], picture, result, folder)
                    made += 1
                except InputError as error:
                    failed += _fail(photo, error)
    seconds = time.perf_counter() - begin
    if made and is_first():
        print(
            f"{folder.output}: {made} pictures on {count} canvas{'es' if count > 1 else ''} in {duration(seconds)}, "
            f"{60 * made / seconds:.2f} a minute" + (f"; {failed} failed" if failed else "")
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
    if is_first():
        try:
            folder.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder.output}: {error.strerror}; choose another") from error
    stems = [photo.stem for photo in photos]
    # Of a.jpg and a.png the pictures have other names.
    names = [photo.name if stems.count(photo.stem) > 1 else photo.stem for photo in photos]
    return {photo: folder.output / f"{name}.{folder.format}" for photo, name in zip(photos, names, strict=True)}


def _is_there(photo: Path, output: Path, folder: Folder) -> bool:
    if not output.is_file():
        return False
    made = output.stat().st_mtime
    if any(source.stat().st_mtime > made for source in (photo, *folder.paintings)):
        return False
    try:
        found = io.read_recipe(output)
    except InputError:
        return False
    if found is None or found.get("status") not in FINISHED:
        return False
    wanted = json.loads(io.recipe_text(folder.recipe(photo, output)))
    return _essence(found) == _essence(wanted)


def _essence(recipe: dict[str, Any]) -> tuple[Any, Any]:
    """Of a recipe what decides how the picture looks."""
    settings = recipe.get("settings", {})
    return {name: value for name, value in settings.items() if name not in INDIFFERENT}, recipe.get("weights_sha256")


def _batches(sizes: dict[Path, Size], canvas_of: dict[Size, Size], batch: int) -> Iterator[list[Path]]:
    """So many photos at a time, all for one canvas."""
    for canvas in sorted(set(canvas_of.values())):
        members = [photo for photo, size in sizes.items() if canvas_of[size] == canvas]
        for start in range(0, len(members), batch):
            yield members[start : start + batch]


def _shared(canvas_of: dict[Size, Size], size: Size) -> Size:
    """The canvas of a size if it has it in common with others: nothing has to be masked where it is alone."""
    canvas = canvas_of[size]
    return canvas if list(canvas_of.values()).count(canvas) > 1 else (0, 0)


def _save(photo: Path, output: Path, picture: io.Picture, result: Result, folder: Folder) -> None:
    loss = final_loss(result)
    if result.status is Status.NOT_FINITE or loss == float("inf"):
        raise InputError("its loss was not finite: expected weights of ordinary size, or --precision highest")
    if not is_first():
        return
    recipe = folder.recipe(photo, output)
    recipe |= {"evaluations": result.evaluations, "loss": loss, "status": str(result.status), "window": result.window}
    io.save_image(output, result.image, alpha=picture.alpha, recipe=recipe, quality=folder.quality)
    height, width = result.image.shape[:2]
    tqdm.write(f"{output}: {width}x{height}, loss {loss:.6g} after {result.evaluations} evaluations ({result.status})")


def _fail(photo: Path, error: InputError) -> int:
    message = str(error)
    _say(f"jaxstyle: error: {message if str(photo) in message else f'{photo}: {message}'}; skipped")
    return 1


def _say(text: str) -> None:
    if is_first():
        tqdm.write(text, file=sys.stderr)
