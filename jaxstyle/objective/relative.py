"""Weights in relative units: a term of weight 1 is 1 for an image whose features are all zero.

Squared errors of features and of their statistics have units that depend on layer, images and size. Divided by their
values at features of zero, `sum P^2` and `sum A^2` for content features `P` and Gram matrices `A`, they are numbers
around 1, and may be added to distances by cosine, which have no unit.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.image.canvas import Dim
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.evaluate import loss_terms
from jaxstyle.objective.targets import Targets
from jaxstyle.objective.windows import Statistics
from jaxstyle.typing import Scalar


def relative_weights(
    weights: LossWeights, targets: Targets, objective: Objective, size: tuple[Dim, Dim]
) -> LossWeights:
    """Convert weights in relative units to those of `value_and_grad`.

    Pure; `tv`, `regions`, `neighbors`, `edges` and `temporal` are copied. The targets of a batch need `jax.vmap`.

    Args:
        weights: content and style weights in relative units.
        targets: see `make_targets`.
        objective: static.
        size: height and width of the image in pixels.

    Returns:
        Weights with one number for each layer; 0 for a layer whose targets are all zero.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> image, objective = js.white_noise(1, 32, 48), js.Objective(style_layers=("relu1_1", "relu2_1"))
        >>> targets = js.make_targets(params, image, [image], objective)
        >>> weights = relative_weights(js.LossWeights(2.0, 1.0), targets, objective, (32, 48))
        >>> weights.content.shape, weights.style.shape
        ((1,), (2,))
    """
    contents = {layer: jnp.sum(jnp.square(features)) for layer, features in targets.content.items()}
    products, sums = (
        {layer: jnp.zeros_like(array) for layer, array in (moments or {}).items()}
        for moments in (targets.style, targets.means)
    )
    shape = () if targets.guides is None else targets.guides.shares.shape
    distances = {layer: jnp.zeros(shape, jnp.float32) for layer in objective.neighbor_layers}
    at_zero, regions = Statistics(products, sums, contents, distances, {}), jnp.asarray(weights.regions, jnp.float32)
    terms = loss_terms(at_zero, size, targets, regions, objective)
    return weights._replace(content=_divide(weights.content, terms.content), style=_divide(weights.style, terms.style))


def _divide(weight: float | Sequence[float | Array] | Array, terms: list[Scalar]) -> Float[Array, " layers"]:
    units = jnp.stack(terms) if terms else jnp.zeros(0, jnp.float32)
    weight = jnp.broadcast_to(jnp.asarray(weight, jnp.float32), units.shape)
    return jnp.where(units > 0, weight / jnp.where(units > 0, units, 1.0), 0.0)
