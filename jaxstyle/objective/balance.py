"""Weights from one number: how strong the style is, alike for every pair of pictures and every size.

What weights do depends on the pictures and their size: a painting of strong contrast has Gram matrices a hundred times
those of a pale one. So each term is measured first, by the norm of its gradient at the far end from its own goal: the
style's layers at the photo, where a run begins, the content's at the style's mosaic (see `mosaic.py`), where the style
alone would lead. With these norms `n_l` of the style's, `n_k` of the content's layers, and `n` the mean of the `n_k`,

    style_l = u n / (L n_l),    content_k = (1 - u) n / (K n_k),    u / (1 - u) = 30 (s / (1 - s))^2

for a strength `s`: all layers pull alike at their far ends, and the style's together `u / (1 - u)` times as hard as the
content's. Strength 0 is the content alone, 1 the style alone. Measured: benchmarks/README.md.
"""

from numbers import Real

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.errors import InputError
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.evaluate import value_and_grad
from jaxstyle.objective.targets import Targets
from jaxstyle.typing import Image, Params

# Style to content at strength 0.5: there the painting is plain to see, and the photo too.
MIDDLE = 30.0
# How steeply the strength changes that: at 0.1 it is 1/81 of it, at 0.9 81 times.
POWER = 2.0


def check_strength(strength: float | None) -> None:
    """Refuse what is no strength.

    Raises:
        InputError: saying what was got.
    """
    if strength is not None and not (isinstance(strength, Real | np.floating) and 0 <= strength <= 1):
        raise InputError(f"strength is {strength!r}, expected a number from 0, the photo alone, to 1, the style alone")


def balance(
    photo: Image,
    mosaic: Image,
    params: Params,
    targets: Targets,
    objective: Objective,
    strength: float | Float[Array, ""],
    weights: LossWeights | None = None,
) -> LossWeights:
    """Weights for a strength: see the module's formula.

    It takes as many gradients as there are layers in the loss. Pure, and compiled once for each shape and objective.

    Args:
        photo: `(H, W, 3)`, the content, where the style's gradients are measured.
        mosaic: of the same size, a picture of the style alone, where the content's are: see `style_mosaic`.
        params: see `load_params`.
        targets: see `make_targets`; of the photo's size.
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
        >>> mosaic = js.style_mosaic(0, [painting], 32, 48)
        >>> weights = js.balance(photo, mosaic, params, targets, objective, 0.5)
        >>> weights.content.shape, weights.style.shape
        ((1,), (5,))
    """
    if not isinstance(strength, jax.Array):
        check_strength(strength)
    weights = LossWeights() if weights is None else weights
    # Options of the compiler are not for functions within others.
    find = _equalized if isinstance(photo, jax.core.Tracer) else _compiled
    return find(
        jnp.stack([photo, mosaic]), params, targets._replace(metric=None), weights, jnp.float32(strength), objective
    )


def _equalized(
    ends: Float[Array, "2 height width 3"],
    params: Params,
    targets: Targets,
    weights: LossWeights,
    strength: Float[Array, ""],
    objective: Objective,
) -> LossWeights:
    contents, styles = len(objective.content_layers), len(objective.style_layers)

    def norm(layer: Int[Array, ""]) -> Float[Array, ""]:
        only = (jnp.arange(contents + styles) == layer).astype(jnp.float32)
        alone = LossWeights(only[:contents], only[contents:], 0.0, weights.regions)
        far_end = jnp.where(layer < contents, ends[1], ends[0])
        _, gradient = value_and_grad(far_end, params, targets, alone, objective)
        return jnp.sqrt(jnp.sum(jnp.square(gradient)))

    # One after the other, in the memory of one.
    norms = jax.lax.map(norm, jnp.arange(contents + styles))
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
    toward, away = MIDDLE * strength**POWER, (1 - strength) ** POWER
    pull = toward / (toward + away)
    return weights._replace(
        content=(1 - pull) * common * inverse[:contents] / content_count,
        style=pull * common * inverse[contents:] / style_count,
    )


_compiled = jax.jit(_equalized, static_argnames="objective", compiler_options=COMPILER_OPTIONS)
