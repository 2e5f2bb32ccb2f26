"""What the picture should become: the content's features and the style's Gram matrices, computed once a run."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.canvas import Canvas, sides
from jaxstyle.errors import InputError
from jaxstyle.image import check_image
from jaxstyle.mesh import mesh_of, of_the_first, replicated, to_host
from jaxstyle.objective import Objective, positions, survey
from jaxstyle.typing import AnyFeatures, AnyImage, Extent, Gram, Params
from jaxstyle.whitening import Metric, whitening


class Targets(NamedTuple):
    """What the picture should become.

    Attributes:
        content: content layer to the content picture's features `(h, w, c)`.
        style: style layer to the style's Gram matrix `(c, c)`.
        metric: style layer to how its residual is measured for the guide: see `whiten`; None is the loss itself.
        extent: height and width of the picture where it lies on a larger canvas (see `canvas.py`); None is all of it.
    """

    content: dict[str, AnyFeatures]
    style: dict[str, Gram]
    metric: dict[str, Metric] | None = None
    extent: Extent | None = None


def make_targets(
    params: Params,
    content: AnyImage | Canvas,
    styles: Sequence[AnyImage | Canvas],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
) -> Targets:
    """Features of the content and Gram matrices of the style, computed once a run.

    Several styles blend by their raw Gram matrices: `A = sum w_i A_i / sum w_i`.

    Args:
        params: see `load_params`.
        content: `(H, W, 3)` in [0, 1], or such a picture on a canvas: see `on_canvas` and `spread`.
        styles: one or more `(h, w, 3)` in [0, 1], of any sizes, likewise.
        objective: which layers.
        style_weights: one number a style, relative; equal if None.

    Returns:
        The targets.

    Raises:
        InputError: for pictures too small or misshapen, no style, or wrong style weights.
    """
    photo = content if isinstance(content, Canvas) else Canvas(content)
    check_image(photo.pixels, "content", objective.smallest)
    if not isinstance(styles, Sequence) or not styles:
        raise InputError("styles is no list of pictures, expected at least one: pass [style] for a single one")
    grams = style_grams(params, styles, objective, style_weights)
    return Targets(content_features(params, photo, objective), grams, extent=photo.extent)


def style_grams(
    params: Params,
    styles: Sequence[AnyImage | Canvas],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
) -> dict[str, Gram]:
    """The style's half of the targets: blended Gram matrices. See `make_targets`."""
    blend = style_shares(len(styles), style_weights)
    grams = [_style_grams(params, style, objective) for style in styles]
    return jax.tree.map(lambda *each: _blend(each, blend), *grams)


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
    grams = targets.style
    mesh = next(filter(None, map(mesh_of, grams.values())), None)
    if mesh is None:
        return targets._replace(metric=metric_of(grams, np.float32(power)))
    # Eigenvectors once, not on every device: on the cores of one machine they would get in each other's way.
    metric = metric_of(jax.tree.map(to_host, grams), np.float32(power))
    return targets._replace(metric=replicated(of_the_first(metric), mesh))


def _blend(grams: Sequence[Gram], shares: Sequence[float]) -> Gram:
    return sum((share * gram for gram, share in zip(grams, shares, strict=True)), jnp.zeros_like(grams[0]))


# Compiled, and by another name: `whiten` is what users call.
metric_of = jax.jit(whitening)


def _style_grams(params: Params, style: AnyImage | Canvas, objective: Objective) -> dict[str, Gram]:
    if isinstance(style, Canvas):
        return _grams(params, style, objective)
    check_image(style, "style", objective.smallest)
    # A plain picture is not spread over devices, whatever the content is.
    return _grams(params, Canvas(style), dataclasses.replace(objective, shards=(1, 1)))


@functools.partial(jax.jit, static_argnames="objective")
def _grams(params: Params, style: Canvas, objective: Objective) -> dict[str, Gram]:
    products = survey(params, jnp.asarray(style.pixels), {}, objective, extent=style.extent).products
    size = sides(style.pixels.shape, style.extent)
    return {layer: product / positions(*size, layer) for layer, product in products.items()}


@functools.partial(jax.jit, static_argnames="objective")
def content_features(params: Params, photo: Canvas, objective: Objective) -> dict[str, AnyFeatures]:
    """The content's half of the targets: its feature maps. See `make_targets`."""
    pixels, maps = jnp.asarray(photo.pixels), objective.content_layers
    return survey(params, pixels, {}, objective, styles=(), maps=maps, extent=photo.extent).maps
