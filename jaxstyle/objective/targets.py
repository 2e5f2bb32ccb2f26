"""Targets of the optimization: the content's features and the style's Gram matrices, computed once a run."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.compiler import Compiled
from jaxstyle.errors import InputError, check_number, check_sequence, quote
from jaxstyle.image.canvas import Canvas, area, sides
from jaxstyle.image.ops import check_image
from jaxstyle.image.regions import Guidance, Regions, check_regions
from jaxstyle.losses.edges import laplacian
from jaxstyle.losses.guides import Guides, make_guides
from jaxstyle.losses.neighbors import Bank
from jaxstyle.losses.temporal import Warped, check_warped
from jaxstyle.losses.whitening import Metric, whitening
from jaxstyle.objective.banks import BankSource, style_banks
from jaxstyle.objective.base import Objective, check_objective, direct, segments_of
from jaxstyle.objective.mesh import broadcast_from_first_host, mesh_of, place, replicated, to_host
from jaxstyle.objective.windows import Inputs, compute_statistics
from jaxstyle.typing import AnyFeatures, AnyImage, Extent, Params, Scalar
from jaxstyle.vgg.network import check_params, stride

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
        edges: the content's Laplacian `(H // 4, W // 4, 1)`: see `edges.py`; None where there is no edge term.
        previous: the previous result of a video, on the content's canvas: see `temporal.py`; None where there is no
            temporal term.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> targets.content["relu2_1"].shape, targets.style["relu1_1"].shape
        ((16, 24, 4), (4, 4))
    """

    content: dict[str, AnyFeatures]
    style: dict[str, Float[Array, "*regions _ _"]]
    means: dict[str, Float[Array, "*regions _"]] | None = None
    guides: Guides | None = None
    metric: dict[str, Metric] | None = None
    extent: Extent | None = None
    banks: dict[str, Bank] | None = None
    edges: AnyFeatures | None = None
    previous: Warped | None = None

    @property
    def num_regions(self) -> int | None:
        """Number of regions; None without regions."""
        return None if self.guides is None else self.guides.shares.shape[-1]


class StyleStatistics(NamedTuple):
    """The style's half of the targets.

    Attributes:
        grams: see `Targets.style`.
        means: see `Targets.means`.
        banks: see `Targets.banks`.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> statistics = js.style_statistics(params, [style], objective)
        >>> statistics.grams["relu1_1"].shape
        (4, 4)
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
    previous: Warped | None = None,
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
        previous: the previous result of a video, warped to the content, for an objective with `temporal`.

    Returns:
        The targets.

    Raises:
        InputError: for images too small or misshapen, no style, wrong style weights, or regions that do not fit.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = make_targets(params, content, [style, style[::-1]], objective, style_weights=[2, 1])
        >>> targets.style["relu1_1"].shape
        (4, 4)
    """
    check_objective(objective)
    check_params(params)
    check_image(_pixels(content), "content", objective.min_side)
    check_styles(styles, objective)
    canvas = _canvas(content)
    height, width = canvas.pixels.shape[:2]
    size = (height, width) if canvas.extent is None else tuple(map(int, to_host(canvas.extent)))
    guides = None
    if regions is not None:
        check_regions(regions, size, [_pixels(style).shape for style in styles])
        masks = place([regions.content], (height, width), mesh_of(canvas.pixels))
        guides = content_guides(masks._replace(extent=canvas.extent), objective, regions.guidance)
    if objective.temporal or previous is not None:
        previous = _placed(check_previous(previous, objective, *size), (height, width), canvas)
    style = blended_statistics(params, styles, objective, style_weights, regions)
    features, edges = content_features(params, canvas, objective), content_edges(canvas, objective)
    return Targets(
        features,
        style.grams,
        style.means,
        guides,
        extent=canvas.extent,
        banks=style.banks,
        edges=edges,
        previous=previous,
    )


def check_styles(styles: Any, objective: Objective) -> None:
    """Raise InputError unless `styles` is a list of images that are large enough."""
    if isinstance(styles, str) or not isinstance(styles, Sequence) or not styles:
        raise InputError(f"styles is {quote(styles)}, expected a list of at least one image, such as [style]")
    for style in styles:
        check_image(_pixels(style), "style", objective.min_side)


