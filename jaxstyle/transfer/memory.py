"""Memory that a run needs, estimated before it starts, and the windows with which it fits."""

import dataclasses
import functools
import itertools
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxstyle import compiler
from jaxstyle.minimize.loop import run
from jaxstyle.minimize.step import init_unchecked
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, stages
from jaxstyle.objective.mesh import allreduce_max
from jaxstyle.objective.targets import make_targets, whiten
from jaxstyle.transfer.cost import window_maps
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.vgg import network

T = TypeVar("T")
WindowOption = Literal["auto"] | int | None

# XLA's messages, on accelerators and on CPUs.
OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|Out of memory")
# Window sides in pixels, tried in this order after the whole image: large windows have less halo to compute.
WINDOWS = (2048, 1024, 512, 256, 128)
# Fraction of the free memory that a run may use; the rest is for image files and other programs.
USABLE = 0.9


class _Temporaries(NamedTuple):
    """Linear model of the bytes that a compiled step allocates while it runs."""

    # Multiple of the largest window's activations.
    activations: float
    # Bytes per pixel of the image: the map between the stages, gradients, buffers of the optimizer.
    pixel: int
    # Bytes at any size, mostly transformed kernels.
    constant: int


# Upper bounds of the compiler's figures for the default objective, 128 to 4096 pixels a side, whole and in windows,
# for programs compiled with and without `MEMORY_OPTIMIZED`.
_CPU = {True: _Temporaries(1.4, 97, 65_000_000), False: _Temporaries(1.4, 160, 65_000_000)}
# Not measured: a cautious guess.
_ACCELERATOR = _Temporaries(2.05, 125, 65_000_000)
# A style's forward pass keeps no activations for a gradient.
_STYLE_PASS = _Temporaries(0.6, 18, 0)

# Bytes per pixel beside a step's own: the content, the start, the best image, and a callback's copy.
IMAGE_BYTES = 4 * 12
# Bytes per pixel of a style: as given, and resized.
STYLE_BYTES = 2 * 12
# Bytes of Python, JAX and its compiler, measured on Linux.
PROCESS_BYTES = 600_000_000


class Memory(NamedTuple):
    """Memory of a run, in bytes.

    Attributes:
        parameters: of the network.
        targets: the content's features and the style's Gram matrices.
        state: the image, the best image, and the optimizer's history.
        temporary: allocated while a step runs.
        pictures: images held beside the step.
        process: Python, JAX and its compiler, where they share the memory.
    """

    parameters: int
    targets: int
    state: int
    temporary: int
    pictures: int
    process: int

    @property
    def peak(self) -> int:
        """Sum of all parts."""
        return sum(self)


def memory(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
) -> Memory:
    """Return the memory of a run, with that of a step from its compiled program: compiling takes some seconds.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        objective: its layers and window count.
        optimizer: `lbfgs()` keeps 24 bytes per pixel for every pair of its history.
        styles: height and width of each style image.

    Returns:
        Bytes; those of `estimate` where the platform's compiler does not report a program's memory.
    """
    estimated = estimate(height, width, objective, optimizer, styles)
    params, targets, state = step_shapes(height, width, objective, optimizer)
    weights, length = broadcast_weights(LossWeights(), objective), jax.ShapeDtypeStruct((), jnp.int32)
    analysis = run.lower(state, params, targets, weights, objective, optimizer, length).compile().memory_analysis()
    if analysis is None:
        return estimated
    return estimated._replace(temporary=max(analysis.temp_size_in_bytes, style_pass_bytes(styles, objective)))


def estimate(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
) -> Memory:
    """Return the memory of a run without compiling: as `memory`, but with a linear model of a step's temporaries.

    The model is an upper bound where it was measured: bytes proportional to the activations of the largest window,
    plus bytes per pixel, plus a constant.
    """
    on_cpu = jax.devices()[0].platform == "cpu"
    model = _CPU[compiler.MEMORY_OPTIMIZED] if on_cpu else _ACCELERATOR
    return Memory(
        # The same for every window.
        *_held_bytes(height, width, dataclasses.replace(objective, window=None), optimizer),
        temporary=max(_temporary_bytes(model, height, width, objective), style_pass_bytes(styles, objective)),
        pictures=IMAGE_BYTES * height * width + STYLE_BYTES * sum(map(math.prod, styles)),
        process=PROCESS_BYTES if on_cpu else 0,
    )


@functools.lru_cache(maxsize=64)
def _held_bytes(
    height: int, width: int, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[int, int, int]:
    params, targets, state = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        for tree in step_shapes(height, width, objective, optimizer)
    )
    return params, targets, state


