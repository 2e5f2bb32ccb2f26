"""Value and gradient of the objective: one function, whether the picture is evaluated whole or in windows."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxstyle.image.canvas import Dim, sides
from jaxstyle.losses.gatys import content_scale, variation_scale
from jaxstyle.losses.statistics import Statistics, variation_sum
from jaxstyle.losses.style import Moments, style_distance
from jaxstyle.losses.whitening import Metric
from jaxstyle.objective.base import Losses, LossWeights, Objective, compute_statistics, positions
from jaxstyle.objective.targets import Targets
from jaxstyle.typing import Image, Params, Scalar
from jaxstyle.vgg.network import stride


@functools.partial(jax.jit, static_argnames="objective")
def value_and_grad(
    image: Image, params: Params, targets: Targets, weights: LossWeights, objective: Objective
) -> tuple[Losses, Image]:
    """Losses of a picture and the gradient of `losses.surrogate` with respect to its pixels.

    The surrogate is the total, unless the targets are whitened: see `whiten`. Images larger than `objective.window`
    are evaluated window by window, with the same result: see `windows.py`. On a canvas it is the picture within
    `targets.extent` that counts; beyond it the gradient is zero.

    Pure, and compiled once for each shape and objective.

    Args:
        image: `(H, W, 3)` in [0, 1].
        params: see `load_params`.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: static.

    Returns:
        `(losses, gradient)`, the gradient of the image's shape.

    Raises:
        InputError: for a picture that is too small for the objective's layers, or of another size than the content.
    """

    def surrogate(pixels: Image):
        guides = None if targets.guides is None else targets.guides.weights
        outcome = compute_statistics(params, pixels, targets.content, objective, guides, extent=targets.extent)
        variation = variation_sum(pixels, objective.variation, targets.extent)
        sums = Statistics(outcome.products, outcome.sums, outcome.errors, variation)
        losses = combine(sums, sides(pixels.shape, targets.extent), targets, weights, objective)
        return losses.surrogate, losses

    (_, losses), gradient = jax.value_and_grad(surrogate, has_aux=True)(image)
    return losses, gradient


def combine(
    sums: Statistics, size: tuple[Dim, Dim], targets: Targets, weights: LossWeights, objective: Objective
) -> Losses:
    """Statistics to weighted losses: the one place where the objective's formula stands.

    The style's term of a layer is that of `style_distance`; with regions the sum of theirs, each times its share of the
    picture's area and its own weight.

    Args:
        sums: of the whole picture.
        size: height and width of the picture.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: which layers and normalization.

    Returns:
        The losses.
    """
    height, width = size
    content = []
    for layer in objective.content_layers:
        shape = height // stride(layer), width // stride(layer), targets.content[layer].shape[2]
        content.append(content_scale(shape, objective.normalization) * sums.errors[layer])
    terms = [_style_terms(layer, sums, size, targets, weights, objective) for layer in objective.style_layers]
    style, surrogate = [loss for loss, _ in terms], [surrogate for _, surrogate in terms]
    content = _weighted(weights.content, content)
    style, surrogate = _weighted(weights.style, style), _weighted(weights.style, surrogate)
    tv = jnp.float32(weights.tv) * sums.variation * variation_scale(height, width, objective.variation)
    return Losses(content + style + tv, content, style, tv, content + surrogate + tv)


def _style_terms(
    layer: str,
    sums: Statistics,
    size: tuple[Dim, Dim],
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
) -> tuple[Scalar, Scalar]:
    """A style layer's loss, not weighted, and its surrogate."""
    # With guides they are means already.
    count = positions(*size, layer) if targets.guides is None else 1.0
    here = Moments(sums.products[layer] / count, sums.sums[layer] / count if objective.means else None)
    style = Moments(targets.style[layer], targets.means[layer] if targets.means else None)
    metric = None if targets.metric is None else targets.metric[layer]

    def distance(here: Moments, style: Moments, metric: Metric | None) -> tuple[Scalar, Scalar]:
        return style_distance(
            here, style, objective.style_loss, objective.normalization, metric, objective.matrix_root, objective.ridge
        )

    share = 1 / len(objective.style_layers) if objective.normalization == "paper" else 1.0
    if targets.guides is None:
        loss, surrogate = distance(here, style, metric)
        return share * loss, share * surrogate
    of_region = share * targets.guides.shares * jnp.asarray(weights.regions, jnp.float32)
    loss, surrogate = (jnp.sum(of_region * each) for each in jax.vmap(distance)(here, style, metric))
    return loss, surrogate


def _weighted(weights: float | tuple[float | Array, ...] | Array, terms: Sequence[Scalar]) -> Scalar:
    if not terms:
        return jnp.float32(0.0)
    return jnp.sum(jnp.asarray(weights, jnp.float32) * jnp.stack(terms))
