"""Value and gradient of the objective: one function, whether the picture is evaluated whole or in windows."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxstyle.canvas import Number, area, sides
from jaxstyle.losses import content_scale, style_scale
from jaxstyle.objective import Losses, LossWeights, Objective, positions, survey
from jaxstyle.statistics import Statistics, squared_variation
from jaxstyle.targets import Targets
from jaxstyle.typing import Image, Params, Scalar
from jaxstyle.vgg import stride
from jaxstyle.whitening import whitened_square


@functools.partial(jax.jit, static_argnames="objective")
def value_and_grad(
    image: Image, params: Params, targets: Targets, weights: LossWeights, objective: Objective
) -> tuple[Losses, Image]:
    """Losses of a picture and the gradient of `losses.guide` with respect to its pixels.

    The guide is the total, unless the targets are whitened: see `whiten`. Pictures larger than `objective.window` are
    evaluated window by window, with the same result: see `windows.py`. On a canvas it is the picture within
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

    def guide(pixels: Image):
        outcome = survey(params, pixels, targets.content, objective, extent=targets.extent)
        sums = Statistics(outcome.products, outcome.errors, squared_variation(pixels, targets.extent))
        losses = combine(sums, sides(pixels.shape, targets.extent), targets, weights, objective)
        return losses.guide, losses

    (_, losses), gradient = jax.value_and_grad(guide, has_aux=True)(image)
    return losses, gradient


def combine(
    sums: Statistics, size: tuple[Number, Number], targets: Targets, weights: LossWeights, objective: Objective
) -> Losses:
    """Statistics to weighted losses: the one place where the objective's formula stands.

    Args:
        sums: of the whole picture.
        size: height and width of the picture.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: which layers and normalisation.

    Returns:
        The losses.
    """
    height, width = size
    content = []
    for layer in objective.content_layers:
        shape = height // stride(layer), width // stride(layer), targets.content[layer].shape[2]
        content.append(content_scale(shape, objective.normalization) * sums.errors[layer])
    grams = {layer: sums.products[layer] / positions(height, width, layer) for layer in objective.style_layers}
    share = 1 / len(grams) if objective.normalization == "paper" and grams else 1.0
    residuals = {layer: gram - targets.style[layer] for layer, gram in grams.items()}
    scales = {layer: share * style_scale(len(gram), objective.normalization) for layer, gram in grams.items()}
    style = _weighted(
        weights.style, [scales[layer] * jnp.sum(jnp.square(residual)) for layer, residual in residuals.items()]
    )
    content = _weighted(weights.content, content)
    tv = jnp.float32(weights.tv) * sums.variation / area(height, width)
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
