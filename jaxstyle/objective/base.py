"""The objective: which layers, with which normalization (static), and with which weights (traced)."""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, check_choice, check_integer, check_number, check_sequence, quote
from jaxstyle.image.canvas import Dim, area
from jaxstyle.losses import gatys
from jaxstyle.losses.gatys import Normalization
from jaxstyle.losses.matrix_sqrt import MatrixRoot
from jaxstyle.losses.statistics import Variation
from jaxstyle.losses.style import WHITENED, StyleLoss, check_style_loss
from jaxstyle.objective.tiling import Stage
from jaxstyle.objective.windows import StageInputs, StageOutputs, make_stages, run_stages
from jaxstyle.typing import Extent, Image, Params, Scalar
from jaxstyle.vgg import network

# Pixels a side. Smaller windows consist mostly of halo.
MIN_WINDOW = 32
# Pixels a side, and devices.
MAX_WINDOW, MAX_SHARDS = 2**31 - 1, 2**20
MAX_WEIGHT = float(np.finfo(np.float32).max)
# Features of the style in a bank.
MAX_BANK = 65536


@dataclass(frozen=True)
class Objective:
    """The structure of the loss: hashable, a static argument of every compiled function.

    Attributes:
        content_layers: layers whose features should stay those of the content image.
        style_layers: layers whose Gram matrices, or other statistics, should become those of the style.
        normalization: `"notebook"`, means as in the authors' code, or `"paper"`, sums: `gatys.py` has both formulas.
        pooling: `"max"`, `"avg"` or `"l2"`.
        padding: padding of the first convolution, `"zeros"` or `"replicate"`.
        precision: precision of the convolutions: `"highest"` (float32), `"default"` (the device's) or `"bfloat16"`.
        algorithm: algorithm of the convolutions, `"auto"`, `"direct"` or `"winograd"`: see `features`.
        window: largest height and width, in pixels, that is evaluated at once, 32 or more; larger images are evaluated
            in windows, with the same result in less memory (see `windows.py`). None for no windows.
        shards: numbers of devices that share the rows and the columns of an image: see `on_mesh`.
        style_loss: distance between the statistics of the style layers: `"gram"`, `"covariance"`, `"mean+std"` or
            `"wasserstein"`: see `style.py`.
        variation: measure of the smoothness term, `"squared"`, `"absolute"` or `"nine-point"`: see `variation_scale`.
        matrix_root: method of the square roots in `"wasserstein"`: see `matrix_sqrt.py`.
        ridge: multiple of the identity that `"wasserstein"` adds to both covariances, whatever the method, 0 or more,
            in units of squared features; None for 3 % of the Frobenius norm of the style's covariance.
        neighbor_layers: layers whose features should each be near some feature of the style: see `neighbors.py`.
        bank_size: largest number of the style's features at each of these layers, 1 to 65536.

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
    neighbor_layers: tuple[str, ...] = ()
    bank_size: int = 4096

    def __post_init__(self):
        for name in ("content_layers", "style_layers", "neighbor_layers"):
            layers = getattr(self, name)
            check_sequence(layers, name, "layer names")
            # Tuples, because lists have no hash. As text, because what is no name need not have one either.
            layers = tuple(layer if isinstance(layer, str) else quote(layer) for layer in layers)
            network.check_layers(layers)
            object.__setattr__(self, name, layers)
        if not self.layers:
            raise InputError("no layers at all, expected at least one content, style or neighbor layer")
        network.check_options(self.pooling, self.padding, self.precision, self.algorithm)
        gatys.check_normalization(self.normalization)
        check_style_loss(self.style_loss)
        check_choice(self.variation, "variation", get_args(Variation))
        check_choice(self.matrix_root, "matrix_root", get_args(MatrixRoot))
        check_sequence(self.shards, "shards", "two numbers of devices, for rows and columns, such as (4, 2)")
        if len(self.shards) != 2:
            raise InputError(f"shards is {quote(self.shards)}, expected two numbers of devices, such as (4, 2)")
        for count in self.shards:
            check_integer(count, "number of devices in shards", 1, MAX_SHARDS)
        object.__setattr__(self, "shards", tuple(map(int, self.shards)))
        if self.window is not None:
            check_integer(self.window, "window", MIN_WINDOW, MAX_WINDOW)
            object.__setattr__(self, "window", int(self.window))
        if self.ridge is not None:
            check_number(self.ridge, "ridge", 0, MAX_WEIGHT)
            object.__setattr__(self, "ridge", float(self.ridge))
        check_integer(self.bank_size, "bank_size", 1, MAX_BANK)
        object.__setattr__(self, "bank_size", int(self.bank_size))

    @property
    def layers(self) -> tuple[str, ...]:
        """Content, style and neighbor layers, without repetition."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers, *self.neighbor_layers)))

    @property
    def guided_layers(self) -> tuple[str, ...]:
        """Layers with a style for each region: style and neighbor layers, without repetition."""
        return tuple(dict.fromkeys((*self.style_layers, *self.neighbor_layers)))

    @property
    def needs_means(self) -> bool:
        """True if the style loss needs the mean feature vectors."""
        return self.style_loss != "gram"

    @property
    def can_whiten(self) -> bool:
        """True if `whiten` has a metric for the style loss; the other losses ignore it."""
        return self.style_loss in WHITENED

    @property
    def min_side(self) -> int:
        """Minimum height and width in pixels: two positions at the deepest layer."""
        return 2 * max(map(network.stride, self.layers))


