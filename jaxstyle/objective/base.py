"""The objective: which layers, with which normalization (static), and with which weights (traced)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, check_choice, check_integer, check_number, check_sequence, quote
from jaxstyle.fields import as_pair, as_tuple, option, parameter, settings_class
from jaxstyle.losses.edges import CELL
from jaxstyle.losses.gatys import Normalization
from jaxstyle.losses.matrix_sqrt import MatrixRoot
from jaxstyle.losses.statistics import Variation
from jaxstyle.losses.style import WHITENED, StyleLoss
from jaxstyle.objective.tiling import Segment
from jaxstyle.vgg import network

# Pixels a side. Smaller windows consist mostly of halo.
MIN_WINDOW = 32
# Pixels a side, and devices.
MAX_WINDOW, MAX_SHARDS = 2**31 - 1, 2**20
# Features of the style in a bank.
MAX_BANK = 65536
MAX_WEIGHT = float(np.finfo(np.float32).max)
# Last layer of the first segment, and side of the second segment's windows relative to the first one's, in pixels.
CUT = "pool3"
DEEP_WINDOW_FACTOR = 4


@settings_class
class LossOptions:
    """Options of the loss that an `Objective` and the `Settings` of a run have in common.

    Raises:
        InputError: for unknown layers or values.
    """

    content_layers: tuple[str, ...] = option(default=("relu4_2",), values="LAYER ...", converter=as_tuple)
    """VGG-19 layers of the content loss: conv1_1 ... conv5_4 (before the ReLU), relu1_1 ... relu5_4 (after it).
    Also pool1 ... pool5."""
    style_layers: tuple[str, ...] = option(
        default=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), values="LAYER ...", converter=as_tuple
    )
    """VGG-19 layers of the style loss."""
    normalization: Normalization = option(default="notebook")
    """Scaling of the losses: notebook (means, as in the authors' code) or paper (sums)."""
    pooling: network.Pooling = option(default="max")
    """Pooling between the blocks of the network: max, avg, or l2."""
    padding: network.Padding = option(default="zeros")
    """Padding of the network's first convolution; replicate reduces dark frames at the image border."""
    precision: network.Precision = option(default="highest")
    """Precision of the convolutions: highest (float32), default (the device's fast one), or bfloat16."""
    algorithm: network.Algorithm = option(default="auto")
    """Algorithm of the convolutions: direct, winograd (a quarter of the multiplications), or auto: the faster one."""
    style_loss: StyleLoss = option(default="gram")
    """Statistics that the style loss compares: Gram matrices, covariances, or means and standard deviations.
    wasserstein: the Wasserstein distance between means and covariances.
    If it is not the preset's and no weight is given, `strength` is 0.5."""
    matrix_root: MatrixRoot = option(default="auto")
    """Matrix square root of the style loss wasserstein: eigh (eigenvectors), or newton-schulz (12 iterations).
    auto: eigh on CPUs, iterations until they converge on GPUs and TPUs."""
    ridge: float | None = option(default=None, values="NUMBER", unset="3 % of the norm of the style's covariance")
    """Number added to the diagonals of both covariances of the style loss wasserstein, 0 or more, in squared features.
    None is 3 % of the Frobenius norm of the style's covariance."""
    variation: Variation = option(default="squared")
    """Smoothness term: squared or absolute differences of neighboring pixels.
    nine-point: squared differences that include diagonal neighbors."""
    neighbor_layers: tuple[str, ...] = option(default=(), values="LAYER ...", unset="none", converter=as_tuple)
    """VGG-19 layers whose features should each be near some feature of the painting: strokes without speckle."""
    bank_size: int = option(default=1024)
    """Number of the painting's features at each of these layers, 1 to 65536."""

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
        check_choice(self.normalization, "normalization", get_args(Normalization))
        check_choice(self.style_loss, "style_loss", get_args(StyleLoss))
        check_choice(self.variation, "variation", get_args(Variation))
        check_choice(self.matrix_root, "matrix_root", get_args(MatrixRoot))
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


@settings_class
class Objective(LossOptions):
    """The structure of the loss: hashable, a static argument of every compiled function.

    Its attributes are those of `LossOptions`, whether there is an edge term and a temporal term, and how the loss is
    evaluated, which does not change it.

    Raises:
        InputError: for unknown layers or values.

    Example:
        >>> objective = Objective(style_layers=("relu1_1", "relu2_1"), pooling="avg")
        >>> objective.content_layers, objective == Objective()
        (('relu4_2',), False)
    """

    window: int | None = None
    """Largest height and width, in pixels, that is evaluated at once, 32 or more; larger images are evaluated in
    windows, with the same result in less memory (see `windows.py`). None for no windows."""
    shards: tuple[int, int] = parameter(default=(1, 1), converter=as_pair)
    """Numbers of devices that share the rows and the columns of an image: see `on_mesh`."""
    edges: bool = False
    """True for the edge term: see `edges.py`."""
    temporal: bool = False
    """True for the temporal term: see `temporal.py`."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("edges", "temporal"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {quote(getattr(self, name))}, expected True or False")
        if not isinstance(self.shards, tuple | list) or len(self.shards) != 2:
            raise InputError(f"shards is {quote(self.shards)}, expected two numbers of devices, such as (4, 2)")
        for count in self.shards:
            check_integer(count, "number of devices in shards", 1, MAX_SHARDS)
        object.__setattr__(self, "shards", tuple(map(int, self.shards)))
        if self.window is not None:
            check_integer(self.window, "window", MIN_WINDOW, MAX_WINDOW)
            object.__setattr__(self, "window", int(self.window))

    @property
    def min_side(self) -> int:
        """Minimum height and width in pixels; two cells of the edge term."""
        return max(super().min_side, 2 * CELL if self.edges else 0)


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
        edges: weight of the edge term, which is about 1e-2 to 1: 1e6 keeps edges visibly beside the notebook's other
            weights. Only for an objective with `edges`.
        temporal: weight of the temporal term, which is about 1e-4 to 1e-1. Only for an objective with `temporal`.

    Example:
        >>> LossWeights(style=(1e3, 1e2)).style, LossWeights().tv
        ((1000.0, 100.0), 0.0)
    """

    content: float | Sequence[float] | Array = 1.0
    style: float | Sequence[float] | Array = 1e3
    tv: float | Array = 0.0
    regions: float | Sequence[float] | Array = 1.0
    neighbors: float | Sequence[float] | Array = 1.0
    edges: float | Array = 0.0
    temporal: float | Array = 0.0


class Losses(NamedTuple):
    """The weighted terms and their sum. Scalars, or arrays of a run's history.

    Attributes:
        total: content + style + tv + neighbors + edges + temporal.
        content: weighted sum over the content layers.
        style: weighted sum over the style layers.
        tv: weighted total variation.
        surrogate: the scalar whose gradient `value_and_grad` returns: `total`, or with whitened targets the total whose
            style term is measured in their metric.
        neighbors: weighted sum over the neighbor layers.
        edges: weighted edge term.
        temporal: weighted temporal term.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> losses, _ = js.value_and_grad(content, params, targets, js.LossWeights(), objective)
        >>> float(losses.content), bool(losses.total == losses.style)
        (0.0, True)
    """

    total: Float[Array, "*steps"]
    content: Float[Array, "*steps"]
    style: Float[Array, "*steps"]
    tv: Float[Array, "*steps"]
    surrogate: Float[Array, "*steps"]
    neighbors: Float[Array, "*steps"]
    edges: Float[Array, "*steps"]
    temporal: Float[Array, "*steps"]


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
    for name in ("edges", "temporal"):
        weight = getattr(weights, name)
        if not getattr(objective, name) and not isinstance(weight, jax.Array) and weight > 0:
            raise InputError(f"the {name} weight is {weight}, expected 0, or an objective with {name}=True")


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
    for name, value in weights._asdict().items():
        _check_weight_values(name, value, np.asarray(value, np.float64))
    terms = [(weights.content, objective.content_layers), (weights.style, objective.style_layers), (weights.tv, True)]
    terms += [(weights.neighbors, objective.neighbor_layers), (weights.edges, objective.edges)]
    terms += [(weights.temporal, objective.temporal)]
    if not any(exists and np.any(np.asarray(weight) > 0) for weight, exists in terms):
        raise InputError("all weights are zero, expected at least one positive: there is nothing to optimize")


def _weight_counts(objective: Objective, regions: int | None) -> tuple[tuple[str, int | None, str], ...]:
    """Name of each weight, and number and name of the items that it may have one number each for."""
    return (
        ("content", len(objective.content_layers), "content layers"),
        ("style", len(objective.style_layers), "style layers"),
        ("tv", None, ""),
        ("regions", regions, "regions"),
        ("neighbors", len(objective.neighbor_layers), "neighbor layers"),
        ("edges", None, ""),
        ("temporal", None, ""),
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
        Arrays of `(content layers,)`, `(style layers,)`, `()`, `(regions,)` or `()`, `(neighbor layers,)`, and `()` for
        the last two.
    """
    counts = [count for _, count, _ in _weight_counts(objective, regions)]
    arrays = (
        _float32_array(value, () if count is None else (count,)) for value, count in zip(weights, counts, strict=True)
    )
    # In one transfer.
    return jax.device_put(LossWeights(*arrays))


def _float32_array(value: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast numbers on the host, or an array of JAX."""
    if any(isinstance(number, jax.Array) for number in jax.tree.leaves(value)):
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
    return np.broadcast_to(np.asarray(value, np.float32), shape)


def segments_of(
    objective: Objective,
    styles: tuple[str, ...] | None = None,
    contents: tuple[str, ...] | None = None,
    maps: tuple[str, ...] = (),
    neighbors: tuple[str, ...] | None = None,
) -> tuple[Segment, ...]:
    """Divide the network into segments: one, or two where there are windows and layers after the cut.

    Args:
        objective: determines the layers, their computation, and the windows.
        styles: layers whose outer products are summed; the objective's if None.
        contents: layers whose squared errors are summed; the objective's if None.
        maps: layers whose feature maps are returned; the first of two segments returns that of the cut, too.
        neighbors: layers whose distances to the style's features are summed; the objective's if None.

    Returns:
        The segments, of which the second starts from a map of the first; none if there are no layers.
    """
    styles = objective.style_layers if styles is None else styles
    contents = objective.content_layers if contents is None else contents
    neighbors = objective.neighbor_layers if neighbors is None else neighbors
    # Winograd's strips would gather an image that is sharded over devices.
    algorithm = "direct" if objective.shards != (1, 1) and objective.algorithm == "auto" else objective.algorithm
    options = network.Options(objective.pooling, objective.padding, objective.precision, algorithm)

    window, cut = objective.window, network.LAYERS.index(CUT) + 1

    def segment(after: str | None, window: int | None, part: tuple[str, ...], maps: tuple[str, ...]) -> Segment:
        own = [tuple(layer for layer in layers if layer in part) for layers in (styles, contents, maps, neighbors)]
        shards, means = objective.shards, objective.needs_means
        return Segment(after, own[0], own[1], own[2], options, window, shards, means, own[3])

    layers = {*styles, *contents, *maps, *neighbors}
    if window is None or not layers & {*network.LAYERS[cut:]}:
        return (segment(None, window, network.LAYERS, maps),) if layers else ()
    return (
        segment(None, window, network.LAYERS[:cut], tuple(dict.fromkeys((*maps, CUT)))),
        segment(CUT, DEEP_WINDOW_FACTOR * window // network.stride(CUT), network.LAYERS[cut:], maps),
    )


def direct(objective: Objective, sharded: bool = True) -> Objective:
    """Return the objective for few evaluations: compiling Winograd's form takes longer than it saves.

    Args:
        objective: everything but its algorithm, and its shards, stays.
        sharded: False for an image on one device.
    """
    algorithm = "direct" if objective.algorithm == "auto" else objective.algorithm
    return dataclasses.replace(objective, algorithm=algorithm, shards=objective.shards if sharded else (1, 1))
