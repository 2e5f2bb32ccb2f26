"""Value and gradient of the objective: one function, whether the picture is evaluated whole or in windows."""

import functools

import jax

from jaxstyle.objective import Losses, LossWeights, Objective, Targets, combine, survey
from jaxstyle.statistics import Statistics, squared_variation
from jaxstyle.typing import Image, Params


@functools.partial(jax.jit, static_argnames="objective")
def value_and_grad(
    image: Image, params: Params, targets: Targets, weights: LossWeights, objective: Objective
) -> tuple[Losses, Image]:
    """Losses of a picture and the gradient of `losses.guide` with respect to its pixels.

    The guide is the total, unless the targets are whitened: see `whiten`. Pictures larger than `objective.window` are
    evaluated window by window, with the same result: see `windows.py`.

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
        outcome = survey(params, pixels, targets.content, objective)
        sums = Statistics(outcome.products, outcome.errors, squared_variation(pixels))
        losses = combine(sums, pixels.shape, targets, weights, objective)
        return losses.guide, losses

    (_, losses), gradient = jax.value_and_grad(guide, has_aux=True)(image)
    return losses, gradient