class LossWeights(NamedTuple):
    """Weights of the terms: traced numbers, so that other values do not recompile anything.

    Attributes:
        content: weight of the content term; one number, or one for each content layer.
        style: weight of the style term; one number, or one for each style layer.
        tv: weight of the total variation, which is about 1e-3 to 1e-1: 1e6 smooths visibly beside the notebook's other
            weights.
        regions: weight of the style of a region; one number, or one for each region.
        neighbors: weight of the neighbor term, which is 0 to 2 for each layer; one number, or one for each neighbor
            layer.
    """

    content: float | tuple[float, ...] | Array = 1.0
    style: float | tuple[float, ...] | Array = 1e3
    tv: float | Array = 0.0
    regions: float | tuple[float, ...] | Array = 1.0
    neighbors: float | tuple[float, ...] | Array = 1.0


class Losses(NamedTuple):
    """The weighted terms and their sum. Scalars, or arrays of a run's history.

    Attributes:
        total: content + style + tv + neighbors.
        content: weighted sum over the content layers.
        style: weighted sum over the style layers.
        tv: weighted total variation.
        surrogate: the scalar whose gradient `value_and_grad` returns: `total`, or with whitened targets the total whose
            style term is measured in their metric.
        neighbors: weighted sum over the neighbor layers.
    """

    total: Float[Array, "*steps"]
    content: Float[Array, "*steps"]
    style: Float[Array, "*steps"]
    tv: Float[Array, "*steps"]
    surrogate: Float[Array, "*steps"]
    neighbors: Float[Array, "*steps"]


def check_objective(objective: Any) -> None:
    """Raise InputError unless `objective` is an `Objective`."""
    if not isinstance(objective, Objective):
        raise InputError(f"objective is {quote(objective)}, expected an Objective")


def check_weight_shapes(weights: Any, objective: Objective, regions: int | None = None) -> None:
    """Raise InputError for weights of a wrong type or shape, and for wrong numbers that are not arrays of JAX.

    Args:
        weights: the `LossWeights`, or something else.
        objective: determines the numbers of layers.
        regions: number of regions of different style; None if there are none.

    Raises:
        InputError: naming the weight.
    """
    if not isinstance(weights, LossWeights):
        raise InputError(f"weights is {quote(weights)}, expected LossWeights(content, style, tv)")
    for name, count, items in _weight_counts(objective, regions):
        value = getattr(weights, name)
        several = isinstance(value, tuple | list)
        for number in value if several else [value]:
            if isinstance(number, jax.Array):
                continue
            array = np.asarray(number) if isinstance(number, np.ndarray | int | float | np.number) else None
            if array is None or array.dtype.kind not in "iuf":
                raise InputError(f"the {name} weight is {quote(value)}, expected finite numbers that are not negative")
            _check_weight_values(name, value, array)
        shape = (len(value),) if several else jnp.shape(value)
        if any(jnp.shape(number) for number in (value if several else ())) or len(shape) > 1:
            raise InputError(f"the {name} weight is {quote(value)}, expected one number, or a list of numbers")
        if shape and (count is None or shape[0] not in ((1, count) if count else (0,))):
            expected = "one number" + (f", or one for each of the {count} {items}" if count else "")
            raise InputError(f"the {name} weight has {shape[0]} numbers, expected {expected}")


def check_weights(weights: Any, objective: Objective, regions: int | None = None) -> None:
    """Raise InputError for weights that are no numbers, negative, not finite or all zero. Needs numbers, not tracers.

    Args:
        weights: the `LossWeights`, or something else.
        objective: determines the numbers of layers.
        regions: number of regions of different style; None if there are none.

    Raises:
        InputError: naming the weight.
    """
    check_weight_shapes(weights, objective, regions)
    positive = False
    for name, count, _ in _weight_counts(objective, regions):
        value = getattr(weights, name)
        numbers = np.asarray(value, np.float64)
        _check_weight_values(name, value, numbers)
        positive |= name == "tv" and bool(numbers > 0)
        positive |= name in ("content", "style", "neighbors") and bool(count and np.any(numbers > 0))
    if not positive:
        raise InputError("all weights are zero, expected at least one positive: there is nothing to optimize")


