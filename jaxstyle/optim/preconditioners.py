"""Initial inverse Hessians of `lbfgs`: linear maps of a gradient with which coarse structure converges as fast as fine.

Natural images have amplitudes of about one over the spatial frequency, so steps should have the same. `spectral`
divides by the frequency exactly, with a Fourier transform of the whole image. `pyramid` approximates this by averages
of neighboring pixels, so that an image that is sharded over devices exchanges nothing but edges. Both are symmetric and
positive definite, which L-BFGS needs.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Int

from jaxstyle.image.canvas import Dim, Placement, area, edge_extend, mask_outside, sides
from jaxstyle.typing import Extent, Image

Precondition = Literal["spectral", "pyramid"]

# Octaves by which the shortest waves that averages over 2^k pixels pass are longer than 2^k.
OCTAVE_OFFSET = 1.5


def spectral(field: Image, exponent: float, extent: Extent | None = None) -> Image:
    """Divide every Fourier coefficient by its frequency in cycles per pixel (at least one cycle over the long side).

    Args:
        field: `(H, W, 3)`, zero beyond the extent.
        exponent: exponent of the frequency; 0 changes nothing.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        The same shape.
    """
    height, width = field.shape[:2]
    if extent is not None:
        return _spectral_within(field, exponent, extent)
    vertical, horizontal = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None, :]
    frequency = jnp.maximum(jnp.sqrt(vertical**2 + horizontal**2), 1 / max(height, width))
    spectrum = jnp.fft.rfft2(_row_major(jnp.moveaxis(field, 2, 0))) * (frequency**-exponent)[None].astype(jnp.complex64)
    filtered = jnp.fft.irfft2(_row_major(spectrum), s=(height, width))
    return jnp.moveaxis(_row_major(filtered), 0, 2).astype(field.dtype)


def _row_major(x: Array) -> Array:
    """Fix the layout: for a batch over several devices XLA chooses others, which its FFT on CPUs refuses."""
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))


def averages(field: Image, exponent: float, extent: Extent | None = None) -> Image:
    """Compute a weighted sum of the image's averages at every scale.

    `x + sum_k a_k n_0 / n_k D_k^T D_k x`, with `D_k` the averages over about `2^k` pixels a side, `n_k` of them, and
    `a_k = 2^(1.5 exponent) (2^(k exponent) - 2^((k - 1) exponent))`: so a constant is scaled by about the longest side
    to the exponent, and a wave by about its length, relative to the finest.

    Args:
        field: `(H, W, 3)`, zero beyond the extent.
        exponent: see `spectral`.
        extent: see `spectral`.

    Returns:
        The same shape.
    """
    levels = max(field.shape[:2]).bit_length() - 1
    # A smaller image on the canvas has fewer levels.
    last = levels if extent is None else 31 - jax.lax.clz(jnp.max(extent))

    def add(x: Float[Array, "h w 3"], size: tuple[Dim, Dim], level: int) -> Float[Array, "h w 3"]:
        octave = OCTAVE_OFFSET + level
        weight = 2 ** (octave * exponent) - 2 ** ((octave - 1) * exponent) if level else 1.0
        if extent is not None:
            weight = jnp.where(level <= last, weight, 0.0)
        if level == levels:
            return weight * x
        halve = functools.partial(_halve, size=None if extent is None else size)
        half, half_size = halve(x), ((size[0] + 1) // 2, (size[1] + 1) // 2)
        (transposed,) = jax.linear_transpose(halve, x)(add(half, half_size, level + 1))
        return weight * x + area(*size) / area(*half_size) * transposed

    return add(field, sides(field.shape, extent), 0)


def scale_chroma(field: Image, chroma: float) -> Image:
    """Scale the differences of the channels of `(H, W, 3)` from their mean by `chroma`."""
    gray = jnp.mean(field, axis=-1, keepdims=True)
    return gray + chroma * (field - gray)


PRECONDITIONERS: dict[Precondition, Callable[[Image, float, Extent | None], Image]] = {
    "spectral": spectral,
    "pyramid": averages,
}


def _spectral_within(field: Image, exponent: float, extent: Extent) -> Image:
    """Compute `spectral` with Hartley matrices, whose size may be traced: real, symmetric and their own inverse.

    `H_kn = (cos + sin)(2 pi k n / N) / sqrt(N)` mixes the waves of frequencies `k` and `-k`, which have equal divisors.
    """

    def matrix(length: int, side: Int[Array, ""]) -> tuple[Float[Array, "n n"], Float[Array, " n"]]:
        k, size = jnp.arange(length, dtype=jnp.int32), side.astype(jnp.float32)
        # Reduced as integers: large angles have few digits in float32.
        turns = (k[:, None] * k[None, :] % side).astype(jnp.float32) / size
        waves = (jnp.cos(2 * jnp.pi * turns) + jnp.sin(2 * jnp.pi * turns)) / jnp.sqrt(size)
        inside = (k[:, None] < side) & (k[None, :] < side)
        return jnp.where(inside, waves, 0.0), jnp.minimum(k, jnp.abs(side - k)).astype(jnp.float32) / size

    (left, vertical), (right, horizontal) = (
        matrix(length, side) for length, side in zip(field.shape[:2], extent, strict=True)
    )
    frequency = jnp.sqrt(vertical[:, None] ** 2 + horizontal[None, :] ** 2)
    gain = jnp.maximum(frequency, 1 / jnp.max(extent).astype(jnp.float32)) ** -exponent

    def transform(x: Image) -> Image:
        return jnp.einsum("ki,ijc,jl->klc", left, x, right, precision="highest")

    return transform(gain[:, :, None] * transform(field))


def _halve(x: Float[Array, "h w 3"], size: tuple[Dim, Dim] | None = None) -> Float[Array, "_ _ 3"]:
    """Average with weights 1, 3, 3, 1 along both axes at every other position; edges repeat, so constants stay."""
    for axis in (0, 1):
        if size is not None:
            x = edge_extend(x, axis, size[axis])
        if x.shape[axis] % 2:
            x = jnp.pad(x, [(0, int(axis == other)) for other in range(3)], mode="edge")
        length = x.shape[axis]
        even, odd = (jax.lax.slice_in_dim(x, begin, length, stride=2, axis=axis) for begin in (0, 1))
        index = jnp.expand_dims(
            jnp.arange(length // 2, dtype=jnp.int32), [other for other in range(3) if other != axis]
        )
        # Rotations keep the shape, so that neighboring devices exchange a single row; wrapped values are replaced.
        before = jnp.where(index == 0, even, jnp.roll(odd, 1, axis))
        after = jnp.where(index == length // 2 - 1, odd, jnp.roll(even, -1, axis))
        x = (before + 3 * even + 3 * odd + after) / 8
    if size is None:
        return x
    return mask_outside(x, Placement(0, 0, (size[0] + 1) // 2, (size[1] + 1) // 2))
