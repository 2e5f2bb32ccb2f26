"""Colors of the result: the style's, as in the original method, or the content's, preserved in one of several ways.

A style is a distribution of feature maps, and these depend on color: the palette is transferred with the brush strokes.
To preserve the content's colors, either the style is recolored before the run, or the run works on luminance and the
content's chrominance is restored after it:

| name | the style before the run | the image after it |
|---|---|---|
| `style` | unchanged | unchanged |
| `luminance` | gray, with the content's mean and standard deviation | gets the content's chrominance |
| `symmetric` | the content's mean and covariance, by symmetric square roots | unchanged |
| `cholesky` | the content's mean and covariance, by Cholesky factors | unchanged |
| `histogram` | the content's histogram, channel by channel | unchanged |

Of the two linear maps, the symmetric one treats the channels alike; the triangular Cholesky factor depends on their
order. Several styles are matched separately.

References:
    Gatys, Bethge, Hertzmann and Shechtman, "Preserving Color in Neural Artistic Style Transfer", arXiv:1606.05897.
    Gatys, Ecker, Bethge, Hertzmann and Shechtman, "Controlling Perceptual Factors in Neural Style Transfer", CVPR 2017.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import check_choice
from jaxstyle.image.ops import fit
from jaxstyle.typing import AnyImage, Image

Color = Literal["style", "luminance", "symmetric", "cholesky", "histogram"]

# Y of YIQ (and of Rec. 601).
LUMA = (0.299, 0.587, 0.114)

# Smallest variance in any direction, relative to the largest. If a style has almost no variance in some direction, as a
# gray or sepia image in chrominance, its compression artifacts must not be amplified to the content's range of colors.
# JPEG errors are 1e-4 to 3e-4 in the bundled images turned sepia; the smallest variance of the originals is 3e-3 or
# more, so that their match is exact.
MIN_RELATIVE_VARIANCE = 1e-3
# The variance of rounding to 8 bits: the smallest variance of a style of one flat color.
ROUNDING_VARIANCE = 1 / (12 * 255**2)

# One row for each pixel: colors, or luminance alone.
Samples = Float[np.ndarray, "_ c"]
Covariance = Float[np.ndarray, "c c"]
# From the style's and the content's samples to the recolored style's samples.
Matching = Callable[[Samples, Samples], Samples]


def check_color(color: str) -> None:
    """Raise InputError unless `color` is a name in the module's table."""
    check_choice(color, "color", get_args(Color))


def prepare(content: AnyImage, styles: Sequence[AnyImage], color: Color) -> tuple[Image, list[Float[Array, "_ _ 3"]]]:
    """Recolor the images before a run, for the colors that its result should have.

    With `symmetric` and `cholesky` a style's pixels `x` become `A (x - mean_s) + mean_c`, where `A S_s A^T = S_c` for
    the covariances over pixels: `A = S_c^(1/2) S_s^(-1/2)`, or `L_c L_s^(-1)` with `S = L L^T`. With `luminance` the
    same is done to one channel. With `histogram` the k-th of a style's n values becomes the mean of the content's
    between the quantiles (k - 1) / n and k / n; equal values stay equal, at the mean of their quantiles, so that a flat
    area stays flat.

    Args:
        content: `(H, W, 3)` in [0, 1].
        styles: list of such images, each of its own size.
        color: see the module's table.

    Returns:
        Content and styles, each of its own size, in [0, 1]. Matched styles are clipped, which makes the match slightly
        inexact. A content without variance makes flat styles.

    Example:
        >>> import jax.numpy as jnp
        >>> sky, paint = jnp.full((4, 6, 3), 0.5), jnp.linspace(0.0, 1.0, 30).reshape(2, 5, 3)
        >>> _, (matched,) = prepare(sky, [paint], "symmetric")
        >>> matched.shape, float(matched.min()), float(matched.max())
        ((2, 5, 3), 0.5, 0.5)
    """
    if color == "style":
        return jnp.asarray(content), [jnp.asarray(style) for style in styles]
    linear = partial(_linear, factor=_triangular if color == "cholesky" else _symmetric)
    matching = _histogram if color == "histogram" else linear
    if color == "luminance":
        gray = _luminance(content)
        matched = [_matched(_luminance(style), gray, matching) for style in styles]
        return jnp.asarray(np.repeat(gray, 3, axis=2)), [jnp.repeat(style, 3, axis=2) for style in matched]
    return jnp.asarray(content), [_matched(style, content, matching) for style in styles]


