"""Work of a run in floating-point operations, and the rate of the device, before anything runs."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxstyle.image.ops import white_noise
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights, segments_of
from jaxstyle.objective.evaluate import value_and_grad
from jaxstyle.objective.targets import make_targets
from jaxstyle.objective.tiling import Segment, axes
from jaxstyle.vgg import network

# Side in pixels of the image whose evaluation is timed.
CALIBRATION_SIDE = 256


def flops(height: int, width: int, objective: Objective, widths: tuple[int, ...] = network.WIDTHS) -> float:
    """Return the floating-point operations of one value and gradient: each convolution forward and backward.

    Windows run forward twice, and their halos count too. At the neighbor layers every position is compared with the
    whole bank, once a forward run, halos excluded.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        objective: its deepest layer and its windows count.
        widths: channels of the five blocks.

    Returns:
        Operations; a multiply-add is two.

    Example:
        >>> round(flops(512, 512, Objective()) / 1e9)
        379
    """
    total = 0.0
    for segment in segments_of(objective):
        windows = math.prod(axis.windows for axis in axes((height // segment.stride, width // segment.stride), segment))
        passes = 2 if windows == 1 else 3
        for channels, out, positions in window_maps(segment, height, width, widths):
            # A pool has no multiply-adds.
            total += passes * windows * 2 * 9.0 * channels * out * positions
        for layer in segment.neighbors:
            positions = (height // network.stride(layer)) * (width // network.stride(layer))
            total += (passes - 1) * 2.0 * widths[int(layer[4]) - 1] * objective.bank_size * positions
    return total


def window_maps(segment: Segment, height: int, width: int, widths: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Describe the feature maps of one window of a segment, for an image of this height and width.

    Yields:
        Channels that a convolution reads (0 for a pool), channels of the map, and its positions.
    """
    rows, columns = axes((height // segment.stride, width // segment.stride), segment)
    channels = 3 if segment.after is None else widths[int(segment.after[4]) - 1]
    for layer in network.layers_between(segment.layers, segment.after):
        positions = (rows.length // segment.stride_from(layer)) * (columns.length // segment.stride_from(layer))
        if layer in network.CONVOLUTIONS:
            out = widths[int(layer[4]) - 1]
            yield channels, out, positions
            channels = out
        elif layer.startswith("pool"):
            yield 0, channels, positions


def calibrated_rate(objective: Objective) -> float:
    """Return the default device's operations per second, as `flops` counts them: compiles and times a small image."""
    side = max(CALIBRATION_SIDE, objective.min_side)
    objective = dataclasses.replace(objective, window=None)
    params, image = network.init_params(jax.random.key(0)), white_noise(0, side, side)
    targets, weights = make_targets(params, image, [image], objective), broadcast_weights(LossWeights(), objective)
    return flops(side, side, objective) / _shortest(lambda: value_and_grad(image, params, targets, weights, objective))


def _shortest(work: Callable[[], Any]) -> float:
    """Return the least seconds of three calls, after a first one that compiles."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return min(times[1:])
