"""What colors the result has: the style's, as in the original method, or the content's, kept in one of several ways.

A style is a distribution of feature maps, and those know colors: with the brush strokes comes the palette. Either the
style is given the content's colors before the run, or the run sees no colors and the content's are put back:

| name | the style before the run | the picture after it |
|---|---|---|
| `style` | as it is | as it is |
| `luminance` | gray, with the content's mean and standard deviation | gets the content's chrominance |
| `symmetric` | the content's mean and covariance, by symmetric square roots | as it is |
| `cholesky` | the content's mean and covariance, by Cholesky factors | as it is |
| `histogram` | the content's histogram, channel by channel | as it is |

Of the two linear maps the symmetric one treats the channels alike; that of Cholesky, a triangle, depends on their
order. Several styles are matched one by one.

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

from jaxstyle.errors import InputError
from jaxstyle.image.ops import check_image, check_pictures, fit
from jaxstyle.typing import AnyImage, Image

Color = Literal["style", "luminance", "symmetric", "cholesky", "histogram"]

# Y of YIQ (and of Rec. 601).
LUMA = (0.299, 0.587, 0.114)

# A style with next to no variance in some direction, as a gray or sepia one has in chrominance, must not have its
# compression artifacts blown up to the content's full range of colors. Variances below this share of the largest are
# divided by as if they had it. JPEG's errors have 1e-4 to 3e-4 in the bundled pictures turned sepia; as they are, their
# least variance is 3e-3 and more, and the match is exact.
FLOOR = 1e-3
# Likewise the variance of rounding to 8 bits, for a style that is flat altogether.
ROUNDING = 1 / (12 * 255**2)

# Per pixel: colors, or luminance alone.
Samples = Float[np.ndarray, "_ c"]
Covariance = Float[np.ndarray, "c c"]
# Of the style's samples to the content's.
Matching = Callable[[Samples, Samples], Samples]


def check_color(color: str) -> None:
    """Refuse a name that is not in the module's table.

    Args:
        color: what should be one of its names.

    Raises:
        InputError: naming the choices.
    """
    if color not in get_args(Color):
        raise InputError(f"unknown color {color!r}, expected one of {', '.join(map(repr, get_args(Color)))}")


def prepare(content: AnyImage, styles: Sequence[AnyImage], color: Color) -> tuple[Image, list[Float[Array, "_ _ 3"]]]:
    """The pictures that a run gets, for the colors that its result should have.

    With `symmetric` and `cholesky` a style's pixels `x` become `A (x - mean_s) + mean_c`, where `A S_s A^T = S_c` for
    the covariances over pixels: `A = S_c^(1/2) S_s^(-1/2)`, or `L_c L_s^(-1)` with `S = L L^T`. With `luminance` the
    same is done to one channel. With `histogram` the k-th of a style's n values becomes the mean of the content's
    between the quantiles (k - 1) / n and k / n; equal values stay equal, at the mean of their quantiles, so that a flat
    area stays flat.

    Args:
        content: `(H, W, 3)` in [0, 1].
        styles: such pictures, each of its own size.
        color: see the module's table.

    Returns:
        Content and styles, each of its own size, in [0, 1]. Matched styles are clipped, which may cost them a little of
        the match. A content without variance makes flat styles.

    Raises:
        InputError: for an unknown name, or what is no picture.

    Example:
        >>> import jax.numpy as jnp
        >>> sky, paint = jnp.full((4, 6, 3), 0.5), jnp.linspace(0.0, 1.0, 30).reshape(2, 5, 3)
        >>> _, (matched,) = prepare(sky, [paint], "symmetric")
        >>> matched.shape, float(matched.min()), float(matched.max())
        ((2, 5, 3), 0.5, 0.5)
    """
    check_color(color)
    check_pictures(content, styles, min_side=1)
    if color == "style":
        return jnp.asarray(content), [jnp.asarray(style) for style in styles]
    ways: dict[str, Matching] = {
        "symmetric": partial(_linear, factor=_symmetric),
        "cholesky": partial(_linear, factor=_triangular),
        "histogram": _histogram,
    }
    if color == "luminance":
        gray = _luminance(content)
        matched = [_matched(_luminance(style), gray, ways["symmetric"]) for style in styles]
        return jnp.asarray(np.repeat(gray, 3, axis=2)), [jnp.repeat(style, 3, axis=2) for style in matched]
    return jnp.asarray(content), [_matched(style, content, ways[color]) for style in styles]


def restore(image: AnyImage, content: AnyImage, color: Color) -> Image:
    """The run's picture with its final colors.

    With `luminance`: its own Y, and the content's I and Q, in YIQ. A gray `(y, y, y)` has the Y of `y` and neither I
    nor Q, so exchanging Y is adding the difference to all three channels: `content + Y(image) - Y(content)`.

    Args:
        image: `(H, W, 3)`, what the run returned for the pictures of `prepare`.
        content: `(h, w, 3)` in [0, 1], as `prepare` got it; resized to the picture's size where it differs.
        color: as for `prepare`.

    Returns:
        `(H, W, 3)`; for `luminance` clipped to [0, 1], for all others the picture as it is.

    Raises:
        InputError: for an unknown name, or what is no picture.

    Example:
        >>> import jax.numpy as jnp
        >>> pixel = restore(jnp.full((1, 1, 3), 0.5), jnp.array([[[0.3, 0.2, 0.1]]]), "luminance")
        >>> [round(float(channel), 4) for channel in pixel[0, 0]]
        [0.5815, 0.4815, 0.3815]
    """
    check_color(color)
    if color != "luminance":
        return jnp.asarray(image)
    check_image(image, "image")
    check_image(content, "content")
    content = np.asarray(fit(content, *image.shape[:2]))
    return jnp.asarray(np.clip(content + _luminance(image) - _luminance(content), 0, 1))


def _luminance(image: AnyImage) -> Float[np.ndarray, "_ _ 1"]:
    return (np.asarray(image) @ np.array(LUMA, np.float32))[:, :, None]


def _matched(
    style: Float[Array | np.ndarray, "_ _ c"], content: Float[Array | np.ndarray, "_ _ c"], way: Matching
) -> Float[Array, "_ _ c"]:
    source, target = (np.asarray(each, np.float64).reshape(-1, each.shape[2]) for each in (style, content))
    return jnp.asarray(np.clip(way(source, target), 0, 1).reshape(style.shape), jnp.float32)


def _linear(style: Samples, content: Samples, factor: Callable[[Covariance], Covariance]) -> Samples:
    """The samples `A (x - mean_s) + mean_c`, with `A = F_c F_s^(-1)` from factors `F F^T` of the covariances."""
    mean, deviations = content.mean(axis=0), style - style.mean(axis=0)
    values, vectors = np.linalg.eigh(_covariance(style))
    floored = (vectors * np.maximum(values, max(FLOOR * values[-1], ROUNDING))) @ vectors.T
    return deviations @ np.linalg.solve(factor(floored).T, factor(_covariance(content)).T) + mean


def _covariance(samples: Samples) -> Covariance:
    deviations = samples - samples.mean(axis=0)
    return deviations.T @ deviations / len(samples)


def _symmetric(covariance: Covariance) -> Covariance:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _triangular(covariance: Covariance) -> Covariance:
    """Cholesky's factor, from the symmetric root by QR: for the singular covariance of a gray picture too."""
    upper = np.linalg.qr(_symmetric(covariance)).R
    return (upper * np.where(np.diag(upper) < 0, -1, 1)[:, None]).T


def _histogram(style: Samples, content: Samples) -> Samples:
    return np.stack([_ranked(*channels) for channels in zip(style.T, content.T, strict=True)], axis=1)


def _ranked(style: Float[np.ndarray, " n"], content: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Each of the style's values as the mean of the content's over the same part of all."""
    _, places, counts = np.unique(style, return_inverse=True, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)]) * (len(content) / len(style))
    sums = np.interp(ends, np.arange(len(content) + 1), np.concatenate([[0], np.cumsum(np.sort(content))]))
    return (np.diff(sums) / np.diff(ends))[places]
