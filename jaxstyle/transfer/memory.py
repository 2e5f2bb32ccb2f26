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
    activation_factor: float
    # Bytes per pixel of the image: the map between the stages, gradients, buffers of the optimizer.
    bytes_per_pixel: int
    # Bytes at any size, mostly transformed kernels.
    fixed_bytes: int


# Upper bounds on the memory reported by the compiler for the default objective, images of 128 to 4096 pixels per side,
# with and without windows; for programs compiled with and without `MEMORY_OPTIMIZED`.
_CPU = {True: _Temporaries(1.4, 97, 65_000_000), False: _Temporaries(1.4, 160, 65_000_000)}
# A conservative guess, not a measurement.
_ACCELERATOR = _Temporaries(2.05, 125, 65_000_000)
# A style's forward pass keeps no activations for a gradient.
_STYLE_PASS = _Temporaries(0.6, 18, 0)

# Bytes per pixel in addition to those of a step: the content, the initial image, the best image, a callback's copy.
IMAGE_BYTES = 4 * 12
# Bytes per pixel of a style: the original and its resized copy.
STYLE_BYTES = 2 * 12
# Bytes of Python, JAX and its compiler, measured on Linux.
PROCESS_BYTES = 600_000_000


class Memory(NamedTuple):
    """Memory of a run, in bytes.

    Attributes:
        parameters: parameters of the network.
        targets: the content's features and the style's Gram matrices.
        state: the image, the best image, and the optimizer's history.
        temporary: buffers allocated while a step runs.
        images: image buffers held in addition to those of the step.
        process: Python, JAX and its compiler, if the device shares their memory.
    """

    parameters: int
    targets: int
    state: int
    temporary: int
    images: int
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
    """Return the memory of a run.

    The temporary memory of a step is what the compiler reports, so the step is compiled, which takes several seconds.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        objective: only its layers and its window matter.
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
    """Return the memory of a run without compiling: like `memory`, with a linear model of a step's temporaries.

    The model is an upper bound where it was measured: bytes proportional to the activations of the largest window,
    plus bytes per pixel, plus a constant.
    """
    on_cpu = jax.devices()[0].platform == "cpu"
    model = _CPU[compiler.MEMORY_OPTIMIZED] if on_cpu else _ACCELERATOR
    return Memory(
        # Without the window, which does not affect them, so that the cache has one entry for all windows.
        *_held_bytes(height, width, dataclasses.replace(objective, window=None), optimizer),
        temporary=max(_temporary_bytes(model, height, width, objective), style_pass_bytes(styles, objective)),
        images=IMAGE_BYTES * height * width + STYLE_BYTES * sum(map(math.prod, styles)),
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
    # The style's size does not matter to a step, except that its banks are full where it is large.
    side = objective.min_side * (1 + math.isqrt(objective.bank_size) if objective.neighbor_layers else 1)
    style = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    params = jax.eval_shape(network.init_params, jax.random.key(0))
    targets = jax.eval_shape(lambda p, c, s: whiten(make_targets(p, c, [s], objective)), params, image, style)
    return params, targets, jax.eval_shape(lambda start: init_unchecked(start, optimizer), image)


def _temporary_bytes(model: _Temporaries, height: int, width: int, objective: Objective) -> int:
    activations = 4 * max(
        sum(positions * out for _, out, positions in window_maps(stage, height, width, network.WIDTHS))
        for stage in stages(objective)
    )
    return round(model.activation_factor * activations) + model.bytes_per_pixel * height * width + model.fixed_bytes


def style_pass_bytes(styles: Sequence[tuple[int, int]], objective: Objective) -> int:
    """Return the temporary bytes for the largest style: the styles' Gram matrices are computed one style at a time."""
    return max((_temporary_bytes(_STYLE_PASS, *style, objective) for style in styles), default=0)


def fits(needs: Memory, free: int | None) -> bool:
    """Return True if a run fits into the usable fraction of the free memory, or if the free memory is unknown.

    Args:
        needs: see `memory`.
        free: see `free_memory`; memory already used by this process is not part of it, so `needs.process` is not
            counted.
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
        objective: its window is ignored.
        optimizer: see `memory`.
        styles: height and width of each style image.
        free: free memory in bytes; that of the default device if None.

    Returns:
        A window for `Objective`; None if the whole image fits.
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


def with_window(
    objective: Objective,
    window: WindowOption,
    height: int,
    width: int,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
    batch_size: int = 1,
    mesh: Mesh | None = None,
) -> Objective:
    """Return the objective with the window that `stylize` uses, so that every device's shard fits into its memory.

    Args:
        objective: if `window` is "auto" and the objective already has a window, that window is kept.
        window: see `stylize`.
        height: of the image in pixels.
        width: of the image in pixels.
        optimizer: see `memory`.
        styles: height and width of each style image.
        batch_size: number of images that a device optimizes at once.
        mesh: mesh of the run; all of its hosts use the same window.

    Raises:
        InputError: for a window that is too small.
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
    """Return `estimate` for the shard of an image on each device; the sizes are those of whole images."""
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
    """Call `work`; if it runs out of memory, warn and retry once with smaller windows.

    An estimate can be wrong, and other programs may have allocated memory since.

    Args:
        work: a function of the objective.
        objective: objective with the first window.
        side: long side of the image in pixels.
        retry: If False, do not retry.

    Returns:
        The result of `work`, and the window that it was called with.

    Raises:
        jax.errors.JaxRuntimeError: from the last call.
    """
    try:
        return work(objective), objective.window
    except jax.errors.JaxRuntimeError as error:
        smaller = windows_below(min(objective.window or side, side))
        # In a multi-host run, one host cannot retry on its own.
        if not (retry and jax.process_count() == 1 and smaller and OUT_OF_MEMORY.search(str(error))):
            raise
    # Outside of the handler: the error keeps the failed call's arrays alive.
    warnings.warn(f"out of memory: retrying with windows of {smaller[0]} pixels", stacklevel=2)
    return work(dataclasses.replace(objective, window=smaller[0])), smaller[0]
