"""Options of `jaxstyle stylize`, and the library's arguments that they stand for."""

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

# Values of --init that are not the path of an image.
STARTS = ("content", "noise", "gray")


def _value(metavar: str, default: str = "") -> object:
    """How the help shows an option: its placeholder, and its default where None or nothing would not explain it."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})" if default else None)


# One fact per line: the help keeps the line breaks of these texts.
@dataclass(frozen=True)
class Options:
    """Options of `jaxstyle stylize`."""

    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """Photo to stylize, in any format that Pillow reads (PNG, JPEG, TIFF, WebP, ...); or a folder of photos."""
    painting: Annotated[Positional[Path], arg(metavar="PAINTING")]
    """Painting whose style the photo gets."""
    output: Annotated[Path, arg(aliases=("-o",), metavar="FILE")]
    """File to write: .png, .jpg, .tiff or .webp.
    If PHOTO is a folder: the folder to write to, which is created if necessary."""
    more: Annotated[Positional[tuple[Path, ...]], _value("[PAINTING ...]", "none")] = ()
    """More paintings, whose styles are blended with the first one's; see --blend."""
    preset: presets.Name = "default"
    """Named settings that become the defaults of other options: default, fast, or a published method."""
    size: int = 512
    """Long side of the result in pixels, 1 to 65536; the photo is resized to it."""
    style_size: Annotated[int | None, _value("PIXELS", "--size")] = None
    """Long side of the paintings in pixels, 1 to 65536. Smaller paintings are not enlarged."""
    style_scale: Annotated[tuple[float, ...], _value("NUMBER ...")] = (1.0,)
    """Size of the brush strokes: every painting is resized by this factor, above 0. 2 doubles the strokes.
    One number, or one per painting. A factor that enlarges a painting beyond its file's pixels causes a warning."""
    steps: int = 0
    """Maximum number of evaluations of the loss and its gradient, all scales together, 1 to 1000000."""
    scales: Annotated[ScaleCount, arg(metavar="auto|NUMBER")] = "auto"
    """Maximum number of sizes to optimize at, from coarse to fine, 1 to 16; 1 is the full size alone.
    With auto, the coarsest has a long side of at least 128 pixels.
    Sizes too small for the network, or with fewer than 10 steps, are omitted."""
    share: float = presets.preset().share
    """Fraction of --steps for the full size if there are several scales, above 0, at most 1.
    The coarser scales divide the other steps equally."""
    window: Annotated[Literal["auto", "whole"] | int, arg(metavar="auto|whole|PIXELS")] = "auto"
    """Side of the square windows, in pixels, in which larger images are evaluated with less memory and the same result.
    At least 32, rounded up to a multiple of 8. whole: no windows.
    auto: whole if that fits in memory, otherwise the largest windows that fit. `jaxstyle plan` lists the choices."""
    whitening: Annotated[float | None, _value("NUMBER", "1 for lbfgs, 0 for adam")] = None
    """How much the optimizer rescales the gradient of the style loss, 0 to 1. 0 uses the plain gradient.
    With lbfgs, 1 reaches the same loss in fewer steps."""
    init: Annotated[str, arg(metavar="content|noise|gray|FILE")] = "content"
    """Image to start from: content (the photo), noise, gray, or an image file."""
    mosaic: float = 0.25
    """Blend weight, 0 to 1, of a mosaic of small random pieces of the painting in the photo, if --init is content."""
    seed: int = 0
    """Seed of the noise and of the random pieces, 0 to 4294967295. Another seed gives another picture."""
    strength: Annotated[float | None, _value("NUMBER", "the preset's weights")] = None
    """Strength of the style, from 0 (the photo) to 1, comparable between pictures and between sizes.
    Computes the weights from the gradients of the losses, instead of --content-weight and --style-weight."""
    content_weight: Annotated[tuple[float, ...], _value("NUMBER ...", "the preset's")] = ()
    """Weight of the content loss, 0 or more: one number, or one per content layer."""
    style_weight: Annotated[tuple[float, ...], _value("NUMBER ...", "the preset's")] = ()
    """Weight of the style loss, 0 or more: one number, or one per style layer."""
    tv_weight: float = 0.0
    """Weight of the smoothness term (total variation), 0 or more.
    A visible value is about 1e6 with --normalization notebook."""
    variation: Variation = "squared"
    """Smoothness term: squared or absolute differences of neighboring pixels.
    nine-point: squared differences that include diagonal neighbors."""
    blend: Annotated[tuple[float, ...] | None, _value("NUMBER ...", "equal")] = None
    """Share of each painting if there are several: one number per painting, 0 or more. Only the ratios matter."""
    content_mask: Annotated[Path | None, _value("FILE", "none")] = None
    """Image that divides the photo into regions, with the photo's aspect ratio.
    Black and white: white gets the style; black stays as in the photo, or gets the second painting if there is one.
    Flat colors: one region per color; see --region and --style-mask."""
    style_mask: Annotated[tuple[str, ...], _value("FILE|none ...", "none")] = ()
    """One image of flat colors per painting, or none for a painting without one.
    A region of the photo gets the style of the parts of the painting that have the region's color."""
    region: Annotated[tuple[str, ...], _value("COLOR=VALUE ...", "none")] = ()
    """Style of each color of --content-mask: COLOR=N for the Nth painting, COLOR=N:STRENGTH to scale its style.
    COLOR=keep for the photo. Example: white=1 red=2:0.5 "#00ff00=keep"."""
    guidance: Guidance = "simple"
    """How regions apply to the deep layers, which see far beyond one pixel.
    simple: the mask is scaled down.
    inside: only positions that see nothing outside of the region. Styles do not bleed, but regions must be wide.
    all: every position that sees any of the region. Regions overlap."""
    color: Color = "style"
    """Colors of the result: style for the painting's; all others keep the photo's.
    luminance: only the brightness is stylized.
    symmetric, cholesky, histogram: the painting is first recolored, by its covariance or channel by channel."""
    content_layers: Annotated[tuple[str, ...], arg(metavar="LAYER ...")] = ()
    """VGG-19 layers of the content loss: conv1_1 ... conv5_4 (before the ReLU), relu1_1 ... relu5_4 (after it).
    Also pool1 ... pool5."""
    style_layers: Annotated[tuple[str, ...], arg(metavar="LAYER ...")] = ()
    """VGG-19 layers of the style loss."""
    style_loss: StyleLoss = "gram"
    """Statistics that the style loss compares: Gram matrices, covariances, or means and standard deviations.
    wasserstein: the Wasserstein distance between means and covariances.
    If it is not the preset's and no weight is given, --strength is 0.5."""
    matrix_root: MatrixRoot = "auto"
    """Matrix square root of --style-loss wasserstein: eigh (eigenvectors), or newton-schulz (12 iterations).
    auto: eigh on CPUs, iterations until they converge on GPUs and TPUs."""
    ridge: Annotated[float | None, _value("NUMBER", "3 % of the norm of the style's covariance")] = None
    """Number added to the diagonals of the covariances of --style-loss wasserstein, 0 or more."""
    normalization: Normalization = "notebook"
    """Scaling of the losses: notebook (means, as in the authors' code) or paper (sums)."""
    pooling: network.Pooling = "max"
    """Pooling between the blocks of the network: max, avg, or l2."""
    padding: network.Padding = "zeros"
    """Padding of the network's first convolution; replicate reduces dark frames at the image border."""
    precision: network.Precision = "highest"
    """Precision of the convolutions: highest (float32), default (the device's fast one), or bfloat16."""
    algorithm: network.Algorithm = "auto"
    """Algorithm of the convolutions: direct, winograd (a quarter of the multiplications), or auto: the faster one."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS with pixel values bounded to 0..1, or Adam."""
    memory_size: int = 10
    """Number of past steps that L-BFGS stores, 1 or more; each takes 24 bytes per pixel."""
    precondition: Literal["auto", "spectral", "pyramid", "none"] = "auto"
    """How L-BFGS rescales coarse and fine structure: spectral (fewest steps), pyramid (for several devices), or none.
    auto: pyramid if --mesh divides the image, otherwise spectral."""
    learning_rate: float = 0.02
    """Learning rate of Adam: about the largest change of a pixel (0 to 1) per step, above 0."""
    beta2: float = 0.999
    """Decay rate of Adam's average of squared gradients, 0 or more, below 1."""
    average: float = 0.0
    """Return an exponential average of the iterates with this decay, 0 or more, below 1, instead of the best iterate.
    0.99 averages about the last 100. 0: no average."""
    tolerance: float = 1e-6
    """Stop when the loss decreases by at most this fraction per evaluation, over 20 evaluations; 0 or more, below 1."""
    weights: Annotated[str, arg(metavar="oxford|torchvision|FILE")] = "oxford"
    """Weights of VGG-19: oxford (included), torchvision (downloaded once), or a .safetensors file."""
    save_every: Annotated[int | None, _value("STEPS", "off")] = None
    """Also save the best picture so far every STEPS evaluations, 1 or more, in numbered files beside the output.
    Pictures of coarse scales are enlarged to the full size."""
    quality: int = 95
    """Quality of JPEG and WebP files, 1 to 100."""
    mesh: Annotated[str, arg(metavar="auto|ROWSxCOLUMNS")] = "1x1"
    """Divide the image over a grid of devices, such as 4x2; auto uses all devices."""
    batch: int = 1
    """If PHOTO is a folder: number of photos to stylize together, 1 to 4096. On a CPU, 1 is the fastest."""
    format: Literal["png", "jpg", "tiff", "webp"] = "png"
    """If PHOTO is a folder: file format of the results."""
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

    def objective(self) -> Objective:
        """Return the structure of the loss."""
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
            ridge=self.ridge,
            shards=self.shards(),
        )

    def loss_weights(self, regions: tuple[float, ...] = (1.0,)) -> LossWeights:
        """Return the weights of the loss terms and of each region's style."""
        named = presets.preset(self.preset).weights
        # A strength replaces these weights; the preset's may have another number of layers.
        content, style = (1.0, 1.0) if self.resolved_strength() is not None else (named.content, named.style)
        return LossWeights(
            _one_or_more(self.content_weight) if self.content_weight else content,
            _one_or_more(self.style_weight) if self.style_weight else style,
            self.tv_weight,
            _one_or_more(regions),
        )

    def transform(self) -> optax.GradientTransformation:
        """Return the optimizer."""
        precondition = self.preconditioner()
        # Both are made, so that a wrong number is an error even where it is not used.
        chosen = {
            "lbfgs": lbfgs(self.memory_size, precondition=None if precondition == "none" else precondition),
            "adam": adam(self.learning_rate, b2=self.beta2),
        }[self.optimizer]
        return averaged(chosen, self.average) if self.average else chosen

    def preconditioner(self) -> Literal["spectral", "pyramid", "none"]:
        """Return the preconditioner, with `auto` resolved."""
        if self.precondition != "auto":
            return self.precondition
        return "spectral" if self.shards() == (1, 1) else "pyramid"

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

    def paintings(self) -> tuple[Path, ...]:
        """Return the paths of all paintings."""
        return self.painting, *self.more

    def inputs(self) -> tuple[Path, ...]:
        """Return the paths of all images that are read."""
        masks = [Path(path) for path in self.style_mask if path != "none"]
        masks += [] if self.content_mask is None else [self.content_mask]
        start = [] if self.init in STARTS else [Path(self.init)]
        return self.photo, *self.paintings(), *start, *masks

    def resolved_strength(self) -> float | None:
        """Return the strength that the weights are computed from; None if they are given."""
        named = presets.preset(self.preset)
        if self.strength is not None or self.has_weights():
            return self.strength
        # The preset's weights are meaningless for another style loss.
        return 0.5 if self.style_loss != named.objective.style_loss else named.strength

    def has_weights(self) -> bool:
        """Return True if the content or the style has an explicit weight."""
        return bool(self.content_weight or self.style_weight)


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


def _one_or_more(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values
