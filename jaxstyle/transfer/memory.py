"""Memory that a run needs, as the compiler reports it for the run's own program, and the windows with which it fits."""

import dataclasses
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import psutil

from jaxstyle.objective.base import Objective
from jaxstyle.objective.mesh import allreduce_max
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.transfer.program import Size, StageShape, lower_steps, lower_style, step_arguments

T = TypeVar("T")
WindowOption = Literal["auto", "whole"] | int

# XLA's messages, on accelerators and on CPUs.
OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|Out of memory")
# Window sides in pixels, tried in this order after the whole image: large windows have less halo to compute.
WINDOWS = (2048, 1024, 512, 256, 128)
# Fraction of the free memory that a run may use; the rest is for image files and other programs.
USABLE = 0.9
# Bytes per pixel in addition to those of a step: the content, the initial image, the best image, a callback's copy.
IMAGE_BYTES = 4 * 12
# Bytes of the programs that a run compiles for each scale after its memory was estimated, with what the compiler keeps:
# 0.15 to 0.26 GB were measured on a CPU, with and without a finish, at 256 and 512 pixels.
PROGRAMS_BYTES = 200_000_000
# Bytes per pixel of a style: the original and its resized copy.
STYLE_BYTES = 2 * 12
# A style's forward pass keeps no feature maps for a gradient: up to this many times an image's pixels, it needs less.
SMALL_STYLE = 2


class Memory(NamedTuple):
    """Memory of a run in bytes: on the default device, or on all CPU devices of this host, which share it.

    Attributes:
        parameters: parameters of the network.
        targets: the content's features and the style's statistics.
        state: the images, the best images, and the optimizer's history.
        temporary: buffers allocated while a step, or the forward pass of a large style, runs. Infinity if the compiler
            refuses the program as too large, NaN if it does not report a program's memory.
        images: image buffers held in addition to those of the step.
    """

    parameters: float
    targets: float
    state: float
    temporary: float
    images: float

    @property
    def peak(self) -> float:
        """Sum of all parts."""
        return sum(self)


def memory(stage: StageShape) -> Memory:
    """Return the memory of a stage, whose program is compiled for it if it has not been compiled yet."""
    on_cpu = jax.devices()[0].platform == "cpu"
    devices = stage.mesh.size // jax.process_count() if on_cpu and stage.mesh is not None else 1
    state, params, targets, _ = map(_device_bytes, step_arguments(stage))
    temporary = _temporary_bytes(lower_steps(stage))
    style = max(stage.styles, key=math.prod, default=(0, 0))
    if math.prod(style) > SMALL_STYLE * math.prod(stage.size):
        # Before there is a state.
        forward = lower_style(stage, shard_size(style, stage.objective))
        temporary = max(temporary, _temporary_bytes(forward) - state)
    pixels = stage.batch * math.prod(stage.size)
    return Memory(
        devices * params,
        devices * targets,
        devices * state,
        devices * temporary,
        images=IMAGE_BYTES * pixels + STYLE_BYTES * sum(map(math.prod, stage.styles)),
    )


def largest(needs: Iterable[Memory]) -> Memory:
    """Return the memory of several stages that run one after the other: that of the largest."""
    return max(needs, key=lambda memory: memory.peak)


def process_bytes(scales: int = 0) -> int:
    """Return the memory of Python, JAX and its compiler, without arrays; 0 if the device has memory of its own.

    Args:
        scales: number of scales whose programs are still to be compiled.
    """
    if jax.devices()[0].platform != "cpu":
        return 0
    arrays = sum(array.nbytes for array in jax.live_arrays())
    return psutil.Process().memory_info().rss - arrays + scales * PROGRAMS_BYTES


def _device_bytes(tree: Any) -> int:
    """Return the bytes of arrays, or of their shards, on one device."""
    return sum(
        math.prod(leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _temporary_bytes(lowered: Any) -> float:
    """Return the bytes that a program allocates in addition to its arguments; see `Memory.temporary`."""
    try:
        analysis = lowered.compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if not OUT_OF_MEMORY.search(str(error)):
            raise
        return math.inf
    if analysis is None:
        return math.nan
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes


def usable_memory(stage: StageShape) -> float:
    """Return the bytes that a stage may use, the same on all hosts of its mesh; infinity if that is unknown.

    Memory already used by this process is not part of it.
    """
    free = free_memory()
    # In MB, because hosts exchange integers of 32 bits.
    return math.inf if free is None else -1e6 * USABLE * int(allreduce_max(-(free // 10**6), stage.mesh))


def fits(needs: Memory, usable: float) -> bool:
    """Return True if a run fits into memory, or if either is unknown."""
    return not needs.peak >= usable


def with_window(stage: StageShape, window: WindowOption = "auto") -> StageShape:
    """Return the stage in the windows that `stylize` uses.

    Args:
        stage: if `window` is "auto" and the objective already has a window, that window is kept.
        window: see `Settings`. With "auto" the image is whole if it fits into memory, otherwise in the largest windows
            that do, or in the smallest of `WINDOWS` if none do.

    Raises:
        InputError: for a window that is too small.
    """
    if window != "auto":
        return stage.in_windows(None if window == "whole" else int(window))
    if stage.objective.window is not None:
        return stage
    usable = usable_memory(stage)
    for choice in map(stage.in_windows, windows_for(stage)):
        if fits(memory(choice), usable):
            return choice
    return stage.in_windows(WINDOWS[-1])


def windows_for(stage: StageShape) -> tuple[int | None, ...]:
    """Return the windows to choose from, from large to small: None, and those smaller than a device's shard."""
    sizes = (shard_size(size, stage.objective) for size in (stage.size, *stage.styles))
    return None, *windows_below(max(itertools.chain(*sizes)))


def windows_below(side: int) -> tuple[int, ...]:
    """Return the window sides below an image's long side, or below another window, from large to small.

    Example:
        >>> windows_below(600), windows_below(512)
        ((512, 256, 128), (256, 128))
    """
    return tuple(window for window in WINDOWS if window < side)


def shard_size(size: Size, objective: Objective) -> Size:
    """Return height and width of each device's shard of an image, at least what the objective's layers need."""
    height, width = (
        max(-(-side // count), objective.min_side) for side, count in zip(size, objective.shards, strict=True)
    )
    return height, width


def retry_with_smaller_windows(
    work: Callable[[Objective], T], objective: Objective, side: int, retry: bool = True
) -> tuple[T, int | None]:
    """Call `work`; if it runs out of memory, warn and retry once with smaller windows.

    Other programs may have allocated memory since the window was chosen.

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
