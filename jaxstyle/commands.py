"""The commands that make pictures: their options, and what they do with them."""

import dataclasses
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jax
import tyro
from tqdm import tqdm
from tyro.conf import arg

from jaxstyle import distributed, io, presets, weights
from jaxstyle.batch import stylize_batch
from jaxstyle.descent import Status
from jaxstyle.errors import InputError
from jaxstyle.folder import Folder, checksum, stylize_folder
from jaxstyle.image import resize
from jaxstyle.inputs import read_paintings, read_regions, read_start
from jaxstyle.memory import estimate_part, windowed
from jaxstyle.mesh import gather
from jaxstyle.objective import Objective, check_weights
from jaxstyle.options import Options
from jaxstyle.reports import BAR, announcement, bar_text, duration, final_loss, outcome_of
from jaxstyle.result import Progress, Result
from jaxstyle.scales import LEAST_STEPS, Scale, pyramid
from jaxstyle.signals import INTERRUPTED, no_interrupt
from jaxstyle.transfer import stylize
from jaxstyle.typing import AnyImage

# A preset's optimiser in terms of options, where it is not their default.
OPTIMIZERS: dict[str, dict[str, Any]] = {"crowsonkb": {"optimizer": "adam", "beta2": 0.99, "average": 0.99}}


@dataclass(frozen=True)
class Stylize(Options):
    """Give a photo, or each photo of a folder, the style of one or more paintings."""

    def run(self) -> int:
        """Read, optimise, write; returns the exit code."""
        if self.distributed != "no":
            distributed.initialize(*distributed.parse(self.distributed))
        self.check()
        return self._folder() if os.path.isdir(self.photo) else self._single()

    def arguments(self) -> dict[str, Any]:
        """Those of `stylize` and `stylize_batch` that are the same for every photo."""
        return {
            "preset": self.preset,
            "objective": self.objective(),
            "strength": self.found_strength(),
            "style_weights": self.blend,
            "color": self.color,
            "optimizer": self.transform(),
            "steps": self.steps,
            "scales": self.scales,
            "share": self.share,
            "window": None if self.window == "whole" else self.window,
            "mesh": self.devices(),
            "whitening": self.whitening,
            "mosaic": self.mosaic,
            "tolerance": self.tolerance,
        }

    def _folder(self) -> int:
        arguments = self.arguments()
        objective: Objective = arguments["objective"]
        check_weights(self.loss_weights(), objective)
        styles = read_paintings(self, objective.smallest)
        arguments |= {"weights": self.loss_weights(), "init": read_start(self), "seeds": self.seed}
        arguments |= {"params": weights.load_params(self.weights)}
        settings = recipe_of(self)
        sizes: list[tuple[int, int]] = [(style.shape[0], style.shape[1]) for style in styles]

        def make(photos: Sequence[AnyImage], canvas: tuple[int, int], callback: Callable) -> list[Result]:
            return stylize_batch(photos, [styles] * len(photos), canvas=canvas, callback=callback, **arguments)

        task = Folder(
            self.photo,
            self.output,
            self.inputs()[1:],
            self.format,
            self.batch,
            read=lambda path: io.read_picture(path, self.size, smallest=objective.smallest),
            scales=lambda size: len(self.scales_of(size, sizes, objective.smallest)),
            make=make,
            recipe=lambda photo, output: _of_photo(settings, photo, output),
            quality=self.quality,
        )
        return stylize_folder(task)

    def _single(self) -> int:
        first = distributed.is_first()
        if first:
            self._check_outputs(self.inputs())
        arguments = self.arguments()
        objective, optimizer, window = arguments["objective"], arguments["optimizer"], arguments["window"]
        photo = io.read_picture(self.photo, self.size, smallest=objective.smallest)
        styles = read_paintings(self, objective.smallest)
        regions, strengths = read_regions(self, photo.pixels, styles)
        arguments |= {"weights": self.loss_weights(strengths), "regions": regions}
        check_weights(arguments["weights"], objective, None if regions is None else len(strengths))
        init = read_start(self)
        params = weights.load_params(self.weights)
        recipe = recipe_of(self)
        io.recipe_text(recipe)
        height, width = photo.pixels.shape[:2]
        sizes: list[tuple[int, int]] = [(style.shape[0], style.shape[1]) for style in styles]
        scales = self.scales_of((height, width), sizes, objective.smallest)
        if first and self.scales != 1 and len(scales) == 1:
            print(
                f"jaxstyle: --scales {self.scales} makes one size here: a coarser one would be too small, or get less "
                f"than {LEAST_STEPS} steps",
                file=sys.stderr,
            )
        planned = windowed(objective, window, height, width, optimizer, sizes, mesh=arguments["mesh"])
        needs = estimate_part(height, width, planned, optimizer, sizes)
        if first:
            print(announcement(scales, planned, needs), file=sys.stderr)

        # It counts cost, not evaluations, so that the time left is right at coarse scales too; the smoothing makes it
        # forget soon that a scale began with compiling.
        with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, smoothing=0.3, disable=not first) as bar:

            def callback(progress: Progress) -> None:
                bar.set_postfix_str(bar_text(progress), refresh=False)
                bar.update(progress.fraction - bar.n)
                if self.save_every and progress.evaluations % self.save_every == 0:
                    self._save_snapshot(progress, photo, bar)

            result = stylize(
                photo.pixels,
                styles,
                params=params,
                init=init,
                seed=self.seed,
                callback=callback,
                callback_every=self.save_every,
                **arguments,
            )
        if not first:
            return _exit_code(result)
        best = final_loss(result)
        if best == float("inf"):
            print(
                "jaxstyle: error: the loss was not finite from the start, so nothing was saved; expected weights and "
                "pictures of ordinary size: lower the weights or use --precision highest",
                file=sys.stderr,
            )
            return 1
        recipe |= outcome_of(result)
        with no_interrupt():
            io.save_image(self.output, result.image, alpha=photo.alpha, recipe=recipe, quality=self.quality)
        print(
            f"{self.output}: {width}x{height}, loss {best:.6g} after {result.evaluations} evaluations "
            f"in {duration(result.seconds)} ({result.status})"
        )
        return _exit_code(result)

    def scales_of(self, size: tuple[int, int], styles: Sequence[tuple[int, int]], smallest: int) -> tuple[Scale, ...]:
        """The scales of a photo of this size."""
        ratio = presets.preset(self.preset).ratio
        options = {"share": self.share, "ratio": ratio, "styles": styles, "smallest": smallest}
        return pyramid(*size, self.steps, self.scales, **options)

    def _save_snapshot(self, progress: Progress, photo: io.Picture, bar: tqdm) -> None:
        """The best picture so far, at the full size; on several hosts all of them have to take part."""
        scale, (height, width) = progress.scale, photo.pixels.shape[:2]
        image = resize(gather(progress.image, scale.height, scale.width), height, width)
        if not distributed.is_first():
            return
        try:
            path = self._snapshot(progress.evaluations)
            io.save_image(path, image, alpha=photo.alpha, quality=self.quality)
        except InputError as error:
            bar.write(f"jaxstyle: warning: {error}", file=sys.stderr)

    def _check_outputs(self, inputs: tuple[Path, ...]) -> None:
        """Refuse outputs that cannot be written or would overwrite an input, snapshots included."""
        io.check_output(self.output)
        outputs = [self.output]
        if self.save_every is not None:
            io.check_output(self._snapshot(self.save_every))
            outputs += map(self._snapshot, range(self.save_every, self.steps + 1, self.save_every))
        taken = {os.path.realpath(path): path for path in outputs}
        for source in inputs:
            if os.path.realpath(source) in taken:
                raise InputError(
                    f"the output {taken[os.path.realpath(source)]} is one of the inputs, expected another name"
                )

    def _snapshot(self, evaluations: int) -> Path:
        return self.output.with_name(f"{self.output.stem}_{evaluations:05d}{self.output.suffix}")


