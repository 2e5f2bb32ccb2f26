"""The objective: which layers, how normalized (static), and how weighted (traced)."""

from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Dim, area
from jaxstyle.losses import gatys
from jaxstyle.losses.gatys import Normalization
from jaxstyle.losses.matrix_sqrt import MatrixRoot
from jaxstyle.losses.statistics import Variation
from jaxstyle.losses.style import StyleLoss, check_style_loss
from jaxstyle.objective.tiling import Stage
from jaxstyle.objective.windows import StageInputs, StageOutputs, stages_of, through_windows
from jaxstyle.typing import Extent, FeatureMaps, Image, Params, Scalar
from jaxstyle.vgg import network

# Smaller windows are mostly halo.
MIN_WINDOW = 32


@dataclass(frozen=True)
class Objective:
    """The structure of the loss: hashable, a static argument of every compiled function.

    Attributes:
        content_layers: layers whose features should stay those of the content picture.
        style_layers: layers whose Gram matrices, or other statistics, should become those of the style.
        normalization: `"notebook"`, means as in the authors' code, or `"paper"`, sums: `gatys.py` has both formulas.
        pooling: `"max"`, `"avg"` or `"l2"`.
        padding: of the first convolution, `"zeros"` or `"replicate"`.
        precision: of the convolutions, `"highest"` (float32), `"default"` (the device's) or `"bfloat16"`.
        algorithm: of the convolutions, `"auto"`, `"direct"` or `"winograd"`: see `features`.
        window: pictures larger than so many pixels a side are evaluated window by window, with the same result in less
            memory (see `windows.py`); None evaluates them whole.
        shards: how many devices the picture's rows and columns are spread over: see `on_mesh`.
        style_loss: how far the style layers' statistics are from the style's, `"gram"`, `"covariance"`, `"mean+std"` or
            `"wasserstein"`: see `style.py`.
        variation: how the smoothness term measures, `"squared"`, `"absolute"` or `"nine-point"`: see `variation_scale`.
        matrix_root: method of the square roots in `"wasserstein"`: see `matrix_sqrt.py`.
        ridge: multiple of the identity that `"wasserstein"` adds to both covariances, whatever the method, from 0 on,
            in units of squared features; 3 % of the norm of the style's covariance if None.

    Raises:
        InputError: for unknown layers or values.
    """

    content_layers: tuple[str, ...] = ("relu4_2",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    normalization: Normalization = "notebook"
    pooling: network.Pooling = "max"
    padding: network.Padding = "zeros"
    precision: network.Precision = "highest"
    window: int | None = None
    shards: tuple[int, int] = (1, 1)
    style_loss: StyleLoss = "gram"
    variation: Variation = "squared"
    matrix_root: MatrixRoot = "auto"
    algorithm: network.Algorithm = "auto"
    ridge: float | None = None

    def __post_init__(self):
        network.check_layers(self.content_layers)
        network.check_layers(self.style_layers)
        network.check_options(self.pooling, self.padding, self.precision, self.algorithm)
        # A list would fail later, where the objective is hashed.
        object.__setattr__(self, "content_layers", tuple(self.content_layers))
        object.__setattr__(self, "style_layers", tuple(self.style_layers))
        if not self.layers:
            raise InputError("no layers at all, expected at least one content or style layer")
        gatys.check_normalization(self.normalization)
        check_style_loss(self.style_loss)
        for name, value, choices in (
            ("variation", self.variation, get_args(Variation)),
            ("matrix_root", self.matrix_root, get_args(MatrixRoot)),
        ):
            if value not in choices:
                raise InputError(f"unknown {name} {value!r}, expected one of {', '.join(choices)}")
        if len(self.shards) != 2 or min(self.shards) < 1:
            raise InputError(
                f"shards is {self.shards}, expected how many devices share rows and columns, such as (4, 2)"
            )
        if self.window is not None and not (isinstance(self.window, Integral) and self.window >= MIN_WINDOW):
            raise InputError(
                f"window is {self.window!r}, expected {MIN_WINDOW} pixels or more, or None for the whole picture"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer in use, each once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))

    @property
    def means(self) -> bool:
        """Whether the style loss needs the mean feature vectors."""
        return self.style_loss != "gram"

    @property
    def min_side(self) -> int:
        """The least pixels a side: two positions at the deepest layer; below that a Gram matrix says nothing."""
        return 2 * max(map(network.stride, self.layers))


class LossWeights(NamedTuple):
    """How much each term counts: traced numbers, so other values do not recompile anything.

    Attributes:
        content: of the content term; one number, or one a content layer.
        style: of the style term; one number, or one a style layer.
        tv: of the total variation, whose square is about 1e-3 to 1e-1: 1e6 smooths visibly beside the notebook's other
            weights.
        regions: of each region's style; one number, or one a region.
    """

    content: float | tuple[float, ...] | Array = 1.0
    style: float | tuple[float, ...] | Array = 1e3
    tv: float | Array = 0.0
    regions: float | tuple[float, ...] | Array = 1.0