def check_previous(previous: Any, objective: Objective, height: int, width: int) -> Warped:
    """Return `previous` if it is a frame of this height and width, for an objective with a temporal term."""
    if not objective.temporal:
        raise InputError("previous is a frame, expected None, or an objective with temporal=True")
    check_warped(previous, height, width)
    return previous


def check_is_targets(targets: Any) -> None:
    """Raise InputError unless `targets` are `Targets`."""
    if not isinstance(targets, Targets):
        raise InputError(f"targets is {quote(targets)}, expected Targets: make_targets computes them")


def check_targets(targets: Any, objective: Objective) -> None:
    """Raise InputError unless `targets` are `Targets` with all layers of the objective."""
    check_is_targets(targets)
    styles, guides = objective.style_layers, targets.guides
    for name, layers, arrays in (
        ("content", objective.content_layers, targets.content),
        ("style", styles, targets.style),
        ("means", styles if objective.needs_means else (), targets.means or {}),
        ("guides", () if guides is None else objective.guided_layers, {} if guides is None else guides.weights),
        ("metric", styles if targets.metric else (), targets.metric or {}),
        ("banks", objective.neighbor_layers, targets.banks or {}),
    ):
        missing = {*layers} - {*arrays}
        if missing:
            raise InputError(
                f"targets.{name} has no layer {min(missing)}, expected targets that were made for this objective"
            )
    for name, exists, array in (
        ("edges", objective.edges, targets.edges),
        ("previous", objective.temporal, targets.previous),
    ):
        if exists and array is None:
            raise InputError(f"targets.{name} is None, expected targets that were made for this objective")


def content_guides(masks: Canvas, objective: Objective, guidance: Guidance) -> Guides:
    """Make the guides of a content image, on the devices that its masks are on; with a leading axis for several.

    Args:
        masks: `(H, W, regions)`, on the content's canvas.
        objective: determines the style and neighbor layers.
        guidance: see `guides.py`.

    Raises:
        InputError: for a region without a position at a layer.
    """
    guides = _make_guides(masks, objective.guided_layers, guidance)
    _check_guides(guides, guidance, "the content")
    return guides


