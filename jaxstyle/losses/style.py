"""Style losses: distances between the statistics of an image's layer and those of the style's.

All are functions of a layer's mean feature vector `m` and mean outer product `G` (the Gram matrix), which are sums over
positions: so they can be computed in windows and over devices. With the covariance `S = G - m m^T`, and `m_A`, `G_A`,
`S_A` of the style, for `C` channels:

| | per layer |
|---|---|
| `"gram"` | `k sum (G - G_A)^2`, with `k` of the normalization: see `gatys.py` |
| `"covariance"` | `k (sum (S - S_A)^2 + sum (m m^T - m_A m_A^T)^2)` |
| `"mean+std"` | `1/C sum (m - m_A)^2 + (s - s_A)^2`, with `s` the square roots of the diagonal of `S` |
| `"wasserstein"` | `1/C (sum (m - m_A)^2 + tr(S + S_A - 2 (S_A^1/2 S S_A^1/2)^1/2))` |

A Gram matrix does not separate the mean from the variation around it; the other statistics do. `"mean+std"` is Li et
al., "Demystifying Neural Style Transfer" (2017), section 4.2; `"wasserstein"` is the squared 2-Wasserstein distance
between Gaussians of these moments, as first used for style transfer by K. Crowson's style-transfer-pytorch (2021). The
units of the last two are features squared, those of the first two their fourth power: weights do not carry over.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.gatys import Normalization, style_scale
from jaxstyle.losses.matrix_sqrt import MatrixRoot, root, root_trace
from jaxstyle.losses.whitening import Metric, whitened_square
from jaxstyle.typing import Gram, Scalar

StyleLoss = Literal["gram", "covariance", "mean+std", "wasserstein"]
# Style losses of residual matrices, for which `whiten` has a metric.
WHITENED = ("gram", "covariance")
# Added to variances before the square root, which has no gradient at zero, where channels without activations are.
VARIANCE_FLOOR = 1e-6
# The default ridge, relative to the Frobenius norm of the style's covariance. In float32 the root of weaker directions
# would be the root of rounding errors.
RELATIVE_RIDGE = 3e-2
# Norm that a style without any variation counts as.
MIN_NORM = 1e-3


class Moments(NamedTuple):
    """Moments of a layer's feature vectors.

    Attributes:
        gram: `(c, c)`, the mean outer product.
        mean: `(c,)`; None where the loss does not need it.
    """

    gram: Gram
    mean: Float[Array, " c"] | None = None


def style_distance(
    image: Moments,
    style: Moments,
    style_loss: StyleLoss,
    normalization: Normalization = "notebook",
    metric: Metric | None = None,
    matrix_root: MatrixRoot = "auto",
    ridge: float | None = None,
) -> tuple[Scalar, Scalar]:
    """Compute a layer's style loss and its surrogate, which with a metric is the loss of the whitened residuals.

    Args:
        image: moments of the image.
        style: moments of the style.
        style_loss: see the module's table.
        normalization: normalization of `"gram"` and `"covariance"`.
        metric: see `whitening.py`; ignored by losses without a residual matrix.
        matrix_root: method of the square roots in `"wasserstein"`: see `matrix_sqrt.py`.
        ridge: see `wasserstein`.

    Returns:
        The loss and the surrogate.
    """
    if style_loss in WHITENED:
        scale = style_scale(len(image.gram), normalization)
        residuals = [image.gram - style.gram] if style_loss == "gram" else _centered_residuals(image, style)
        loss = scale * sum((jnp.sum(jnp.square(residual)) for residual in residuals), jnp.float32(0.0))
        if metric is None:
            return loss, loss
        return loss, scale * sum((whitened_square(residual, metric) for residual in residuals), jnp.float32(0.0))
    loss = (
        _mean_and_deviation(image, style) if style_loss == "mean+std" else wasserstein(image, style, matrix_root, ridge)
    )
    return loss, loss


def covariance(moments: Moments) -> Gram:
    """Covariance `G - m m^T`."""
    return moments.gram - _outer(moments.mean)


def wasserstein(image: Moments, style: Moments, matrix_root: MatrixRoot = "auto", ridge: float | None = None) -> Scalar:
    """Compute the squared 2-Wasserstein distance between two Gaussians, per channel: see the module's table.

    With the default ridge, `"auto"` and `"eigh"` agree to 1e-4 in the loss and 2e-2 in its gradient. So does
    `"newton-schulz"` where the norm of the image's covariance is at most some three times the style's; elsewhere, and
    with smaller ridges, its 12 iterations are an approximation.

    Args:
        image: moments of the image.
        style: moments of the style.
        matrix_root: method of the square roots: see `matrix_sqrt.py`.
        ridge: multiple of the identity that is added to both covariances, in units of squared features; 3 % of the
            Frobenius norm of the style's covariance if None.

    Returns:
        A scalar, zero where the moments are equal; finite, and with a finite gradient, for covariances of any rank.
    """
    target = covariance(style)
    channels = len(target)
    if ridge is None:
        norm = jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(target))), MIN_NORM)
        added = jax.lax.stop_gradient(RELATIVE_RIDGE * norm)
    else:
        added = jnp.float32(ridge)
    identity = added * jnp.eye(channels, dtype=jnp.float32)
    ours, target = covariance(image) + identity, target + identity
    outer = root(target, matrix_root)
    inner = jnp.matmul(jnp.matmul(outer, ours, precision="highest"), outer, precision="highest")
    common: Scalar = root_trace((inner + inner.T) / 2, matrix_root)
    difference = jnp.trace(ours) + jnp.trace(target) - 2.0 * common
    return (jnp.sum(jnp.square(_mean(image) - _mean(style))) + difference) / float(channels)


def _centered_residuals(image: Moments, style: Moments) -> list[Gram]:
    return [covariance(image) - covariance(style), _outer(image.mean) - _outer(style.mean)]


def _mean_and_deviation(image: Moments, style: Moments) -> Scalar:
    def deviation(moments: Moments) -> Float[Array, " c"]:
        return jnp.sqrt(jnp.maximum(jnp.diagonal(covariance(moments)), 0.0) + VARIANCE_FLOOR)

    means, deviations = _mean(image) - _mean(style), deviation(image) - deviation(style)
    return jnp.mean(jnp.square(means)) + jnp.mean(jnp.square(deviations))


def _mean(moments: Moments) -> Float[Array, " c"]:
    assert moments.mean is not None
    return moments.mean


def _outer(mean: Float[Array, " c"] | None) -> Gram:
    assert mean is not None
    return mean[:, None] * mean[None, :]
