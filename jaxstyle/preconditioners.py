"""Initial inverse Hessians of `lbfgs`: linear maps of a gradient that let coarse structure move as fast as fine.

Photographs have amplitudes of about one over the spatial frequency, so steps should have too. `spectral` divides by the
frequency exactly, with a Fourier transform of the whole picture. `pyramid` does about the same with averages of
neighbouring pixels alone, so that a picture that is spread over devices exchanges nothing but edges. Both are
symmetric and positive definite, which L-BFGS needs.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.typing import Image

Precondition = Literal["spectral", "pyramid"]

# Averages over 2^k pixels pass waves that are some octaves longer.
REACH = 1.5


def spectral(field: Image, exponent: float) -> Image:
    """Every Fourier coefficient divided by its frequency in cycles a pixel (at least one cycle over the long side).

    Args:
        field: `(H, W, 3)`.
        exponent: of the frequency; 0 changes nothing.

    Returns:
        The same shape.
    """
    height, width = field.shape[:2]
    vertical, horizontal = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None, :]
    frequency = jnp.maximum(jnp.sqrt(vertical**2 + horizontal**2), 1 / max(height, width))
    spectrum = jnp.fft.rfft2(field, axes=(0, 1)) * (frequency**-exponent)[:, :, None].astype(jnp.complex64)
    return jnp.fft.irfft2(spectrum, s=(height, width), axes=(0, 1)).astype(field.dtype)


def averages(field: Image, exponent: float) -> Image:
    """A weighted sum of the picture's averages at every scale.

    `x + sum_k a_k n_0 / n_k D_k^T D_k x`, with `D_k` the averages over about `2^k` pixels a side, `n_k` of them, and
    `a_k = 2^(REACH exponent) (2^(k exponent) - 2^((k - 1) exponent))`: so what is constant is scaled by about the
    longest side to the exponent, and a wave by about its length, relative to the finest.

    Args:
        field: `(H, W, 3)`.
        exponent: as for `spectral`; 0 changes nothing.

    Returns:
        The same shape.
    """
    levels = max(field.shape[:2]).bit_length() - 1

    def add(x: Float[Array, "h w 3"], level: int) -> Float[Array, "h w 3"]:
        grown = 2 ** ((REACH + level) * exponent) - 2 ** ((REACH + level - 1) * exponent)
        weight = grown if level else 1.0
        if level == levels:
            return weight * x
        half = _halve(x)
        (spread,) = jax.linear_transpose(_halve, x)(add(half, level + 1))
        return weight * x + x.size / half.size * spread

    return add(field, 0)


def scale_chroma(field: Image, chroma: float) -> Image:
    """Differences between the channels scaled by `chroma`, beside their mean.

    Args:
        field: `(H, W, 3)`.
        chroma: 1 changes nothing.

    Returns:
        The same shape.
    """
    grey = jnp.mean(field, axis=-1, keepdims=True)
    return grey + chroma * (field - grey)


PRECONDITIONERS: dict[Precondition, Callable[[Image, float], Image]] = {"spectral": spectral, "pyramid": averages}


def _halve(x: Float[Array, "h w 3"]) -> Float[Array, "_ _ 3"]:
    """Averages with weights 1, 3, 3, 1 along both axes at every other place; edges repeat, so a constant stays."""
    for axis in (0, 1):
        length = x.shape[axis]
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1 + length % 2)
        padded = jnp.pad(x, pad, mode="edge")
        count = (length + 1) // 2
        taps = [jax.lax.slice_in_dim(padded, k, k + 2 * count - 1, stride=2, axis=axis) for k in range(4)]
        x = (taps[0] + 3 * taps[1] + 3 * taps[2] + taps[3]) / 8
    return x