def restore(image: AnyImage, content: AnyImage, color: Color) -> Image:
    """Restore the content's colors in the image that a run returned.

    With `luminance` the result has the image's Y and the content's I and Q, in YIQ. A gray `(y, y, y)` has Y = y and
    I = Q = 0, so replacing Y adds the difference to all three channels: `content + Y(image) - Y(content)`.

    Args:
        image: `(H, W, 3)`, the result of a run with the images of `prepare`.
        content: `(h, w, 3)` in [0, 1], as passed to `prepare`; resized to the image's size where it differs.
        color: as for `prepare`.

    Returns:
        `(H, W, 3)`; for `luminance` clipped to [0, 1], for all others the unchanged image.

    Example:
        >>> import jax.numpy as jnp
        >>> pixel = restore(jnp.full((1, 1, 3), 0.5), jnp.array([[[0.3, 0.2, 0.1]]]), "luminance")
        >>> [round(float(channel), 4) for channel in pixel[0, 0]]
        [0.5815, 0.4815, 0.3815]
    """
    if color != "luminance":
        return jnp.asarray(image)
    content = np.asarray(fit(content, *image.shape[:2]))
    return jnp.asarray(np.clip(content + _luminance(image) - _luminance(content), 0, 1))


def _luminance(image: AnyImage) -> Float[np.ndarray, "_ _ 1"]:
    return (np.asarray(image) @ np.array(LUMA, np.float32))[:, :, None]


def _matched(
    style: Float[Array | np.ndarray, "_ _ c"], content: Float[Array | np.ndarray, "_ _ c"], matching: Matching
) -> Float[Array, "_ _ c"]:
    source, target = (np.asarray(image, np.float64).reshape(-1, image.shape[2]) for image in (style, content))
    return jnp.asarray(np.clip(matching(source, target), 0, 1).reshape(style.shape), jnp.float32)


def _linear(style: Samples, content: Samples, factor: Callable[[Covariance], Covariance]) -> Samples:
    """Compute `A (x - mean_s) + mean_c`, with `A = F_c F_s^(-1)` from factors `F F^T` of the covariances."""
    mean, deviations = content.mean(axis=0), style - style.mean(axis=0)
    values, vectors = np.linalg.eigh(_covariance(style))
    floored = (vectors * np.maximum(values, max(MIN_RELATIVE_VARIANCE * values[-1], ROUNDING_VARIANCE))) @ vectors.T
    return deviations @ np.linalg.solve(factor(floored).T, factor(_covariance(content)).T) + mean


def _covariance(samples: Samples) -> Covariance:
    deviations = samples - samples.mean(axis=0)
    return deviations.T @ deviations / len(samples)


def _symmetric(covariance: Covariance) -> Covariance:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _triangular(covariance: Covariance) -> Covariance:
    """Cholesky factor, by QR of the symmetric root: works for the singular covariance of a gray image too."""
    upper = np.linalg.qr(_symmetric(covariance)).R
    return (upper * np.where(np.diag(upper) < 0, -1, 1)[:, None]).T


def _histogram(style: Samples, content: Samples) -> Samples:
    return np.stack([_ranked(*channels) for channels in zip(style.T, content.T, strict=True)], axis=1)


def _ranked(style: Float[np.ndarray, " n"], content: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Replace each style value by the mean of the content's values between the same quantiles."""
    _, ranks, counts = np.unique(style, return_inverse=True, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)]) * (len(content) / len(style))
    sums = np.interp(ends, np.arange(len(content) + 1), np.concatenate([[0], np.cumsum(np.sort(content))]))
    return (np.diff(sums) / np.diff(ends))[ranks]
