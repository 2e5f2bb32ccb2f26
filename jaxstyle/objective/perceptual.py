"""The objective as a loss for training: of images that something else has made, such as a network."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxstyle.compiler import Compiled
from jaxstyle.errors import InputError, quote
from jaxstyle.image.canvas import Canvas
from jaxstyle.image.ops import check_image
from jaxstyle.objective.base import (
    Losses,
    LossWeights,
    Objective,
    broadcast_weights,
    check_objective,
    check_weight_shapes,
)
from jaxstyle.objective.evaluate import losses_of
from jaxstyle.objective.targets import (
    StyleStatistics,
    Targets,
    blended_statistics,
    check_styles,
    content_edges,
    content_features,
)
from jaxstyle.typing import AnyImage, ImageBatch, Params
from jaxstyle.vgg.network import channels_of, check_params


def perceptual_loss(
    image: ImageBatch,
    content: ImageBatch,
    params: Params,
    style: StyleStatistics,
    weights: LossWeights,
    objective: Objective,
) -> Losses:
    """Compute the losses of images that should have the content of others and the style of a painting.

    They are those of `value_and_grad` for targets of these contents, and differentiable in reverse mode by `image`, so
    by whatever made it; the contents are constants. Pure, and compiled once for each shape and objective.

    Args:
        image: `(..., H, W, 3)` in [0, 1].
        content: the content of each image; of the same shape.
        params: see `load_params`.
        style: see `style_statistics`.
        weights: see `LossWeights`; shared by all images.
        objective: the objective that the statistics were made for, without a temporal term; static.

    Returns:
        Losses of the leading axes' shape, one number for each image.

    Raises:
        InputError: for an image that is too small for the objective's layers or not of the content's shape, statistics
            of another objective, or wrong types.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> contents, painting = jax.random.uniform(jax.random.key(1), (2, 32, 48, 3)), js.white_noise(2, 40, 32)
        >>> objective = js.Objective()
        >>> style = js.style_statistics(params, [painting], objective)
        >>> perceptual_loss(contents, contents, params, style, js.LossWeights(), objective).total.shape
        (2,)

    References:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016,
        section 3.2.
    """
    check_objective(objective)
    if objective.temporal:
        raise InputError("the objective has a temporal term, expected none: a perceptual loss knows no previous frame")
    check_image(image, min_side=objective.min_side // 2, batch=True)
    check_image(content, "content", batch=True)
    if image.shape != content.shape:
        raise InputError(f"image has shape {image.shape} and content {content.shape}, expected the same")
    check_params(params, objective.layers)
    _check_style(style, params, objective)
    check_weight_shapes(weights, objective)
    image, content = jnp.asarray(image, jnp.float32), jnp.asarray(content, jnp.float32)
    return _compiled(image, content, params, style, broadcast_weights(weights, objective), objective)


def style_statistics(
    params: Params,
    styles: Sequence[AnyImage],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
) -> StyleStatistics:
    """Compute the style's half of the targets, for `perceptual_loss`.

    Several styles blend as in `make_targets`.

    Args:
        params: see `load_params`.
        styles: one or more `(h, w, 3)` in [0, 1], of any sizes.
        objective: determines the layers.
        style_weights: one number for each style, relative; equal if None.

    Returns:
        Gram matrices, means and features of the styles, as far as the objective needs them.

    Raises:
        InputError: for images too small or misshapen, no style, or wrong style weights.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> style = style_statistics(params, [js.white_noise(1, 32, 48)], js.Objective(style_layers=("relu3_1",)))
        >>> style.grams["relu3_1"].shape
        (8, 8)
    """
    check_objective(objective)
    check_params(params, objective.layers)
    check_styles(styles, objective)
    return blended_statistics(params, styles, objective, style_weights)


def _check_style(style: Any, params: Params, objective: Objective) -> None:
    """Raise InputError unless `style` are statistics of one style, with the objective's layers and these params."""
    if not isinstance(style, StyleStatistics):
        raise InputError(f"style is {quote(style)}, expected StyleStatistics: style_statistics computes them")
    styles = objective.style_layers
    for layers, arrays in (
        (styles, style.grams),
        (styles if objective.needs_means else (), style.means or {}),
        (objective.neighbor_layers, style.banks or {}),
    ):
        if missing := {*layers} - {*arrays}:
            raise InputError(
                f"style has no layer {min(missing)}, expected statistics that were made for this objective"
            )
    for layer in styles:
        channels, shape = channels_of(params, layer), style.grams[layer].shape
        if shape != (channels, channels):
            raise InputError(
                f"style has a Gram matrix of shape {shape} at {layer}, expected {(channels, channels)}: make the "
                "statistics with the same params"
            )


def _losses(
    image: ImageBatch,
    content: ImageBatch,
    params: Params,
    style: StyleStatistics,
    weights: LossWeights,
    objective: Objective,
) -> Losses:
    if image.ndim > 3:
        losses_of_one = functools.partial(_losses, objective=objective)
        return jax.vmap(losses_of_one, (0, 0, None, None, None))(image, content, params, style, weights)
    canvas = Canvas(jax.lax.stop_gradient(content))
    features, edges = content_features(params, canvas, objective), content_edges(canvas, objective)
    targets = Targets(features, style.grams, style.means, banks=style.banks, edges=edges)
    return losses_of(image, params, targets, weights, objective)


_compiled = Compiled(_losses, static_argnames="objective")