def blended_statistics(
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
        guides = _make_guides(Canvas(jnp.asarray(mask)), objective.guided_layers, regions.guidance)
        _check_guides(guides, regions.guidance, f"style {k}", presence)
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

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = whiten(js.make_targets(params, content, [style], objective))
        >>> losses, _ = js.value_and_grad(content, params, targets, js.LossWeights(), objective)
        >>> bool(losses.surrogate != losses.total)
        True
    """
    check_is_targets(targets)
    if not (isinstance(power, jax.Array) and power.ndim == 0):
        check_number(power, "power", 0, MAX_POWER)
    # Traced, so that another power compiles nothing again.
    exponent = power if isinstance(power, jax.Array) else jax.device_put(np.float32(power))
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


@functools.partial(Compiled, static_argnames="objective")
def content_features(params: Params, content: Canvas, objective: Objective) -> dict[str, Float[Array, "*batch _ _ _"]]:
    """Compute the content's half of the targets: its feature maps; with a leading axis for several images."""
    layers = objective.content_layers
    segments = segments_of(direct(objective), styles=(), contents=(), maps=layers, neighbors=())

    def features(canvas: Canvas) -> dict[str, AnyFeatures]:
        maps = compute_statistics(jnp.asarray(canvas.pixels), params, Inputs(), segments, canvas.extent).maps
        return {layer: maps[layer] for layer in layers}

    return (jax.vmap(features) if content.pixels.ndim == 4 else features)(content)


@functools.partial(jax.jit, static_argnames="objective")
def content_edges(content: Canvas, objective: Objective) -> Float[Array, "*batch _ _ 1"] | None:
    """Compute the content's Laplacian, None without an edge term; with a leading axis for several images."""
    if not objective.edges:
        return None
    pixels = jnp.asarray(content.pixels)
    return (jax.vmap(laplacian) if pixels.ndim == 4 else laplacian)(pixels, content.extent)


def _placed(frame: Warped, size: tuple[int, int], canvas: Canvas) -> Warped:
    return Warped(*(place([part], size, mesh_of(canvas.pixels)).pixels for part in frame))


def _canvas(image: AnyImage | Canvas) -> Canvas:
    return image if isinstance(image, Canvas) else Canvas(image)


def _pixels(image: Any) -> Any:
    return image.pixels if isinstance(image, Canvas) else image


def _statistics_of(
    params: Params, style: AnyImage | Canvas, objective: Objective, guides: dict[str, AnyFeatures] | None = None
) -> StyleStatistics:
    """Statistics of one style; of each region with guides."""
    if isinstance(style, Canvas) and guides is None:
        return compiled_style_statistics(params, style, objective, None)
    check_image(_pixels(style), "style", objective.min_side)
    # A plain image is not sharded over devices, even if the content is.
    unsharded = dataclasses.replace(objective, shards=(1, 1))
    return compiled_style_statistics(params, Canvas(_pixels(style)), unsharded, guides)


@functools.partial(Compiled, static_argnames="objective")
def compiled_style_statistics(
    params: Params, style: Canvas, objective: Objective, guides: dict[str, AnyFeatures] | None
) -> StyleStatistics:
    """Compute the statistics of one style without checks: the compiled function, also for abstract arrays."""
    inputs = Inputs(guides=guides or {})
    segments = segments_of(direct(objective), contents=(), neighbors=())
    statistics = compute_statistics(jnp.asarray(style.pixels), params, inputs, segments, style.extent)
    height, width = sides(style.pixels.shape, style.extent)

    def mean(sums: dict[str, Array]) -> dict[str, Array]:
        # Sums that are weighted by guides are means already.
        if guides is not None:
            return sums
        return {layer: total / area(height // stride(layer), width // stride(layer)) for layer, total in sums.items()}

    return StyleStatistics(mean(statistics.products), mean(statistics.sums) if objective.needs_means else None)


@functools.partial(jax.jit, static_argnames=("layers", "guidance"))
def _make_guides(masks: Canvas, layers: tuple[str, ...], guidance: Guidance) -> Guides:
    def make(masks: Canvas) -> Guides:
        return make_guides(masks.pixels, layers, guidance, masks.extent)

    return (jax.vmap(make) if masks.pixels.ndim == 4 else make)(masks)


def _check_guides(guides: Guides, guidance: Guidance, image_name: str, presence: Any = True) -> None:
    """Raise InputError, naming region and layer, for a region without positions at a layer.

    Args:
        guides: of one image or several; numbers, not tracers.
        guidance: guidance of the guides.
        image_name: name of the image in the message.
        presence: for each region, whether the image has it.
    """
    for layer, guide in guides.weights.items():
        # The squares of a guide sum up to 1, or to 0 for a region that has no position.
        empty = np.argwhere((to_host(jnp.sum(jnp.square(guide), axis=(-3, -2))) < 0.5) & presence)
        if len(empty):
            alternative = "shallower layers, or guidance 'simple'" if guidance == "inside" else "or shallower layers"
            raise InputError(
                f"region {empty[0, -1] + 1} of {image_name} has no position at {layer} with guidance {guidance!r}, "
                f"expected a larger region, {alternative}"
            )


def _weighted_sum(styles: Sequence[StyleStatistics], shares: Sequence[np.ndarray | np.float32]) -> StyleStatistics:
    """Weighted sum of statistics; a share is a number, or one for each region."""

    def blend(*arrays: Array) -> Array:
        ndim = arrays[0].ndim
        weights = (np.reshape(share, np.shape(share) + (1,) * (ndim - np.ndim(share))) for share in shares)
        terms = (jax.device_put(weight) * array for weight, array in zip(weights, arrays, strict=True))
        return functools.reduce(jnp.add, terms)

    return jax.tree.map(blend, *styles)
