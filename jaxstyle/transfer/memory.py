"""What a run needs in memory, before anything runs, and the windows with which it fits."""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxstyle.minimize.loop import run
from jaxstyle.minimize.step import init_unchecked
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, stages
from jaxstyle.objective.mesh import allreduce_max
from jaxstyle.objective.targets import make_targets, whiten
from jaxstyle.transfer.cost import maps_of
from jaxstyle.vgg import network

T = TypeVar("T")
WindowOption = Literal["auto"] | int | None

# How XLA says it: the first on accelerators, the second on CPUs.
OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|Out of memory")
# Tried in this order, after the whole picture: the fewer windows, the less of the work is halo.
WINDOWS = (2048, 1024, 512, 256, 128)
# Of the memory that is free, for the run: the rest is for the pictures in files, and for whoever else needs some.
USABLE = 0.9
# Bytes of temporaries: for each byte of a window's activations, and for each pixel (the map between the stages,
# gradients, the optimizer's); measured for the default objective, 2 cores, 512 to 8192 pixels a side. Where XLA orders
# the work otherwise than on CPUs, what it was there before it was compiled in order: nothing was measured.
TEMPORARIES = {"cpu": (1.33, 86)}
OTHERWISE = 2.05, 125
# Bytes a pixel beside the step's own: the photo, the picture to start from, the best one, and a callback's copy.
PICTURES = 4 * 12
# Bytes a pixel of a style: as given, and shrunk.
STYLES = 2 * 12
# Bytes of temporaries where nothing is kept for a gradient, likewise.
FORWARD, FORWARD_BUFFERS = 0.6, 18
# Bytes of the process itself, measured on Linux.
PROCESS = 600_000_000


class Memory(NamedTuple):
    """What a run needs, in bytes.

    Attributes:
        parameters: of the network.
        targets: the content's features and the style's Gram matrices.
        state: the picture, the best one, and the optimizer's memory.
        temporary: while a step runs, as its compiled program says.
        pictures: held beside them during a run.
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
        """All together."""
        return sum(self)


def memory(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
) -> Memory:
    """The memory of a run, with that of a step from its compiled program. It is compiled, not run: some seconds.

    Args:
        height: in pixels.
        width: in pixels.
        objective: says the layers and the window.
        optimizer: `lbfgs()` keeps 24 bytes a pixel for every pair of its memory.
        styles: height and width of each style picture.

    Returns:
        Bytes; where the platform's compiler does not say what a program needs, those of `estimate`.
    """
    estimated = estimate(height, width, objective, optimizer, styles)
    params, targets, state = arguments(height, width, objective, optimizer)
    weights, length = broadcast_weights(LossWeights(), objective), jax.ShapeDtypeStruct((), jnp.int32)
    analysis = run.lower(state, params, targets, weights, objective, optimizer, length).compile().memory_analysis()
    if analysis is None:
        return estimated
    return estimated._replace(temporary=max(analysis.temp_size_in_bytes, _forward(styles, objective)))


def estimate(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
) -> Memory:
    """The memory of a run without compiling anything: the same numbers, but a step's temporary ones guessed.

    Those are taken as proportional to the activations of the largest window, plus some a pixel.

    Args:
        height: in pixels.
        width: in pixels.
        objective: says the layers and the window.
        optimizer: see `memory`.
        styles: height and width of each style picture.

    Returns:
        Bytes.
    """
    # The same for every window.
    held = _bytes(height, width, dataclasses.replace(objective, window=None), optimizer)
    share, buffers = TEMPORARIES.get(jax.devices()[0].platform, OTHERWISE)
    temporary = round(share * _activations(height, width, objective)) + buffers * height * width
    return Memory(
        *held,
        temporary=max(temporary, _forward(styles, objective)),
        pictures=PICTURES * height * width + STYLES * sum(map(math.prod, styles)),
        process=PROCESS if jax.devices()[0].platform == "cpu" else 0,
    )


@functools.lru_cache(maxsize=64)
def _bytes(
    height: int, width: int, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[int, int, int]:
    params, targets, state = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        for tree in arguments(height, width, objective, optimizer)
    )
    return params, targets, state


def arguments(
    height: int, width: int, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[Any, Any, Any]:
    """Params, targets and state of a step as shapes, none of them in memory.

    Args:
        height: in pixels.
        width: in pixels.
        objective: says the layers.
        optimizer: says the state.

    Returns:
        All three.
    """
    image = jax.ShapeDtypeStruct((height, width, 3), jnp.float32)
    # The style's size does not matter to a step.
    style = jax.ShapeDtypeStruct((objective.min_side, objective.min_side, 3), jnp.float32)
    params = jax.eval_shape(network.init_params, jax.random.key(0))
    targets = jax.eval_shape(lambda p, c, s: whiten(make_targets(p, c, [s], objective)), params, image, style)
    return params, targets, jax.eval_shape(lambda picture: init_unchecked(picture, optimizer), image)


def _activations(height: int, width: int, objective: Objective) -> int:
    """Bytes of all maps that the largest window makes."""
    return 4 * max(
        sum(positions * out for _, out, positions in maps_of(stage, height, width, network.WIDTHS))
        for stage in stages(objective)
    )


def _forward(styles: Sequence[tuple[int, int]], objective: Objective) -> int:
    """Temporary bytes of the largest style's Gram matrices: no map is kept for a way back."""
    return max(
        (round(FORWARD * _activations(*style, objective)) + FORWARD_BUFFERS * math.prod(style) for style in styles),
        default=0,
    )


