"""The options of `jaxstyle stylize`, whether they can be used, and what they stand for."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
import optax
from jax.sharding import Mesh
from tyro.conf import Positional, arg

from jaxstyle import io, optimizers, vgg
from jaxstyle.errors import InputError
from jaxstyle.losses import Normalization
from jaxstyle.mesh import make_mesh
from jaxstyle.objective import LEAST_WINDOW, LossWeights, Objective
from jaxstyle.scales import SHARE, ScaleCount
from jaxstyle.settings import MOST_STEPS
from jaxstyle.typing import AnyImage

# A side in pixels, and a batch, at most: beyond lies a typing error.
MOST_PIXELS = 65536
MOST_PICTURES = 4096


@dataclass(frozen=True)
class Options:
    """What `jaxstyle stylize` is told."""

    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """The photo: PNG, JPEG, TIFF, WebP or whatever else Pillow reads; or a folder of photos."""
    painting: Annotated[Positional[Path], arg(metavar="PAINTING")]
    """The painting."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """Where the picture goes: .png, .jpg, .tiff or .webp; for a folder of photos, a folder, which is made."""
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
    precondition: Literal["auto", "spectral", "pyramid", "none"] = "auto"
    """How L-BFGS treats coarse and fine structure: spectral (best), pyramid (which can be spread over devices), or none
    (alike); auto is pyramid where a picture is spread, spectral otherwise."""
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
    mesh: str = "1x1"
    """Spread one picture over so many rows x columns of devices, such as 4x2; auto takes all that there are."""
    batch: int = 1
    """Of a folder: how many photos at once, on all devices, in one compiled program; on a CPU 1 is fastest."""
    format: Literal["png", "jpg", "tiff", "webp"] = "png"
    """Of a folder's pictures."""
    distributed: str = "no"
    """Join other hosts that run the same command: auto (TPU pods, Slurm, ...) or ADDRESS:PORT,PROCESSES,INDEX; the
    first one writes the files."""

    def check(self) -> None:
        """Refuse numbers that nothing below would refuse in the option's own name."""
        for name, most in (
            ("size", MOST_PIXELS),
            ("style-size", MOST_PIXELS),
            ("steps", MOST_STEPS),
            ("save-every", MOST_STEPS),
            ("batch", MOST_PICTURES),
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
        if os.path.isdir(self.photo) and self.save_every is not None:
            raise InputError("--save-every is for a single photo, not for a folder of them: leave it out")
        if self.batch > 1 and not os.path.isdir(self.photo):
            raise InputError(f"--batch is for a folder of photos, which {self.photo} is not: leave it out")
        self.shards()

    def objective(self) -> Objective:
        """The structure of the loss."""
        return Objective(
            self.content_layers,
            self.style_layers,
            self.normalization,
            self.pooling,
            self.padding,
            self.precision,
            shards=self.shards(),
        )

    def loss_weights(self) -> LossWeights:
        """The weights of its terms."""
        return LossWeights(_one_or_more(self.content_weight), _one_or_more(self.style_weight), self.tv_weight)

    def transform(self) -> optax.GradientTransformation:
        """The optimiser."""
        named = self.preconditioner()
        # Both, so that a wrong number is told even where it is not used.
        return {
            "lbfgs": optimizers.lbfgs(self.memory_size, precondition=None if named == "none" else named),
            "adam": optimizers.adam(self.learning_rate),
        }[self.optimizer]

    def preconditioner(self) -> Literal["spectral", "pyramid", "none"]:
        """What `auto` stands for, or what was asked for."""
        if self.precondition != "auto":
            return self.precondition
        return "spectral" if self.shards() == (1, 1) else "pyramid"

    def shards(self) -> tuple[int, int]:
        """Rows and columns of devices that share a picture; for `auto` about as many of either."""
        if self.mesh == "auto":
            count = jax.device_count()
            columns = max(divisor for divisor in range(1, math.isqrt(count) + 1) if count % divisor == 0)
            return count // columns, columns
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", self.mesh)
        if match is None:
            raise InputError(f"--mesh is {self.mesh!r}, expected auto or rows x columns of devices such as 4x2")
        return int(match[1]), int(match[2])

    def devices(self) -> Mesh | None:
        """The mesh; None where one device does it all."""
        rows, columns = self.shards()
        # Of a folder every group of devices takes as many photos.
        groups = (
            math.gcd(self.batch, max(1, jax.device_count() // (rows * columns))) if os.path.isdir(self.photo) else 1
        )
        if jax.process_count() > 1 and rows * columns * groups == 1:
            raise InputError(
                "--distributed with a single device for all hosts, expected --mesh auto, or of a folder a --batch that "
                "is a multiple of all devices"
            )
        return None if rows * columns * groups == 1 else make_mesh(rows, columns, groups)

    def styles(self, smallest: int) -> list[AnyImage]:
        """The paintings, read."""
        return [self._painting(path, smallest) for path in (self.painting, *self.more)]

    def _painting(self, path: Path, smallest: int) -> AnyImage:
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


def check_window(window: str | int) -> None:
    """Refuse a `--window` that is too small.

    Raises:
        InputError: naming the option.
    """
    if isinstance(window, int) and window < LEAST_WINDOW:
        raise InputError(f"--window is {window}, expected auto, whole, or {LEAST_WINDOW} pixels or more")


def _one_or_more(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values
