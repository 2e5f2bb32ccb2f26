"""Options of `jaxstyle stylize`, and the library's arguments that they stand for."""

import dataclasses
import functools
import inspect
import math
import operator
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union

import jax
from jax.sharding import Mesh
from tyro.conf import Positional, arg

from jaxstyle.errors import InputError
from jaxstyle.fields import documentation, is_option
from jaxstyle.image import io
from jaxstyle.image.regions import Guidance
from jaxstyle.objective.mesh import make_mesh
from jaxstyle.transfer import presets
from jaxstyle.transfer.settings import RunOptions, Settings
from jaxstyle.typing import AnyImage

# Values of --init that are not the path of an image.
STARTS = ("content", "noise", "gray")


def _value(metavar: str | None, default: str = "", text: str | None = None) -> object:
    """How the help shows an option: its placeholder, and its default where None or nothing would not explain it."""
    return arg(metavar=metavar, help=text, help_behavior_hint=f"(default: {default})" if default else None)


# One fact per line: the help keeps the line breaks of these texts.
@dataclass(frozen=True)
class Pictures:
    """Options that name pictures, and say how large they are and what part of them counts."""

    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """Photo to stylize: PNG, JPEG, TIFF, WebP, AVIF, JPEG 2000, GIF, BMP or PPM, and HEIC if pillow-heif is installed;
    or a folder of photos. - is standard input, also for a painting."""
    painting: Annotated[Positional[Path], arg(metavar="PAINTING")]
    """Painting whose style the photo gets."""
    output: Annotated[Path, arg(aliases=("-o",), metavar="FILE")]
    """File to write: .png, .jpg, .tiff or .webp. - is standard output: see --format.
    If PHOTO is a folder: the folder to write to, which is created if necessary."""
    more: Annotated[Positional[tuple[Path, ...]], _value("[PAINTING ...]", "none")] = ()
    """More paintings, whose styles are blended with the first one's; see --blend."""
    preset: presets.Name = "default"
    """Named settings that become the defaults of other options: default, gram, fast, or a published method."""
    size: Annotated[Literal["original"] | int, _value("PIXELS|original")] = 512
    """Long side of the result in pixels, 1 to 65536; the photo is resized to it. original: the photo keeps its size."""
    style_size: Annotated[int | None, _value("PIXELS", "--size")] = None
    """Long side of the paintings in pixels, 1 to 65536, at which their strokes have the same share of the picture as of
    the painting. A smaller file is enlarged."""
    style_scale: Annotated[tuple[float, ...], _value("NUMBER ...")] = (1.0,)
    """Size of the brush strokes: every painting is resized by this factor, above 0. 2 doubles the strokes.
    One number, or one per painting. A factor that enlarges a painting beyond its file's pixels causes a warning."""
    blend: Annotated[tuple[float, ...] | None, _value("NUMBER ...", "equal")] = None
    """Share of each painting if there are several: one number per painting, 0 or more. Only the ratios matter."""
    content_mask: Annotated[Path | None, _value("FILE", "none")] = None
    """Image that divides the photo into regions, with the photo's aspect ratio.
    Black and white: white gets the style; black stays as in the photo, or gets the second painting if there is one.
    A shape in the alpha channel counts as white. Flat colors, or labels (gray values 0, 1, 2, ...): one region each;
    see --region and --style-mask.
    If PHOTO is a folder: one image for all photos, or a folder with a mask of the same name for each."""
    style_mask: Annotated[tuple[str, ...], _value("FILE|none ...", "none")] = ()
    """One image of flat colors per painting, or none for a painting without one.
    A region of the photo gets the style of the parts of the painting that have the region's color."""
    region: Annotated[tuple[str, ...], _value("COLOR=VALUE ...", "none")] = ()
    """Style of each color or label of --content-mask: COLOR=N for the Nth painting, COLOR=N:STRENGTH scales its style,
    COLOR=keep for the photo. Examples: white=1 red=2:0.5 "#00ff00=keep"; 1=1 2=keep."""
    guidance: Guidance = "simple"
    """How regions apply to the deep layers, which see far beyond one pixel.
    simple: the mask is scaled down.
    inside: only positions that see nothing outside of the region. Styles do not bleed, but regions must be wide.
    all: every position that sees any of the region. Regions overlap."""


