"""Alternating time measurements, and the two peaks of this machine's roofline."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle.vgg import network
from jaxstyle.vgg.layers import Precision

# Sides of the matrices whose product is timed.
PRODUCT_SIDES = {"cpu": (1024, 2048)}
DEFAULT_PRODUCT_SIDES = (4096, 8192)
# Size of the array that is read and written, far larger than any cache.
STREAM_BYTES = {"cpu": 2**28}
DEFAULT_STREAM_BYTES = 2**30


def alternate(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time functions alternately, each once per round, so that disturbances affect all of them.

    Args:
        functions: each blocks until its work is done.
        repeats: timed rounds, after one warm-up round.

    Returns:
        The seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def peaks(repeats: int = 7, precision: Precision = "highest") -> dict[str, float]:
    """Measure the rate of the fastest matrix product and the memory bandwidth, each as the best of `repeats`.

    Returns:
        `flops` and `bytes`, both per second.
    """
    platform = jax.devices()[0].platform
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    matmul_precision = lax.Precision.HIGHEST if precision == "highest" else lax.Precision.DEFAULT
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=matmul_precision))
    functions, rates = {}, {}
    for side in PRODUCT_SIDES.get(platform, DEFAULT_PRODUCT_SIDES):
        matrix = jnp.ones((side, side), dtype)
        functions[str(side)] = lambda matrix=matrix: product(matrix).block_until_ready()
    seconds = alternate(functions, repeats)
    rates["flops"] = max(2.0 * int(side) ** 3 / min(times) for side, times in seconds.items())
    size = STREAM_BYTES.get(platform, DEFAULT_STREAM_BYTES)
    array = jnp.ones((size // 4,), jnp.float32)
    # The result reuses the donated buffer; the system would allocate a new one page by page.
    negate = jax.jit(lambda x: -x, donate_argnums=0)
    buffer = [array]

    def stream():
        buffer[0] = negate(buffer[0]).block_until_ready()

    rates["bytes"] = 2.0 * size / min(alternate({"stream": stream}, repeats)["stream"])
    return rates


def convolutions(height: int, width: int) -> dict[str, tuple[int, int, int, int]]:
    """Return height, width, input and output channels of every convolution of the default objective."""
    shapes, channels = {}, 3
    for layer in network.layers_between(("relu5_1",)):
        if layer in network.CONVOLUTIONS:
            out, spacing = network.WIDTHS[int(layer[4]) - 1], network.stride(layer)
            shapes[layer] = (height // spacing, width // spacing, channels, out)
            channels = out
    return shapes


def operations(height: int, width: int, channels: int, out: int) -> float:
    """Count the floating-point operations of a direct convolution and its input gradient; a multiply-add is two."""
    return 2 * 2 * 9.0 * height * width * channels * out


def traffic(height: int, width: int, channels: int, out: int, size: int = 4) -> float:
    """Count the bytes that a convolution with ReLU and its input gradient must read and write, each map once.

    Forward: the input and the output. Backward: the output (for the ReLU) and both gradients. The kernel is read twice.
    """
    return size * (height * width * (2.0 * channels + 3.0 * out) + 2 * 9 * channels * out)
