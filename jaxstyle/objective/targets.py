"""Targets of the optimization: the content's features and the style's Gram matrices, computed once a run."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, check_number, check_sequence, quote
from jaxstyle.image.canvas import Canvas, sides
from jaxstyle.image.ops import check_image
from jaxstyle.image.regions import Regions, check_regions
from jaxstyle.losses.guides import Guides, check_guides, guide_norms, make_guides
from jaxstyle.losses.neighbors import Bank
from jaxstyle.losses.whitening import Metric, whitening
from jaxstyle.objective.banks import BankSource, style_banks
from jaxstyle.objective.base import Objective, check_objective, compute_statistics, direct, num_positions
from jaxstyle.objective.mesh import broadcast_from_first_host, image_spec, mesh_of, put, replicated, to_host
from jaxstyle.objective.windows import StageInputs
from jaxstyle.typing import AnyFeatures, AnyImage, Extent, Params, Scalar
from jaxstyle.vgg.network import check_params

# Powers of a metric beyond this leave nothing but the weakest directions.
MAX_POWER = 10


class Targets(NamedTuple):
    """Features and statistics that the optimized image should have.

    Attributes:
        content: content layer to the content's features `(h, w, c)`.
        style: style layer to the style's Gram matrix `(c, c)`; with regions one for each, `(regions, c, c)`.
        means: style layer to the style's mean feature vector `(c,)` or `(regions, c)`; None where the style loss needs
            none.
        guides: weights of the positions for each region; None where the whole image has one style.
        metric: style layer to the metric of its residual in the surrogate loss: see `whiten`; None for the loss itself.
        extent: height and width of an image on a larger canvas (see `canvas.py`); None if the image fills the canvas.
        banks: neighbor layer to the style's features there; with regions one bank for each. None where there are no
            neighbor layers.
    """

    content: dict[str, AnyFeatures]
    style: dict[str, Float[Array, "*regions _ _"]]
    means: dict[str, Float[Array, "*regions _"]] | None = None
    guides: Guides | None = None
    metric: dict[str, Metric] | None = None
    extent: Extent | None = None
    banks: dict[str, Bank] | None = None


class StyleStatistics(NamedTuple):
    """The style's half of the targets.

    Attributes:
        grams: see `Targets.style`.
        means: see `Targets.means`.
        banks: see `Targets.banks`.
    """

    grams: dict[str, Float[Array, "*regions _ _"]]
    means: dict[str, Float[Array, "*regions _"]] | None
    banks: dict[str, Bank] | None = None


def make_targets(
    params: Params,
    content: AnyImage | Canvas,
    styles: Sequence[AnyImage | Canvas],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
) -> Targets:
    """Compute the features of the content and the Gram matrices of the style.

    Several styles blend by their unnormalized Gram matrices, and means: `A = sum w_i A_i / sum w_i`. At the neighbor
    layers they share a bank, in which each has a part of the features that is proportional to its weight.

    Args:
        params: see `load_params`.
        content: `(H, W, 3)` in [0, 1], or such an image on a canvas: see `on_canvas` and `shard`.
        styles: one or more `(h, w, 3)` in [0, 1], of any sizes, or canvases.
        objective: determines the layers.
        style_weights: one number for each style, relative; equal if None.
        regions: masks of regions with styles of their own; every pixel gets the blend of all styles if None. Styles
            must then be plain images.

    Returns:
        The targets.

    Raises:
        InputError: for images too small or misshapen, no style, wrong style weights, or regions that do not fit.
    """
    check_objective(objective)
    check_params(params)
    check_image(_pixels(content), "content", objective.min_side)
    if isinstance(styles, str) or not isinstance(styles, Sequence) or not styles:
        raise InputError(f"styles is {quote(styles)}, expected a list of at least one image, such as [style]")
    for style in styles:
        check_image(_pixels(style), "style", objective.min_side)
    canvas = _canvas(content)
    guides = None
    if regions is not None:
        size = canvas.pixels.shape if canvas.extent is None else tuple(map(int, to_host(canvas.extent)))
        check_regions(regions, size, [_pixels(style).shape for style in styles])
        guides = content_guides(canvas, regions, objective)
        check_guides(jax.tree.map(to_host, guide_norms(guides.weights)), regions.guidance, "the content")
    style = style_statistics(params, styles, objective, style_weights, regions)
    features = content_features(params, canvas, objective)
    return Targets(features, style.grams, style.means, guides, extent=canvas.extent, banks=style.banks)


def check_targets(targets: Any, objective: Objective) -> None:
    """Raise InputError unless `targets` are `Targets` with all layers of the objective."""
    if not isinstance(targets, Targets):
        raise InputError(f"targets is {quote(targets)}, expected Targets: make_targets computes them")
    for name, layers, arrays in (
        ("content", objective.content_layers, targets.content),
        ("style", objective.style_layers, targets.style),
        ("means", objective.style_layers if objective.needs_means else (), targets.means),
        ("guides", objective.guided_layers, {} if targets.guides is None else targets.guides.weights),
        ("metric", objective.style_layers, targets.metric),
        ("banks", objective.neighbor_layers, targets.banks),
    ):
        optional = name in ("metric", "guides")
        if (optional and not arrays) or set(layers) <= set(arrays or {}):
            continue
        raise InputError(
            f"targets.{name} has no layer {min(set(layers) - set(arrays or {}))}, expected targets that were made for "
            "this objective"
        )


def content_guides(content: Canvas, regions: Regions, objective: Objective) -> Guides:
    """Make the guides of a content image, on the devices that it is on.

    Args:
        content: the content image.
        regions: masks of its true size.
        objective: determines the style and neighbor layers.
    """
    masks = np.zeros((*content.pixels.shape[:2], regions.content.shape[2]), np.float32)
    masks[: regions.content.shape[0], : regions.content.shape[1]] = regions.content
    mesh = mesh_of(content.pixels)
    placed = jnp.asarray(masks) if mesh is None else put(masks, NamedSharding(mesh, image_spec(mesh)))
    return _make_guides(placed, objective.guided_layers, regions.guidance, content.extent)


def style_statistics(
    params: Params,
    styles: Sequence[AnyImage | Canvas],
    objective: Objective,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
) -> StyleStatistics:
    """Compute the style's half of the targets: blended Gram matrices and means, and banks. See `make_targets`."""
    blend = normalize_style_weights(len(styles), style_weights)
    if regions is None:
        statistics = [_statistics_of(params, style, objective) for style in styles]
        sources = [BankSource(_canvas(style), np.asarray(share)) for style, share in zip(styles, blend, strict=True)]
        banks = style_banks(params, sources, objective)
        return _weighted_sum(statistics, [np.float32(share) for share in blend])._replace(banks=banks)
    count = regions.content.shape[2]
    statistics, shares, style_guides = [], [], []
    for k, (style, share, mask) in enumerate(zip(styles, blend, regions.styles, strict=True), 1):
        mask = np.asarray(mask, np.float32)
        presence = mask if mask.ndim == 1 else mask.max(axis=(0, 1)) > 0
        shares.append(np.float32(share) * presence)
        if mask.ndim == 1:
            whole = _statistics_of(params, style, objective)
            statistics.append(jax.tree.map(lambda array: jnp.repeat(array[None], count, axis=0), whole))
            style_guides.append(None)
            continue
        guides = _make_guides(jnp.asarray(mask), objective.guided_layers, regions.guidance, None)
        # Only the regions that this style has.
        norms = {
            layer: np.asarray(squares)[np.flatnonzero(presence)]
            for layer, squares in guide_norms(guides.weights).items()
        }
        check_guides(norms, regions.guidance, f"style {k}")
        statistics.append(_statistics_of(params, style, objective, guides.weights))
        style_guides.append(guides.weights)
    total = np.sum(shares, axis=0)
    if not np.all(total > 0):
        raise InputError(
            f"region {np.flatnonzero(total <= 0)[0] + 1} has only styles of weight 0, expected a positive one"
        )
    shares = [share / total for share in shares]
    sources = [BankSource(_canvas(style), *rest) for style, *rest in zip(styles, shares, style_guides, strict=True)]
    return _weighted_sum(statistics, shares)._replace(banks=style_banks(params, sources, objective))


