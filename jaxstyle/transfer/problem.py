"""The problem of a stage: initial images, targets and weights of its jobs, on their canvas and devices.

Several jobs share arrays with a leading axis; a single one has none.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jaxstyle.image.canvas import Canvas, sides
from jaxstyle.losses.temporal import Warped
from jaxstyle.minimize.loop import Problem, ProblemMaker
from jaxstyle.objective.balance import compiled_balance, rebalance
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights
from jaxstyle.objective.mesh import broadcast_from_first_host, canvas_size, place, put_on_mesh, shard, to_host
from jaxstyle.objective.relative import relative_weights
from jaxstyle.objective.structure import content_structure
from jaxstyle.objective.targets import (
    StyleStatistics,
    Targets,
    blended_statistics,
    content_edges,
    content_features,
    content_guides,
    whiten,
    whitening_metric,
)
from jaxstyle.transfer.job import Job, mosaic_image, resize_job
from jaxstyle.transfer.stage import Stage, content_share, flat_share, with_algorithm
from jaxstyle.typing import AnyImage, Params

Tree = TypeVar("Tree")

# Where the weights of another strength can be measured: neither the content nor the style has a weight of 0.
MEASURED_AT = 0.5
# Weights that `balance` copies.
UNMEASURED = ("tv", "regions", "neighbors", "temporal")


class StageProblem(NamedTuple):
    """What the steps of a stage need.

    Attributes:
        weights: of the loss terms, with a leading axis for several jobs.
        with_weights: function from weights to a function from the whitening exponent of each job to the `Problem`.
        reweigh: function from a job at full size, which differs in its weights and its strength alone, to its weights.
    """

    weights: LossWeights
    with_weights: Callable[[LossWeights], ProblemMaker]
    reweigh: Callable[[Job], LossWeights]


def make_problem(
    jobs: Sequence[Job],
    starts: Sequence[AnyImage],
    params: Params,
    stage: Stage,
    mesh: Mesh | None,
    min_canvas: tuple[int, int] = (0, 0),
    weights: LossWeights | None = None,
    detail_images: Sequence[AnyImage] | None = None,
) -> tuple[Array, StageProblem]:
    """Compute the initial images of a stage, and what its steps need.

    Args:
        jobs: from `resize_job`, alike in strength and number of regions.
        starts: initial image of each job.
        params: parameters of the network, on the default device.
        stage: objective, optimizer and whitening.
        mesh: devices; None for the default device.
        min_canvas: minimum height and width of the canvas.
        weights: those of an earlier call, with a leading axis for several jobs; from the jobs if None.
        detail_images: images that the content is mixed with: see `Stage.detail`; the initial ones if None.
    """
    objective, several, mesh_params = stage.objective, len(jobs) > 1, _combine([params], mesh)

    def put(images: Sequence[Any]) -> Canvas:
        rows, columns = (max(sides) for sides in zip(min_canvas, *(image.shape[:2] for image in images), strict=True))
        # A requested canvas serves further images of other sizes.
        return place(images, canvas_size(rows, columns, objective), mesh, any_size=min_canvas != (0, 0))

    def content_targets(canvas: Canvas) -> tuple[dict[str, Array], Array | None]:
        return content_features(mesh_params, canvas, objective), content_edges(canvas, objective)

    content = put([job.content for job in jobs])
    # Jobs with the same styles share an object.
    keys = [k if job.style_key is None else job.style_key for k, job in enumerate(jobs)]
    style_params, style_mesh = (params, None) if several else (mesh_params, mesh)
    measured_styles = {
        key: stage.style or measure_style(job, style_params, objective, style_mesh)
        for key, job in dict(zip(keys, jobs, strict=True)).items()
    }
    statistics = [measured_styles[key] for key in keys]
    style = _combine(statistics, mesh)
    guides, regions = None, [job.regions for job in jobs if job.regions is not None]
    if regions:
        guides = content_guides(put([region.content for region in regions]), objective, regions[0].guidance)
    features, edges = content_targets(content)
    shares, flat_shares = ([function(job, stage) for job in jobs] for function in (content_share, flat_share))
    if min(shares + flat_shares) < 1:
        share, flat = (
            jnp.asarray(_combine([np.full((1, 1, 1), part, np.float32) for part in parts], mesh))
            for parts in (shares, flat_shares)
        )
        initial_features, initial_edges = content_targets(put(detail_images or starts))
        for layer, structure in content_structure(content, objective.content_layers).items():
            own = flat + (share - flat) * structure
            features[layer] = own * features[layer] + (1 - own) * initial_features[layer]
        if edges is not None and initial_edges is not None:
            edges = share * edges + (1 - share) * initial_edges
    targets = Targets(features, style.grams, style.means, guides, extent=content.extent, banks=style.banks, edges=edges)
    if objective.temporal:
        frames = [job.previous for job in jobs if job.previous is not None]
        targets = targets._replace(previous=Warped(*(put(parts).pixels for parts in zip(*frames, strict=True))))

    def measure(jobs: Sequence[Job], strengths: Sequence[float]) -> LossWeights:
        # With an edge weight of 1, from which that of any other follows.
        unit = [job.weights._replace(edges=jnp.ones_like(job.weights.edges)) for job in jobs]
        ends = jnp.asarray(content.pixels), jnp.asarray(put([mosaic_image(job) for job in jobs]).pixels)
        combined = _combine([jnp.asarray(strength, jnp.float32) for strength in strengths], mesh)
        # One evaluation for each layer.
        brief = stage._replace(steps=len(objective.content_layers) + len(objective.style_layers))
        *_, height, width, _ = content.pixels.shape
        own = with_algorithm(brief, (height, width)).objective
        return compiled_balance(*ends, mesh_params, targets, _combine(unit, mesh), combined, own)

    def weigh(jobs: Sequence[Job]) -> LossWeights | None:
        """The weights of jobs, as far as they need no measurement."""
        if stage.weights is not None:
            relative = [stage.weights(job.strength, float(job.weights.edges)) for job in jobs]
            parts = [_weights_with_regions(own, job, objective) for own, job in zip(relative, jobs, strict=True)]
            return _compiled_relative_weights(_combine(parts, mesh), targets, objective, content.pixels.shape)
        return _combine([job.weights for job in jobs], mesh) if jobs[0].strength is None else None

    strength, measured = jobs[0].strength, None
    if weights is not None:
        stage_weights = _combine(unstack(weights, len(jobs)), mesh)
    else:
        stage_weights = weigh(jobs)
        if stage_weights is None:
            measured = measure(jobs, [job.strength for job in jobs if job.strength is not None])
            edges_of = _combine([job.weights.edges for job in jobs], mesh)
            stage_weights = measured._replace(edges=jnp.asarray(measured.edges) * jnp.asarray(edges_of))

    def reweigh(job: Job) -> LossWeights:
        given = weigh([job])
        if given is not None or job.strength is None:
            assert given is not None
            return given
        unit, at = measured, strength
        if unit is None or at is None or not 0 < at < 1:
            unit, at = measure([resize_job(job, stage.factor)], [MEASURED_AT]), MEASURED_AT
        unit = jax.tree.map(to_host, unit)._replace(**{name: getattr(job.weights, name) for name in UNMEASURED})
        balanced = rebalance(unit, at, job.strength, float(job.weights.edges), objective.style_loss)
        return _combine([jax.device_put(balanced)], mesh)

    def with_weights(stage_weights: LossWeights) -> ProblemMaker:
        def problem(powers: Sequence[float]) -> Problem:
            whitened = targets
            if stage.whitening and several:
                pairs = list(zip(keys, powers, strict=True))
                metrics = {pair: whitening_metric(measured_styles[pair[0]], np.float32(pair[1])) for pair in set(pairs)}
                whitened = targets._replace(metric=_combine([metrics[pair] for pair in pairs], mesh))
            elif stage.whitening:
                # With exponent 0 the same program minimizes the loss itself.
                whitened = whiten(targets, powers[0])
            return Problem(mesh_params, whitened, stage_weights, objective, stage.optimizer)

        return problem

    return jnp.asarray(put(starts).pixels), StageProblem(stage_weights, with_weights, reweigh)


def _weights_with_regions(weights: LossWeights, job: Job, objective: Objective) -> LossWeights:
    """Return weights with a job's own of the regions and of the temporal term, as arrays."""
    count = None if job.regions is None else job.regions.content.shape[2]
    own = {"regions": job.weights.regions, "temporal": job.weights.temporal}
    return broadcast_weights(weights._replace(**own), objective, count)


