"""A descent of many pictures at once: the same compiled steps for all, each with its own decisions and its own end."""

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
from jaxstyle.losses.guides import Guides, check_reach, make_guides, reach
from jaxstyle.losses.whitening import Metric
from jaxstyle.minimize.loop import Limits, steps, steps_in_a_chunk
from jaxstyle.minimize.status import PATIENCE, STATUS_CODES, History, Status, verdict
from jaxstyle.minimize.step import State, init_unchecked, result_image
from jaxstyle.objective.balance import balance
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.mesh import (
    allreduce_max,
    broadcast_from_first_host,
    canvas_sides,
    shard_batch,
    shardings_like,
    to_host,
)
from jaxstyle.objective.targets import Style, Targets, content_features, metric_of
from jaxstyle.typing import AnyImage, Params

Tree = TypeVar("Tree")


class Balanced(NamedTuple):
    """What a picture's weights are found from: see `balance`.

    Attributes:
        strength: 0 to 1.
        mosaic: of the content's size.
    """

    strength: float
    mosaic: AnyImage


class Picture(NamedTuple):
    """One of many pictures.

    Attributes:
        content: `(H, W, 3)`, each of its own size.
        style: the statistics that it should have.
        weights: one number a layer, and a region.
        start: of the content's size.
        regions: which pixels get which style, if not all the same; as many for every picture.
        balanced: what the weights of content and style are found from; of all pictures or of none.
        status: why it stopped at an earlier scale; None if it goes on.
    """

    content: AnyImage
    style: Style
    weights: LossWeights
    start: AnyImage
    regions: Regions | None = None
    balanced: Balanced | None = None
    status: Status | None = None


class BatchRunState(NamedTuple):
    """How far each picture has come.

    Attributes:
        histories: losses of every evaluation so far.
        statuses: why each stopped; None while it goes on.
        weights: of each.
    """

    histories: list[History]
    statuses: list[Status | None]
    weights: list[LossWeights]


def minimize_batch(
    pictures: Sequence[Picture],
    params: Params,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    limits: Limits,
    whitening: float,
    ask: Callable[[BatchRunState], Status | None],
    mesh: Mesh | None = None,
    least: tuple[int, int] = (0, 0),
) -> tuple[list[AnyImage], BatchRunState]:
    """Take steps until every picture has a reason to stop. One that has stopped stays as it is.

    Args:
        pictures: what to minimize, and from where.
        params: of the network.
        objective: static.
        optimizer: static.
        limits: of each picture.
        whitening: power of the metric that leads; a picture whose loss falls slowly goes on with the loss itself.
        ask: called after every chunk, about once a second; a status ends the descent of all.
        mesh: its `batch` axis divides the pictures evenly.
        least: height and width of the canvas, if they are more than the pictures need.

    Returns:
        The best picture of each, and how far they came.
    """
    count, power = len(pictures), np.full(len(pictures), whitening, np.float32)
    images, targets, weights = _on_canvases(pictures, params, objective, mesh, least)
    if whitening:
        targets = targets._replace(metric=_metrics(pictures, power, mesh))
    states = init_batch_unchecked(images, optimizer)
    history = np.empty((count, limits.steps, len(Losses._fields)), np.float32)
    came = BatchRunState(
        [rows[:0] for rows in history], [picture.status for picture in pictures], _each(weights, count)
    )
    since, done, length = np.zeros(count, int), 0, 1
    while None in came.statuses and done < limits.steps:
        running = np.array([status is None for status in came.statuses])
        length = int(allreduce_max(limits.next_chunk(done, length), mesh))
        lengths = shard_batch(np.where(running, length, 0).astype(np.int32), mesh)
        start = time.perf_counter()
        states, chunk = run_batch(states, params, targets, weights, objective, optimizer, lengths)
        chunk, num_nonfinite = to_host(chunk), to_host(states.num_nonfinite)
        seconds = time.perf_counter() - start
        done += length
        status_of: list[Status | None] = list(came.statuses)
        for k in np.flatnonzero(running):
            history[k, done - length : done] = chunk[k, :length]
            came.histories[k] = history[k, :done]
            status_of[k] = verdict(int(num_nonfinite[k]), history[k, since[k] : done], limits.tolerance, bool(power[k]))
        # What is asked for counts more than what the numbers say, as for a single picture.
        asked = ask(came)
        told = [asked if asked and runs else status for status, runs in zip(status_of, running, strict=True)]
        status_of = [STATUS_CODES[k] for k in allreduce_max(np.array(list(map(STATUS_CODES.index, told))), mesh)]
        slow = [status in (Status.CONVERGED, Status.STUCK) for status in status_of]
        turn = np.array(slow) & running & (power > 0)
        came = came._replace(
            statuses=[None if turns else status for status, turns in zip(status_of, turn, strict=True)]
        )
        if turn.any():
            power, since = np.where(turn, np.float32(0), power), np.where(turn, done, since)
            targets = targets._replace(metric=_metrics(pictures, power, mesh))
            states = _again(states, shard_batch(turn, mesh), optimizer)
        length = steps_in_a_chunk(done, length, seconds)
    ends = [Status.NOT_FINITE if count >= PATIENCE else Status.STEP_LIMIT for count in to_host(states.num_nonfinite)]
    statuses: list[Status | None] = [status or end for status, end in zip(came.statuses, ends, strict=True)]
    best = to_host(jax.jit(jax.vmap(result_image))(states))
    found: list[AnyImage] = [
        jnp.asarray(image[: picture.start.shape[0], : picture.start.shape[1]])
        for image, picture in zip(best, pictures, strict=True)
    ]
    return found, came._replace(statuses=statuses)