class Losses(NamedTuple):
    """The terms, already weighted; `total` is their sum. Scalars, or arrays of a run's history.

    Attributes:
        total: content + style + tv.
        content: weighted sum over the content layers.
        style: weighted sum over the style layers.
        tv: weighted squared total variation.
        surrogate: the scalar that `value_and_grad` differentiates: `total`, or with whitened targets the total whose
            style term is measured in their metric.
    """

    total: Float[Array, "*steps"]
    content: Float[Array, "*steps"]
    style: Float[Array, "*steps"]
    tv: Float[Array, "*steps"]
    surrogate: Float[Array, "*steps"]


def check_weights(weights: LossWeights, objective: Objective, regions: int | None = None) -> None:
    """Refuse weights that are negative, not finite, all zero, or not one a layer. Needs numbers, not tracers.

    Args:
        weights: what should be weights.
        objective: says the layers.
        regions: how many regions of different style there are; None if there are none.

    Raises:
        InputError: naming the weight.
    """
    values = []
    for name, count, things in (
        ("content", len(objective.content_layers), "content layers"),
        ("style", len(objective.style_layers), "style layers"),
        ("tv", 0, ""),
        ("regions", regions or 0, "regions"),
    ):
        value = np.asarray(getattr(weights, name), np.float64)
        if value.ndim > 1 or (value.ndim == 1 and (not count or len(value) not in (1, count))):
            expected = "one number" + (f", or one for each of the {count} {things}" if count else "")
            raise InputError(f"the {name} weight has {value.size} numbers, expected {expected}")
        if not np.all((value >= 0) & (value <= np.finfo(np.float32).max)):
            raise InputError(f"the {name} weight is {value.tolist()}, expected finite numbers that are not negative")
        if name != "regions":
            values.append(np.sum(value) if count or name == "tv" else 0.0)
    if not any(values):
        raise InputError("all weights are zero, expected at least one positive: there is nothing to optimize")


def broadcast_weights(weights: LossWeights, objective: Objective, regions: int | None = None) -> LossWeights:
    """The same weights as float32 arrays of one number a layer, so that every run has the same shapes.

    Args:
        weights: see `LossWeights`.
        objective: says how many layers there are.
        regions: how many regions there are; None if there are none.

    Returns:
        Arrays of `(content layers,)`, `(style layers,)`, `()`, and `(regions,)` or `()`.
    """
    layers = (len(objective.content_layers),), (len(objective.style_layers),), (), () if regions is None else (regions,)
    return LossWeights(
        *(
            jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
            for value, shape in zip(weights, layers, strict=True)
        )
    )


def compute_statistics(
    params: Params,
    image: Image,
    content: FeatureMaps,
    objective: Objective,
    guides: FeatureMaps | None = None,
    styles: tuple[str, ...] | None = None,
    maps: tuple[str, ...] = (),
    extent: Extent | None = None,
) -> StageOutputs:
    """Statistics of a picture as this objective measures them, whole or in windows.

    Args:
        params: see `load_params`.
        image: `(H, W, 3)` in [0, 1].
        content: content layer to the feature map that the squared error is from.
        objective: says pooling, padding, precision and window.
        guides: style layer to the guide that weights its features; None for none: see `guides.py`.
        styles: layers whose outer products are summed; the objective's if None.
        maps: layers whose feature maps are wanted.
        extent: of the picture, where the image is a larger canvas: see `canvas.py`.

    Returns:
        Sums and maps.
    """
    given = StageInputs(content, {} if guides is None else guides)
    return through_windows(image, params, given, stages(objective, tuple(content), styles, maps), maps, extent)


def stages(
    objective: Objective,
    contents: tuple[str, ...] | None = None,
    styles: tuple[str, ...] | None = None,
    maps: tuple[str, ...] = (),
) -> tuple[Stage, ...]:
    """The parts of the network that this objective goes through: see `windows.py`.

    Args:
        objective: says the layers, how they are computed, and the window.
        contents: layers whose squared errors are summed; the objective's if None.
        styles: layers whose outer products are summed; the objective's if None.
        maps: layers whose feature maps are wanted.

    Returns:
        One stage or two.
    """
    # Winograd's strips would gather a picture that is spread over devices.
    algorithm = "direct" if objective.shards != (1, 1) and objective.algorithm == "auto" else objective.algorithm
    return stages_of(
        objective.style_layers if styles is None else styles,
        objective.content_layers if contents is None else contents,
        maps,
        network.Options(objective.pooling, objective.padding, objective.precision, algorithm),
        objective.window,
        objective.shards,
        objective.means,
    )


def positions(height: Dim, width: Dim, layer: str) -> float | Scalar:
    """How many a layer has in a picture of these sides."""
    return area(height // network.stride(layer), width // network.stride(layer))