@functools.partial(jax.jit, static_argnames=("objective", "shape"))
def _compiled_relative_weights(
    weights: LossWeights, targets: Targets, objective: Objective, shape: tuple[int, ...]
) -> LossWeights:
    """Convert weights in relative units; `shape` is that of the image, with a leading axis for several."""

    def convert(weights: LossWeights, targets: Targets) -> LossWeights:
        return relative_weights(weights, targets, objective, sides(shape[-3:], targets.extent))

    return (jax.vmap(convert) if len(shape) == 4 else convert)(weights, targets)


def unstack(tree: Tree, count: int) -> list[Tree]:
    """Return the parts of each job, on the default device."""
    if count == 1:
        return [tree]
    values = jax.tree.map(to_host, tree)
    return [jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), values) for k in range(count)]


def _combine(trees: Sequence[Tree], mesh: Mesh | None) -> Tree:
    """Put the trees of all jobs on the devices; several get a leading axis, and on a mesh the first host's values."""
    batched = len(trees) > 1
    combined = jax.tree.map(lambda *leaves: np.stack(leaves), *trees) if batched else trees[0]
    if batched and mesh is not None:
        combined = broadcast_from_first_host(combined)
    return jax.tree.map(lambda leaf: put_on_mesh(leaf, mesh, batched), combined)


def measure_style(job: Job, params: Params, objective: Objective, mesh: Mesh | None) -> StyleStatistics:
    """Compute the statistics of a job's styles.

    Args:
        job: from `resize_job`.
        params: parameters of the network, on the devices of the mesh.
        objective: static.
        mesh: devices; None for the default device.
    """
    # Masks of regions require plain images.
    styles = job.styles if mesh is None or job.regions else [shard(style, mesh, objective) for style in job.styles]
    return blended_statistics(params, styles, objective, job.shares, job.regions)
