"""The problem of a stage: initial images, targets and weights of its jobs, on their canvas and devices.

Several jobs share arrays with a leading axis; a single one has none.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array

from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.image.canvas import Canvas
from jaxstyle.image.regions import Guidance
from jaxstyle.losses.guides import Guides, check_guides, guide_norms, make_guides
from jaxstyle.losses.neighbors import Bank, resize_bank
from jaxstyle.minimize.loop import Problem
from jaxstyle.objective.balance import balance
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.mesh import (
    broadcast_from_first_host,
    canvas_size,
    image_spec,
    put,
    replicated,
    shard,
    shard_batch,
    to_host,
)
from jaxstyle.objective.targets import (
    StyleStatistics,
    Targets,
    content_features,
    style_statistics,
    whiten,
    whitening_metric,
)
from jaxstyle.transfer.job import Job, mosaic_image
from jaxstyle.transfer.stage import Stage
from jaxstyle.typing import AnyImage, Params

Tree = TypeVar("Tree")


class Placement(NamedTuple):
    """Where the images of a stage are: on a mesh, and on a canvas of one size.

    Attributes:
        mesh: devices; None for the default device.
        min_canvas: minimum height and width of the canvas.
    """

    mesh: Mesh | None
    min_canvas: tuple[int, int] = (0, 0)


def make_problem(
    jobs: Sequence[Job],
    starts: Sequence[AnyImage],
    params: Params,
    stage: Stage,
    placement: Placement,
    weights: LossWeights | None = None,
) -> tuple[Array, LossWeights, Callable[[Sequence[float]], Problem]]:
    """Compute what the steps of a stage need.

    Args:
        jobs: from `resize_job`, alike in strength and number of regions.
        starts: initial image of each job.
        params: parameters of the network, on the default device.
        stage: objective, optimizer and whitening.
        placement: devices and canvas.
        weights: those of an earlier call, with a leading axis for several jobs; from the jobs if None.

    Returns:
        The initial images, the weights, and a function from the whitening exponent of each job to the `Problem`.
    """
    objective, mesh, several = stage.objective, placement.mesh, len(jobs) > 1
    mesh_params = _replicated(params, mesh)
    content = _place([job.content for job in jobs], objective, placement)
    style_params = params if several else mesh_params
    statistics = _statistics(jobs, functools.partial(_style_of, style_params, objective, None if several else mesh))
    style = _stacked(_with_equal_banks(statistics), mesh) if several else statistics[0]
    guides = _content_guides(jobs, objective, placement)
    features = _features(mesh_params, content, objective)
    targets = Targets(features, style.grams, style.means, guides, extent=content.extent, banks=style.banks)
    if weights is not None and several:
        stage_weights = jax.tree.map(lambda leaf: shard_batch(np.asarray(leaf), mesh), weights)
    elif weights is not None:
        stage_weights = _replicated(weights, mesh)
    else:
        stage_weights = _stacked([job.weights for job in jobs], mesh) if several else _replicated(jobs[0].weights, mesh)
        if jobs[0].strength is not None:
            mosaics = _place([mosaic_image(job) for job in jobs], objective, placement)
            strengths = np.array([job.strength for job in jobs], np.float32)
            inputs = mesh_params, targets, objective, shard_batch(strengths, mesh) if several else float(strengths[0])
            balance_jobs = _balance_all if several else balance
            ends = jnp.asarray(content.pixels), jnp.asarray(mosaics.pixels)
            stage_weights = balance_jobs(*ends, *inputs, stage_weights)

    def problem(powers: Sequence[float]) -> Problem:
        whitened = targets
        if stage.whitening and several:
            whitened = targets._replace(metric=_metrics(statistics, powers, mesh))
        elif stage.whitening:
            # With exponent 0 the same program minimizes the loss itself.
            whitened = whiten(targets, powers[0])
        return Problem(mesh_params, whitened, stage_weights, objective, stage.optimizer)

    return jnp.asarray(_place(starts, objective, placement).pixels), stage_weights, problem


def unstack(tree: Tree, count: int) -> list[Tree]:
    """Return the parts of each job, on the default device."""
    if count == 1:
        return [tree]
    values = jax.tree.map(to_host, tree)
    return [jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), values) for k in range(count)]


def _place(images: Sequence[Any], objective: Objective, placement: Placement) -> Canvas:
    """Put images, or masks, on the devices: each on a canvas where it does not fill its array."""
    mesh, min_canvas = placement
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    rows, columns = (max(sides) for sides in zip(min_canvas, *sizes, strict=True))
    height, width = canvas_size(rows, columns, objective)
    # A requested canvas serves further images of other sizes, which must use the same program.
    fills = min_canvas == (0, 0) and set(sizes) == {(height, width)}
    if len(images) == 1 and mesh is None and fills:
        return Canvas(jnp.asarray(images[0]))
    canvases = np.zeros((len(images), height, width, images[0].shape[2]), np.float32)
    for canvas, image in zip(canvases, images, strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    extents = None if fills else np.array(sizes, np.int32)
    if len(images) > 1:
        return Canvas(
            shard_batch(canvases, mesh, spatial=True), None if extents is None else shard_batch(extents, mesh)
        )
    if mesh is None:
        return Canvas(jnp.asarray(canvases[0]), None if extents is None else jnp.asarray(extents[0]))
    extent = None if extents is None else replicated(jnp.asarray(extents[0]), mesh)
    return Canvas(put(canvases[0], NamedSharding(mesh, image_spec(mesh))), extent)


def _statistics(jobs: Sequence[Job], measure: Callable[[Job], StyleStatistics]) -> list[StyleStatistics]:
    """Return the style's statistics of each job; jobs with the same styles share an object."""
    measured: dict[Hashable, StyleStatistics] = {}
    for k, job in enumerate(jobs):
        key = k if job.style_key is None else job.style_key
        if key not in measured:
            measured[key] = measure(job)
    return [measured[k if job.style_key is None else job.style_key] for k, job in enumerate(jobs)]


