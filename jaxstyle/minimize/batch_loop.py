"""Minimize a batch of images in shared compiled steps; every image accepts steps and stops independently."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.image.canvas import Canvas
from jaxstyle.image.regions import Guidance, Masks, Regions
from jaxstyle.losses.guides import Guides, check_guides, guide_norms, make_guides
from jaxstyle.losses.whitening import Metric
from jaxstyle.minimize.loop import Limits, run_steps, steps_per_chunk
from jaxstyle.minimize.status import PATIENCE, STALLED, STATUS_CODES, History, Status, verdict
from jaxstyle.minimize.step import State, init_unchecked, restart_pure, result_image
from jaxstyle.objective.balance import balance
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import (
    allreduce_max,
    broadcast_from_first_host,
    canvas_size,
    shard_batch,
    shardings_like,
    to_host,
)
from jaxstyle.objective.targets import StyleStatistics, Targets, content_features, whitening_metric
from jaxstyle.typing import AnyImage, Params

Tree = TypeVar("Tree")


class BalanceInputs(NamedTuple):
    """Inputs of `balance` for one image.

    Attributes:
        strength: 0 to 1.
        mosaic: image of the style alone, of the content's size.
    """

    strength: float
    mosaic: AnyImage


class BatchItem(NamedTuple):
    """One image of a batch.

    Attributes:
        content: `(H, W, 3)`; sizes may differ within a batch.
        style: target statistics.
        weights: one number per layer, and per region.
        start: initial image, of the content's size.
        regions: masks of the regions, or None; the same number of regions for every item.
        balance: if not None, the weights of content and style are computed from it; for all items or none.
        status: reason to stop at an earlier scale; None if the item continues.
    """

    content: AnyImage
    style: StyleStatistics
    weights: LossWeights
    start: AnyImage
    regions: Regions | None = None
    balance: BalanceInputs | None = None
    status: Status | None = None


class BatchRunState(NamedTuple):
    """Progress of each item.

    Attributes:
        histories: losses of all evaluations so far.
        statuses: reason to stop; None for items that continue.
        weights: of the loss terms.
    """

    histories: list[History]
    statuses: list[Status | None]
    weights: list[LossWeights]


def minimize_batch(
    items: Sequence[BatchItem],
    params: Params,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    limits: Limits,
    whitening: float,
    callback: Callable[[BatchRunState], Status | None],
    mesh: Mesh | None = None,
    min_canvas: tuple[int, int] = (0, 0),
) -> tuple[list[AnyImage], BatchRunState]:
    """Take steps until a stopping criterion holds for every item. A stopped item remains unchanged.

    Args:
        items: contents, targets and initial images.
        params: parameters of the network.
        objective: static.
        optimizer: static.
        limits: of each item.
        whitening: exponent of the whitening; an item with slow progress continues with the loss itself.
        callback: called after every chunk, about once a second; a returned status ends the run of all items.
        mesh: its `batch` axis divides the items evenly.
        min_canvas: height and width of the canvas, if larger than the items need.

    Returns:
        The resulting image and the progress of each item.
    """
    count, power = len(items), np.full(len(items), whitening, np.float32)
    starts, targets, weights = _on_canvases(items, params, objective, mesh, min_canvas)
    if whitening:
        targets = targets._replace(metric=_metrics(items, power, mesh))
    states = init_batch_unchecked(starts, optimizer)
    history = np.empty((count, limits.steps, len(Losses._fields)), np.float32)
    progress = BatchRunState(
        [rows[:0] for rows in history], [item.status for item in items], _unstack_weights(weights, count)
    )
    objective_start, done, length = np.zeros(count, int), 0, 1
    while None in progress.statuses and done < limits.steps:
        running = np.array([status is None for status in progress.statuses])
        length = int(allreduce_max(limits.next_chunk(done, length), mesh))
        lengths = shard_batch(np.where(running, length, 0).astype(np.int32), mesh)
        start = time.perf_counter()
        states, rows = run_batch(states, params, targets, weights, objective, optimizer, lengths)
        rows, num_nonfinite = to_host(rows), to_host(states.num_nonfinite)
        seconds = time.perf_counter() - start
        done += length
        statuses: list[Status | None] = list(progress.statuses)
        for k in np.flatnonzero(running):
            history[k, done - length : done] = rows[k, :length]
            progress.histories[k] = history[k, :done]
            statuses[k] = verdict(
                int(num_nonfinite[k]), history[k, :done], limits.tolerance, bool(power[k]), int(objective_start[k])
            )
        # A request overrides the verdicts, as for a single image.
        requested = callback(progress)
        statuses = [requested if requested and runs else status for status, runs in zip(statuses, running, strict=True)]
        statuses = [STATUS_CODES[k] for k in allreduce_max(np.array(list(map(STATUS_CODES.index, statuses))), mesh)]
        switching = np.array([status in STALLED for status in statuses]) & running & (power > 0)
        progress = progress._replace(
            statuses=[None if switches else status for status, switches in zip(statuses, switching, strict=True)]
        )
        # With no steps left, a restart would only throw away the optimizer state.
        if switching.any() and done < limits.steps:
            power = np.where(switching, np.float32(0), power)
            objective_start = np.where(switching, done, objective_start)
            targets = targets._replace(metric=_metrics(items, power, mesh))
            states = _restart(states, shard_batch(switching, mesh), optimizer)
        length = steps_per_chunk(done, length, seconds)
    ends = [Status.NOT_FINITE if count >= PATIENCE else Status.STEP_LIMIT for count in to_host(states.num_nonfinite)]
    results = to_host(jax.jit(jax.vmap(result_image))(states))
    images: list[AnyImage] = [
        jnp.asarray(image[: item.start.shape[0], : item.start.shape[1]])
        for image, item in zip(results, items, strict=True)
    ]
    return images, progress._replace(
        statuses=[status or end for status, end in zip(progress.statuses, ends, strict=True)]
    )


def _on_canvases(
    items: Sequence[BatchItem], params: Params, objective: Objective, mesh: Mesh | None, min_canvas: tuple[int, int]
) -> tuple[Array, Targets, LossWeights]:
    """Return the initial images on canvases, the targets and the weights, each with a leading axis."""
    sizes = [item.start.shape[:2] for item in items]
    max_height, max_width = (max(sides) for sides in zip(min_canvas, *sizes, strict=True))
    height, width = canvas_size(max_height, max_width, objective)

    def stack(images: Sequence[Masks]) -> Array:
        canvases = np.zeros((len(images), height, width, images[0].shape[2]), np.float32)
        for canvas, image in zip(canvases, images, strict=True):
            canvas[: image.shape[0], : image.shape[1]] = image
        return shard_batch(canvases, mesh, spatial=True)

    # A requested canvas serves further batches of other sizes, which must use the same program.
    uniform = min_canvas == (0, 0) and set(sizes) == {(height, width)}
    extents = None if uniform else shard_batch(np.array(sizes, np.int32), mesh)
    content = _features(params, stack([item.content for item in items]), extents, objective)
    style = _stacked([item.style for item in items], mesh)
    guides, masks = None, [item.regions.content for item in items if item.regions is not None]
    if masks:
        assert items[0].regions is not None
        guidance = items[0].regions.guidance
        guides = _guides(stack(masks), extents, objective.style_layers, guidance)
        reached = jax.tree.map(to_host, jax.vmap(guide_norms)(guides.weights))
        for k in range(len(items)):
            check_guides(jax.tree.map(lambda sums, k=k: sums[k], reached), guidance, "the content")
    targets = Targets(content, style.grams, style.means, guides, extent=extents)
    weights = _stacked([item.weights for item in items], mesh)
    inputs = [item.balance for item in items if item.balance is not None]
    if inputs:
        contents, mosaics = stack([item.content for item in items]), stack([item.mosaic for item in inputs])
        strengths = shard_batch(np.array([item.strength for item in inputs], np.float32), mesh)
        weights = _balance(contents, mosaics, params, targets, weights, strengths, objective)
    return stack([item.start for item in items]), targets, weights


@functools.partial(jax.jit, static_argnames="objective")
def _features(params: Params, images: Array, extents: Array | None, objective: Objective) -> dict[str, Array]:
    return jax.vmap(lambda image, extent: content_features(params, Canvas(image, extent), objective))(images, extents)


@functools.partial(jax.jit, static_argnames=("layers", "guidance"))
def _guides(masks: Array, extents: Array | None, layers: tuple[str, ...], guidance: Guidance) -> Guides:
    return jax.vmap(lambda mask, extent: make_guides(mask, layers, guidance, extent))(masks, extents)


@functools.partial(jax.jit, static_argnames="objective", compiler_options=COMPILER_OPTIONS)
def _balance(
    contents: Array,
    mosaics: Array,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    strengths: Array,
    objective: Objective,
) -> LossWeights:
    def balance_one(content: Array, mosaic: Array, targets: Targets, weights: LossWeights, strength: Array):
        return balance(content, mosaic, params, targets, objective, strength, weights)

    return jax.vmap(balance_one)(contents, mosaics, targets, weights, strengths)


def _unstack_weights(weights: LossWeights, count: int) -> list[LossWeights]:
    values = jax.tree.map(to_host, weights)
    return [jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), values) for k in range(count)]


def _metrics(items: Sequence[BatchItem], power: Float[np.ndarray, " batch"], mesh: Mesh | None) -> dict[str, Metric]:
    """Return the metric of each item; items that share a style object share the computation."""
    keys = [(id(item.style), float(exponent)) for item, exponent in zip(items, power, strict=True)]
    styles = {id(item.style): item.style for item in items}
    metrics = {key: whitening_metric(styles[key[0]], np.float32(key[1])) for key in set(keys)}
    return _stacked([metrics[key] for key in keys], mesh)


def _stacked(trees: Sequence[Tree], mesh: Mesh | None) -> Tree:
    """Stack one tree per item along a leading axis; on a mesh, with the values of the first host."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    return jax.tree.map(
        lambda leaf: shard_batch(leaf, mesh), stacked if mesh is None else broadcast_from_first_host(stacked)
    )


