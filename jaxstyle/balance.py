"""Weights from one number: how strong the style is, alike for every pair of pictures and every size.

Fixed weights mean something else for every pair: a painting of strong contrast has Gram matrices a hundred times those
of a pale one. So the terms are measured first, each by the norm of its gradient at a reference, a picture half way
between content and style, and weighted by what they have there:

    style_l = u n / (L n_l),    content_k = (1 - u) n / (K n_k),    u = s^p / (s^p + (1 - s)^p)

with `n_l` and `n_k` the norms of the style and content layers, `n` the mean of the `n_k`, and `s` the strength. All
style layers pull alike there; together they pull `u / (1 - u)` times as hard as the content. Strength 0 is the content
alone, 1 the style alone. Measured: benchmarks/README.md.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.evaluate import value_and_grad
from jaxstyle.objective import LossWeights, Objective
from jaxstyle.targets import Targets
from jaxstyle.typing import Image, Params

# How steeply the strength changes the ratio of both sides: at 0.1 it is 1/81 of that at 0.5, at 0.9 81 times.
POWER = 2.0
# Share of the style's mosaic in the reference: half way, so that neither side's gradient vanishes.
HALF_WAY = 0.5


def check_strength(strength: float | None) -> None:
    """Refuse what is no strength.

    Raises:
        InputError: saying what was got.
    """
    if strength is not None and not (isinstance(strength, int | float) and 0 <= strength <= 1):
        raise InputError(f"strength is {strength!r}, expected a number from 0, the photo alone, to 1, the style alone")


def balance(
    reference: Image,
    params: Params,
    targets: Targets,
    objective: Objective,
    strength: float | Float[Array, ""],
    weights: LossWeights | None = None,
) -> LossWeights:
    """Weights for a strength: see the module's formula.

    It takes as many gradients as there are layers in the loss. Pure, and compiled once for each shape and objective.

    Args:
        reference: `(H, W, 3)`, where the gradients are compared: neither the content itself, nor a style's copy.
        params: see `load_params`.
        targets: see `make_targets`; of the reference's size.
        objective: static.
        strength: 0, the content alone, to 1, the style alone.
        weights: their `tv` and `regions` are kept, and a layer of weight 0 is left out; see `LossWeights`.

    Returns:
        Weights with one number a layer.

    Raises:
        InputError: for a strength out of range.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> photo, painting, objective = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32), js.Objective()
        >>> targets = js.make_targets(params, photo, [painting], objective)
        >>> js.balance(js.white_noise(3, 32, 48), params, targets, objective, 0.0).style.tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    if not isinstance(strength, jax.Array):
        check_strength(strength)
    weights = LossWeights() if weights is None else weights
    return _balance(reference, params, targets._replace(metric=None), weights, jnp.float32(strength), objective)


@functools.partial(jax.jit, static_argnames="objective")
def _balance(
    reference: Image,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    strength: Float[Array, ""],
    objective: Objective,
) -> LossWeights:
    contents, styles = len(objective.content_layers), len(objective.style_layers)

    def norm(only: Float[Array, " layers"]) -> Float[Array, ""]:
        alone = LossWeights(only[:contents], only[contents:], 0.0, weights.regions)
        _, gradient = value_and_grad(reference, params, targets, alone, objective)
        return jnp.sqrt(jnp.sum(jnp.square(gradient)))

    # One after the other, in the memory of one.
    norms = jax.lax.map(norm, jnp.eye(contents + styles, dtype=jnp.float32))
    counts = (weights.content, contents), (weights.style, styles)
    given = [jnp.broadcast_to(jnp.asarray(each, jnp.float32), (count,)) for each, count in counts]
    content_used, style_used = (each > 0 for each in given)
    norms = jnp.where(jnp.concatenate([content_used, style_used]), norms, 0.0)
    content_count, style_count = (
        jnp.maximum(jnp.sum(each, dtype=jnp.float32), 1.0) for each in (content_used, style_used)
    )
    # A term without a gradient, as of a style that is the content, has nothing to be weighted.
    inverse = jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1.0), 0.0)
    common = jnp.sum(norms[:contents]) / content_count
    common = jnp.where(common > 0, common, 1.0)
    toward, away = strength**POWER, (1 - strength) ** POWER
    pull = toward / (toward + away)
    return weights._replace(
        content=(1 - pull) * common * inverse[:contents] / content_count,
        style=pull * common * inverse[contents:] / style_count,
    )
