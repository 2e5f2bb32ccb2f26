"""The recipe in an output file: everything needed to make the picture again."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxstyle.cli.options import Options
from jaxstyle.cli.outputs import NOT_IN_RECIPE
from jaxstyle.files import checksum
from jaxstyle.transfer.summary import provenance


class BatchPlace(NamedTuple):
    """Place of a picture in the batch that it was made in.

    Programs for other batches and canvases round differently, and the optimization amplifies the difference. The other
    pictures of the batch have no influence.

    Attributes:
        photos: number of pictures in the batch.
        position: of the picture, from 0.
        canvas: height and width that the batch was padded to; (0, 0) if its pictures needed no padding.
        content_layers: of all cells of a sweep that share a program; empty for the options' own.
        style_layers: the same for the style.
    """

    photos: int
    position: int
    canvas: tuple[int, int] = (0, 0)
    content_layers: tuple[str, ...] = ()
    style_layers: tuple[str, ...] = ()

    def layers(self) -> dict[str, tuple[str, ...]]:
        """Return the layers of all cells of a sweep, by the names of the objective's; nothing for a folder."""
        if not (self.content_layers and self.style_layers):
            return {}
        return {"content_layers": self.content_layers, "style_layers": self.style_layers}

    def to_json(self) -> dict[str, Any]:
        """Return the place as a recipe stores it."""
        return {name: value for name, value in self._asdict().items() if value != ()}


def recipe_settings(options: Options) -> dict[str, Any]:
    """Return the settings in a recipe. Paths are reduced to names: folders are private."""
    settings = {name: value for name, value in dataclasses.asdict(options).items() if name not in NOT_IN_RECIPE}
    for name in ("more", "style_mask"):
        settings[name] = [Path(path).name for path in settings[name]]
    for name, value in settings.items():
        if isinstance(value, Path) or name in ("init", "weights"):
            settings[name] = Path(value).name
    # "auto" depends on the devices.
    if options.precondition == "auto":
        settings["precondition"] = "spectral" if options.shards() == (1, 1) else "pyramid"
    return settings


def recipe_of(options: Options) -> dict[str, Any]:
    """Return everything needed to make the picture again."""
    return {
        "settings": recipe_settings(options),
        "inputs_sha256": [checksum(path) if os.path.isfile(path) else None for path in options.inputs()],
        **provenance(options.weights),
    }


def photo_recipe(
    recipe: dict[str, Any], output: Path, checksum_of: Callable[[Path], str], photo: Path, mask: Path | None
) -> dict[str, Any]:
    """Return the recipe of one photo of a folder, and its mask, from the recipe of the folder."""
    _, *checksums = recipe["inputs_sha256"]
    settings = recipe["settings"] | {"photo": photo.name, "output": output.name}
    if mask is not None:
        # The mask of the photo is the last input.
        settings["content_mask"], checksums[-1] = mask.name, checksum_of(mask)
    return recipe | {"settings": settings, "inputs_sha256": [checksum_of(photo), *checksums]}
