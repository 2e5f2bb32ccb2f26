"""Commands that take up a run: `resume` from its checkpoint, `rerun` from the recipe in its picture."""

import dataclasses
import functools
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from jaxstyle.cli.logs import json_lines, set_level
from jaxstyle.cli.options import with_inputs
from jaxstyle.cli.outputs import NOT_IN_RECIPE, check_outputs
from jaxstyle.cli.recipe import recipe_of
from jaxstyle.cli.serialize import options_from_json
from jaxstyle.cli.stylize import Stylize
from jaxstyle.cli.validate import check_options
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.minimize.status import COMPLETED
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.vgg.weights import NAMES, weights_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rerun:
    """Make a picture again from the recipe in it, and tell whether it comes out identical (exit code 0) or not (1)."""

    picture: Annotated[Positional[Path], arg(metavar="PICTURE")]
    """A picture that jaxstyle stylize wrote."""
    inputs: tuple[Path, ...] = ()
    """Folders to look for photo, paintings and whatever else it was made from; always the picture's, and this one."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Where the new picture goes; None only compares."""
    force: bool = False
    """Replace the output if it is there already."""
    max_pixels: int = io.MAX_PIXELS
    """Refuse picture files that unpack to more pixels than this."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Tell more."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Tell nothing but warnings and errors, and the result."""

    def run(self) -> int:
        """Make it again and compare; returns the exit code."""
        set_level(self.verbose, self.quiet)
        enable_compilation_cache()
        recipe = io.read_recipe(self.picture)
        options = self._options(recipe)
        if self.output is not None:
            check_outputs([self.output], [self.picture, *options.inputs()], self.force)
        assert recipe is not None
        with tempfile.TemporaryDirectory(prefix="jaxstyle-") as folder, json_lines(None) as line:
            options = dataclasses.replace(options, output=Path(folder) / options.output.name)
            told, here = _circumstances(recipe), _circumstances(recipe_of(options))
            differ = [f"{name} {told.get(name)}, here {here[name]}" for name in here if told.get(name) != here[name]]
            if differ:
                log.warning("it was made with %s: an identical picture is not to be expected", "; ".join(differ))
            made = options.make(line)
            if made.result.status not in COMPLETED:
                log.error("%s, so nothing is known of %s", made.result.status, self.picture)
                return EXIT_CODES.get(made.result.status, 1)
            # In the words of the recipe: what "auto" was is told here by its number.
            again = made.recipe | {"settings": recipe["settings"]}
            store = functools.partial(io.save_image, image=made.result.image, alpha=made.photo.alpha, recipe=again)
            store(options.output, quality=options.quality)
            if self.output is not None:
                store(self.output, quality=options.quality)
            same, verdict = _compared(self.picture, options.output)
        print(f"{self.picture}: {verdict}" + (f"; the new one is in {self.output}" if self.output else ""))
        return 0 if same else 1

    def _options(self, recipe: Any) -> Stylize:
        """The options that the recipe tells, with the files that it was made from, wherever they are now."""
        if recipe is None or not isinstance(recipe.get("settings"), dict):
            raise InputError(f"{self.picture} holds no recipe: expected a picture that jaxstyle stylize wrote")
        settings = {name: value for name, value in recipe["settings"].items() if name not in NOT_IN_RECIPE}
        if "axes" in recipe or "cells" in settings:
            raise InputError(f"{self.picture} is of a sweep, whose pictures are made together: run the sweep again")
        if recipe.get("status") not in COMPLETED:
            raise InputError(
                f"{self.picture} is of a run that did not finish ({recipe.get('status')}): expected the picture of one "
                "that did, as when a run is stopped is not repeatable"
            )
        if recipe.get("forced"):
            raise InputError(
                f"{self.picture} went on by force from a run with other {recipe['forced']}, which its recipe does not "
                "tell: expected a picture of one run"
            )
        # What recipes without it were made by.
        settings = {"algorithm": "direct"} | settings
        options = options_from_json(Stylize, settings, f"the recipe of {self.picture}")
        checksums = recipe.get("inputs_sha256")
        if not isinstance(checksums, list) or len(checksums) != len(options.inputs()):
            raise InputError(f"{self.picture} does not say what it was made from: expected a recipe of this release")
        network = options.weights
        if network not in NAMES:
            network = str(self._found(Path(network), recipe.get("weights_sha256")))
        elif weights_sha256(network) != recipe.get("weights_sha256"):
            raise InputError(f"{self.picture} was made with other weights named {network!r}: get those first")
        pairs = zip(options.inputs(), checksums, strict=True)
        options = with_inputs(options, [self._found(path, sha256) for path, sha256 in pairs])
        # Which windows were chosen then: others round otherwise.
        window = recipe["window"] if isinstance(recipe.get("window"), int) else "whole"
        changes: dict[str, Any] = {"weights": network, "window": window, "max_pixels": self.max_pixels}
        options = dataclasses.replace(options, **changes, verbose=self.verbose, quiet=self.quiet)
        check_options(options)
        return options

    def _found(self, path: Path, sha256: Any) -> Path:
        """The file of this name with this checksum."""
        bundled = Path(str(resources.files("jaxstyle") / "data"))
        folders = dict.fromkeys((*self.inputs, self.picture.absolute().parent, Path.cwd(), bundled))
        # A recipe tells names alone; one that has a path was not written by us.
        name = path.name
        there = [folder / name for folder in folders if os.path.isfile(folder / name)]
        for each in there:
            if checksum(each) == sha256:
                return each
        if there:
            raise InputError(
                f"{there[0]} is not the file that {self.picture} was made from: expected the same contents"
            )
        raise InputError(f"{name}, which {self.picture} was made from, is not here: name its folder with --inputs")


def _circumstances(recipe: dict[str, Any]) -> dict[str, Any]:
    """Of a recipe what should not matter, and does in the last digits."""
    versions = recipe.get("versions")
    return (versions if isinstance(versions, dict) else {}) | {"device": recipe.get("device")}


def _compared(before: Path, after: Path) -> tuple[bool, str]:
    """Whether two files are the same picture, and a sentence that says how much."""
    if checksum(before) == checksum(after):
        return True, "identical, every byte of the file"
    pixels = [np.asarray(io.load_image(path, min_side=1)) for path in (before, after)]
    if pixels[0].shape != pixels[1].shape:
        return False, f"different: the sizes are {pixels[0].shape[:2]} and {pixels[1].shape[:2]}"
    levels = np.abs(np.rint(255 * pixels[0]) - np.rint(255 * pixels[1])).max(axis=2)
    if not levels.any():
        return True, "identical in every pixel; what the file says of the run differs"
    return False, (
        f"different: {100 * np.count_nonzero(levels) / levels.size:.3g} % of the pixels, by {int(levels.max())} of 255 "
        f"at most and {levels.mean():.3g} on average"
    )