def step_shapes(
    height: int, width: int, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[Any, Any, Any]:
    """Return params, targets and state of a step as shapes, without allocating them."""
    image = jax.ShapeDtypeStruct((height, width, 3), jnp.float32)
    # The style's size does not matter to a step.
    style = jax.ShapeDtypeStruct((objective.min_side, objective.min_side, 3), jnp.float32)
    params = jax.eval_shape(network.init_params, jax.random.key(0))
    targets = jax.eval_shape(lambda p, c, s: whiten(make_targets(p, c, [s], objective)), params, image, style)
    return params, targets, jax.eval_shape(lambda start: init_unchecked(start, optimizer), image)


def _temporary_bytes(model: _Temporaries, height: int, width: int, objective: Objective) -> int:
    activations = 4 * max(
        sum(positions * out for _, out, positions in window_maps(stage, height, width, network.WIDTHS))
        for stage in stages(objective)
    )
    return round(model.activations * activations) + model.pixel * height * width + model.constant


def style_pass_bytes(styles: Sequence[tuple[int, int]], objective: Objective) -> int:
    """Return the temporary bytes for the Gram matrices of the largest style; styles are measured one by one."""
    return max((_temporary_bytes(_STYLE_PASS, *style, objective) for style in styles), default=0)


def fits(needs: Memory, free: int | None) -> bool:
    """Return True if a run fits into the free memory with some to spare, or if that is unknown.

    Args:
        needs: see `memory`.
        free: see `free_memory`; the running process is no longer part of it.
    """
    return free is None or needs.peak - needs.process <= USABLE * free


def choose_window(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
    free: int | None = None,
) -> int | None:
    """Return the largest window whose step should fit into the memory, the smallest of `WINDOWS` if none does.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        objective: its own window does not matter.
        optimizer: see `memory`.
        styles: height and width of each style image.
        free: bytes; those of the default device if None.

    Returns:
        A window for `Objective`; None, the whole image, if that fits.
    """
    free = free_memory() if free is None else free
    for window in (None, *windows_below(max(height, width, *itertools.chain(*styles)))):
        needs = estimate(height, width, dataclasses.replace(objective, window=window), optimizer, styles)
        if fits(needs, free):
            return window
    return WINDOWS[-1]


def windows_below(side: int) -> tuple[int, ...]:
    """Return the window sides below an image's long side, or below another window, from large to small.

    Example:
        >>> windows_below(600), windows_below(512)
        ((512, 256, 128), (256, 128))
    """
    return tuple(window for window in WINDOWS if window < side)


def with_auto_window(
    objective: Objective,
    window: WindowOption,
    height: int,
    width: int,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
    batch_size: int = 1,
    mesh: Mesh | None = None,
) -> Objective:
    """Return the objective with the window that `stylize` uses: every device's shard then fits into its memory.

    Args:
        objective: its own window counts if the option is "auto".
        window: see `stylize`.
        height: of the image in pixels.
        width: of the image in pixels.
        optimizer: see `memory`.
        styles: height and width of each style image.
        batch_size: images that a device optimizes at once.
        mesh: of the run; all of its hosts use the same window.

    Raises:
        InputError: for a window too small.
    """
    if window == "auto" and objective.window is None:
        (height, width), *styles = (shard_size(size, objective) for size in ((height, width), *styles))
        unsharded, free = dataclasses.replace(objective, shards=(1, 1)), free_memory()
        if free is not None:
            # CPU devices of one machine share its memory.
            sharing = mesh.size if mesh is not None and jax.devices()[0].platform == "cpu" else 1
            free //= batch_size * max(1, sharing // jax.process_count())
        chosen = choose_window(height, width, unsharded, optimizer, styles, free)
        window = int(allreduce_max(chosen or 0, mesh)) or None
    return objective if window == "auto" else dataclasses.replace(objective, window=window)


def estimate_shard(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
) -> Memory:
    """Return what `estimate` gives for the shard of an image on each device; sizes are those of whole images."""
    (rows, columns), *shards = (shard_size(size, objective) for size in ((height, width), *styles))
    return estimate(rows, columns, dataclasses.replace(objective, shards=(1, 1)), optimizer, shards)


def shard_size(size: tuple[int, int], objective: Objective) -> tuple[int, int]:
    """Return height and width of each device's shard of an image, at least what the objective's layers need."""
    height, width = (
        max(-(-side // count), objective.min_side) for side, count in zip(size, objective.shards, strict=True)
    )
    return height, width


def retry_with_smaller_windows(
    work: Callable[[Objective], T], objective: Objective, side: int, retry: bool = True
) -> tuple[T, int | None]:
    """Call `work`, and once more with smaller windows and a warning if it runs out of memory.

    An estimate can be wrong, and other programs may have allocated memory since.

    Args:
        work: a function of the objective.
        objective: with the first window.
        side: long side of the image in pixels.
        retry: False for a single call.

    Returns:
        The result of `work`, and the window that it was called with.

    Raises:
        jax.errors.JaxRuntimeError: from the last call.
    """
    try:
        return work(objective), objective.window
    except jax.errors.JaxRuntimeError as error:
        smaller = windows_below(objective.window or side)
        # Hosts that work together cannot retry alone.
        if not (retry and jax.process_count() == 1 and smaller and OUT_OF_MEMORY.search(str(error))):
            raise
    # Outside of the handler: the error keeps the failed call's arrays alive.
    warnings.warn(f"out of memory: once more, in windows of {smaller[0]} pixels", stacklevel=2)
    return work(dataclasses.replace(objective, window=smaller[0])), smaller[0]