def normalize_style_weights(count: int, style_weights: Sequence[float] | None = None) -> list[float]:
    """Compute the share of each style, `w_i / sum w_i`.

    Args:
        count: number of styles.
        style_weights: one number for each style, relative; equal if None.

    Returns:
        Numbers whose sum is 1.

    Raises:
        InputError: for no style, another number of weights, or weights that are negative, not finite or all zero.

    Example:
        >>> normalize_style_weights(2, [3, 1])
        [0.75, 0.25]
    """
    if count < 1:
        raise InputError("there is no style, expected at least one")
    if style_weights is None:
        return [1 / count] * count
    weights: Any = style_weights
    if isinstance(weights, np.ndarray | jax.Array):
        weights = np.asarray(weights).tolist()
    check_sequence(weights, "style_weights", "numbers, one for each style")
    if len(weights) != count:
        raise InputError(f"{len(weights)} style weights for {count} styles, expected one each")
    for weight in weights:
        check_number(weight, "a style weight", 0)
    shares = np.asarray(weights, np.float64)
    if not np.any(shares):
        raise InputError("all style weights are zero, expected at least one positive")
    # The division by the largest keeps the sum finite.
    shares = shares / shares.max()
    return [float(share) for share in shares / shares.sum()]


def whiten(targets: Targets, power: float = 1.0) -> Targets:
    """Return the same targets with a metric in which the optimizer converges faster: see `whitening.py`.

    The losses stay the same; only `Losses.surrogate`, and so the gradient of `value_and_grad`, is another.

    Args:
        targets: see `make_targets`.
        power: 1 for the whitened residual, 0 for the loss itself, at the same cost and without another compilation.

    Returns:
        Targets with a metric.

    Raises:
        InputError: for wrong types, or a power out of range.
    """
    if not isinstance(targets, Targets):
        raise InputError(f"targets is {quote(targets)}, expected Targets: make_targets computes them")
    if not (isinstance(power, jax.Array) and power.ndim == 0):
        check_number(power, "power", 0, MAX_POWER)
    # Traced, so that another power compiles nothing again.
    exponent = power if isinstance(power, jax.Array) else np.float32(power)
    mesh = next(filter(None, map(mesh_of, targets.style.values())), None)
    if mesh is None:
        return targets._replace(metric=whitening_metric(StyleStatistics(targets.style, targets.means), exponent))
    # Eigenvectors once, not on every device: on the cores of one machine they would compete.
    metric = whitening_metric(jax.tree.map(to_host, StyleStatistics(targets.style, targets.means)), exponent)
    return targets._replace(metric=replicated(broadcast_from_first_host(metric), mesh))