def init_batch_unchecked(images: Array, optimizer: optax.GradientTransformation) -> State:
    """Return the state of `init_unchecked` for each of `(batch, H, W, 3)` images, with a leading axis."""
    make = jax.vmap(functools.partial(init_unchecked, optimizer=optimizer))
    shardings = shardings_like(jax.eval_shape(make, images), images, batched=True)
    return jax.jit(make, **({} if shardings is None else {"out_shardings": shardings}))(images)


@functools.partial(
    jax.jit, static_argnames=("objective", "optimizer"), donate_argnames="states", compiler_options=COMPILER_OPTIONS
)
def run_batch(
    states: State,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    lengths: Int[Array, " batch"],
) -> tuple[State, Array]:
    """Take the given number of steps for each item: `run` with a leading axis.

    Args:
        states: with a leading axis; their buffers are reused.
        params: shared.
        targets: with a leading axis.
        weights: with a leading axis.
        objective: static.
        optimizer: static.
        lengths: at most `PATIENCE`; an item with 0 remains unchanged.

    Returns:
        The next states, and an array of `(batch, PATIENCE, 5)`: the first rows of an item are the losses of its steps.
    """

    def run_one(state: State, targets: Targets, weights: LossWeights, length: Int[Array, ""]) -> tuple[State, Array]:
        return run_steps(state, params, targets, weights, objective, optimizer, length)

    return jax.vmap(run_one)(states, targets, weights, lengths)


@functools.partial(jax.jit, static_argnames="optimizer", donate_argnames="states")
def _restart(states: State, selected: Bool[Array, " batch"], optimizer: optax.GradientTransformation) -> State:
    """Restart the selected items from their best image."""
    restarted = jax.vmap(functools.partial(restart_pure, optimizer=optimizer))(states)

    def select(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(selected, range(1, new.ndim)), new, old)

    return jax.tree.map(select, restarted, states)
