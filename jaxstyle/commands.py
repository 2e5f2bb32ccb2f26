"""The commands that make pictures: their options, and what they do with them."""

import contextlib
import dataclasses
import importlib.metadata
import math
import os
import platform
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle import io, optimizers, presets, vgg, weights
from jaxstyle.descent import Status
from jaxstyle.errors import InputError
from jaxstyle.image import resize
from jaxstyle.losses import Normalization
from jaxstyle.memory import estimate, windowed
from jaxstyle.objective import LEAST_WINDOW, LossWeights, Objective, check_weights
from jaxstyle.reports import announcement, bar_text, duration, final_loss
from jaxstyle.result import Progress
from jaxstyle.scales import LEAST_STEPS, SHARE, ScaleCount, pyramid
from jaxstyle.settings import MOST_STEPS
from jaxstyle.transfer import stylize
from jaxstyle.typing import Image

# A side in pixels at most: beyond lies a typing error.
MOST_PIXELS = 65536
# Exit code of a run that Ctrl-C ended: what shells use.
INTERRUPTED = 130
# Of tqdm: its own counts would be fractions of the run's cost.
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"


@dataclass(frozen=True)
class Stylize:
    """Give a photo the style of one or more paintings."""

    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """The photo: PNG, JPEG, TIFF, WebP or whatever else Pillow reads."""
    painting: Annotated[Positional[Path], arg(metavar="PAINTING")]
    """The painting."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """Where the picture goes: .png, .jpg, .tiff or .webp."""
    more: Annotated[Positional[tuple[Path, ...]], arg(metavar="PAINTING ...")] = ()
    """More paintings, which blend with the first."""
    preset: Literal["default", "gatys-notebook", "paper"] = "default"
    """Named settings: the defaults of the options below."""
    size: int = 512
    """Long side of the picture in pixels."""
    style_size: int | None = None
    """Long side of the paintings in pixels, never more than they have; None is the picture's size."""
    style_scale: float = 1.0
    """How large the strokes are: the paintings' size is multiplied by it, beyond the pixels of their files too. 2
    doubles the strokes, as large pictures may need."""
    steps: int = 0
    """Evaluations of loss and gradient, at most, all scales together."""
    scales: ScaleCount = "auto"
    """Coarse to fine: how many sizes to go through at most, 1 being the full size alone, or auto: from 128 to 255
    pixels (long side) up, doubling. Fewer where a size would be too small, or get less than 10 steps."""
    share: float = SHARE
    """Of the steps, for the full size, where --scales makes several; the coarser ones divide the rest."""
    window: Literal["auto", "whole"] | int = "auto"
    """Larger pictures are evaluated in windows of so many pixels a side (32 or more, rounded up to a multiple of 8),
    exactly, in less memory; auto chooses the largest that fit, whole has none. See jaxstyle plan."""
    whitening: float = 1.0
    """0 follows the loss's own gradient, 1 a better scaled one, which takes fewer steps to the same picture."""
    init: str = "content"
    """Where to start: content, noise, or the path of a picture."""
    mosaic: float = 0.25
    """Share of pieces of the painting mixed into the photo where a run starts from it (--init content), 0 to 1."""
    seed: int = 0
    """Of the noise and of the pieces: a whole number from 0 on; another one gives another picture."""
    content_weight: tuple[float, ...] = ()
    """How much the photo counts: one number, or one a content layer."""
    style_weight: tuple[float, ...] = ()
    """How much the style counts: one number, or one a style layer."""
    tv_weight: float = 0.0
    """How much smoothness counts (squared total variation); about 1e6 is visible with the notebook's normalization."""
    blend: tuple[float, ...] | None = None
    """How much each painting counts, one number each, after the paintings' names; None is equally."""
    content_layers: tuple[str, ...] = ()
    """Layers that keep the photo's features; conv1_1 ... conv5_4 before the ReLU, relu1_1 ... after, pool1 ..."""
    style_layers: tuple[str, ...] = ()
    """Layers that take the style's Gram matrices."""
    normalization: Normalization = "notebook"
    """Formula of the losses: means, as in the authors' notebook, or sums, as in the paper."""
    pooling: vgg.Pooling = "max"
    """Between the network's blocks."""
    padding: vgg.Padding = "zeros"
    """Of the first convolution; replicate makes dark frames weaker."""
    precision: vgg.Precision = "highest"
    """Of the convolutions: highest is float32, default is what the device prefers."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS on the pixel box, or Adam."""
    memory_size: int = 10
    """Pairs that L-BFGS remembers; each takes 24 bytes a pixel."""
    precondition: Literal["spectral", "pyramid", "none"] = "spectral"
    """How L-BFGS treats coarse and fine structure: spectral (best), pyramid (for several devices), or none (alike)."""
    learning_rate: float = 0.02
    """Of Adam: about the largest change of a pixel (0 to 1) in a step."""
    tolerance: float = 1e-6
    """Stop when the loss falls by at most this fraction an evaluation, over 20 of them."""
    weights: str = "oxford"
    """Of VGG-19: oxford (embedded), torchvision (downloaded once), or the path of a .safetensors file."""
    save_every: int | None = None
    """Also save the best picture so far after every so many evaluations, numbered, beside the output; those of coarser
    scales enlarged to the full size."""
    quality: int = 95
    """Of JPEG and WebP, 1 to 100."""

    def run(self) -> int:
        """Read, optimise, write; returns the exit code."""
        paintings = (self.painting, *self.more)
        self._check_numbers()
        self._check_outputs((self.photo, *paintings, Path(self.init)))
        objective = Objective(
            self.content_layers, self.style_layers, self.normalization, self.pooling, self.padding, self.precision
        )
        loss_weights = LossWeights(_one_or_more(self.content_weight), _one_or_more(self.style_weight), self.tv_weight)
        check_weights(loss_weights, objective)
        # Both, so that a wrong number is told even where it is not used.
        precondition = None if self.precondition == "none" else self.precondition
        optimizer = {
            "lbfgs": optimizers.lbfgs(self.memory_size, precondition=precondition),
            "adam": optimizers.adam(self.learning_rate),
        }[self.optimizer]

        photo = io.read_picture(self.photo, self.size, smallest=objective.smallest)
        styles = [self._painting(path, objective.smallest) for path in paintings]
        init = self.init if self.init in ("content", "noise") else io.load_image(self.init, self.size)
        params = weights.load_params(self.weights)
        recipe = _recipe(self)
        io.recipe_text(recipe)
        height, width = photo.pixels.shape[:2]
        sizes: list[tuple[int, int]] = [(style.shape[0], style.shape[1]) for style in styles]
        scales = pyramid(
            height, width, self.steps, self.scales, share=self.share, styles=sizes, smallest=objective.smallest
        )
        if self.scales != 1 and len(scales) == 1:
            print(
                f"jaxstyle: --scales {self.scales} makes one size here: a coarser one would be too small, or get less "
                f"than {LEAST_STEPS} steps",
                file=sys.stderr,
            )
        window = None if self.window == "whole" else self.window
        planned = windowed(objective, window, height, width, optimizer, sizes)
        needs = estimate(height, width, planned, optimizer, sizes)
        print(announcement(scales, planned, needs), file=sys.stderr)

        # It counts cost, not evaluations, so that the time left is right at coarse scales too; the smoothing makes it
        # forget soon that a scale began with compiling.
        with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, smoothing=0.3) as bar:

            def callback(progress: Progress) -> None:
                bar.set_postfix_str(bar_text(progress), refresh=False)
                bar.update(progress.fraction - bar.n)
                if self.save_every and progress.evaluations % self.save_every == 0:
                    path = self._snapshot(progress.evaluations)
                    try:
                        image = resize(progress.image, height, width)
                        io.save_image(path, image, alpha=photo.alpha, quality=self.quality)
                    except InputError as error:
                        bar.write(f"jaxstyle: warning: {error}", file=sys.stderr)

            result = stylize(
                photo.pixels,
                styles,
                params=params,
                objective=objective,
                weights=loss_weights,
                style_weights=self.blend,
                optimizer=optimizer,
                steps=self.steps,
                scales=self.scales,
                share=self.share,
                window=window,
                whitening=self.whitening,
                init=init,
                mosaic=self.mosaic,
                seed=self.seed,
                tolerance=self.tolerance,
                callback=callback,
                callback_every=self.save_every,
            )
        best = final_loss(result)
        if best == float("inf"):
            print(
                "jaxstyle: error: the loss was not finite from the start, so nothing was saved; expected weights and "
                "pictures of ordinary size: lower the weights or use --precision highest",
                file=sys.stderr,
            )
            return 1
        recipe |= {"evaluations": result.evaluations, "loss": best, "status": str(result.status)}
        recipe |= {"window": result.window}
        with _no_interrupt():
            io.save_image(self.output, result.image, alpha=photo.alpha, recipe=recipe, quality=self.quality)
        print(
            f"{self.output}: {width}x{height}, loss {best:.6g} after {result.evaluations} evaluations "
            f"in {duration(result.seconds)} ({result.status})"
        )
        return {Status.INTERRUPTED: INTERRUPTED, Status.NOT_FINITE: 1}.get(result.status, 0)

    def _check_numbers(self) -> None:
        """Refuse numbers that nothing below would refuse in the option's own name."""
        for name, most in (
            ("size", MOST_PIXELS),
            ("style-size", MOST_PIXELS),
            ("steps", MOST_STEPS),
            ("save-every", MOST_STEPS),
        ):
            value = getattr(self, name.replace("-", "_"))
            if value is not None and not 1 <= value <= most:
                raise InputError(f"--{name} is {value}, expected 1 to {most}")
        for name in ("content-layers", "style-layers"):
            if not getattr(self, name.replace("-", "_")):
                raise InputError(f"--{name} names no layer, expected at least one; weight 0 leaves a term out")
        paintings = 1 + len(self.more)
        if self.blend is not None and len(self.blend) != paintings:
            raise InputError(f"--blend has {len(self.blend)} numbers, expected one for each painting: {paintings}")
        if self.blend is not None and not (all(0 <= share < math.inf for share in self.blend) and any(self.blend)):
            raise InputError(f"--blend is {self.blend}, expected finite numbers >= 0, at least one positive")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed is {self.seed}, expected 0 to {2**32 - 1}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality is {self.quality}, expected 1 to 100")
        check_window(self.window)
        if not 0 < self.share <= 1:
            raise InputError(f"--share is {self.share}, expected a part of the steps above 0, up to 1")
        if not 0 < self.style_scale < math.inf:
            raise InputError(f"--style-scale is {self.style_scale}, expected a number above 0, such as 2")
        if not 0 <= self.tolerance < 1:
            raise InputError(f"--tolerance is {self.tolerance}, expected a number from 0 to 1 such as 1e-6")
        for name, value in (("whitening", self.whitening), ("mosaic", self.mosaic)):
            if not 0 <= value <= 1:
                raise InputError(f"--{name} is {value}, expected a number from 0 to 1")
        if self.init not in ("content", "noise") and not os.path.isfile(self.init):
            raise InputError(f"--init is {self.init!r}, expected content, noise, or the path of a picture")

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

    def _painting(self, path: Path, smallest: int) -> Image:
        painting = io.load_image(path, self.style_size or self.size, enlarge=False, smallest=smallest)
        if self.style_scale == 1:
            return painting
        side = round(max(painting.shape) * self.style_scale)
        if not smallest <= side <= MOST_PIXELS:
            raise InputError(
                f"--style-scale is {self.style_scale}, which makes the long side of {path} {side} pixels, expected "
                f"{smallest} to {MOST_PIXELS}"
            )
        # From the file again: it may have the pixels that the smaller copy has lost.
        return io.load_image(path, side, smallest=smallest)

    def _snapshot(self, evaluations: int) -> Path:
        return self.output.with_name(f"{self.output.stem}_{evaluations:05d}{self.output.suffix}")


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
            settings = defaults("default", photo, painting, self.output)
            return dataclasses.replace(settings, size=self.size, steps=self.steps).run()


