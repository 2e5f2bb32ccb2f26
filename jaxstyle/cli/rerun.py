"""`jaxstyle rerun`: reproduce a picture from its embedded recipe and compare the two."""

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import operator
import os
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.inputs import read_paintings, read_photo, read_regions
from jaxstyle.cli.logs import json_lines, set_level
from jaxstyle.cli.options import with_inputs
from jaxstyle.cli.outputs import NOT_IN_RECIPE, check_outputs, save_with_fallback
from jaxstyle.cli.recipe import BatchPlace, recipe_of
from jaxstyle.cli.report import BAR
from jaxstyle.cli.serialize import options_from_json
from jaxstyle.cli.streams import escaped
from jaxstyle.cli.stylize import AnyStylize, Made, Stylize
from jaxstyle.cli.sweep import MAX_CELLS, Sheet, Sweep
from jaxstyle.cli.sweep_cells import CellInputs, group_of, run_call
from jaxstyle.cli.validate import MAX_BATCH, MAX_SIDE, check_options
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.minimize.status import COMPLETED, Status
from jaxstyle.transfer.result import BatchProgress
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.transfer.summary import run_summary
from jaxstyle.vgg.weights import NAMES, weights_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rerun:
    """Reproduce a picture from its embedded recipe and compare the two: exit code 0 if they are identical, 1 if not."""

    picture: Annotated[Positional[Path], arg(metavar="PICTURE")]
    """A picture, contact sheet or cell that jaxstyle wrote."""
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
        check_backend()
        recipe = io.read_recipe(self.picture)
        sheet = self._sheet(recipe) if recipe is not None and "axes" in recipe else None
        options = self._options(recipe) if sheet is None else sheet.base
        place = _batch_place(recipe, self.picture)
        if self.output is not None:
            check_outputs([self.output], [self.picture, *options.inputs()], self.force)
            io.check_sides(self.output, *io.picture_size(self.picture, min_side=1, max_pixels=self.max_pixels))
        assert recipe is not None
        _warn_of_other_versions(_environment(recipe), _environment(recipe_of(options)))
        if sheet is not None:
            with json_lines(None) as line:
                image, _, new_recipe, _ = sheet.make(line)
            alpha, status = None, Status(new_recipe["status"])
        else:
            made = _make(options) if place is None else _make_in_batch(options, place)
            image, status, alpha, new_recipe = made.result.image, made.result.status, made.photo.alpha, made.recipe
        if status not in COMPLETED:
            log.error("the rerun did not finish (%s), so %s could not be compared", status, self.picture)
            return EXIT_CODES.get(status, 1)
        # The original settings keep "auto" where `options` has the resolved value.
        new_recipe |= {"settings": recipe["settings"]}
        saving: dict[str, Any] = {"alpha": alpha, "recipe": new_recipe, **options.encoding()}
        with tempfile.TemporaryDirectory(prefix="jaxstyle-") as folder:
            path = Path(folder) / options.output.name
            io.save_image(path, image, **saving)
            is_same, verdict = _compare(self.picture, path)
        path = None
        if self.output is not None:
            try:
                path = save_with_fallback(self.output, image, replace=self.force, **saving)
            except InputError as error:
                log.error("%s", error)
        print(escaped(f"{self.picture}: {verdict}" + (f"; the new picture is in {path}" if path else "")))
        return 0 if is_same and path == self.output else 1

    def _sheet(self, recipe: dict[str, Any]) -> Sheet:
        """Return the sweep of a sheet: every cell has the settings of the first one, changed along the axes."""
        try:
            axes = {str(name): tuple(map(str, values)) for name, values in recipe["axes"].items()}
            changes = [recipe["axis_settings"][name] for name in axes]
            sizes = [int(size) for size in recipe["batch_sizes"]]
            # The first axis changes fastest, as in `combinations`.
            settings = [
                functools.reduce(operator.or_, reversed(parts), recipe["settings"])
                for parts in itertools.islice(itertools.product(*reversed(changes)), MAX_CELLS + 1)
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"the recipe of {self.picture} lacks {error}, expected one that this release of jaxstyle sweep wrote"
            ) from error
        if not 1 <= len(settings) <= MAX_CELLS or math.prod(map(len, axes.values())) != len(settings):
            raise InputError(f"the recipe of {self.picture} has {len(settings)} cells, expected 1 to {MAX_CELLS}")
        cells = [self._options(recipe | {"settings": each}, Sweep) for each in settings]
        return Sheet(cells[0], axes, cells, sizes)

    def _options(self, recipe: Any, kind: type[AnyStylize] = Stylize) -> AnyStylize:
        """Return the options in the recipe, with the paths of its inputs on this machine."""
        if recipe is None or not isinstance(recipe.get("settings"), dict):
            raise InputError(f"{self.picture} holds no recipe: expected a picture that jaxstyle stylize or sweep wrote")
        settings = recipe["settings"]
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
        source, ignored = f"the recipe of {self.picture}", (*NOT_IN_RECIPE, "batch", "cells")
        options = options_from_json(kind, settings, source, ignored)
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
        changes: dict[str, Any] = {"weights": network_weights, "max_pixels": self.max_pixels}
        if "window" in recipe:
            changes["window"] = recipe["window"] if isinstance(recipe["window"], int) else "whole"
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
    # Not where the picture is: a run refuses outputs that exist.
    with json_lines(None) as log_event, tempfile.TemporaryDirectory(prefix="jaxstyle-") as folder:
        return dataclasses.replace(options, output=Path(folder) / options.output.name).make(log_event)