def _option_type(kind: Any) -> Any:
    """Return the part of a field's type that words on a command line can stand for."""
    if typing.get_origin(kind) not in (Union, types.UnionType):
        return kind
    parts = [part for part in typing.get_args(kind) if not _is_array_or_function(part)]
    several = [part for part in parts if typing.get_origin(part) is tuple]
    # One number is a sequence of one number.
    parts = several + [part for part in parts if not any(typing.get_args(other)[0] is part for other in several)]
    return functools.reduce(operator.or_, parts)


def _is_array_or_function(kind: Any) -> bool:
    return inspect.isclass(kind) and kind not in (str, int, float, bool, types.NoneType)


def _texts(kind: type) -> dict[str, str]:
    """Return the documentation of each field of a dataclass, with the names of options."""
    return {
        name: re.sub(r"`(\w+)`", lambda field: "--" + field[1].replace("_", "-"), text)
        for name, text in documentation(kind).items()
    }


def default_options(preset: str) -> dict[str, Any]:
    """Return the defaults of the options that are settings, for a preset.

    Weights are no option's default: they apply only if there is no strength.
    """
    settings = presets.preset(preset)
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(RunOptions) if is_option(field)}
    return values | {"content_weight": (), "style_weight": (), "neighbor_weight": (1.0,)}


def _with_settings(base: type) -> type:
    """Return a class of options: those of `base`, and one for each field of the settings that is an option."""
    kinds, texts, defaults = typing.get_type_hints(RunOptions), _texts(RunOptions), default_options("default")
    # The details of the loss come last in the help.
    options = sorted(dataclasses.fields(RunOptions), key=lambda field: field.name not in RunOptions.__annotations__)
    fields = []
    for field in filter(is_option, options):
        shown = _value(field.metadata["values"], field.metadata["unset"], texts.get(field.name))
        kind = Annotated[_option_type(kinds[field.name]), shown]
        fields.append((field.name, kind, dataclasses.field(default=defaults[field.name])))
    return dataclasses.make_dataclass("RunOptions", fields, bases=(base,), frozen=True)


if TYPE_CHECKING:

    class _WithSettings(RunOptions, Pictures):
        init: str = "content"

else:
    _WithSettings = _with_settings(Pictures)


