"""Initial Hessians of `lbfgs`: linear maps of a gradient that let coarse structure move as fast as fine.

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


def pyramid(field: Image, exponent: float) -> Image:
    """A weighted sum of the picture's averages at every scale.

    `sum_k a_k 4^k D_k^T D_k x`, with `D_k` the average over about `2^k` pixels a side, and `a_k` such that a structure
    of that size is scaled by `2^(k exponent)`.

    Args:
        field: `(H, W, 3)`.
        exponent: as for `spectral`; 0 changes nothing.

    Returns:
        The same shape.
    """
    levels = max(field.shape[:2]).bit_length() - 1

    def add(x: Float[Array, "h w 3"], level: int) -> Float[Array, "h w 3"]:
        weight = 1.0 if level == 0 else 2 ** (level * exponent) - 2 ** ((level - 1) * exponent)
        if level == levels:
            return weight * x
        coarser = add(_halve(x), level + 1)
        (spread,) = jax.linear_transpose(_halve, x)(coarser)
        return weight * x + 4 * spread

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


PRECONDITIONERS: dict[Precondition, Callable[[Image, float], Image]] = {"spectral": spectral, "pyramid": pyramid}


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
