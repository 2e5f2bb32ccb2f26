"""Weights from one number: the strength of the style, with the same effect for all images and sizes.

The effect of fixed weights depends on the images and their size: a style image of strong contrast has Gram matrices a
hundred times those of a pale one. So each term is measured first, by the norm of its gradient where that is largest:
the style layers' at the content, where a run starts, the content layers' at the mosaic of the style (see `mosaic.py`),
where the style alone would end. With these norms `n_l` of the style layers, `n_k` of the content layers, and `n` the
mean of the `n_k`,

    style_l = u n / (L n_l),    content_k = (1 - u) n / (K n_k),    u / (1 - u) = m (s / (1 - s))^2

for a strength `s` and `m` from `MIDDLE_RATIOS`: all layers have weighted gradients of one norm there, and those of the
style together `u / (1 - u)` times that of the content. Strength 0 is the content alone, 1 the style alone. Measured:
benchmarks/README.md.

An edge term of norm `n_e` at the mosaic and weight `e` has `e` times the content's norm there:
`edges = e (1 - u) n / n_e`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstyle.compiler import Compiled
from jaxstyle.errors import InputError, check_number
from jaxstyle.guards import permissive
from jaxstyle.image.ops import check_image
from jaxstyle.losses.edges import edge_loss
from jaxstyle.losses.style import StyleLoss
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, check_objective, check_weight_shapes
from jaxstyle.objective.evaluate import value_and_grad
from jaxstyle.objective.targets import Targets, check_targets
from jaxstyle.typing import Image, Params
from jaxstyle.vgg.network import check_params

# Ratio of style to content at strength 0.5, where both are plain to see. The gradient of the Wasserstein distance is
# that of a quadratic function of the features: it falls less on the way to the style than those of fourth degree.
MIDDLE_RATIOS: dict[StyleLoss, float] = {"gram": 30.0, "covariance": 30.0, "mean+std": 30.0, "wasserstein": 8.0}
# Power of the odds of the strength in that ratio: at 0.1 it is 1/81 of the middle one, at 0.9 81 times.
RATIO_POWER = 2.0


def check_strength(strength: float | None) -> None:
    """Raise InputError unless `strength` is None or a number from 0 to 1."""
    if strength is not None:
        check_number(strength, "strength", 0, 1)


@permissive()
def balance(
    photo: Image,
    mosaic: Image,
    params: Params,
    targets: Targets,
    objective: Objective,
    strength: float | Float[Array, ""],
    weights: LossWeights | None = None,
) -> LossWeights:
    """Compute the weights for a strength by the module's formula.

    It evaluates one gradient for each layer of the loss. Pure, and compiled once for each shape and objective.

    Args:
        photo: `(H, W, 3)`, the content, where the gradients of the style layers are measured.
        mosaic: `(H, W, 3)`, an image of the style alone, where those of the content layers are: see `style_mosaic`.
        params: see `load_params`.
        targets: see `make_targets`; of the content's size.
        objective: static.
        strength: from 0, the content alone, to 1, the style alone.
        weights: `tv`, `regions` and `temporal` are copied from these, `edges` is relative to the content term, and a
            layer of weight 0 is left out; see `LossWeights`.

    Returns:
        Weights with one number for each layer.

    Raises:
        InputError: for a strength out of range, images of different sizes, or wrong types.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style, objective = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32), js.Objective()
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> mosaic = js.style_mosaic(0, [style], 32, 48)
        >>> weights = js.balance(content, mosaic, params, targets, objective, 0.5)
        >>> weights.content.shape, weights.style.shape
        ((1,), (5,))
    """
    check_objective(objective)
    for name, image in (("photo", photo), ("mosaic", mosaic)):
        check_image(image, name, objective.min_side // 2)
    if photo.shape != mosaic.shape:
        raise InputError(f"photo has shape {photo.shape} and mosaic {mosaic.shape}, expected the same")
    check_params(params)
    check_targets(targets, objective)
    if not (isinstance(strength, jax.Array) and strength.ndim == 0):
        check_number(strength, "strength", 0, 1)
    weights = LossWeights() if weights is None else weights
    regions = targets.num_regions
    check_weight_shapes(weights, objective, regions)
    # Of one type and shape, as other numbers, such as integers, would compile another program.
    weights = broadcast_weights(weights, objective, regions)
    targets = targets._replace(metric=None)
    images = jnp.asarray(photo), jnp.asarray(mosaic)
    return compiled_balance(*images, params, targets, weights, jnp.asarray(strength, jnp.float32), objective)


def _balance(
    photo: Float[Array, "*batch height width 3"],
    mosaic: Float[Array, "*batch height width 3"],
    params: Params,
    targets: Targets,
    weights: LossWeights,
    strength: Float[Array, "*batch"],
    objective: Objective,
) -> LossWeights:
    if photo.ndim == 4:
        balance_one = functools.partial(_balance, objective=objective)
        return jax.vmap(balance_one, (0, 0, None, 0, 0, 0))(photo, mosaic, params, targets, weights, strength)
    contents, styles = len(objective.content_layers), len(objective.style_layers)

    def norm(layer: Int[Array, ""]) -> Float[Array, ""]:
        only = (jnp.arange(contents + styles, dtype=jnp.int32) == layer).astype(jnp.float32)
        alone = LossWeights(only[:contents], only[contents:], 0.0, weights.regions, 0.0)
        _, gradient = value_and_grad(jnp.where(layer < contents, mosaic, photo), params, targets, alone, objective)
        return jnp.sqrt(jnp.sum(jnp.square(gradient)))

    # In sequence, in the memory of one evaluation.
    norms = jax.lax.map(norm, jnp.arange(contents + styles, dtype=jnp.int32))
    term_weights = [
        jnp.broadcast_to(jnp.asarray(weight, jnp.float32), (count,))
        for weight, count in ((weights.content, contents), (weights.style, styles))
    ]
    norms = jnp.where(jnp.concatenate(term_weights) > 0, norms, 0.0)
    content_count, style_count = (jnp.maximum(jnp.sum(weight > 0, dtype=jnp.float32), 1.0) for weight in term_weights)
    # A term without a gradient, such as the style's where style and content are one image, gets no weight.
    inverse = _inverse(norms)
    mean = jnp.sum(norms[:contents]) / content_count
    mean = jnp.where(mean > 0, mean, 1.0)
    style_part = _style_part(strength, objective.style_loss)
    content_norm = (1 - style_part) * mean
    edges = jnp.asarray(weights.edges, jnp.float32)
    if targets.edges is not None:
        gradient = jax.grad(edge_loss)(mosaic, targets.edges, targets.extent)
        edges = edges * content_norm * _inverse(jnp.sqrt(jnp.sum(jnp.square(gradient))))
    return weights._replace(
        content=content_norm * inverse[:contents] / content_count,
        style=style_part * mean * inverse[contents:] / style_count,
        edges=edges,
    )


def rebalance(
    weights: LossWeights, measured_at: float, strength: float, edges: float, style_loss: StyleLoss
) -> LossWeights:
    """Return the weights of another strength from measured ones, by numbers alone: nothing is evaluated.

    Args:
        weights: from `balance`, of one image, for an edge weight of 1.
        measured_at: their strength, above 0 and below 1.
        strength: from 0 to 1.
        edges: weight of the edge term, relative to the content term.
        style_loss: that of the objective.

    Returns:
        Weights of the same shapes, on the host.
    """
    before, after = (_style_part(each, style_loss) for each in (measured_at, strength))
    content, style = (1 - after) / (1 - before), after / before
    factors = {"content": content, "style": style, "edges": content * edges}
    scaled = {name: np.float32(factor) * np.asarray(getattr(weights, name)) for name, factor in factors.items()}
    return weights._replace(**scaled)


def _style_part(strength: Any, style_loss: StyleLoss) -> Any:
    """Part `u` of the style in the sum of the weighted gradients."""
    style_odds = MIDDLE_RATIOS[style_loss] * strength**RATIO_POWER
    return style_odds / (style_odds + (1 - strength) ** RATIO_POWER)


def _inverse(norms: Float[Array, "*terms"]) -> Float[Array, "*terms"]:
    """1 / norm, and 0 for 0."""
    return jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1.0), 0.0)


# `balance` without checks; of several images, with a leading axis of all but the params.
compiled_balance = Compiled(_balance, static_argnames="objective")
