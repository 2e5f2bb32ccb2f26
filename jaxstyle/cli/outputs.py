"""Rules for output files: an input is never overwritten, another file only with `--force`."""

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.animation import check_animation
from jaxstyle.minimize.status import COMPLETED
from jaxstyle.transfer.signals import no_interrupt

log = logging.getLogger(__name__)

# Options that affect messages, logs, files and hosts, not the picture: they are not part of a recipe.
NOT_IN_RECIPE = ("save_every", "checkpoint", "checkpoint_every", "log_json", "compile_cache", "max_pixels")
NOT_IN_RECIPE += ("force", "verbose", "quiet", "distributed", "recursive", "json", "animation")
# Options that affect how a picture is computed, but not which picture is wanted.
NOT_IN_IDENTITY = (*NOT_IN_RECIPE, "batch", "mesh", "window")


def check_outputs(
    outputs: Iterable[Path], inputs: Iterable[Path], force: bool, recipe: Mapping[str, Any] | None = None
) -> None:
    """Refuse, before the run, outputs that cannot be written, are inputs, or exist already.

    Args:
        outputs: files to be written later, all in one folder.
        inputs: files that are read.
        force: If True, existing files may be replaced; inputs never are.
        recipe: Recipe of the run. An unfinished picture with the same recipe may be replaced.

    Raises:
        InputError: naming the file.
    """
    inputs = list(inputs)
    for k, path in enumerate(outputs):
        if k == 0:
            if os.path.isdir(path):
                raise InputError(f"the output {path} is a folder, expected a file such as {path / 'out.png'}")
            io.check_output(path)
        check_not_input(path, inputs)
        check_free(path, force, recipe)


def check_not_input(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        InputError: naming the file.
    """
    if os.path.realpath(output) in {os.path.realpath(path) for path in inputs}:
        raise InputError(f"the output {output} is one of the inputs, expected another name")


def check_free(output: Path, force: bool, recipe: Mapping[str, Any] | None = None) -> None:
    """Refuse an output that exists, except with `--force`; see `blocks_output`.

    Raises:
        InputError: naming the file.
    """
    if blocks_output(output, force, recipe):
        raise InputError(f"the output {output} exists already: choose another name, or --force to replace it")


def check_sidecar_path(option: str, path: Path | None, outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse a checkpoint or log that is another file of the run, or no regular file.

    Args:
        option: name of the option, for messages.
        path: None and `-` name no file.
        outputs: files that are written.
        inputs: files that are read.

    Raises:
        InputError: naming the option.
    """
    if path is None or str(path) == "-":
        return
    if os.path.realpath(path) in {os.path.realpath(other) for other in (*outputs, *inputs)}:
        raise InputError(f"{option} is {path}, another file of this run: expected a separate file")
    # Lines of a log can be appended to a pipe.
    if os.path.lexists(path) and not path.is_file() and (option != "--log-json" or path.is_dir()):
        raise InputError(f"cannot write {path}: it exists and is no regular file; choose another name for {option}")


def check_animation_path(path: Path | None, outputs: Iterable[Path], inputs: Iterable[Path], force: bool) -> None:
    """Refuse an animation that is another file of the run, exists already, or cannot be written.

    Raises:
        InputError: naming the option or the file.
    """
    if path is None:
        return
    check_sidecar_path("--animation", path, outputs, inputs)
    if blocks_output(path, force):
        raise InputError(f"the animation {path} exists already: choose another name, or --force to replace it")
    check_animation(path)


def numbered(path: Path, evaluations: int) -> Path:
    """Return the file of a snapshot beside an output."""
    return path.with_name(f"{path.stem}_{evaluations:05d}{path.suffix}")


def blocks_output(path: Path, force: bool, recipe: Mapping[str, Any] | None = None) -> bool:
    """Return True if a file or link is there that may not be replaced; the run's own unfinished picture may be."""
    return not force and os.path.lexists(path) and not (recipe is not None and is_unfinished(path, recipe))


def is_finished(path: Path, recipe: Mapping[str, Any]) -> bool:
    """Return True if the file is the picture of a completed run with this recipe."""
    stored = _read_recipe(path)
    return stored is not None and stored.get("status") in COMPLETED and _identity(stored) == _identity(recipe)


def is_unfinished(path: Path, recipe: Mapping[str, Any]) -> bool:
    """Return True if the file is a snapshot of a run with this recipe, or the picture of one that was stopped."""
    stored = _read_recipe(path)
    return stored is not None and stored.get("status") not in COMPLETED and _identity(stored) == _identity(recipe)


def save_with_fallback(path: Path, image: Any, *, replace: bool, **options: Any) -> Path:
    """Save a picture; if that fails, save it as PNG in a temporary folder, so that hours of work are not lost.

    Args:
        path: the intended file.
        image: `(H, W, 3)`.
        replace: If False, a file that has appeared at `path` during the run is kept.
        options: other options of `save_image`.

    Returns:
        The file that was written.

    Raises:
        InputError: if neither place can be written.
    """
    with no_interrupt():
        try:
            io.save_image(path, image, replace=replace, **options)
            return path
        except InputError as error:
            try:
                folder = Path(tempfile.mkdtemp(prefix="jaxstyle-"))
            except OSError:
                raise error from None
            # The only format that holds pictures of any size.
            rescued = folder / path.with_suffix(".png").name
            try:
                io.save_image(rescued, image, **options)
            except InputError:
                folder.rmdir()
                raise
            appeared = isinstance(error.__cause__, FileExistsError)
            reason = f"cannot write {path}: another file has appeared there during the run" if appeared else error
            log.error("%s; the picture is in %s instead", reason, rescued)
            return rescued


def write_picture(
    path: Path, image: Any, recipe: Mapping[str, Any], *, force: bool, alpha: Any = None, **options: int
) -> Path | None:
    """Write a picture with its recipe, or log why that failed.

    Args:
        path: the intended file.
        image: `(H, W, 3)`.
        recipe: to store in the file.
        force: If False, a file at `path` is kept, unless it is an unfinished picture of the same run.
        alpha: see `save_image`.
        options: `quality` and `bit_depth` of `save_image`.

    Returns:
        The file that was written, which may be in a temporary folder; None if there is none.
    """
    replace = force or is_unfinished(path, recipe)
    try:
        return save_with_fallback(path, image, replace=replace, alpha=alpha, recipe=recipe, **options)
    except InputError as error:
        log.error("%s", error)
        return None


def _read_recipe(path: Path) -> dict[str, Any] | None:
    if not path.is_file() or path.is_symlink():
        return None
    try:
        return io.read_recipe(path)
    except InputError:
        return None


def _identity(recipe: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the parts of a recipe that identify the requested picture, as JSON stores them."""
    stored = json.loads(json.dumps(dict(recipe)))
    settings = stored.get("settings")
    if isinstance(settings, dict):
        settings = {name: value for name, value in settings.items() if name not in NOT_IN_IDENTITY}
    return settings, *(stored.get(name) for name in ("weights_sha256", "inputs_sha256", "axes"))
