"""Where pictures may be written: never over an input, and over another picture only by force."""

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.minimize.status import COMPLETED
from jaxstyle.transfer.signals import no_interrupt

log = logging.getLogger(__name__)

# Settings that change how, or how much, is told and kept of a run: no part of a picture's recipe.
NOT_IN_RECIPE = ("save_every", "checkpoint", "checkpoint_every", "log_json", "compile_cache", "max_pixels")
NOT_IN_RECIPE += ("force", "verbose", "quiet")
# Settings that change how a picture is made, but not the picture.
NOT_IN_IDENTITY = (*NOT_IN_RECIPE, "batch", "mesh", "distributed", "window")


def check_outputs(
    outputs: Iterable[Path], inputs: Iterable[Path], force: bool, recipe: Mapping[str, Any] | None = None
) -> None:
    """Refuse, before an hour of work, outputs that cannot be written, are inputs, or are there already.

    Args:
        outputs: files to be written later, all in one folder.
        inputs: files that are read.
        force: whether pictures that are there may be replaced; inputs never are.
        recipe: of the run; its own picture, if it did not finish, is no other picture.

    Raises:
        InputError: naming the file.
    """
    sources = {os.path.realpath(path) for path in inputs}
    for k, path in enumerate(outputs):
        if k == 0:
            io.check_output(path)
        if os.path.realpath(path) in sources:
            raise InputError(f"the output {path} is one of the inputs, expected another name")
        if blocks_output(path, force, recipe):
            raise InputError(f"the output {path} is there already: choose another name, or --force to replace it")


def check_sidecar_path(name: str, path: Path | None, outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse a file that is written beside the pictures if it is one of them, or no file.

    Args:
        name: of the option.
        path: of the file; None and `-` are none.
        outputs: files that are written.
        inputs: files that are read.

    Raises:
        InputError: naming the option.
    """
    if path is None or str(path) == "-":
        return
    if os.path.realpath(path) in {os.path.realpath(each) for each in (*outputs, *inputs)}:
        raise InputError(f"{name} is {path}, another file of this run: expected one of its own")
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"cannot write {path}: it is there and no regular file; choose another name for {name}")


def blocks_output(path: Path, force: bool, recipe: Mapping[str, Any] | None = None) -> bool:
    """Whether there is a file, or a link, that may not be replaced; one's own unfinished picture may."""
    return not force and os.path.lexists(path) and not (recipe is not None and is_unfinished(path, recipe))


def is_finished(path: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether a file is the picture of this recipe, as a run that came to its end gives it."""
    found = _of_file(path)
    return found is not None and found.get("status") in COMPLETED and _essence(found) == _essence(recipe)


def is_unfinished(path: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether a file is what a run of this recipe left when it was stopped."""
    found = _of_file(path)
    return found is not None and found.get("status") not in COMPLETED and _essence(found) == _essence(recipe)


def save_with_fallback(path: Path, image: Any, **options: Any) -> Path:
    """Save a picture; if that fails at its place, among the temporary files, so that hours of work are not lost.

    Args:
        path: where it should go.
        image: `(H, W, 3)`.
        options: of `save_image`.

    Returns:
        Where it is.

    Raises:
        InputError: if it can be saved nowhere.
    """
    with no_interrupt():
        try:
            io.save_image(path, image, **options)
        except InputError as error:
            try:
                folder = Path(tempfile.mkdtemp(prefix="jaxstyle-"))
            except OSError:
                # Not there either.
                raise error from None
            io.save_image(folder / path.name, image, **options)
            log.error("%s; the picture is in %s instead", error, folder / path.name)
            return folder / path.name
    return path


def _of_file(path: Path) -> dict[str, Any] | None:
    if not path.is_file() or path.is_symlink():
        return None
    try:
        return io.read_recipe(path)
    except InputError:
        return None


def _essence(recipe: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Of a recipe what decides how the picture looks, as it is stored in one."""
    stored = json.loads(json.dumps(dict(recipe)))
    settings = stored.get("settings")
    if isinstance(settings, dict):
        settings = {name: value for name, value in settings.items() if name not in NOT_IN_IDENTITY}
    return settings, stored.get("weights_sha256"), stored.get("inputs_sha256")
