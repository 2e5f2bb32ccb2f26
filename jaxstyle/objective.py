"""The objective: which layers, how normalised (static), how weighted (traced), and what is aimed at (targets)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle import losses, vgg
from jaxstyle.errors import InputError
from jaxstyle.image import check_image
from jaxstyle.losses import Normalization
from jaxstyle.statistics import Statistics
from jaxstyle.tiling import Stage
from jaxstyle.typing import AnyFeatures, AnyImage, FeatureMaps, Gram, Image, Params, Scalar
from jaxstyle.whitening import Metric, whitened_square, whitening
from jaxstyle.windows import Outcome, stages_of, through_windows

# Smaller windows are mostly halo.
LEAST_WINDOW = 32


@dataclass(frozen=True)
class Objective:
    """The structure of the loss: hashable, a static argument of every compiled function.

    Attributes:
        content_layers: layers whose features should stay those of the content picture.
        style_layers: layers whose Gram matrices should become those of the style.
        normalization: `"notebook"`, means as in the authors' code, or `"paper"`, sums: `losses.py` has both formulas.
        pooling: `"max"`, `"avg"` or `"l2"`.
        padding: of the first convolution, `"zeros"` or `"replicate"`.
        precision: of the convolutions, `"highest"` (float32), `"default"` (the device's) or `"bfloat16"`.
        window: pictures larger than so many pixels a side are evaluated window by window, with the same result in less
            memory (see `windows.py`); None evaluates them whole.

    Raises:
        InputError: for unknown layers or values.
    """

    content_layers: tuple[str, ...] = ("relu4_2",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    normalization: Normalization = "notebook"
    pooling: vgg.Pooling = "max"
    padding: vgg.Padding = "zeros"
    precision: vgg.Precision = "highest"
    window: int | None = None

    def __post_init__(self):
        vgg.check_layers(self.content_layers)
        vgg.check_layers(self.style_layers)
        vgg.check_options(self.pooling, self.padding, self.precision)
        # A list would fail later, where the objective is hashed.
        object.__setattr__(self, "content_layers", tuple(self.content_layers))
        object.__setattr__(self, "style_layers", tuple(self.style_layers))
        if not self.layers:
            raise InputError("no layers at all, expected at least one content or style layer")
        losses.check_normalization(self.normalization)
        if self.window is not None and not (isinstance(self.window, int) and self.window >= LEAST_WINDOW):
            raise InputError(
                f"window is {self.window!r}, expected {LEAST_WINDOW} pixels or more, or none at all (whole)"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer in use, each once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))

    @property
    def smallest(self) -> int:
        """The least pixels a side: two positions at the deepest layer; below that a Gram matrix says nothing."""
        return 2 * max(map(vgg.stride, self.layers))


class LossWeights(NamedTuple):
    """How much each term counts: traced numbers, so other values do not recompile anything.

    Attributes:
        content: of the content term; one number, or one a content layer.
        style: of the style term; one number, or one a style layer.
        tv: of the squared total variation, whose value is about 1e-3 to 1e-1: 1e6 smooths visibly beside the
            notebook's other weights.
    """

    content: float | tuple[float, ...] | Array = 1.0
    style: float | tuple[float, ...] | Array = 1e3
    tv: float | Array = 0.0


class Targets(NamedTuple):
    """What the picture should become.

    Attributes:
        content: content layer to the content picture's features `(h, w, c)`.
        style: style layer to the style's Gram matrix `(c, c)`.
        metric: style layer to how its residual is measured for the guide: see `whiten`; None is the loss itself.
    """

    content: dict[str, AnyFeatures]
    style: dict[str, Gram]
    metric: dict[str, Metric] | None = None


class Losses(NamedTuple):
    """The terms, already weighted; `total` is their sum. Scalars, or arrays of a run's history.

    Attributes:
        total: content + style + tv.
        content: weighted sum over the content layers.
        style: weighted sum over the style layers.
        tv: weighted squared total variation.
        guide: what `value_and_grad` gives the gradient of: the total, or with whitened targets the total with the style
            measured in their metric.
    """

    total: Float[Array, "*steps"]
    content: Float[Array, "*steps"]
    style: Float[Array, "*steps"]
    tv: Float[Array, "*steps"]
    guide: Float[Array, "*steps"]


def check_weights(weights: LossWeights, objective: Objective) -> None:
    """Refuse weights that are negative, not finite, all zero, or not one a layer. Needs numbers, not tracers.

    Raises:
        InputError: naming the weight.
    """
    values = []
    for name, layers in (("content", objective.content_layers), ("style", objective.style_layers), ("tv", ())):
        value = np.asarray(getattr(weights, name), np.float64)
        if value.ndim > 1 or (value.ndim == 1 and (name == "tv" or len(value) not in (1, len(layers)))):
            expected = "one number" + (f", or one for each of the {len(layers)} {name} layers" if layers else "")
            raise InputError(f"the {name} weight has {value.size} numbers, expected {expected}")
        if not np.all((value >= 0) & (value <= np.finfo(np.float32).max)):
            raise InputError(f"the {name} weight is {value.tolist()}, expected finite numbers that are not negative")
        values.append(np.sum(value) if layers or name == "tv" else 0.0)
    if not any(values):
        raise InputError("all weights are zero, expected at least one positive: there is nothing to optimise")


def a_layer_each(weights: LossWeights, objective: Objective) -> LossWeights:
    """The same weights as float32 arrays of one number a layer, so that every run has the same shapes.

    Args:
        weights: see `LossWeights`.
        objective: says how many layers there are.

    Returns:
        Arrays of `(content layers,)`, `(style layers,)` and `()`.
    """
    layers = (len(objective.content_layers),), (len(objective.style_layers),), ()
    return LossWeights(
        *(
            jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
            for value, shape in zip(weights, layers, strict=True)
        )
    )


def make_targets(
    params: Params,
    content: Image,
    styles: Sequence[AnyImage],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
) -> Targets:
    """Features of the content and Gram matrices of the style, computed once a run.

    Several styles blend by their raw Gram matrices: `A = sum w_i A_i / sum w_i`.

    Args:
        params: see `load_params`.
        content: `(H, W, 3)` in [0, 1].
        styles: one or more `(h, w, 3)` in [0, 1], of any sizes.
        objective: which layers.
        style_weights: one number a style, relative; equal if None.

    Returns:
        The targets.

    Raises:
        InputError: for pictures too small or misshapen, no style, or wrong style weights.
    """
    check_image(content, "content", objective.smallest)
    if not isinstance(styles, Sequence) or not styles:
        raise InputError("styles is no list of pictures, expected at least one: pass [style] for a single one")
    for style in styles:
        check_image(style, "style", objective.smallest)
    blend = style_shares(len(styles), style_weights)
    grams = [_grams(params, style, objective) for style in styles]
    return Targets(
        _content_features(params, content, objective), jax.tree.map(lambda *each: _blend(each, blend), *grams)
    )


def style_shares(count: int, style_weights: Sequence[float] | None = None) -> list[float]:
    """How much each style counts: `w_i / sum w_i`.

    Args:
        count: of the styles.
        style_weights: one number a style, relative; equal if None.

    Returns:
        Numbers whose sum is 1.

    Raises:
        InputError: for no style, another number of weights, or weights that are negative, not finite or all zero.

    Example:
        >>> style_shares(2, [3, 1])
        [0.75, 0.25]
    """
    if count < 1:
        raise InputError("there is no style, expected at least one")
    shares = np.ones(count) if style_weights is None else np.asarray(style_weights, np.float64)
    if shares.shape != (count,):
        raise InputError(f"{shares.size} style weights for {count} styles, expected one each")
    if not np.all(np.isfinite(shares)) or np.any(shares < 0) or not np.any(shares):
        raise InputError(f"style weights {shares.tolist()}, expected finite numbers >= 0, at least one positive")
    # The division by the largest keeps the sum finite.
    shares = shares / shares.max()
    return [float(share) for share in shares / shares.sum()]


def whiten(targets: Targets, power: float = 1.0) -> Targets:
    """The same targets, with a metric in which the optimiser gets on faster: see `whitening.py`.

    The losses stay the same; only `Losses.guide`, and so the gradient of `value_and_grad`, is another.

    Args:
        targets: see `make_targets`.
        power: 1 is whitened, 0 the loss itself, at the same cost and without compiling anything again.

    Returns:
        Targets with a metric.
    """
    return targets._replace(metric=_whitening(targets.style, jnp.float32(power)))


def survey(
    params: Params,
    image: Image,
    content: FeatureMaps,
    objective: Objective,
    styles: tuple[str, ...] | None = None,
    maps: tuple[str, ...] = (),
) -> Outcome:
    """Statistics of a picture as this objective measures them, whole or in windows.

    Args:
        params: see `load_params`.
        image: `(H, W, 3)` in [0, 1].
        content: content layer to the feature map that the squared error is from.
        objective: says pooling, padding, precision and window.
        styles: layers whose outer products are summed; the objective's if None.
        maps: layers whose feature maps are wanted.

    Returns:
        Sums and maps.
    """
    return through_windows(image, params, content, stages(objective, tuple(content), styles, maps), maps)


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
    return stages_of(
        objective.style_layers if styles is None else styles,
        objective.content_layers if contents is None else contents,
        maps,
        vgg.Options(objective.pooling, objective.padding, objective.precision),
        objective.window,
    )


def positions(image_shape: tuple[int, ...], layer: str) -> float:
    """How many a layer has. A float: products of sides overflow int32 in large pictures."""
    return float(image_shape[0] // vgg.stride(layer)) * (image_shape[1] // vgg.stride(layer))


def combine(
    sums: Statistics, image_shape: tuple[int, ...], targets: Targets, weights: LossWeights, objective: Objective
) -> Losses:
    """Statistics to weighted losses: the one place where the objective's formula stands.

    Args:
        sums: of the whole picture.
        image_shape: `(H, W, 3)`.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: which layers and normalisation.

    Returns:
        The losses.
    """
    height, width = image_shape[:2]
    content = [
        losses.content_scale(targets.content[layer].shape, objective.normalization) * sums.errors[layer]
        for layer in objective.content_layers
    ]
    grams = {layer: sums.products[layer] / positions(image_shape, layer) for layer in objective.style_layers}
    share = 1 / len(grams) if objective.normalization == "paper" and grams else 1.0
    residuals = {layer: gram - targets.style[layer] for layer, gram in grams.items()}
    scales = {layer: share * losses.style_scale(len(gram), objective.normalization) for layer, gram in grams.items()}
    style = _weighted(
        weights.style, [scales[layer] * jnp.sum(jnp.square(residual)) for layer, residual in residuals.items()]
    )
    content = _weighted(weights.content, content)
    tv = jnp.float32(weights.tv) * sums.variation / (float(height) * width)
    total = content + style + tv
    if targets.metric is None:
        return Losses(total, content, style, tv, total)
    whitened = [
        scales[layer] * whitened_square(residual, targets.metric[layer]) for layer, residual in residuals.items()
    ]
    return Losses(total, content, style, tv, content + _weighted(weights.style, whitened) + tv)


def _weighted(weights: float | tuple[float | Array, ...] | Array, terms: list[Scalar]) -> Scalar:
    if not terms:
        return jnp.float32(0.0)
    return jnp.sum(jnp.asarray(weights, jnp.float32) * jnp.stack(terms))


def _blend(grams: Sequence[Gram], shares: Sequence[float]) -> Gram:
    return sum((share * gram for gram, share in zip(grams, shares, strict=True)), jnp.zeros_like(grams[0]))


_whitening = jax.jit(whitening)


@functools.partial(jax.jit, static_argnames="objective")
def _grams(params: Params, image: Image, objective: Objective) -> dict[str, Gram]:
    products = survey(params, image, {}, objective).products
    return {layer: product / positions(image.shape, layer) for layer, product in products.items()}


@functools.partial(jax.jit, static_argnames="objective")
def _content_features(params: Params, image: Image, objective: Objective) -> dict[str, AnyFeatures]:
    return survey(params, image, {}, objective, styles=(), maps=objective.content_layers).maps