AnyStylize = TypeVar("AnyStylize", bound=Stylize)


@dataclass(frozen=True)
class Demo:
    """Stylise a bundled photo with a bundled painting: no network, no files needed."""

    output: Annotated[Path, arg(aliases=("-o",))] = Path("jaxstyle-demo.png")
    """Where the picture goes: .png, .jpg, .tiff or .webp."""
    size: int = 320
    """Long side of the picture in pixels."""
    steps: int = 60
    """Evaluations of loss and gradient."""

    def run(self) -> int:
        """Stylise; returns the exit code."""
        data = resources.files("jaxstyle") / "data"
        with resources.as_file(data / "china.jpg") as photo, resources.as_file(data / "starry_night.jpg") as painting:
            settings = defaults("default", Stylize, photo, painting, self.output)
            return dataclasses.replace(settings, size=self.size, steps=self.steps).run()


def defaults(
    name: str,
    command: type[AnyStylize] = Stylize,
    photo: Any = tyro.MISSING,
    painting: Any = tyro.MISSING,
    output: Any = tyro.MISSING,
) -> AnyStylize:
    """The options' defaults under a preset."""
    settings = presets.preset(name)
    objective = {field.name: getattr(settings.objective, field.name) for field in dataclasses.fields(Objective)}
    # These options say more than the objective does: auto, whole or a number; and the mesh.
    del objective["window"], objective["shards"]
    return command(
        photo=photo,
        painting=painting,
        output=output,
        preset=settings.name,  # pyright: ignore[reportArgumentType]
        steps=settings.steps,
        scales=settings.scales,
        init=settings.init,
        mosaic=settings.mosaic,
        share=settings.share,
        strength=settings.strength,
        tv_weight=float(settings.weights.tv),
        **objective,
        **OPTIMIZERS.get(settings.name, {}),
    )


def _exit_code(result: Result) -> int:
    return {Status.INTERRUPTED: INTERRUPTED, Status.NOT_FINITE: 1}.get(result.status, 0)


def _of_photo(recipe: dict[str, Any], photo: Path, output: Path) -> dict[str, Any]:
    """The recipe of one photo of a folder."""
    named = recipe["settings"] | {"photo": photo.name, "output": output.name}
    return recipe | {"settings": named, "inputs_sha256": [checksum(photo), *recipe["inputs_sha256"][1:]]}


def recipe_of(options: Stylize) -> dict[str, Any]:
    """Everything needed to make the picture again; of paths the names only, as folders are nobody else's business."""
    settings = dataclasses.asdict(options)
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