def _weight_counts(objective: Objective, regions: int | None) -> tuple[tuple[str, int | None, str], ...]:
    """Name of each weight, and number and name of the items that it may have one number each for."""
    return (
        ("content", len(objective.content_layers), "content layers"),
        ("style", len(objective.style_layers), "style layers"),
        ("tv", None, ""),
        ("regions", regions, "regions"),
        ("neighbors", len(objective.neighbor_layers), "neighbor layers"),
    )


def _check_weight_values(name: str, value: Any, numbers: np.ndarray) -> None:
    if not np.all((numbers >= 0) & (numbers <= MAX_WEIGHT)):
        shown = np.asarray(value).tolist() if np.ndim(value) < 2 else value
        raise InputError(f"the {name} weight is {quote(shown)}, expected finite numbers that are not negative")


def broadcast_weights(weights: LossWeights, objective: Objective, regions: int | None = None) -> LossWeights:
    """Broadcast the weights to float32 arrays of one number for each layer, so that all runs have the same shapes.

    Args:
        weights: see `LossWeights`.
        objective: determines the numbers of layers.
        regions: number of regions; None if there are none.

    Returns:
        Arrays of `(content layers,)`, `(style layers,)`, `()`, `(regions,)` or `()`, and `(neighbor layers,)`.
    """
    contents, styles, neighbors = (
        (len(layers),) for layers in (objective.content_layers, objective.style_layers, objective.neighbor_layers)
    )
    shapes = contents, styles, (), () if regions is None else (regions,), neighbors
    return LossWeights(
        *(
            jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
            for value, shape in zip(weights, shapes, strict=True)
        )
    )


def compute_statistics(
    params: Params,
    image: Image,
    inputs: StageInputs,
    objective: Objective,
    styles: tuple[str, ...] | None = None,
    maps: tuple[str, ...] = (),
    extent: Extent | None = None,
) -> StageOutputs:
    """Compute the statistics of an image that the objective needs, at once or in windows.

    Args:
        params: see `load_params`.
        image: `(H, W, 3)` in [0, 1].
        inputs: what the features are compared with: squared errors are those of the layers of its `content`, distances
            to the style's features those of its `banks`.
        objective: determines pooling, padding, precision and window.
        styles: layers whose outer products are summed; the objective's if None.
        maps: layers whose feature maps are returned.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        Sums and maps.
    """
    parts = stages(objective, tuple(inputs.content), styles, maps, tuple(inputs.banks))
    return run_stages(image, params, inputs, parts, maps, extent)


def stages(
    objective: Objective,
    contents: tuple[str, ...] | None = None,
    styles: tuple[str, ...] | None = None,
    maps: tuple[str, ...] = (),
    neighbors: tuple[str, ...] | None = None,
) -> tuple[Stage, ...]:
    """Divide the network into the one or two stages that the objective is evaluated in: see `windows.py`.

    Args:
        objective: determines the layers, their computation, and the window.
        contents: layers whose squared errors are summed; the objective's if None.
        styles: layers whose outer products are summed; the objective's if None.
        maps: layers whose feature maps are returned.
        neighbors: layers whose distances to the style's features are summed; the objective's if None.
    """
    # Winograd's strips would gather an image that is sharded over devices.
    algorithm = "direct" if objective.shards != (1, 1) and objective.algorithm == "auto" else objective.algorithm
    return make_stages(
        objective.style_layers if styles is None else styles,
        objective.content_layers if contents is None else contents,
        maps,
        network.Options(objective.pooling, objective.padding, objective.precision, algorithm),
        objective.window,
        objective.shards,
        objective.needs_means,
        objective.neighbor_layers if neighbors is None else neighbors,
    )


def direct(objective: Objective, sharded: bool = True) -> Objective:
    """Return the objective for a single evaluation: compiling Winograd's form takes longer than it saves.

    Args:
        objective: everything but its algorithm, and its shards, stays.
        sharded: False for an image on one device.
    """
    algorithm = "direct" if objective.algorithm == "auto" else objective.algorithm
    return dataclasses.replace(objective, algorithm=algorithm, shards=objective.shards if sharded else (1, 1))


def num_positions(height: Dim, width: Dim, layer: str) -> float | Scalar:
    """Number of positions of a layer's feature map for an image of this size."""
    return area(height // network.stride(layer), width // network.stride(layer))
