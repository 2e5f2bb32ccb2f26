"""Value and gradient of the objective: one function, whether the image is evaluated whole or in windows."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.compiler import Compiled
from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Dim, area, sides
from jaxstyle.image.ops import check_image
from jaxstyle.losses.edges import edge_loss
from jaxstyle.losses.gatys import content_scale, variation_scale
from jaxstyle.losses.statistics import variation_sum
from jaxstyle.losses.style import Moments, style_distance
from jaxstyle.losses.temporal import temporal_loss
from jaxstyle.losses.whitening import Metric
from jaxstyle.objective.base import (
    Losses,
    LossWeights,
    Objective,
    broadcast_weights,
    check_objective,
    check_weight_shapes,
    segments_of,
)
from jaxstyle.objective.batch import check_leading_axes, mapped_axes
from jaxstyle.objective.targets import Targets, check_targets
from jaxstyle.objective.windows import Inputs, Statistics, compute_statistics
from jaxstyle.typing import Image, ImageBatch, Params, Scalar
from jaxstyle.vgg.network import channels_of, check_params, stride


class Terms(NamedTuple):
    """Unweighted terms of the loss, one for each layer.

    Attributes:
        content: content layers.
        style: style layers.
        surrogate: style layers, in the metric of the targets.
        neighbors: neighbor layers.
    """

    content: list[Scalar]
    style: list[Scalar]
    surrogate: list[Scalar]
    neighbors: list[Scalar]


def value_and_grad(
    image: ImageBatch, params: Params, targets: Targets, weights: LossWeights, objective: Objective
) -> tuple[Losses, ImageBatch]:
    """Compute the losses of an image and the gradient of `losses.surrogate`, not of `losses.total`, by its pixels.

    The two are equal unless the targets are whitened: see `whiten`. Images larger than `objective.window` are evaluated
    in windows, with the same result: see `windows.py`. On a canvas only the image within `targets.extent` counts;
    beyond it the gradient is zero.

    Pure, and compiled once for each shape and objective. Reverse mode only: JAX's forward mode, and so `jax.hessian`,
    raises a TypeError.

    Args:
        image: `(..., H, W, 3)` in [0, 1].
        params: see `load_params`.
        targets: see `make_targets`; those of the images of a batch, stacked, have the leading axes of the image, and
            others are shared by all.
        weights: see `LossWeights`; shared by all.
        objective: the objective that the targets were made for; static.

    Returns:
        `(losses, gradient)`: losses of the leading axes' shape, and the gradient of the image's.

    Raises:
        InputError: for an image that is too small for the objective's layers or of another size than the content,
            targets of another objective, or wrong types.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> losses, gradient = value_and_grad(content, params, targets, js.LossWeights(), objective)
        >>> float(losses.content), gradient.shape
        (0.0, (32, 48, 3))
    """
    image, weights = checked_evaluation(image, params, targets, weights, objective)
    check_leading_axes(image, targets)
    return compiled_value_and_grad(image, params, targets, weights, objective)


def checked_evaluation(
    image: ImageBatch, params: Params, targets: Targets, weights: LossWeights, objective: Objective
) -> tuple[ImageBatch, LossWeights]:
    """Check the arguments of an evaluation, and return image and weights with the types of the compiled program.

    These are float32 arrays, one number for each layer: other numbers, such as integers, would compile another program.
    """
    check_objective(objective)
    check_image(image, min_side=objective.min_side // 2, batch=True)
    check_params(params, objective.layers)
    check_targets(targets, objective)
    for name, layers, arrays in (
        ("content", objective.content_layers, targets.content),
        ("style", objective.style_layers, targets.style),
    ):
        for layer in layers:
            channels, expected = arrays[layer].shape[-1], channels_of(params, layer)
            if channels != expected:
                raise InputError(
                    f"targets.{name} has {channels} channels at {layer}, expected {expected}: make the targets with "
                    "the same params"
                )
    check_weight_shapes(weights, objective, targets.num_regions)
    return jnp.asarray(image, jnp.float32), broadcast_weights(weights, objective, targets.num_regions)


def _value_and_grad(
    image: ImageBatch, params: Params, targets: Targets, weights: LossWeights, objective: Objective
) -> tuple[Losses, ImageBatch]:
    if image.ndim > 3:
        evaluate_one = functools.partial(_value_and_grad, objective=objective)
        axes = (0, None, mapped_axes(targets, image.ndim - 3), None)
        return jax.vmap(evaluate_one, axes)(image, params, targets, weights)

    def surrogate(pixels: Image) -> tuple[Scalar, Losses]:
        losses = losses_of(pixels, params, targets, weights, objective)
        return losses.surrogate, losses

    (_, losses), gradient = jax.value_and_grad(surrogate, has_aux=True)(image)
    return losses, gradient


# Without checks: the compiled function, which can also be lowered for abstract arrays.
compiled_value_and_grad = Compiled(_value_and_grad, static_argnames="objective")


def losses_of(image: Image, params: Params, targets: Targets, weights: LossWeights, objective: Objective) -> Losses:
    """Compute the losses of an image, differentiable by the image; the arguments are those of `value_and_grad`."""
    guides = {} if targets.guides is None else targets.guides.weights
    inputs = Inputs(targets.content, guides, targets.banks or {})
    statistics = compute_statistics(image, params, inputs, segments_of(objective), targets.extent)
    variation = variation_sum(image, objective.variation, targets.extent)
    edges = jnp.float32(0.0)
    if objective.edges and targets.edges is not None:
        edges = edge_loss(image, targets.edges, targets.extent)
    temporal = jnp.float32(0.0)
    if objective.temporal and targets.previous is not None:
        temporal = temporal_loss(image, targets.previous, targets.extent)
    size = sides(image.shape, targets.extent)
    return weighted_losses(statistics, variation, edges, temporal, size, targets, weights, objective)


def weighted_losses(
    statistics: Statistics,
    variation: Scalar,
    edges: Scalar,
    temporal: Scalar,
    size: tuple[Dim, Dim],
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
) -> Losses:
    """Compute the weighted losses from statistics: the one place of the objective's formula.

    The style term of a layer is that of `style_distance`; with regions the sum over them, each times its share of the
    image's area and its own weight.

    Args:
        statistics: sums over the whole image.
        variation: see `variation_sum`.
        edges: see `edge_loss`.
        temporal: see `temporal_loss`.
        size: height and width of the image.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: determines layers and normalization.
    """
    terms = loss_terms(statistics, size, targets, jnp.asarray(weights.regions, jnp.float32), objective)
    content, style, surrogate = (
        _weighted(weight, losses)
        for weight, losses in zip((weights.content, weights.style, weights.style), terms, strict=False)
    )
    tv = jnp.float32(weights.tv) * variation * variation_scale(*size, objective.variation)
    neighbors, edges = _weighted(weights.neighbors, terms.neighbors), jnp.float32(weights.edges) * edges
    temporal = jnp.float32(weights.temporal) * temporal
    totals = content + style + tv, content + surrogate + tv
    total, surrogate = (total + neighbors if objective.neighbor_layers else total for total in totals)
    total, surrogate = (total + edges if objective.edges else total for total in (total, surrogate))
    total, surrogate = (total + temporal if objective.temporal else total for total in (total, surrogate))
    return Losses(total, content, style, tv, surrogate, neighbors, edges, temporal)


def loss_terms(
    statistics: Statistics,
    size: tuple[Dim, Dim],
    targets: Targets,
    region_weights: Float[Array, "*regions"],
    objective: Objective,
) -> Terms:
    """Compute the unweighted terms of every layer; the other arguments are those of `weighted_losses`."""
    height, width = size
    guides, normalization = targets.guides, objective.normalization

    def content_term(layer: str) -> Scalar:
        shape = height // stride(layer), width // stride(layer), targets.content[layer].shape[2]
        return content_scale(shape, normalization) * statistics.errors[layer]

    def distance(image: Moments, style: Moments, metric: Metric | None) -> tuple[Scalar, Scalar]:
        options = objective.style_loss, normalization, metric, objective.matrix_root, objective.ridge
        return style_distance(image, style, *options)

    def style_term(layer: str) -> tuple[Scalar, Scalar]:
        # Sums that are weighted by guides are means already.
        count = area(height // stride(layer), width // stride(layer)) if guides is None else 1.0
        mean = statistics.sums[layer] / count if objective.needs_means else None
        image = Moments(statistics.products[layer] / count, mean)
        style = Moments(targets.style[layer], targets.means[layer] if targets.means else None)
        metric = None if targets.metric is None else targets.metric[layer]
        scale = 1 / len(objective.style_layers) if normalization == "paper" else 1.0
        if guides is None:
            loss, surrogate = distance(image, style, metric)
            return scale * loss, scale * surrogate
        scales = scale * guides.shares * region_weights
        loss, surrogate = (jnp.sum(scales * distances) for distances in jax.vmap(distance)(image, style, metric))
        return loss, surrogate

    def neighbor_term(layer: str) -> Scalar:
        distances = statistics.distances[layer]
        if guides is None:
            return distances / area(height // stride(layer), width // stride(layer))
        return jnp.sum(guides.shares * region_weights * distances)

    style_terms = [style_term(layer) for layer in objective.style_layers]
    return Terms(
        [content_term(layer) for layer in objective.content_layers],
        [loss for loss, _ in style_terms],
        [surrogate for _, surrogate in style_terms],
        [neighbor_term(layer) for layer in objective.neighbor_layers],
    )


def _weighted(weights: float | Sequence[float | Array] | Array, terms: Sequence[Scalar]) -> Scalar:
    if not terms:
        return jnp.float32(0.0)
    return jnp.sum(jnp.asarray(weights, jnp.float32) * jnp.stack(terms))
