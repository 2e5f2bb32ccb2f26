"""The command line: parse, call, print. `jaxstyle --help` lists the commands."""

import dataclasses
import importlib.metadata
import itertools
import os
import platform
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import tyro
from tqdm import tqdm
from tyro.conf import Positional, arg, subcommand

from jaxstyle import io, optimizers, plan, presets, vgg, weights
from jaxstyle.errors import InputError
from jaxstyle.losses import Normalization
from jaxstyle.objective import LossWeights, Objective, check_weights
from jaxstyle.transfer import Progress, Status, stylize

# What shells use for Ctrl-C.
INTERRUPTED = 130
# A run that should take longer than this on a CPU is announced with a hint.
LONG_SECONDS = 300.0


@dataclass(frozen=True)
class Stylize:
    """Give a photo the style of one or more paintings."""

    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """The photo: PNG, JPEG, TIFF, WebP or whatever else Pillow reads."""
    painting: Annotated[Positional[Path], arg(metavar="PAINTING")]
    """The painting."""
    more: Annotated[Positional[tuple[Path, ...]], arg(metavar="PAINTING ...")] = ()
    """More paintings, which blend with the first."""
    output: Annotated[Path, arg(aliases=("-o",))] = Path("jaxstyle.png")
    """Where the picture goes: .png, .jpg, .tiff or .webp."""
    preset: Literal["default", "gatys-notebook", "paper"] = "default"
    """Named settings: the defaults of the options below."""
    size: int = 512
    """Long side of the picture in pixels."""
    style_size: int | None = None
    """Long side of the paintings in pixels, never more than they have; None is the picture's size."""
    steps: int = 0
    """Evaluations of loss and gradient, at most."""
    init: str = "content"
    """Where to start: content, noise, or the path of a picture."""
    seed: int = 0
    """Of the noise."""
    content_weight: tuple[float, ...] = ()
    """How much the photo counts: one number, or one a content layer."""
    style_weight: tuple[float, ...] = ()
    """How much the style counts: one number, or one a style layer."""
    tv_weight: float = 0.0
    """How much smoothness counts (squared total variation); about 1e6 is visible with the notebook's normalization."""
    blend: tuple[float, ...] | None = None
    """How much each painting counts, one number each; None is equally."""
    content_layers: tuple[str, ...] = ()
    """Layers that keep the photo's features; conv1_1 ... conv5_4 before the ReLU, relu1_1 ... after, pool1 ..."""
    style_layers: tuple[str, ...] = ()
    """Layers that take the style's Gram matrices."""
    normalization: Normalization = "notebook"
    """Formula of the losses: means, as in the authors' notebook, or sums, as in the paper."""
    pooling: vgg.Pooling = "max"
    """Between the network's blocks."""
    padding: vgg.Padding = "zeros"
    """Of the first convolution; replicate avoids dark frames."""
    precision: vgg.Precision = "highest"
    """Of the convolutions: highest is float32, default is what the device prefers."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS on the pixel box, or Adam."""
    memory_size: int = 10
    """Pairs that L-BFGS remembers; each takes 24 bytes a pixel."""
    precondition: Literal["spectral", "none"] = "spectral"
    """What L-BFGS takes for the Hessian at first."""
    learning_rate: float = 0.02
    """Of Adam: about the largest change of a pixel (0 to 1) in a step."""
    tolerance: float = 1e-6
    """Stop when the loss falls by at most this fraction an evaluation, over 20 of them."""
    weights: str = "oxford"
    """Of VGG-19: oxford (embedded), torchvision (downloaded once), or the path of a .safetensors file."""
    save_every: int | None = None
    """Also save the best picture so far after every so many evaluations, numbered, beside the output."""
    quality: int = 95
    """Of JPEG and WebP, 1 to 100."""

    def run(self) -> int:
        """Read, optimise, write; returns the exit code."""
        io.check_output(self.output)
        paintings = (self.painting, *self.more)
        for source in (self.photo, *paintings):
            if _same_file(source, self.output):
                raise InputError(f"the output {self.output} is one of the inputs, expected another name")
        for name, value in (("size", self.size), ("steps", self.steps), ("save-every", self.save_every)):
            if value is not None and value < 1:
                raise InputError(f"--{name} is {value}, expected at least 1")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality is {self.quality}, expected 1 to 100")
        objective = Objective(
            self.content_layers, self.style_layers, self.normalization, self.pooling, self.padding, self.precision
        )
        loss_weights = LossWeights(_one_or_more(self.content_weight), _one_or_more(self.style_weight), self.tv_weight)
        check_weights(loss_weights, objective)
        if self.optimizer == "adam":
            optimizer = optimizers.adam(self.learning_rate)
        else:
            precondition = None if self.precondition == "none" else self.precondition
            optimizer = optimizers.lbfgs(self.memory_size, precondition=precondition)

        photo = io.read_picture(self.photo, self.size, smallest=objective.smallest)
        styles = [
            io.load_image(path, self.style_size or self.size, enlarge=False, smallest=objective.smallest)
            for path in paintings
        ]
        init = self.init if self.init in ("content", "noise") else io.load_image(self.init, self.size)
        params = weights.load_params(self.weights)
        height, width = photo.pixels.shape[:2]
        print(_announcement(height, width, self.steps, objective), file=sys.stderr)

        with tqdm(total=self.steps, unit="eval", dynamic_ncols=True, smoothing=0.1) as bar:

            def callback(progress: Progress) -> None:
                bar.set_postfix_str(f"loss {float(progress.losses.total):.4g}", refresh=False)
                bar.update(progress.evaluations - bar.n)
                if self.save_every and progress.evaluations % self.save_every == 0:
                    name = f"{self.output.stem}_{progress.evaluations:05d}{self.output.suffix}"
                    io.save_image(self.output.with_name(name), progress.image, alpha=photo.alpha, quality=self.quality)

            result = stylize(
                photo.pixels,
                styles,
                params=params,
                objective=objective,
                weights=loss_weights,
                style_weights=self.blend,
                optimizer=optimizer,
                steps=self.steps,
                init=init,
                seed=self.seed,
                tolerance=self.tolerance,
                callback=callback,
                callback_every=self.save_every,
            )
        best = float(jnp.min(jnp.where(jnp.isfinite(result.losses.total), result.losses.total, jnp.inf)))
        if best == float("inf"):
            print(
                "jaxstyle: error: the loss was not finite from the start, so nothing was saved; expected weights and "
                "pictures of ordinary size: lower the weights or use --precision highest",
                file=sys.stderr,
            )
            return 1
        recipe = _recipe(self) | {
            "weights_sha256": weights.weights_sha256(self.weights),
            "evaluations": result.evaluations,
            "loss": best,
            "status": str(result.status),
        }
        io.save_image(self.output, result.image, alpha=photo.alpha, recipe=recipe, quality=self.quality)
        print(
            f"{self.output}: {width}x{height}, loss {best:.6g} after {result.evaluations} evaluations "
            f"in {_duration(result.seconds)} ({result.status})"
        )
        return {Status.INTERRUPTED: INTERRUPTED, Status.NOT_FINITE: 1}.get(result.status, 0)


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
            settings = _defaults("default", photo=photo, painting=painting)
            return dataclasses.replace(settings, output=self.output, size=self.size, steps=self.steps).run()