def _make_in_batch(options: Stylize, place: BatchPlace) -> Made:
    """Reproduce a picture of a folder or a sweep with the same batched program, filled up with copies of it."""
    min_side = dataclasses.replace(options.settings().objective, **place.layers()).min_side
    photo = read_photo(options, options.photo, min_side)
    paintings = read_paintings(options, min_side)
    with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, disable=options.quiet) as bar:

        def show(progress: BatchProgress) -> None:
            bar.set_postfix_str(f"{max(progress.evaluations)} evaluations", refresh=False)
            bar.update(progress.fraction - bar.n)

        if place.layers():
            group = group_of([CellInputs(0, options, photo.pixels, paintings)] * place.photos, place)
            result = run_call(group, range(place.photos), show)[place.position]
        else:
            make = dataclasses.replace(options, batch=place.photos).batch_maker(paintings)
            controls = read_regions(options, photo.pixels, paintings, options.content_mask)
            result = make([(photo.pixels, controls)] * place.photos, place.canvas, show, None)[place.position]
    return Made(result, photo, recipe_of(options) | run_summary(result) | {"batch": place.to_json()})


def _batch_place(recipe: Any, picture: Path) -> BatchPlace | None:
    """Return the place of a picture in the batch of a folder or a sweep; None for the picture of a single photo."""
    stored = recipe.get("batch")
    if stored is None:
        return None

    def valid(value: Any, least: int, most: int) -> bool:
        return type(value) is int and least <= value <= most

    def names(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)

    with contextlib.suppress(TypeError):
        place = BatchPlace(**stored)
        if (
            valid(place.photos, 1, MAX_BATCH)
            and valid(place.position, 0, place.photos - 1)
            and isinstance(place.canvas, list)
            and len(place.canvas) == 2
            and all(valid(side, 0, MAX_SIDE) for side in place.canvas)
            and names(place.content_layers)
            and names(place.style_layers)
        ):
            height, width = place.canvas
            return BatchPlace(
                place.photos, place.position, (height, width), tuple(place.content_layers), tuple(place.style_layers)
            )
    raise InputError(f"the recipe of {picture} has batch = {str(stored)[:80]!r}, expected photos, position and canvas")


def _warn_of_other_versions(stored: dict[str, Any], current: dict[str, Any]) -> None:
    differences = [
        f"{name} {stored.get(name)}, here {current[name]}" for name in current if stored.get(name) != current[name]
    ]
    if differences:
        log.warning(
            "the picture was made in a different environment (%s): the result may not be identical",
            "; ".join(differences),
        )


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