@dataclass(frozen=True)
class Options(_WithSettings):
    """Options of `jaxstyle stylize`."""

    weights: Annotated[str, arg(metavar="oxford|torchvision|FILE")] = "oxford"
    """Weights of VGG-19: oxford (included), torchvision (downloaded once), or a .safetensors file."""
    save_every: Annotated[int | None, _value("STEPS", "off")] = None
    """Also save the best picture so far every STEPS evaluations, 1 or more, in numbered files beside the output.
    Pictures of coarse scales are enlarged to the full size."""
    animation: Annotated[Path | None, _value("FILE", "none")] = None
    """Also write the run as an animation: a .gif or .webp file of about 50 frames, up to 512 pixels a side.
    With --save-every, one frame for each of its pictures."""
    quality: int = 95
    """Quality of JPEG and WebP files, 1 to 100."""
    bit_depth: Literal[8, 16] = 8
    """Bits of each channel of PNG and TIFF files. 16 keeps smooth gradients smooth in later editing."""
    mesh: Annotated[str, arg(metavar="auto|ROWSxCOLUMNS")] = "1x1"
    """Divide the image over a grid of devices, such as 4x2; auto uses all devices."""
    batch: int = 1
    """If PHOTO is a folder: number of photos to stylize together, 1 to 4096. On a CPU, 1 is the fastest."""
    format: Literal["png", "jpg", "tiff", "webp"] = "png"
    """If PHOTO is a folder, or the output is -: file format of the results."""
    recursive: bool = False
    """If PHOTO is a folder: take the photos of its subfolders too, and write to subfolders of the same names."""
    distributed: Annotated[str, arg(metavar="no|auto|ADDRESS:PORT,PROCESSES,INDEX")] = "no"
    """Run on several hosts, each with the same command; auto detects TPU pods, Slurm and others.
    With --mesh they make a picture together, and the first host writes it.
    If PHOTO is a folder: without --mesh, each host makes a share of the pictures on its own."""
    checkpoint: Annotated[Path | None, _value("FILE", "none")] = None
    """File to save the state of the run to. `jaxstyle resume FILE` continues an interrupted run to the same picture.
    For a folder or a sweep, repeat the command: finished pictures stay, and the interrupted batch continues.
    The file is deleted when the pictures are written. Hosts that share a folder write FILE.0, FILE.1, ..."""
    checkpoint_every: float = 60.0
    """Seconds between checkpoints, 0 or more."""
    log_json: Annotated[Path | None, _value("FILE|-", "none")] = None
    """File to append one JSON object per line to, about once a second: evaluations, losses, seconds, memory.
    - is standard output, which then contains nothing else."""
    json: bool = False
    """Print the result as a line of JSON."""
    compile_cache: Annotated[str, arg(metavar="auto|off|FOLDER")] = "auto"
    """Folder of compiled programs, which later runs reuse; auto is a folder in the user's cache."""
    max_pixels: int = io.MAX_PIXELS
    """Refuse image files with more pixels than this, which protects from files that exhaust the memory."""
    force: bool = False
    """Overwrite an existing output or checkpoint. Inputs are never overwritten."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Also print details: scales, windows, checkpoints."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Print only warnings, errors and the result; no progress bar."""

    def encoding(self) -> dict[str, int]:
        """Return the options of `save_image` that say how the pixels are stored."""
        return {"quality": self.quality, "bit_depth": self.bit_depth}

    def settings(self, init: str | AnyImage | None = None, regions: tuple[float, ...] = (1.0,)) -> Settings:
        """Return the settings of the library: those of the preset, overridden by the options that differ.

        Args:
            init: initial image; None if it does not matter.
            regions: weight of the style of each region.
        """
        base, default = presets.preset(self.preset), default_options(self.preset)
        changes = {name: getattr(self, name) for name in default if getattr(self, name) != default[name]}
        changes |= {"init": init, "region_weight": regions}
        for name in ("content_weight", "style_weight", "region_weight", "neighbor_weight"):
            # A sequence of one number stands for all layers or regions.
            if len(changes.get(name, ())) == 1:
                (changes[name],) = changes[name]
        return base.override(**changes)

    def shards(self) -> tuple[int, int]:
        """Return the rows and columns of the mesh; `auto` makes the grid of all devices as square as possible."""
        if self.mesh == "auto":
            count = jax.device_count()
            columns = max(divisor for divisor in range(1, math.isqrt(count) + 1) if count % divisor == 0)
            return count // columns, columns
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", self.mesh)
        if match is None:
            raise InputError(f"--mesh is {self.mesh!r}, expected auto, or rows and columns of devices such as 4x2")
        return int(match[1]), int(match[2])

    def devices(self) -> Mesh | None:
        """Return the mesh; None for a single device."""
        rows, columns = self.shards()
        # Each group of devices takes an equal share of a batch of photos.
        groups = math.gcd(self.batch, max(1, jax.device_count() // (rows * columns)))
        if jax.process_count() > 1 and rows * columns * groups == 1:
            raise InputError(
                "--distributed would use a single device of all hosts: add --mesh auto, or for a folder a --batch that "
                "is a multiple of the number of devices"
            )
        return None if rows * columns * groups == 1 else make_mesh(rows, columns, groups)

    def side(self) -> int | None:
        """Return the long side of the result in pixels; None for that of the photo."""
        return None if self.size == "original" else self.size

    def paintings(self) -> tuple[Path, ...]:
        """Return the paths of all paintings."""
        return self.painting, *self.more

    def inputs(self) -> tuple[Path, ...]:
        """Return the paths of all images that are read."""
        masks = [Path(path) for path in self.style_mask if path != "none"]
        masks += [] if self.content_mask is None else [self.content_mask]
        start = [] if self.init in STARTS else [Path(self.init)]
        return self.photo, *self.paintings(), *start, *masks


AnyOptions = TypeVar("AnyOptions", bound=Options)


def with_inputs(options: AnyOptions, paths: Sequence[Path]) -> AnyOptions:
    """Replace the paths of all images.

    Args:
        options: any.
        paths: as many as `options.inputs()` returns, in the same order.

    Returns:
        The options with these paths.
    """
    rest = iter(paths)
    photo, painting, *more = (next(rest) for _ in range(1 + len(options.paintings())))
    init = options.init if options.init in STARTS else str(next(rest))
    style_masks = tuple("none" if mask == "none" else str(next(rest)) for mask in options.style_mask)
    content_mask = None if options.content_mask is None else next(rest)
    changes = {"photo": photo, "painting": painting, "more": tuple(more), "init": init}
    return dataclasses.replace(options, **changes, style_mask=style_masks, content_mask=content_mask)