@dataclass(frozen=True)
class WeightsList:
    """List the weights that have a name, and where they are."""

    def run(self) -> int:
        """Print the table; returns the exit code."""
        for record in weights.list_weights():
            where = record.path or f"not here yet: jaxstyle weights get {record.name}"
            print(f"{record.name:12}  {record.size / 1e6:6.1f} MB  {record.description}\n{'':12}  {where}")
        return 0


@dataclass(frozen=True)
class WeightsGet:
    """Download weights once; later runs find them in the cache."""

    name: Positional[str]
    """Such as torchvision."""

    def run(self) -> int:
        """Fetch; returns the exit code."""
        print(weights.fetch_weights(self.name))
        return 0


@dataclass(frozen=True)
class WeightsVerify:
    """Check weights that are on this machine: checksum, names, shapes and values."""

    name: Positional[str] = "oxford"
    """Such as oxford or torchvision."""

    def run(self) -> int:
        """Check; returns the exit code."""
        record = weights.verify_weights(self.name)
        print(f"{record.name}: good, {record.path}, sha256 {record.sha256}")
        return 0


@dataclass(frozen=True)
class Weights:
    """List, download or check the network's weights."""

    command: (
        Annotated[WeightsList, subcommand("list")]
        | Annotated[WeightsGet, subcommand("get")]
        | Annotated[WeightsVerify, subcommand("verify")]
    )

    def run(self) -> int:
        """Run the command under this one; returns the exit code."""
        return self.command.run()


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 the optimisation failed, 2 input that cannot be used, 130 Ctrl-C.

    Args:
        argv: the words after `jaxstyle`; the process's own if None.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv in (["--version"], ["-V"]):
        print(f"jaxstyle {_version()}")
        return
    try:
        code = _parse(argv).run()
    except InputError as error:
        print(f"jaxstyle: error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("\njaxstyle: interrupted before there was a picture to save", file=sys.stderr)
        code = INTERRUPTED
    raise SystemExit(code)


def _parse(argv: list[str]) -> Stylize | Demo | Weights:
    named = (word.removeprefix("--preset=") for word in argv if word.startswith("--preset="))
    following = (after for word, after in itertools.pairwise(argv) if word == "--preset")
    name = next((name for name in (*named, *following) if name in presets.PRESETS), "default")
    commands = (
        Annotated[Stylize, subcommand("stylize", default=_defaults(name))]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Weights, subcommand("weights")]
    )
    return tyro.cli(
        commands,  # pyright: ignore[reportArgumentType]
        prog="jaxstyle",
        description="Neural style transfer: a photo takes on the style of a painting.",
        args=argv,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )


