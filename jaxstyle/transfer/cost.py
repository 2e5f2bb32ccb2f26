"""How much work a run is, and how long it takes, before anything runs."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle.image.ops import white_noise
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, stages
from jaxstyle.objective.evaluate import value_and_grad
from jaxstyle.objective.targets import make_targets
from jaxstyle.objective.tiling import Stage, axes
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.vgg import network

# What a step reaches of the rate of a matrix product, operations counted as of direct convolutions, by which Winograd's
# form goes beyond it: measured on 2 cores, from 256x256 to 512x512.
DIRECT, WINOGRAD = 0.75, 1.25
# Side in pixels of the picture whose evaluation is timed.
CALIBRATION = 256


def flops(height: int, width: int, objective: Objective, widths: tuple[int, ...] = network.WIDTHS) -> float:
    """Floating-point operations of one value and gradient: the convolutions forward, and once more for the pixels.

    Windows go forward twice, and their halos are work too.

    Args:
        height: in pixels.
        width: in pixels.
        objective: its deepest layer and its window count.
        widths: channels of the five blocks.

    Returns:
        The number, a multiply-add counted as two.

    Example:
        >>> round(flops(512, 512, Objective()) / 1e9)
        379
    """
    total = 0.0
    for stage in stages(objective):
        windows = math.prod(axis.windows for axis in axes((height // stage.stride, width // stage.stride), stage))
        passes = 2 if windows == 1 else 3
        for channels, out, positions in maps_of(stage, height, width, widths):
            # A pool has no channels to add up.
            total += passes * windows * 2 * 9.0 * channels * out * positions
    return total


def maps_of(stage: Stage, height: int, width: int, widths: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Each map that one window of a stage makes.

    Args:
        stage: static.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        widths: channels of the five blocks.

    Yields:
        Channels that a convolution reads (0 for a pool), channels of the map, and its positions.
    """
    rows, columns = axes((height // stage.stride, width // stage.stride), stage)
    channels = 3 if stage.after is None else widths[int(stage.after[4]) - 1]
    for layer in network.layers_between(stage.layers, stage.after):
        positions = (rows.length // stage.stride_from(layer)) * (columns.length // stage.stride_from(layer))
        if layer in network.CONVOLUTIONS:
            out = widths[int(layer[4]) - 1]
            yield channels, out, positions
            channels = out
        elif layer.startswith("pool"):
            yield 0, channels, positions


def seconds(scales: Sequence[Scale], objective: Objective) -> float:
    """About how long a run takes on the default device, compilation apart.

    Args:
        scales: sizes and steps, the last the largest: see `pyramid`.
        objective: its deepest layer counts.

    Returns:
        Seconds; as good as `seconds_a_step`.
    """
    full = scales[-1]
    operations = sum(scale.steps * flops(scale.height, scale.width, objective) for scale in scales)
    share = operations / flops(full.height, full.width, objective)
    return share * seconds_a_step(full.height, full.width, objective)


def seconds_a_step(height: int, width: int, objective: Objective) -> float:
    """About how long one step takes on the default device, from the speed of a matrix product measured now.

    Args:
        height: in pixels.
        width: in pixels.
        objective: its deepest layer counts.

    Returns:
        Seconds; measured within about a third on CPUs, no more than a guess elsewhere.
    """
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=lax.Precision.HIGHEST))
    matrix = jnp.ones((1024, 1024), jnp.float32)
    rate = 2 * 1024.0**3 / _shortest(lambda: product(matrix))
    direct = objective.shards != (1, 1) or objective.precision == "bfloat16" or jax.devices()[0].platform != "cpu"
    share = DIRECT if objective.algorithm == "direct" or direct else WINOGRAD
    return flops(height, width, objective) / (share * rate)


def calibrated_rate(objective: Objective) -> float:
    """Operations a second of the default device, from an evaluation of a small picture that is compiled and run now.

    Args:
        objective: its layers and precision count.

    Returns:
        As `flops` counts them.
    """
    side = max(CALIBRATION, objective.min_side)
    objective = dataclasses.replace(objective, window=None)
    params, picture = network.init_params(jax.random.key(0)), white_noise(0, side, side)
    targets, weights = make_targets(params, picture, [picture], objective), broadcast_weights(LossWeights(), objective)
    return flops(side, side, objective) / _shortest(
        lambda: value_and_grad(picture, params, targets, weights, objective)
    )


def _shortest(work: Callable[[], Any]) -> float:
    """Of three times, after one that compiles."""
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - begin)
    return min(times[1:])
