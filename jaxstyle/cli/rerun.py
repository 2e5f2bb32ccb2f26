"""`jaxstyle rerun`: reproduce a picture from its embedded recipe and compare the two."""

import dataclasses
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle.cli.inputs import read_paintings, read_photo
from jaxstyle.cli.logs import json_lines, set_level
from jaxstyle.cli.options import with_inputs
from jaxstyle.cli.outputs import NOT_IN_RECIPE, check_outputs, save_with_fallback
from jaxstyle.cli.recipe import BatchPlace, recipe_of
from jaxstyle.cli.report import BAR, run_summary
from jaxstyle.cli.serialize import options_from_json
from jaxstyle.cli.stylize import Made, Stylize
from jaxstyle.cli.validate import MAX_BATCH, MAX_SIDE, check_options
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.minimize.status import COMPLETED
from jaxstyle.transfer.result import BatchProgress
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.vgg.weights import NAMES, weights_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rerun:
    """Reproduce a picture from its embedded recipe and compare the two: exit code 0 if they are identical, 1 if not."""

    picture: Annotated[Positional[Path], arg(metavar="PICTURE")]
    """A picture that jaxstyle stylize wrote."""
    inputs: tuple[Path, ...] = ()
    """Folders to search for the inputs of the run, in addition to the picture's folder and the current one."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """File to write the new picture to; if omitted, the pictures are only compared."""
    force: bool = False
    """Replace the output if it exists already."""
    max_pixels: int = io.MAX_PIXELS
    """Reject image files that decode to more pixels than this."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Show more details."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Show only warnings, errors and the result."""

    def run(self) -> int:
        """Reproduce the picture, compare, and return the exit code."""
        set_level(self.verbose, self.quiet)
        enable_compilation_cache()
        recipe = io.read_recipe(self.picture)
        options, place = self._options(recipe), _batch_place(recipe, self.picture)
        if self.output is not None:
            check_outputs([self.output], [self.picture, *options.inputs()], self.force)
        assert recipe is not None
        with tempfile.TemporaryDirectory(prefix="jaxstyle-") as folder:
            options = dataclasses.replace(options, output=Path(folder) / options.output.name)
            stored, current = _environment(recipe), _environment(recipe_of(options))
            differences = [
                f"{name} {stored.get(name)}, here {current[name]}"
                for name in current
                if stored.get(name) != current[name]
            ]
            if differences:
                log.warning(
                    "the picture was made in a different environment (%s): the result may not be identical",
                    "; ".join(differences),
                )
            made = _make(options) if place is None else _make_in_batch(options, place)
            if made.result.status not in COMPLETED:
                log.error(
                    "the rerun did not finish (%s), so %s could not be compared", made.result.status, self.picture
                )
                return EXIT_CODES.get(made.result.status, 1)
            image = made.result.image
            # Write the original settings to the new recipe: they keep "auto" where `options` has the resolved value.
            saving: dict[str, Any] = {
                "alpha": made.photo.alpha,
                "recipe": made.recipe | {"settings": recipe["settings"]},
                "quality": options.quality,
            }
            io.save_image(options.output, image, **saving)
            is_same, verdict = _compare(self.picture, options.output)
        path = None
        if self.output is not None:
            try:
                path = save_with_fallback(self.output, image, replace=self.force, **saving)
            except InputError as error:
                log.error("%s", error)
        print(f"{self.picture}: {verdict}" + (f"; the new picture is in {path}" if path else ""))
        return 0 if is_same and path == self.output else 1

    def _options(self, recipe: Any) -> Stylize:
        """Return the options in the recipe, with the paths of its inputs on this machine."""
        if recipe is None or not isinstance(recipe.get("settings"), dict):
            raise InputError(f"{self.picture} holds no recipe: expected a picture that jaxstyle stylize wrote")
        settings = recipe["settings"]
        if "axes" in recipe or "cells" in settings:
            raise InputError(
                f"{self.picture} is part of a sweep and cannot be rerun on its own: run the whole sweep again"
            )
        if recipe.get("status") not in COMPLETED:
            raise InputError(
                f"{self.picture} comes from a run that did not finish ({recipe.get('status')}); the point at which it "
                "stopped cannot be reproduced: expected a picture from a finished run"
            )
        if recipe.get("forced"):
            raise InputError(
                f"{self.picture} comes from a run that was resumed by force with other {recipe['forced']}; its recipe "
                "lacks the earlier ones: expected a picture from a single run"
            )
        # Recipes without an algorithm come from direct convolutions; a missing ridge depends on `matrix_root`.
        ridge = 1e-4 if settings.get("matrix_root") == "newton-schulz" else None
        settings = {"algorithm": "direct", "ridge": ridge} | settings
        # The batch of a picture is not in the settings: see `_batch_place`.
        source, ignored = f"the recipe of {self.picture}", (*NOT_IN_RECIPE, "batch")
        options = options_from_json(Stylize, settings, source, ignored)
        checksums = recipe.get("inputs_sha256")
        if not isinstance(checksums, list) or len(checksums) != len(options.inputs()):
            raise InputError(f"{self.picture} has no checksums of its inputs: expected a recipe of this release")
        network_weights = options.weights
        if network_weights not in NAMES:
            network_weights = str(self._find(Path(network_weights), recipe.get("weights_sha256")))
        elif weights_sha256(network_weights) != recipe.get("weights_sha256"):
            raise InputError(f"{self.picture} was made with other weights named {network_weights!r}: get those first")
        pairs = zip(options.inputs(), checksums, strict=True)
        options = with_inputs(options, [self._find(path, sha256) for path, sha256 in pairs])
        # Other windows change floating-point rounding.
        window = recipe["window"] if isinstance(recipe.get("window"), int) else "whole"
        changes: dict[str, Any] = {"weights": network_weights, "window": window, "max_pixels": self.max_pixels}
        options = dataclasses.replace(options, **changes, verbose=self.verbose, quiet=self.quiet)
        check_options(options)
        return options

    def _find(self, path: Path, sha256: Any) -> Path:
        """Return the file with this name and checksum."""
        bundled = Path(str(resources.files("jaxstyle") / "data"))
        folders = dict.fromkeys((*self.inputs, self.picture.absolute().parent, Path.cwd(), bundled))
        # jaxstyle records file names only, so ignore any directory in the recipe: it is untrusted.
        name = path.name
        candidates = [folder / name for folder in folders if os.path.isfile(folder / name)]
        for candidate in candidates:
            if checksum(candidate) == sha256:
                return candidate
        if candidates:
            raise InputError(
                f"{candidates[0]} is not the file that {self.picture} was made from: expected the same contents"
            )
        raise InputError(f"{name}, an input of {self.picture}, was not found: add its folder with --inputs")


def _make(options: Stylize) -> Made:
    with json_lines(None) as log_event:
        return options.make(log_event)


def _make_in_batch(options: Stylize, place: BatchPlace) -> Made:
    """Reproduce a picture from a folder run with the same batched program, filled up with copies of its photo."""
    min_side = options.objective().min_side
    photo = read_photo(options, options.photo, min_side)
    make = dataclasses.replace(options, batch=place.photos).batch_maker(read_paintings(options, min_side))
    with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, disable=options.quiet) as bar:

        def show(progress: BatchProgress) -> None:
            bar.set_postfix_str(f"{max(progress.evaluations)} evaluations", refresh=False)
            bar.update(progress.fraction - bar.n)

        result = make([photo.pixels] * place.photos, place.canvas, show)[place.position]
    return Made(result, photo, recipe_of(options) | run_summary(result) | {"batch": place._asdict()})


def _batch_place(recipe: Any, picture: Path) -> BatchPlace | None:
    """Return the position of a picture in the batch of a folder; None for the picture of a single photo."""
    stored = recipe.get("batch")
    if stored is None:
        return None

    def valid(value: Any, least: int, most: int) -> bool:
        return type(value) is int and least <= value <= most

    if isinstance(stored, dict) and set(stored) == set(BatchPlace._fields):
        photos, position, canvas = (stored[name] for name in BatchPlace._fields)
        if (
            valid(photos, 1, MAX_BATCH)
            and valid(position, 0, photos - 1)
            and isinstance(canvas, list)
            and len(canvas) == 2
            and all(valid(side, 0, MAX_SIDE) for side in canvas)
        ):
            return BatchPlace(photos, position, (canvas[0], canvas[1]))
    raise InputError(f"the recipe of {picture} has batch = {str(stored)[:80]!r}, expected photos, position and canvas")


def _environment(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return versions and device, which determine floating-point rounding."""
    versions = recipe.get("versions")
    return (versions if isinstance(versions, dict) else {}) | {"device": recipe.get("device")}


def _compare(old: Path, new: Path) -> tuple[bool, str]:
    """Return True if two files contain the same pixels, and a description of the difference."""
    if checksum(old) == checksum(new):
        return True, "identical, byte for byte"
    pixels = [np.asarray(io.load_image(path, min_side=1)) for path in (old, new)]
    if pixels[0].shape != pixels[1].shape:
        return False, f"different: the sizes are {pixels[0].shape[:2]} and {pixels[1].shape[:2]}"
    levels = np.abs(np.rint(255 * pixels[0]) - np.rint(255 * pixels[1])).max(axis=2)
    if not levels.any():
        return True, "identical pixels; the files differ only in their metadata"
    return False, (
        f"different: {100 * np.count_nonzero(levels) / levels.size:.3g} % of the pixels differ; maximum difference "
        f"{int(levels.max())}/255, mean {levels.mean():.3g}/255 over all pixels"
    )