def _defaults(name: str, photo: Any = tyro.MISSING, painting: Any = tyro.MISSING) -> Stylize:
    """The options' defaults under a preset."""
    settings = presets.preset(name)
    objective = {field.name: getattr(settings.objective, field.name) for field in dataclasses.fields(Objective)}
    return Stylize(
        photo=photo,
        painting=painting,
        preset=settings.name,  # pyright: ignore[reportArgumentType]
        steps=settings.steps,
        init=settings.init,
        content_weight=_tuple(settings.weights.content),
        style_weight=_tuple(settings.weights.style),
        tv_weight=float(settings.weights.tv),
        **objective,
    )


def _announcement(height: int, width: int, steps: int, objective: Objective) -> str:
    device = jax.devices()[0]
    text = f"jaxstyle: {width}x{height} pixels, at most {steps} evaluations, on {device.platform.upper()}"
    if device.platform != "cpu":
        return f"{text} ({device.device_kind})"
    seconds = steps * plan.seconds_a_step(height, width, objective)
    text += f" ({os.cpu_count()} cores): about {_duration(seconds)}"
    if seconds > LONG_SECONDS:
        text += "; a smaller --size or fewer --steps takes less, and so does a GPU (pip install 'jaxstyle[cuda]')"
    return text


def _recipe(options: Stylize) -> dict[str, Any]:
    """Everything needed to make the picture again."""
    settings = {
        name: [str(v) if isinstance(v, Path) else v for v in value] if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(options).items()
    }
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "software": f"jaxstyle {_version()}",
        "settings": {name: str(v) if isinstance(v, Path) else v for name, v in settings.items()},
        "versions": versions | {"python": platform.python_version()},
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
    }


def _version() -> str:
    return importlib.metadata.version("jaxstyle")


def _same_file(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _one_or_more(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values


def _tuple(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, tuple) else (float(value),)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
