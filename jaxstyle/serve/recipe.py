"""The recipe in a picture, and the command line that makes the same picture."""

import shlex
import tempfile
from pathlib import Path
from typing import Any

from jaxstyle.errors import InputError, check_choice
from jaxstyle.files import sha256
from jaxstyle.image import io
from jaxstyle.serve.options import parse
from jaxstyle.serve.run import Run
from jaxstyle.transfer.result import Result
from jaxstyle.transfer.summary import provenance, run_summary

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "tiff": "image/tiff"}


def recipe_of(run: Run, result: Result, network: str) -> dict[str, Any]:
    """Return the settings of a run, what it was made with, and how it ended."""
    values = run.wanted.to_json()
    files = (run.inputs.photo, *run.inputs.paintings, *([] if run.inputs.mask is None else [run.inputs.mask]))
    recipe = {
        "settings": values | {"style_scale": [run.wanted.style_scale]},
        "inputs_sha256": [sha256(picture.data) for picture in files],
        "command": command_of(run),
        **provenance(network),
        **run_summary(result),
    }
    # The settings do not say what they were before.
    return recipe | ({"forced": sorted(run.changed)} if run.changed else {})


def command_of(run: Run) -> str:
    """Return the command line that makes the same picture; a similar one if its settings changed while it ran."""
    values, defaults = run.wanted.to_json(), parse({"preset": run.wanted.preset}).to_json()
    words = ["jaxstyle", "stylize", "PHOTO", *(f"PAINTING{k or ''}" for k in range(len(run.inputs.paintings)))]
    words += ["-o", "picture.png"]
    if run.inputs.mask is not None:
        words += ["--content-mask", "MASK"]
    if run.segment.start is not None:
        words += ["--init", "EARLIER_PICTURE"]
    for name, value in values.items():
        if name in ("preset", "size") or (value != defaults[name] and value is not None):
            given = value.split() if isinstance(value, str) else [f"{value:g}" if isinstance(value, float) else value]
            words += ["--" + name.replace("_", "-"), *map(str, given)]
    return shlex.join(words)


def picture_file(run: Run, extension: str, network: str) -> bytes:
    """Encode the picture of a run that has ended, with its recipe.

    Args:
        run: with a result.
        extension: `png`, `jpeg` or `tiff`.
        network: weights of VGG-19.

    Raises:
        InputError: for another format, or a run without a result.
    """
    check_choice(extension, "format", MEDIA_TYPES)
    if run.result is None:
        raise InputError("the run has no picture yet: wait until it ends, or stop it")
    with tempfile.TemporaryDirectory(prefix="jaxstyle-") as folder:
        path = Path(folder) / f"picture.{extension}"
        io.save_image(path, run.result.image, recipe=recipe_of(run, run.result, network))
        return path.read_bytes()
