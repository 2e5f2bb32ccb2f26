"""What a run needs in memory, before anything runs, and the windows with which it fits."""

import contextlib
import dataclasses
import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxstyle import vgg
from jaxstyle.descent import run
from jaxstyle.objective import LossWeights, Objective, a_layer_each, stages
from jaxstyle.plan import maps_of
from jaxstyle.step import begin
from jaxstyle.targets import make_targets, whiten

WindowOption = Literal["auto"] | int | None

# How XLA says it: the first on accelerators, the second on CPUs.
OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|Out of memory")
# Tried in this order, after the whole picture: the fewer windows, the less of the work is halo.
WINDOWS = (2048, 1024, 512, 256, 128)
# Of the memory that is free, for the run: the rest is for the pictures in files, and for whoever else needs some.
USABLE = 0.9
# Bytes of temporaries: for each byte of a window's activations, and for each pixel (the map between the stages,
# gradients, the optimiser's); measured for the default objective, 2 cores, 512 to 16384 pixels a side.
TEMPORARIES = 2.05
BUFFERS = 125
# Bytes a pixel beside the step's own: the photo, the picture to start from, the best one, and a callback's copy.
PICTURES = 4 * 12
# Bytes of the process itself, measured on Linux.
PROCESS = 500_000_000


class Memory(NamedTuple):
    """What a step needs, in bytes.

    Attributes:
        parameters: of the network.
        targets: the content's features and the style's Gram matrices.
        state: the picture, the best one, and the optimiser's memory.
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


def memory(height: int, width: int, objective: Objective, optimizer: optax.GradientTransformation) -> Memory:
    """The memory of a step, from its compiled program. It is compiled, not run: some seconds, whatever the size.

    Args:
        height: in pixels.
        width: in pixels.
        objective: says the layers and the window.
        optimizer: `lbfgs()` keeps 24 bytes a pixel for every pair of its memory.

    Returns:
        Bytes.
    """
    params, targets, state = arguments = _arguments(height, width, objective, optimizer)
    weights, length = a_layer_each(LossWeights(), objective), jax.ShapeDtypeStruct((), jnp.int32)
    analysis = run.lower(state, params, targets, weights, objective, optimizer, length).compile().memory_analysis()
    if analysis is None:
        raise NotImplementedError("this platform's compiler does not say what memory a program needs")
    return _memory(arguments, analysis.temp_size_in_bytes, height * width)


def _arguments(height, width, objective, optimizer):
    """Params, targets and state of a step as shapes, none of them in memory."""
    image = jax.ShapeDtypeStruct((height, width, 3), jnp.float32)
    # The style's size does not matter to a step.
    style = jax.ShapeDtypeStruct((objective.smallest, objective.smallest, 3), jnp.float32)
    params = jax.eval_shape(vgg.init_params, jax.random.key(0))
    targets = jax.eval_shape(lambda p, c, s: whiten(make_targets(p, c, [s], objective)), params, image, style)
    return params, targets, jax.eval_shape(lambda picture: begin(picture, optimizer), image)


def _memory(arguments, temporary: int, pixels: int) -> Memory:
    params, targets, state = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) for tree in arguments
    )
    process = PROCESS if jax.devices()[0].platform == "cpu" else 0
    return Memory(params, targets, state, temporary, PICTURES * pixels, process)


def estimate(height: int, width: int, objective: Objective, optimizer: optax.GradientTransformation) -> Memory:
    """The memory of a step without compiling anything: the same numbers, but the temporary ones guessed.

    Those are taken as proportional to the activations of the largest window, plus some a pixel.

    Args:
        height: in pixels.
        width: in pixels.
        objective: says the layers and the window.
        optimizer: see `memory`.

    Returns:
        Bytes.
    """
    arguments = _arguments(height, width, objective, optimizer)
    largest = max(
        sum(positions * out for _, out, positions in maps_of(stage, height, width, vgg.WIDTHS))
        for stage in stages(objective)
    )
    temporary = round(TEMPORARIES * 4 * largest) + BUFFERS * height * width
    return _memory(arguments, temporary, height * width)


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
    # Of a container; "max" if it has no limit.
    with contextlib.suppress(OSError, ValueError):
        found.append(int((control / "memory.max").read_text()) - int((control / "memory.current").read_text()))
    return min(found, default=None)


def choose_window(
    height: int,
    width: int,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    free: int | None = None,
) -> int | None:
    """The largest window whose step should fit into the memory; None, the whole picture, if that does.

    Args:
        height: in pixels.
        width: in pixels.
        objective: its own window does not matter.
        optimizer: see `memory`.
        free: bytes; of the default device if None.

    Returns:
        A window for `Objective`; the smallest if none fits.
    """
    free = free_memory() if free is None else free
    for window in (None, *(window for window in WINDOWS if window < max(height, width))):
        settings = dataclasses.replace(objective, window=window)
        if free is None or estimate(height, width, settings, optimizer).peak <= USABLE * free:
            return window
    return WINDOWS[-1]


def smaller_window(window: int | None, side: int) -> int:
    """The next smaller window that is tried.

    Args:
        window: the one that was too large; None for the whole picture.
        side: the longer one of the picture, in pixels.

    Returns:
        A window; the smallest if there is none below.
    """
    largest = side if window is None else window
    return next((smaller for smaller in WINDOWS if smaller < largest), WINDOWS[-1])


def windowed(
    objective: Objective, window: WindowOption, height: int, width: int, optimizer: optax.GradientTransformation
) -> Objective:
    """The objective with the window that `stylize` uses.

    Args:
        objective: its own window counts where the option is "auto".
        window: see `stylize`.
        height: of the largest picture, in pixels.
        width: of the largest picture, in pixels.
        optimizer: its memory counts.

    Returns:
        The objective.
    """
    if window != "auto":
        return dataclasses.replace(objective, window=window)
    return (
        objective
        if objective.window
        else dataclasses.replace(objective, window=choose_window(height, width, objective, optimizer))
    )
