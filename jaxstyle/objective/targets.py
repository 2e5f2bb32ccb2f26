"""What the picture should become: the content's features and the style's Gram matrices, computed once a run."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Canvas, sides
from jaxstyle.image.ops import check_image
from jaxstyle.image.regions import Regions, check_regions
from jaxstyle.losses.guides import Guides, check_reach, make_guides, reach
from jaxstyle.losses.whitening import Metric, whitening
from jaxstyle.objective.base import Objective, compute_statistics, positions
from jaxstyle.objective.mesh import broadcast_from_first_host, mesh_of, put, replicated, spec, to_host
from jaxstyle.typing import AnyFeatures, AnyImage, Extent, Params, Scalar


class Targets(NamedTuple):
    """What the picture should become.

    Attributes:
        content: content layer to the content picture's features `(h, w, c)`.
        style: style layer to the style's Gram matrix `(c, c)`; with regions one for each, `(regions, c, c)`.
        means: style layer to the style's mean feature vector `(c,)` or `(regions, c)`; None where the style loss needs
            none.
        guides: which positions count for which region; None where the whole picture has one style.
        metric: style layer to the metric of its residual in the surrogate loss: see `whiten`; None is the loss itself.
        extent: height and width of the picture where it lies on a larger canvas (see `canvas.py`); None is all of it.
    """

    content: dict[str, AnyFeatures]
    style: dict[str, Float[Array, "*regions _ _"]]
    means: dict[str, Float[Array, "*regions _"]] | None = None
    guides: Guides | None = None
    metric: dict[str, Metric] | None = None
    extent: Extent | None = None


class Style(NamedTuple):
    """The style's half of the targets.

    Attributes:
        grams: see `Targets.style`.
        means: see `Targets.means`.
    """

    grams: dict[str, Float[Array, "*regions _ _"]]
    means: dict[str, Float[Array, "*regions _"]] | None


def make_targets(
    params: Params,
    content: AnyImage | Canvas,
    styles: Sequence[AnyImage | Canvas],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
) -> Targets:
    """Features of the content and Gram matrices of the style, computed once a run.

    Several styles blend by their raw Gram matrices, and means: `A = sum w_i A_i / sum w_i`.

    Args:
        params: see `load_params`.
        content: `(H, W, 3)` in [0, 1], or such a picture on a canvas: see `on_canvas` and `spread`.
        styles: one or more `(h, w, 3)` in [0, 1], of any sizes, likewise.
        objective: which layers.
        style_weights: one number a style, relative; equal if None.
        regions: which pixels get which style; every pixel the blend of all if None. Styles must then be plain pictures.

    Returns:
        The targets.

    Raises:
        InputError: for pictures too small or misshapen, no style, wrong style weights, or regions that do not fit.
    """
    photo = content if isinstance(content, Canvas) else Canvas(content)
    check_image(photo.pixels, "content", objective.min_side)
    if not isinstance(styles, Sequence) or not styles:
        raise InputError("styles is no list of pictures, expected at least one: pass [style] for a single one")
    guides = None
    if regions is not None:
        size = photo.pixels.shape if photo.extent is None else tuple(map(int, to_host(photo.extent)))
        check_regions(regions, size, [_pixels(style).shape for style in styles])
        guides = guides_on(photo, regions, objective)
        check_reach(jax.tree.map(to_host, reach(guides.weights)), regions.guidance, "the content")
    style = measure_styles(params, styles, objective, style_weights, regions)
    return Targets(content_features(params, photo, objective), style.grams, style.means, guides, extent=photo.extent)


def guides_on(photo: Canvas, regions: Regions, objective: Objective) -> Guides:
    """The guides of a content, lying as it does.

    Args:
        photo: the content.
        regions: of its true size.
        objective: says the style layers.

    Returns:
        The guides.
    """
    masks = np.zeros((*photo.pixels.shape[:2], regions.content.shape[2]), np.float32)
    masks[: regions.content.shape[0], : regions.content.shape[1]] = regions.content
    mesh = mesh_of(photo.pixels)
    laid = jnp.asarray(masks) if mesh is None else put(masks, NamedSharding(mesh, spec(mesh)))
    return _guides(laid, objective.style_layers, regions.guidance, photo.extent)


def measure_styles(
    params: Params,
    styles: Sequence[AnyImage | Canvas],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
) -> Style:
    """The style's half of the targets: blended Gram matrices and means. See `make_targets`."""
    blend = style_shares(len(styles), style_weights)
    if regions is None:
        return _blend([_measured(params, style, objective) for style in styles], [np.float32(each) for each in blend])
    found, shares = [], []
    for k, (style, share, mask) in enumerate(zip(styles, blend, regions.styles, strict=True), 1):
        mask = np.asarray(mask, np.float32)
        here = mask if mask.ndim == 1 else mask.max(axis=(0, 1)) > 0
        shares.append(np.float32(share) * here)
        if mask.ndim == 1:
            whole = _measured(params, style, objective)
            found.append(jax.tree.map(lambda each: jnp.repeat(each[None], regions.content.shape[2], axis=0), whole))
            continue
        guides = _guides(jnp.asarray(mask), objective.style_layers, regions.guidance, None)
        # Of the regions that this style has.
        reached = {layer: np.asarray(each)[np.flatnonzero(here)] for layer, each in reach(guides.weights).items()}
        check_reach(reached, regions.guidance, f"style {k}")
        found.append(_measured(params, style, objective, guides.weights))
    total = np.sum(shares, axis=0)
    if not np.all(total > 0):
        raise InputError(
            f"region {np.flatnonzero(total <= 0)[0] + 1} has only styles of weight 0, expected a positive one"
        )
    return _blend(found, [share / total for share in shares])


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
    """The same targets, with a metric in which the optimizer gets on faster: see `whitening.py`.

    The losses stay the same; only `Losses.surrogate`, and so the gradient of `value_and_grad`, is another.

    Args:
        targets: see `make_targets`.
        power: 1 is whitened, 0 the loss itself, at the same cost and without compiling anything again.

    Returns:
        Targets with a metric.
    """
    mesh = next(filter(None, map(mesh_of, targets.style.values())), None)
    if mesh is None:
        return targets._replace(metric=metric_of(Style(targets.style, targets.means), np.float32(power)))
    # Eigenvectors once, not on every device: on the cores of one machine they would get in each other's way.
    metric = metric_of(jax.tree.map(to_host, Style(targets.style, targets.means)), np.float32(power))
    return targets._replace(metric=replicated(broadcast_from_first_host(metric), mesh))