def free_memory() -> int | None:
    """Bytes that a run may use: of an accelerator its own memory, otherwise the machine's or the container's.

    Returns:
        Bytes; None where nobody says.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    return _free_of_machine()


def _free_of_machine(proc: Path = Path("/proc"), control: Path = Path("/sys/fs/cgroup")) -> int | None:
    found = []
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        # Not Linux: what there is at all is the best that the standard library knows.
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    # Of a container; "max" if it has no limit. Files that it has read count as used, but give way.
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((control / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (control / "memory.stat").read_text().splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        found.append(limit - used + cached)
    return min(found, default=None)


def fits(needs: Memory, free: int | None) -> bool:
    """Whether a run fits into what is free now, with something to spare; yes where nobody knows.

    Args:
        needs: see `memory`.
        free: see `free_memory`; this process is no longer part of it.

    Returns:
        True or False.
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
    """The largest window whose step should fit into the memory; None, the whole picture, if that does.

    Args:
        height: in pixels.
        width: in pixels.
        objective: its own window does not matter.
        optimizer: see `memory`.
        styles: height and width of each style picture.
        free: bytes; of the default device if None.

    Returns:
        A window for `Objective`; the smallest if none fits.
    """
    free = free_memory() if free is None else free
    for window in (None, *windows_below(max(height, width, *itertools.chain(*styles)))):
        needs = estimate(height, width, dataclasses.replace(objective, window=window), optimizer, styles)
        if fits(needs, free):
            return window
    return WINDOWS[-1]


def windows_below(side: int) -> tuple[int, ...]:
    """The windows that are tried for a picture of this long side, or after a window of this side; from large to small.

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
    pictures: int = 1,
    mesh: Mesh | None = None,
) -> Objective:
    """The objective with the window that `stylize` uses: one with which every device's part fits into its memory.

    Args:
        objective: its own window counts where the option is "auto".
        window: see `stylize`.
        height: in pixels.
        width: in pixels.
        optimizer: its memory counts.
        styles: height and width of each style picture.
        pictures: that a device has at once.
        mesh: of the run; its hosts use the same window.

    Returns:
        The objective.

    Raises:
        InputError: for a window too small.
    """
    if window == "auto" and objective.window is None:
        (height, width), *styles = (part_of(size, objective) for size in ((height, width), *styles))
        alone, free = dataclasses.replace(objective, shards=(1, 1)), free_memory()
        if free is not None:
            # Devices that are cores of one machine share its memory.
            sharing = mesh.size if mesh is not None and jax.devices()[0].platform == "cpu" else 1
            free //= pictures * max(1, sharing // jax.process_count())
        chosen = choose_window(height, width, alone, optimizer, styles, free)
        window = int(allreduce_max(chosen or 0, mesh)) or None
    return objective if window == "auto" else dataclasses.replace(objective, window=window)


def estimate_part(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    styles: Sequence[tuple[int, int]] = (),
) -> Memory:
    """What `estimate` says of the part of a picture that each of several devices has.

    Args:
        height: of the whole picture, in pixels.
        width: likewise.
        objective: says the shards and the window.
        optimizer: see `memory`.
        styles: height and width of each style picture.

    Returns:
        Bytes on a device.
    """
    (high, wide), *parts = (part_of(size, objective) for size in ((height, width), *styles))
    return estimate(high, wide, dataclasses.replace(objective, shards=(1, 1)), optimizer, parts)


def part_of(size: tuple[int, int], objective: Objective) -> tuple[int, int]:
    """Height and width of what each device has of a picture.

    Args:
        size: height and width of all of it.
        objective: says the shards; no part is smaller than its layers need.

    Returns:
        Pixels.
    """
    height, width = (
        max(-(-side // count), objective.min_side) for side, count in zip(size, objective.shards, strict=True)
    )
    return height, width


def retry_with_smaller_windows(
    work: Callable[[Objective], T], objective: Objective, side: int, retry: bool = True
) -> tuple[T, int | None]:
    """Do something, and if the memory does not suffice, once more in smaller windows, with a warning.

    An estimate can be wrong, and others may have taken memory since.

    Args:
        work: what to do with an objective.
        objective: with the window to begin with.
        side: the picture's longer one, in pixels.
        retry: whether there is a second try.

    Returns:
        What the work gave, and the window that it gave it with.

    Raises:
        jax.errors.JaxRuntimeError: from the last try.
    """
    try:
        return work(objective), objective.window
    except jax.errors.JaxRuntimeError as error:
        smaller = windows_below(objective.window or side)
        # Where several hosts work together, one of them must not try again alone.
        if not (retry and jax.process_count() == 1 and smaller and OUT_OF_MEMORY.search(str(error))):
            raise
    # Outside of the handler, because the error keeps everything alive that was in use.
    warnings.warn(f"out of memory: once more, in windows of {smaller[0]} pixels", stacklevel=2)
    return work(dataclasses.replace(objective, window=smaller[0])), smaller[0]
