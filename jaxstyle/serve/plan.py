"""Will it fit, and how long will it take: from the size and the settings, without compiling their programs."""

import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxstyle.serve.options import Wanted
from jaxstyle.serve.segment import Inputs
from jaxstyle.transfer import cost
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.transfer.memory import USABLE
from jaxstyle.transfer.settings import resolve_settings
from jaxstyle.transfer.stage import full_size_stages

# Bytes per pixel of a picture as a whole, and in windows: benchmarks/results/memory.md.
WHOLE_BYTES, WINDOW_BYTES = 2600, 800
# Bytes per pixel of a painting, in addition.
PAINTING_BYTES = 24
# Side of the matrices whose product is timed.
MATRIX_SIDE = 1024
# Size from which windows are worth their halo.
WINDOWED_SIDE = 1024


def plan_json(inputs: Inputs, wanted: Wanted) -> dict[str, Any]:
    """Estimate memory and time of a run.

    Raises:
        InputError: for pictures that are too small for the settings.
    """
    settings = resolve_settings(wanted.settings, None)
    side, min_side = max(1, round(wanted.size * wanted.style_scale)), settings.min_side
    height, width = inputs.photo.size_at(wanted.size, min_side)
    paintings = [painting.size_at(side, min_side) for painting in inputs.paintings]
    scales = settings.scales_of(height, width, paintings)
    last = scales[-1]
    pixels, free = last.height * last.width, free_memory()
    own = PAINTING_BYTES * last.factor**2 * sum(rows * columns for rows, columns in paintings)
    usable = math.inf if free is None else USABLE * free
    needs = WHOLE_BYTES * pixels + own
    if needs > usable and max(height, width) > WINDOWED_SIDE:
        needs = WINDOW_BYTES * pixels + own
    main, *finish = full_size_stages(settings)
    work = 0.0
    for scale in scales:
        work += scale.steps * cost.flops(scale.height, scale.width, main.objective)
        work += sum(stage.steps * cost.flops(scale.height, scale.width, stage.objective) for stage in finish)
    seconds = work / device_rate()
    fits = needs <= usable
    text = f"{width}x{height} pixels, about {duration(seconds)}, and {needs / 1e9:.1f} GB of memory"
    text += "" if fits else ", which is more than is free: choose a smaller size"
    return {
        "width": width,
        "height": height,
        "memory_bytes": needs,
        "fits": fits,
        "seconds": round(seconds, 1),
        "text": text,
    }


@functools.cache
def device_rate() -> float:
    """Operations per second of the device, measured once.

    Of a product of matrices, which compiles at once: the network's convolutions are about as fast.
    """
    matrix = jnp.ones((MATRIX_SIDE, MATRIX_SIDE), jnp.float32)
    product = jax.jit(lambda matrix: matrix @ matrix)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        jax.block_until_ready(product(matrix))
        seconds.append(time.perf_counter() - start)
    # The first one compiles.
    return 2 * MATRIX_SIDE**3 / min(seconds[1:])


def duration(seconds: float) -> str:
    """Return a time as text.

    Example:
        >>> duration(40), duration(200), duration(8000)
        ('40 seconds', '3 minutes', '2.2 hours')
    """
    if seconds < 90:
        return f"{math.ceil(seconds)} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
