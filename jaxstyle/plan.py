"""What a run costs, before anything runs."""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle import vgg
from jaxstyle.objective import Objective
from jaxstyle.scales import Scale

# What a step reaches of a large matrix product's rate: measured on 2 cores, at 320x214 and 512x512.
SHARE_OF_PRODUCT_RATE = 0.65


def flops(height: int, width: int, objective: Objective, widths: tuple[int, ...] = vgg.WIDTHS) -> float:
    """Floating-point operations of one value and gradient: the convolutions forward, and once more for the pixels.

    Args:
        height: in pixels.
        width: in pixels.
        objective: its deepest layer counts.
        widths: channels of the five blocks.

    Returns:
        The number, a multiply-add counted as two.

    Example:
        >>> round(flops(512, 512, Objective()) / 1e9)
        379
    """
    deepest = max(vgg.LAYERS.index(layer) for layer in objective.layers)
    total, channels = 0.0, 3
    for layer in vgg.LAYERS[: deepest + 1]:
        if layer in vgg.CONVOLUTIONS:
            stride, out = vgg.stride(layer), widths[int(layer[4]) - 1]
            total += 2 * 2 * 9.0 * channels * out * (height // stride) * (width // stride)
            channels = out
    return total


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
    product(matrix).block_until_ready()
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        product(matrix).block_until_ready()
        times.append(time.perf_counter() - begin)
    rate = 2 * 1024.0**3 / min(times)
    return flops(height, width, objective) / (SHARE_OF_PRODUCT_RATE * rate)
