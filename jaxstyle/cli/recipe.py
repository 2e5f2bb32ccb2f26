"""The recipe that a picture holds: everything needed to make it again."""

import dataclasses
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax

from jaxstyle.cli.options import Options
from jaxstyle.cli.outputs import NOT_IN_RECIPE
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.vgg import weights


def photo_recipe(recipe: dict[str, Any], photo: Path, output: Path) -> dict[str, Any]:
    """The recipe of one photo of a folder."""
    named = recipe["settings"] | {"photo": photo.name, "output": output.name}
    return recipe | {"settings": named, "inputs_sha256": [checksum(photo), *recipe["inputs_sha256"][1:]]}


def recipe_of(options: Options) -> dict[str, Any]:
    """Everything needed to make the picture again; of paths the names only, as folders are nobody else's business."""
    settings = {name: value for name, value in dataclasses.asdict(options).items() if name not in NOT_IN_RECIPE}
    for name in ("more", "style_mask"):
        settings[name] = [Path(path).name for path in settings[name]]
    for name, value in settings.items():
        if isinstance(value, Path) or name in ("init", "weights"):
            settings[name] = Path(value).name
    # What "auto" stands for depends on the devices.
    settings["precondition"] = options.preconditioner()
    files = options.inputs()
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "software": io.software(),
        "settings": settings,
        "versions": versions | {"python": platform.python_version()},
        "inputs_sha256": [checksum(path) if os.path.isfile(path) else None for path in files],
        "weights_sha256": weights.weights_sha256(options.weights),
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
    }