@jax.jit
def whitening_metric(style: StyleStatistics, power: float | Scalar) -> dict[str, Metric]:
    """Compute the metric of `whiten`: of the covariances where there are means, of the Gram matrices otherwise."""
    if style.means is None:
        return whitening(style.grams, power)
    return whitening(
        {
            layer: gram - style.means[layer][..., :, None] * style.means[layer][..., None, :]
            for layer, gram in style.grams.items()
        },
        power,
    )


@functools.partial(jax.jit, static_argnames="objective")
def content_features(params: Params, content: Canvas, objective: Objective) -> dict[str, AnyFeatures]:
    """Compute the content's half of the targets: its feature maps. See `make_targets`."""
    pixels, layers, extent = jnp.asarray(content.pixels), objective.content_layers, content.extent
    return compute_statistics(params, pixels, StageInputs({}, {}), direct(objective), (), layers, extent).maps


def _canvas(image: AnyImage | Canvas) -> Canvas:
    return image if isinstance(image, Canvas) else Canvas(image)


def _pixels(image: Any) -> Any:
    return image.pixels if isinstance(image, Canvas) else image


def _statistics_of(
    params: Params, style: AnyImage | Canvas, objective: Objective, guides: dict[str, AnyFeatures] | None = None
) -> StyleStatistics:
    """Statistics of one style; of each region with guides."""
    if isinstance(style, Canvas) and guides is None:
        return _compute_style_statistics(params, style, objective, None)
    check_image(_pixels(style), "style", objective.min_side)
    return _compute_style_statistics(
        params, Canvas(_pixels(style)), dataclasses.replace(objective, shards=(1, 1)), guides
    )


@functools.partial(jax.jit, static_argnames="objective")
def _compute_style_statistics(
    params: Params, style: Canvas, objective: Objective, guides: dict[str, AnyFeatures] | None
) -> StyleStatistics:
    pixels, extent = jnp.asarray(style.pixels), style.extent
    inputs = StageInputs({}, {} if guides is None else guides)
    outputs = compute_statistics(params, pixels, inputs, direct(objective), extent=extent)
    size = sides(style.pixels.shape, style.extent)

    def mean(sums: dict[str, Array]) -> dict[str, Array]:
        if guides is not None:
            return sums
        return {layer: total / num_positions(*size, layer) for layer, total in sums.items()}

    return StyleStatistics(mean(outputs.products), mean(outputs.sums) if objective.needs_means else None)


_make_guides = jax.jit(make_guides, static_argnames=("layers", "guidance"))


def _weighted_sum(styles: Sequence[StyleStatistics], shares: Sequence[np.ndarray | np.float32]) -> StyleStatistics:
    """Weighted sum of statistics; a share is a number, or one for each region."""

    def blend(*arrays: Array) -> Array:
        ndim = arrays[0].ndim
        weights = (jnp.reshape(share, np.shape(share) + (1,) * (ndim - np.ndim(share))) for share in shares)
        return sum((weight * array for weight, array in zip(weights, arrays, strict=True)), jnp.zeros_like(arrays[0]))

    return jax.tree.map(blend, *styles)
