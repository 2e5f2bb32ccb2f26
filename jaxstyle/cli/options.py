"""The options of `jaxstyle stylize`, and what they stand for."""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import jax
import optax
from jax.sharding import Mesh
from tyro.conf import Positional, arg

from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.color import Color
from jaxstyle.image.regions import Guidance
from jaxstyle.losses.gatys import Normalization
from jaxstyle.losses.matrix_sqrt import MatrixRoot
from jaxstyle.losses.statistics import Variation
from jaxstyle.losses.style import StyleLoss
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.mesh import make_mesh
from jaxstyle.optim.adam import adam
from jaxstyle.optim.averaging import averaged
from jaxstyle.optim.lbfgs import lbfgs
from jaxstyle.transfer import presets
from jaxstyle.transfer.pyramid import ScaleCount
from jaxstyle.vgg import network

# Where a run can start, beside pictures.
STARTS = ("content", "noise", "gray")


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
    preset: presets.Name = "default"
    """Named settings: the defaults of the options below."""
    size: int = 512
    """Long side of the picture in pixels."""
    style_size: int | None = None
    """Long side of the paintings in pixels, never more than they have; None is the picture's size."""
    style_scale: tuple[float, ...] = (1.0,)
    """How large the strokes are: the paintings' size is multiplied by it, beyond the pixels of their files too, which
    is told; one number, or one a painting. 2 doubles the strokes, as large pictures may need."""
    steps: int = 0
    """Evaluations of loss and gradient, at most, all scales together."""
    scales: ScaleCount = "auto"
    """Coarse to fine: how many sizes to go through at most, 1 being the full size alone, or auto: from 128 to 255
    pixels (long side) up, doubling. Fewer where a size would be too small, or get less than 10 steps."""
    share: float = presets.preset().share
    """Of the steps, for the full size, where --scales makes several; the coarser ones divide the rest."""
    window: Literal["auto", "whole"] | int = "auto"
    """Larger pictures are evaluated in windows of so many pixels a side (32 or more, rounded up to a multiple of 8),
    exactly, in less memory; auto chooses the largest that fit, whole has none. See jaxstyle plan."""
    whitening: float | None = None
    """0 follows the loss's own gradient, 1 a better scaled one, which takes fewer steps to the same picture; None is 1
    for lbfgs and 0 for adam."""
    init: str = "content"
    """Where to start: content, noise, gray, or the path of a picture."""
    mosaic: float = 0.25
    """Share of pieces of the painting mixed into the photo where a run starts from it (--init content), 0 to 1."""
    seed: int = 0
    """Of the noise and of the pieces: a whole number from 0 on; another one gives another picture."""
    strength: float | None = None
    """How strong the style is, from 0, the photo, to 1, alike for every pair of pictures and every size: found from the
    terms' gradients, instead of --content-weight and --style-weight."""
    content_weight: tuple[float, ...] = ()
    """How much the photo counts: one number, or one a content layer; none is the preset's."""
    style_weight: tuple[float, ...] = ()
    """How much the style counts: one number, or one a style layer; none is the preset's."""
    tv_weight: float = 0.0
    """How much smoothness counts (total variation); about 1e6 is visible with the notebook's normalization."""
    variation: Variation = "squared"
    """How smoothness is measured: squares of the differences between neighbors, their magnitudes, or squares with
    diagonal neighbors."""
    blend: tuple[float, ...] | None = None
    """How much each painting counts, one number each, after the paintings' names; None is equally."""
    content_mask: Path | None = None
    """A picture of regions, of the photo's shape: white gets the style and black keeps the photo, or gets the second
    painting; or flat colors, see --region and --style-mask."""
    style_mask: tuple[str, ...] = ()
    """For each painting a picture of regions, or none: a region of the photo gets the style of its color's parts."""
    region: tuple[str, ...] = ()
    """What a color of --content-mask gets: COLOR=PAINTING, 1 being the first, COLOR=PAINTING:STRENGTH, or
    COLOR=keep for the photo; such as white=1 red=2:0.5 "#00ff00=keep"."""
    guidance: Guidance = "simple"
    """How regions reach deep layers: simple; inside, where nothing bleeds but regions must be large; or all."""
    color: Color = "style"
    """Whose colors: the style's, or the photo's, by luminance (only the brightness changes), or by giving the painting
    the photo's colors before: symmetric, cholesky, or histogram."""
    content_layers: tuple[str, ...] = ()
    """Layers that keep the photo's features; conv1_1 ... conv5_4 before the ReLU, relu1_1 ... after, pool1 ..."""
    style_layers: tuple[str, ...] = ()
    """Layers that take the style's Gram matrices."""
    style_loss: StyleLoss = "gram"
    """How far the style is: gram, covariance, mean+std, or wasserstein. Without weights or --strength, another one than
    the preset's has strength 0.5."""
    matrix_root: MatrixRoot = "auto"
    """How wasserstein takes its roots: eigh, newton-schulz, or auto, as the device is."""
    normalization: Normalization = "notebook"
    """Formula of the losses: means, as in the authors' notebook, or sums, as in the paper."""
    pooling: network.Pooling = "max"
    """Between the network's blocks."""
    padding: network.Padding = "zeros"
    """Of the first convolution; replicate makes dark frames weaker."""
    precision: network.Precision = "highest"
    """Of the convolutions: highest is float32, default is what the device prefers."""
    algorithm: network.Algorithm = "auto"
    """Of the convolutions: direct, winograd (a quarter of the multiplications), or auto, the faster one."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS on the pixel box, or Adam."""
    memory_size: int = 10
    """Pairs that L-BFGS remembers; each takes 24 bytes a pixel."""
    precondition: Literal["auto", "spectral", "pyramid", "none"] = "auto"
    """How L-BFGS treats coarse and fine structure: spectral (best), pyramid (which can be spread over devices), or none
    (alike); auto is pyramid where a picture is spread, spectral otherwise."""
    learning_rate: float = 0.02
    """Of Adam: about the largest change of a pixel (0 to 1) in a step."""
    beta2: float = 0.999
    """Of Adam: decay of the mean of squared gradients."""
    average: float = 0.0
    """Give the average of the last pictures instead of the best one, each counting this times as much as the next; 0.99
    averages about 100. 0 does not."""
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
    checkpoint: Path | None = None
    """A file that all of the run is saved to, so that `jaxstyle resume FILE` goes on after whatever ended it, and comes
    to the same picture; it is removed when the picture is written."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints."""
    log_json: Path | None = None
    """A file that a line of JSON is added to about once a second (evaluations, losses, seconds, memory); - is standard
    output, which then has nothing else."""
    compile_cache: str = "auto"
    """Folder where compiled programs are kept for later runs; auto is the user's cache, off keeps none."""
    max_pixels: int = io.MAX_PIXELS
    """Refuse picture files that unpack to more pixels than this."""
    force: bool = False
    """Replace the output if it is there already, and a checkpoint too; never one of the inputs."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Tell more: scales, windows, checkpoints."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Tell nothing but warnings and errors, and the result."""

    def objective(self) -> Objective:
        """The structure of the loss."""
        return Objective(
            content_layers=self.content_layers,
            style_layers=self.style_layers,
            style_loss=self.style_loss,
            normalization=self.normalization,
            pooling=self.pooling,
            padding=self.padding,
            precision=self.precision,
            algorithm=self.algorithm,
            variation=self.variation,
            matrix_root=self.matrix_root,
            shards=self.shards(),
        )

    def loss_weights(self, regions: tuple[float, ...] = (1.0,)) -> LossWeights:
        """The weights of its terms, and of each region's style."""
        named = presets.preset(self.preset).weights
        # What a strength replaces may be of other layers than these.
        content, style = (1.0, 1.0) if self.resolved_strength() is not None else (named.content, named.style)
        return LossWeights(
            _one_or_more(self.content_weight) if self.content_weight else content,
            _one_or_more(self.style_weight) if self.style_weight else style,
            self.tv_weight,
            _one_or_more(regions),
        )

    def transform(self) -> optax.GradientTransformation:
        """The optimizer."""
        named = self.preconditioner()
        # Both, so that a wrong number is told even where it is not used.
        chosen = {
            "lbfgs": lbfgs(self.memory_size, precondition=None if named == "none" else named),
            "adam": adam(self.learning_rate, b2=self.beta2),
        }[self.optimizer]
        return averaged(chosen, self.average) if self.average else chosen

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
        # Each group of devices takes an equal share of a batch of photos.
        groups = math.gcd(self.batch, max(1, jax.device_count() // (rows * columns)))
        if jax.process_count() > 1 and rows * columns * groups == 1:
            raise InputError(
                "--distributed with a single device for all hosts, expected --mesh auto, or of a folder a --batch that "
                "is a multiple of all devices"
            )
        return None if rows * columns * groups == 1 else make_mesh(rows, columns, groups)

    def paintings(self) -> tuple[Path, ...]:
        """Their paths."""
        return self.painting, *self.more

    def inputs(self) -> tuple[Path, ...]:
        """Paths of all pictures that are read."""
        masks = [Path(path) for path in self.style_mask if path != "none"]
        masks += [] if self.content_mask is None else [self.content_mask]
        start = [] if self.init in STARTS else [Path(self.init)]
        return self.photo, *self.paintings(), *start, *masks

    def resolved_strength(self) -> float | None:
        """What the weights are found from: told, the preset's, or a half where the preset's weights mean nothing."""
        named = presets.preset(self.preset)
        if self.strength is not None or self.weighted():
            return self.strength
        return 0.5 if self.style_loss != named.objective.style_loss else named.strength

    def weighted(self) -> bool:
        """Whether weights were told."""
        return bool(self.content_weight or self.style_weight)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def with_inputs(options: AnyOptions, paths: Sequence[Path]) -> AnyOptions:
    """The same options with other paths for the pictures.

    Args:
        options: say which pictures there are.
        paths: as many as, and in the order of, `inputs`.

    Returns:
        The options.
    """
    left = iter(paths)
    photo, painting, *more = (next(left) for _ in range(1 + len(options.paintings())))
    start = options.init if options.init in STARTS else str(next(left))
    masks = tuple(each if each == "none" else str(next(left)) for each in options.style_mask)
    mask = None if options.content_mask is None else next(left)
    changes = {"photo": photo, "painting": painting, "more": tuple(more), "init": start}
    return dataclasses.replace(options, **changes, style_mask=masks, content_mask=mask)


def _one_or_more(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values