def _on_canvases(
    pictures: Sequence[Picture], params: Params, objective: Objective, mesh: Mesh | None, least: tuple[int, int]
) -> tuple[Array, Targets, LossWeights]:
    """Where the pictures start, their targets and their weights, each with a leading axis."""
    sizes = [picture.start.shape[:2] for picture in pictures]
    high, wide = (max(sides) for sides in zip(least, *sizes, strict=True))
    height, width = canvas_sides(high, wide, objective)

    def stack(images: Sequence[Masks]) -> Array:
        canvases = np.zeros((len(images), height, width, images[0].shape[2]), np.float32)
        for canvas, image in zip(canvases, images, strict=True):
            canvas[: image.shape[0], : image.shape[1]] = image
        return shard_batch(canvases, mesh, spatial=True)

    # A canvas that was asked for is for other pictures too, which have to find the same program.
    alike = least == (0, 0) and set(sizes) == {(height, width)}
    extents = None if alike else shard_batch(np.array(sizes, np.int32), mesh)
    content = _features(params, stack([picture.content for picture in pictures]), extents, objective)
    style = _stacked([picture.style for picture in pictures], mesh)
    guides, masks = None, [picture.regions.content for picture in pictures if picture.regions is not None]
    if masks:
        assert pictures[0].regions is not None
        guidance = pictures[0].regions.guidance
        guides = _guides(stack(masks), extents, objective.style_layers, guidance)
        reached = jax.tree.map(to_host, jax.vmap(reach)(guides.weights))
        for k in range(len(pictures)):
            check_reach(jax.tree.map(lambda sums, k=k: sums[k], reached), guidance, "the content")
    targets = Targets(content, style.grams, style.means, guides, extent=extents)
    weights = _stacked([picture.weights for picture in pictures], mesh)
    balanced = [picture.balanced for picture in pictures if picture.balanced is not None]
    if balanced:
        ends = stack([picture.content for picture in pictures]), stack([each.mosaic for each in balanced])
        strengths = shard_batch(np.array([each.strength for each in balanced], np.float32), mesh)
        weights = _balance(*ends, params, targets, weights, strengths, objective)
    return stack([picture.start for picture in pictures]), targets, weights


@functools.partial(jax.jit, static_argnames="objective")
def _features(params: Params, images: Array, extents: Array | None, objective: Objective) -> dict[str, Array]:
    return jax.vmap(lambda image, extent: content_features(params, Canvas(image, extent), objective))(images, extents)


@functools.partial(jax.jit, static_argnames=("layers", "guidance"))
def _guides(masks: Array, extents: Array | None, layers: tuple[str, ...], guidance: Guidance) -> Guides:
    return jax.vmap(lambda mask, extent: make_guides(mask, layers, guidance, extent))(masks, extents)


@functools.partial(jax.jit, static_argnames="objective", compiler_options=COMPILER_OPTIONS)
def _balance(
    photos: Array,
    mosaics: Array,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    strengths: Array,
    objective: Objective,
) -> LossWeights:
    def one(photo: Array, mosaic: Array, targets: Targets, weights: LossWeights, strength: Array) -> LossWeights:
        return balance(photo, mosaic, params, targets, objective, strength, weights)

    return jax.vmap(one)(photos, mosaics, targets, weights, strengths)


def _each(weights: LossWeights, count: int) -> list[LossWeights]:
    """The weights of each picture."""
    found = jax.tree.map(to_host, weights)
    return [jax.tree.map(lambda values, k=k: jnp.asarray(values[k]), found) for k in range(count)]


def _metrics(pictures: Sequence[Picture], power: Float[np.ndarray, " batch"], mesh: Mesh | None) -> dict[str, Metric]:
    """The metric of each picture; once for all that have the style in common."""
    # It is the same object where the style is one.
    keys = [(id(picture.style), float(each)) for picture, each in zip(pictures, power, strict=True)]
    styles = {id(picture.style): picture.style for picture in pictures}
    found = {key: metric_of(styles[key[0]], np.float32(key[1])) for key in set(keys)}
    return _stacked([found[key] for key in keys], mesh)


def _stacked(trees: Sequence[Tree], mesh: Mesh | None) -> Tree:
    """One of each picture, with a leading axis; those that the first host has computed."""
    stacked = jax.tree.map(lambda *each: np.stack(each), *trees)
    return jax.tree.map(
        lambda each: shard_batch(each, mesh), stacked if mesh is None else broadcast_from_first_host(stacked)
    )


def init_batch_unchecked(images: Array, optimizer: optax.GradientTransformation) -> State:
    """What `init_unchecked` gives for each picture, with a leading axis.

    Args:
        images: `(batch, H, W, 3)`.
        optimizer: any optax transform.

    Returns:
        The states.
    """
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
    """What `run` does, for each picture so many steps.

    Args:
        states: with a leading axis of pictures; their buffers are reused.
        params: shared.
        targets: with a leading axis.
        weights: likewise.
        objective: static.
        optimizer: static.
        lengths: at most `PATIENCE` each; a picture with 0 stays as it is.

    Returns:
        The states after them, and an array of `(batch, PATIENCE, 5)`: a picture's first rows are its losses.
    """

    def one(state: State, targets: Targets, weights: LossWeights, length: Int[Array, ""]) -> tuple[State, Array]:
        return steps(state, params, targets, weights, objective, optimizer, length)

    return jax.vmap(one)(states, targets, weights, lengths)


@functools.partial(jax.jit, static_argnames="optimizer", donate_argnames="states")
def _again(states: State, which: Bool[Array, " batch"], optimizer: optax.GradientTransformation) -> State:
    """Those pictures begin anew from their best one."""
    fresh = jax.vmap(functools.partial(init_unchecked, optimizer=optimizer))(states.best_image)

    def select(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(which, range(1, new.ndim)), new, old)

    return jax.tree.map(select, fresh, states)
