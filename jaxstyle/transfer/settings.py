"""Settings of a run: for presets, callers, options of the command line, recipes, and what a checkpoint compares."""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxstyle.errors import InputError, check_choice, quote
from jaxstyle.fields import check_fields, option, parameter
from jaxstyle.image.color import Color
from jaxstyle.image.ops import MAX_SIDE, is_key
from jaxstyle.objective.base import LossOptions, LossWeights, Objective
from jaxstyle.objective.mesh import on_mesh
from jaxstyle.optim.adam import adam
from jaxstyle.optim.averaging import averaged
from jaxstyle.optim.lbfgs import lbfgs, uses_lbfgs
from jaxstyle.transfer import validate
from jaxstyle.transfer.finish import finish_objective
from jaxstyle.transfer.pyramid import RATIO, SHARE, Scale, ScaleCount, pyramid, scaled_size, supersampling
from jaxstyle.transfer.validate import FRACTION, number, optional, whole_number
from jaxstyle.typing import AnyImage

# Precision of the first evaluations.
Draft = Literal["auto", "none", "default", "bfloat16"]
# Terms with a weight, in the order of `LossWeights`.
TERMS = ("content", "style", "tv", "region", "neighbor", "edge", "temporal")


@dataclass(frozen=True)
class RunOptions(LossOptions):
    """Fields of `Settings`, and options of `jaxstyle stylize`: a field added here is an option, and in every recipe."""

    steps: int = option(100, whole_number(1, validate.MAX_STEPS))
    """Maximum number of evaluations of the loss and its gradient, all scales together, 1 to 1000000."""
    scales: ScaleCount = option(1, validate.check_scales, values="auto|NUMBER")
    """Maximum number of sizes to optimize at, from coarse to fine, 1 to 16; 1 is the full size alone.
    With auto, the coarsest has a long side of at least 128 pixels.
    Sizes too small for the network, or with fewer than 10 steps, are omitted."""
    finish: int = option(0, whole_number(0, validate.MAX_STEPS))
    """Evaluations of a finish after each scale, besides `steps`, which replaces specks and double contours by strokes.
    12 is enough; many more draw a fine hatching. 0: no finish."""
    draft: Draft = option("auto", lambda name, value: check_choice(value, name, get_args(Draft)))
    """Precision of the first evaluations of each size, until the loss hardly falls; the last are in `precision`.
    none: all are in `precision`. auto: bfloat16 on GPUs, if a size is large enough for that to save time, or none."""
    share: float = option(SHARE, validate.check_share)
    """Fraction of `steps` for the full size if there are several scales, above 0, at most 1.
    The coarser scales divide the other steps equally."""
    ratio: float = option(RATIO, validate.check_ratio)
    """Ratio of the sides of each scale to those of the scale before, 1.1 to 100."""
    supersample: float = option(1.0, validate.check_supersample)
    """Make a picture of a long side below 512 pixels at this many times its size, 1 to 4, and reduce it: small faces
    stay whole. The larger picture has a long side of at most 512 pixels. 1: make it at its own size, which is faster.
    Frames of a video are made at their own size."""
    detail: int | None = option(
        None, optional(whole_number(1, MAX_SIDE)), values="PIXELS", unset="the preset's; every scale"
    )
    """Long side in pixels up to which the content of a scale is that of the photo alone, 1 to 65536.
    At twice that size half of it is the content of the picture of the scale before, at four times three quarters, and
    so on: finer strokes take the place of the photo's finer details. An image as `init` counts as such a picture."""
    flat_areas: float = option(1.0, FRACTION)
    """How much of its content the photo's flat areas keep, such as sky and walls, 0 to 1. 1: as much as other areas.
    0: their content is that of the image that a scale starts from, so that strokes of the painting fill them."""
    window: Literal["auto", "whole"] | int = option("auto", validate.check_window, values="auto|whole|PIXELS")
    """Side of the square windows, in pixels, in which larger images are evaluated with less memory and the same result.
    At least 32, rounded up to a multiple of 8. whole: no windows.
    auto: whole if that fits in memory, otherwise the largest windows that fit. `jaxstyle plan` lists the choices."""
    whitening: float | None = option(None, optional(FRACTION), values="NUMBER", unset="1 for lbfgs, 0 for adam")
    """How much the optimizer rescales the gradient of the style loss, 0 to 1. 0 uses the plain gradient.
    With lbfgs, 1 reaches the same loss in fewer steps."""
    init: str | AnyImage = option("content", validate.check_init, values="content|noise|gray|FILE")
    """Image to start from: content (the photo), noise, gray, or an image."""
    mosaic: float = option(0.25, FRACTION)
    """Blend weight, 0 to 1, of a mosaic of small random pieces of the painting in the photo, if `init` is content.
    Multiplied by twice the strength below strength 0.5."""
    seed: int = option(0, whole_number(0, validate.MAX_SEED))
    """Seed of the noise and of the random pieces, 0 to 4294967295. Another seed gives another picture."""
    strength: float | None = option(
        None, optional(FRACTION), values="NUMBER", unset="the preset's; 0.5 for the preset default"
    )
    """Strength of the style, from 0 (the photo) to 1, comparable between pictures and between sizes.
    Computes the weights from the gradients of the losses, instead of `content_weight` and `style_weight`."""
    content_weight: float | tuple[float, ...] = option(1.0, values="NUMBER ...", unset="the preset's")
    """Weight of the content loss, 0 or more: one number, or one per content layer."""
    style_weight: float | tuple[float, ...] = option(1e3, values="NUMBER ...", unset="the preset's")
    """Weight of the style loss, 0 or more: one number, or one per style layer."""
    neighbor_weight: float | tuple[float, ...] = option(1.0, values="NUMBER ...")
    """Weight of the neighbor loss, 0 or more: one number, or one per neighbor layer. Only for `neighbor_layers`."""
    tv_weight: float = option(0.0)
    """Weight of the smoothness term (total variation), 0 or more.
    A visible value is about 1e6 with the normalization notebook."""
    edge_weight: float = option(0.0)
    """Weight of the edge term, 0 or more, which keeps the photo's edges and small parts, such as eyes and letters.
    With `strength` it is relative to the content loss: 1 is visible, and from about 5 on contours get halos.
    Without, a visible value is about 1e6 with the normalization notebook."""
    color: Color = option("style", validate.check_color_name)
    """Colors of the result: style for the painting's; all others keep the photo's.
    luminance: only the brightness is stylized.
    symmetric, cholesky, histogram: the painting is first recolored, by its covariance or channel by channel."""
    optimizer: Literal["lbfgs", "adam"] | optax.GradientTransformation = option("lbfgs", validate.check_optimizer)
    """L-BFGS with pixel values bounded to 0..1, or Adam."""
    memory_size: int = option(10)
    """Number of past steps that L-BFGS stores, 1 or more; each takes 24 bytes per pixel."""
    precondition: Literal["auto", "spectral", "pyramid", "none"] = option("auto")
    """How L-BFGS rescales coarse and fine structure: spectral (fewest steps), pyramid (for several devices), or none.
    auto: pyramid if several devices share the image, otherwise spectral."""
    learning_rate: float = option(0.02)
    """Learning rate of Adam: about the largest change of a pixel (0 to 1) per step, above 0."""
    beta2: float = option(0.999, number(lambda decay: 0 <= decay < 1, "0 or more, below 1, such as 0.999"))
    """Decay rate of Adam's average of squared gradients, 0 or more, below 1."""
    average: float = option(0.0, number(lambda decay: 0 <= decay < 1, "0 or more, below 1, such as 0.99"))
    """Return an exponential average of the iterates with this decay, 0 or more, below 1, instead of the best iterate.
    0.99 averages about the last 100. 0: no average."""
    tolerance: float = option(1e-6, number(lambda part: 0 <= part < 1, "0 or more, below 1, such as 1e-6"))
    """Stop when the loss decreases by at most this fraction per evaluation, over 20 evaluations; 0 or more, below 1."""