def _with_equal_banks(statistics: Sequence[StyleStatistics]) -> list[StyleStatistics]:
    """Return the statistics with banks of one size for each layer."""
    sizes = [{layer: bank.size for layer, bank in (style.banks or {}).items()} for style in statistics]
    largest = {layer: max(each[layer] for each in sizes) for layer in sizes[0]}

    def resize(banks: dict[str, Bank]) -> dict[str, Bank]:
        return {layer: resize_bank(bank, largest[layer]) for layer, bank in banks.items()}

    return [style._replace(banks=style.banks and resize(style.banks)) for style in statistics]


def _style_of(params: Params, objective: Objective, mesh: Mesh | None, job: Job) -> StyleStatistics:
    # Masks of regions require plain images.
    styles = job.styles if mesh is None or job.regions else [shard(style, mesh, objective) for style in job.styles]
    return style_statistics(params, styles, objective, job.shares, job.regions)


def _content_guides(jobs: Sequence[Job], objective: Objective, placement: Placement) -> Guides | None:
    regions = [job.regions for job in jobs if job.regions is not None]
    if not regions:
        return None
    masks = _place([region.content for region in regions], objective, placement)
    guides = _make_guides(masks.pixels, masks.extent, objective.guided_layers, regions[0].guidance)
    norms = (jax.vmap(guide_norms) if len(jobs) > 1 else guide_norms)(guides.weights)
    for norm in unstack(norms, len(jobs)):
        check_guides(jax.tree.map(to_host, norm), regions[0].guidance, "the content")
    return guides


@functools.partial(jax.jit, static_argnames=("layers", "guidance"))
def _make_guides(masks: Array, extents: Array | None, layers: tuple[str, ...], guidance: Guidance) -> Guides:
    def make(masks: Array, extent: Array | None) -> Guides:
        return make_guides(masks, layers, guidance, extent)

    return (jax.vmap(make) if masks.ndim == 4 else make)(masks, extents)


@functools.partial(jax.jit, static_argnames="objective")
def _features(params: Params, content: Canvas, objective: Objective) -> dict[str, Array]:
    def features(canvas: Canvas) -> dict[str, Array]:
        return content_features(params, canvas, objective)

    return (jax.vmap(features) if content.pixels.ndim == 4 else features)(content)


@functools.partial(jax.jit, static_argnames="objective", compiler_options=COMPILER_OPTIONS)
def _balance_all(
    contents: Array,
    mosaics: Array,
    params: Params,
    targets: Targets,
    objective: Objective,
    strengths: Array,
    weights: LossWeights,
) -> LossWeights:
    def balance_one(content: Array, mosaic: Array, targets: Targets, weights: LossWeights, strength: Array):
        return balance(content, mosaic, params, targets, objective, strength, weights)

    return jax.vmap(balance_one)(contents, mosaics, targets, weights, strengths)


def _metrics(statistics: Sequence[StyleStatistics], powers: Sequence[float], mesh: Mesh | None) -> Any:
    """Return the metric of each job; jobs that share statistics share the computation."""
    keys = [(id(style), power) for style, power in zip(statistics, powers, strict=True)]
    styles = {id(style): style for style in statistics}
    metrics = {key: whitening_metric(styles[key[0]], np.float32(key[1])) for key in set(keys)}
    return _stacked([metrics[key] for key in keys], mesh)


def _replicated(tree: Tree, mesh: Mesh | None) -> Tree:
    return tree if mesh is None else replicated(tree, mesh)


def _stacked(trees: Sequence[Tree], mesh: Mesh | None) -> Tree:
    """Stack one tree per job along a leading axis; on a mesh, with the values of the first host."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    return jax.tree.map(
        lambda leaf: shard_batch(leaf, mesh), stacked if mesh is None else broadcast_from_first_host(stacked)
    )