def _blend(styles: Sequence[Style], shares: Sequence[np.ndarray | np.float32]) -> Style:
    """The weighted sum; a share is a number, or one a region."""

    def blend(*each: Array) -> Array:
        weights = (jnp.reshape(share, np.shape(share) + (1,) * (each[0].ndim - np.ndim(share))) for share in shares)
        return sum((weight * array for weight, array in zip(weights, each, strict=True)), jnp.zeros_like(each[0]))

    return jax.tree.map(blend, *styles)


@jax.jit
def metric_of(style: Style, power: float | Scalar) -> dict[str, Metric]:
    """The metric that `whiten` gives the targets; of a style with means that of its covariances."""
    if style.means is None:
        return whitening(style.grams, power)
    return whitening(
        {
            layer: gram - style.means[layer][..., :, None] * style.means[layer][..., None, :]
            for layer, gram in style.grams.items()
        },
        power,
    )


def _pixels(style: AnyImage | Canvas) -> AnyImage:
    return style.pixels if isinstance(style, Canvas) else style


def _measured(
    params: Params, style: AnyImage | Canvas, objective: Objective, guides: dict[str, AnyFeatures] | None = None
) -> Style:
    if isinstance(style, Canvas) and guides is None:
        return _moments(params, style, objective, None)
    check_image(_pixels(style), "style", objective.min_side)
    # A plain picture is not spread over devices, whatever the content is.
    return _moments(params, Canvas(_pixels(style)), dataclasses.replace(objective, shards=(1, 1)), guides)


@functools.partial(jax.jit, static_argnames="objective")
def _moments(params: Params, style: Canvas, objective: Objective, guides: dict[str, AnyFeatures] | None) -> Style:
    found = compute_statistics(params, jnp.asarray(style.pixels), {}, _at_once(objective), guides, extent=style.extent)
    size = sides(style.pixels.shape, style.extent)

    def mean(sums: dict[str, Array]) -> dict[str, Array]:
        if guides is not None:
            return sums
        return {layer: each / positions(*size, layer) for layer, each in sums.items()}

    return Style(mean(found.products), mean(found.sums) if objective.means else None)


_guides = jax.jit(make_guides, static_argnames=("layers", "guidance"))


@functools.partial(jax.jit, static_argnames="objective")
def content_features(params: Params, photo: Canvas, objective: Objective) -> dict[str, AnyFeatures]:
    """The content's half of the targets: its feature maps. See `make_targets`."""
    pixels, maps = jnp.asarray(photo.pixels), objective.content_layers
    return compute_statistics(params, pixels, {}, _at_once(objective), styles=(), maps=maps, extent=photo.extent).maps


def _at_once(objective: Objective) -> Objective:
    """For what is evaluated once: compiling Winograd's form takes longer than it saves."""
    return dataclasses.replace(objective, algorithm="direct") if objective.algorithm == "auto" else objective