def check_window(window: str | int) -> None:
    """Refuse a `--window` that is too small.

    Raises:
        InputError: naming the option.
    """
    if isinstance(window, int) and window < LEAST_WINDOW:
        raise InputError(f"--window is {window}, expected auto, whole, or {LEAST_WINDOW} pixels or more")


def defaults(name: str, photo: Any = tyro.MISSING, painting: Any = tyro.MISSING, output: Any = tyro.MISSING) -> Stylize:
    """The options' defaults under a preset."""
    settings = presets.preset(name)
    objective = {field.name: getattr(settings.objective, field.name) for field in dataclasses.fields(Objective)}
    # The option says more than the objective: auto, whole or a number.
    del objective["window"]
    return Stylize(
        photo=photo,
        painting=painting,
        output=output,
        preset=settings.name,  # pyright: ignore[reportArgumentType]
        steps=settings.steps,
        scales=settings.scales,
        init=settings.init,
        mosaic=settings.mosaic,
        content_weight=_tuple(settings.weights.content),
        style_weight=_tuple(settings.weights.style),
        tv_weight=float(settings.weights.tv),
        **objective,
    )


def _recipe(options: Stylize) -> dict[str, Any]:
    """Everything needed to make the picture again; of paths the names only, as folders are nobody else's business."""
    settings = dataclasses.asdict(options)
    settings["more"] = [path.name for path in options.more]
    for name in ("photo", "painting", "output", "init", "weights"):
        settings[name] = Path(settings[name]).name
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "software": io.software(),
        "settings": settings,
        "versions": versions | {"python": platform.python_version()},
        "weights_sha256": weights.weights_sha256(options.weights),
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
    }


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C away from a write of some milliseconds that ends a run of minutes."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _one_or_more(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values


def _tuple(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, tuple) else (float(value),)