@dataclass(frozen=True)
class Settings(RunOptions):
    """Settings of a run. `stylize` takes them, and its keywords override single ones. `Preset` is an alias.

    Attributes are those of `LossOptions`, those of `RunOptions`, and the ones below. `init` may be an image,
    `seed` a random key of JAX, from which an integer is drawn, and `optimizer` any optax transform that needs one value
    and gradient per step.

    Raises:
        InputError: for a value of the wrong type or out of range.

    Example:
        >>> import jaxstyle as js
        >>> js.preset("paper").override(steps=50, pooling="max").init
        'noise'
    """

    region_weight: float | tuple[float, ...] = parameter(1.0)
    """Weight of the style of the regions: one number, or one per region."""
    edges: bool = parameter(False, validate.check_flag)
    """True for an edge term also where `edge_weight` is 0, so that a `Change` can give it a weight."""
    temporal_weight: float = parameter(0.0)
    """Weight of the temporal term of a later frame of a video; 0 for pictures."""
    shards: tuple[int, int] = parameter((1, 1))
    """Rows and columns of devices that share an image, which the mesh of a run determines."""
    name: str = parameter("", validate.check_text)
    """Name of a preset; empty for other settings."""
    source: str = parameter("", validate.check_text)
    """Where the settings are published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if is_key(self.seed):
            object.__setattr__(self, "seed", int(jax.random.bits(self.seed, dtype=np.uint32)))
        check_fields(self)
        for term in TERMS:
            object.__setattr__(self, f"{term}_weight", _plain_weight(term, getattr(self, f"{term}_weight")))
        # Both are made, so that a wrong number is an error even where it is not used.
        _, _ = self.lbfgs(), adam(self.learning_rate, b2=self.beta2)
        _ = self.objective

    @property
    def min_side(self) -> int:
        """Minimum height and width in pixels; those of the finish included."""
        side = self.objective.min_side
        return max(side, finish_objective(self.objective).min_side) if self.finish else side

    @property
    def objective(self) -> Objective:
        """Structure of the loss; a window of "auto" is none yet."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(LossOptions)}
        window = None if isinstance(self.window, str) else self.window
        parts |= {"edges": self.edges or self.edge_weight != 0, "temporal": self.temporal_weight != 0}
        return Objective(**parts, window=window, shards=self.shards)

    @property
    def weights(self) -> LossWeights:
        """Weights of the loss terms."""
        return LossWeights(*(getattr(self, f"{term}_weight") for term in TERMS))

    @property
    def transform(self) -> optax.GradientTransformation:
        """The optimizer."""
        if isinstance(self.optimizer, optax.GradientTransformation):
            transform = self.optimizer
        else:
            transform = self.lbfgs() if self.optimizer == "lbfgs" else adam(self.learning_rate, b2=self.beta2)
        return averaged(transform, self.average) if self.average else transform

    def scales_of(self, height: int, width: int, styles: Sequence[tuple[int, int]]) -> tuple[Scale, ...]:
        """Return the scales of a picture: see `pyramid`.

        Args:
            height: of the picture in pixels.
            width: of the picture in pixels.
            styles: height and width of each style.
        """
        factor = supersampling(height, width, self.supersample)
        scales = pyramid(
            *scaled_size(height, width, factor),
            self.steps,
            self.scales,
            styles=[scaled_size(*style, factor) for style in styles],
            min_side=self.min_side,
            ratio=self.ratio,
            share=self.share,
        )
        return tuple(
            Scale(*scaled_size(height, width, factor * scale.factor), factor * scale.factor, scale.steps)
            for scale in scales
        )

    def lbfgs(self) -> optax.GradientTransformation:
        """Return L-BFGS with these settings, also where another optimizer is chosen."""
        precondition = self.precondition
        if precondition == "auto":
            # A Fourier transform would gather the whole image on every device.
            precondition = "spectral" if self.shards == (1, 1) else "pyramid"
        return lbfgs(self.memory_size, precondition=None if precondition == "none" else precondition)

    def override(self, **changes: Any) -> "Settings":
        """Return the settings with changes.

        Other weights end a strength, and the edge term, whose weight was relative to the content's. A style loss other
        than before needs other weights: if none are given, the strength is 0.5.

        Args:
            changes: new values of attributes; `objective` and `weights` change all attributes that an `Objective` and
                `LossWeights` consist of. None and a window of "auto" change nothing; a window of None is "whole".

        Returns:
            Settings.

        Raises:
            InputError: for an unknown name, or a value of the wrong type or out of range.
        """
        window = changes.pop("window", "auto")
        changes = {name: value for name, value in changes.items() if value is not None}
        if not (isinstance(window, str) and window == "auto"):
            changes["window"] = "whole" if window is None else window
        parts = _objective_parts(changes.pop("objective", None)) | _weight_parts(changes.pop("weights", None)) | changes
        for name in sorted(set(parts) - set(self.parts())):
            (closest,) = difflib.get_close_matches(name, self.parts(), 1, cutoff=0.0)
            advice = f"an attribute of Settings, such as {closest}"
            if name == "size":
                advice = "images of that size: load_image(path, size=512)"
            raise InputError(f"there is no setting {quote(name)}, expected {advice}")
        has_weights = "content_weight" in parts or "style_weight" in parts
        if "strength" not in parts and has_weights:
            parts = {"edge_weight": 0.0} | parts | {"strength": None}
        elif "strength" not in parts and parts.get("style_loss", self.style_loss) != self.style_loss:
            parts["strength"] = 0.5
        if parts.get("strength", self.strength) is not None and not has_weights:
            # Those of before may be of other layers; a strength needs to know only which are 0.
            parts |= {"content_weight": 1.0, "style_weight": 1.0}
        return dataclasses.replace(self, **parts)

    def parts(self) -> dict[str, Any]:
        """Return the values by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def resolve_settings(base: Settings, mesh: Mesh | None, **changes: Any) -> Settings:
    """Return settings overridden by the parameters of `stylize`, with everything that depends on others resolved.

    Whitening is on by default for `lbfgs` only: other optimizers lose progress when the run switches to the plain
    gradient.

    Args:
        base: settings.
        mesh: devices of the run.
        changes: see `Settings.override`.

    Returns:
        Settings with the mesh's shards.

    Raises:
        InputError: for a value of the wrong type or out of range.
    """
    settings = base.override(**changes)
    shards = (1, 1) if mesh is None else on_mesh(settings.objective, mesh).shards
    settings = dataclasses.replace(settings, shards=shards)
    whitening = float(uses_lbfgs(settings.transform)) if settings.whitening is None else settings.whitening
    return dataclasses.replace(settings, whitening=whitening if settings.can_whiten else 0.0)


def _objective_parts(objective: Any) -> dict[str, Any]:
    """Return the settings that an objective stands for."""
    if objective is None:
        return {}
    if not isinstance(objective, Objective):
        raise InputError(f"objective is {quote(objective)}, expected an Objective")
    parts = {field.name: getattr(objective, field.name) for field in dataclasses.fields(LossOptions)}
    return parts if objective.window is None else parts | {"window": objective.window}


def _weight_parts(weights: Any) -> dict[str, Any]:
    """Return the settings that weights stand for."""
    if weights is None:
        return {}
    if not isinstance(weights, LossWeights):
        raise InputError(f"weights is {quote(weights)}, expected LossWeights")
    return {f"{term}_weight": _plain_weight(term, weight) for term, weight in zip(TERMS, weights, strict=True)}


def _plain_weight(term: str, value: Any) -> float | tuple[float, ...]:
    """Return a weight as a number, or a tuple of one number per layer."""
    try:
        numbers = np.asarray(value, np.float64)
        if numbers.ndim > 1 or value is None or isinstance(value, str):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"the {term} weight is {quote(value)}, expected one number, or one per layer") from None
    return numbers.tolist() if numbers.ndim == 0 else tuple(numbers.tolist())
