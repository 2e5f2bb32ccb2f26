"""Times of several things measured in turn, and what this machine can do at most: the roofline's two peaks."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle.vgg import network
from jaxstyle.vgg.layers import Precision

# Sides of the matrices whose product is timed: the larger suit accelerators.
PRODUCTS = {"cpu": (1024, 2048)}
SIDES = (4096, 8192)
# Bytes of the array that is read and written; far more than any cache.
STREAM = {"cpu": 2**28}
BYTES = 2**30


def in_turn(works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each work, one of each in every round: what disturbs the machine disturbs all of them alike.

    Args:
        works: each returns only when it is done.
        repeats: rounds that count, after one that does not.

    Returns:
        As many seconds of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: each[1:] for name, each in seconds.items()}


def peaks(repeats: int = 7, precision: Precision = "highest") -> dict[str, float]:
    """Operations a second of the fastest matrix product, and bytes a second to and from memory.

    Args:
        repeats: of each, of which the fastest counts.
        precision: of the product, as of convolutions.

    Returns:
        `flops` and `bytes`, both a second.
    """
    platform = jax.devices()[0].platform
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    how = lax.Precision.HIGHEST if precision == "highest" else lax.Precision.DEFAULT
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=how))
    works, rates = {}, {}
    for side in PRODUCTS.get(platform, SIDES):
        matrix = jnp.ones((side, side), dtype)
        works[str(side)] = lambda matrix=matrix: product(matrix).block_until_ready()
    seconds = in_turn(works, repeats)
    rates["flops"] = max(2.0 * int(side) ** 3 / min(each) for side, each in seconds.items())
    size = STREAM.get(platform, BYTES)
    array = jnp.ones((size // 4,), jnp.float32)
    # The array's own buffer takes the result: a new one would have to be fetched from the system page by page.
    negative = jax.jit(lambda x: -x, donate_argnums=0)
    state = [array]

    def stream():
        state[0] = negative(state[0]).block_until_ready()

    rates["bytes"] = 2.0 * size / min(in_turn({"stream": stream}, repeats)["stream"])
    return rates


def convolutions(height: int, width: int) -> dict[str, tuple[int, int, int, int]]:
    """Height, width, and channels in and out of every convolution that the default objective needs."""
    found, channels = {}, 3
    for layer in network.layers_between(("relu5_1",)):
        if layer in network.CONVOLUTIONS:
            out, spacing = network.WIDTHS[int(layer[4]) - 1], network.stride(layer)
            found[layer] = (height // spacing, width // spacing, channels, out)
            channels = out
    return found


def operations(height: int, width: int, channels: int, out: int) -> float:
    """Floating-point operations of a convolution and its gradient, directly: a multiply-add is two."""
    return 2 * 2 * 9.0 * height * width * channels * out


def traffic(height: int, width: int, channels: int, out: int, size: int = 4) -> float:
    """Bytes that a convolution with its ReLU and their gradient read and write at the least, each map once.

    Forward the input and the result; backward the result (for the ReLU), its gradient, and the input's; the kernel
    twice.
    """
    return size * (height * width * (2.0 * channels + 3.0 * out) + 2 * 9 * channels * out)
