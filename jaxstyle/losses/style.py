"""How far a layer's statistics are from the style's: the style losses beside the Gram matrix's, one formula each.

All are functions of a layer's mean feature vector `m` and mean outer product `G` (the Gram matrix), which are sums over
positions: so they can be had in windows and over devices. With the covariance `S = G - m m^T`, and `m_A`, `G_A`, `S_A`
of the style, for `C` channels:

| | a layer |
|---|---|
| `"gram"` | `k sum (G - G_A)^2`, with `k` as the normalization says: see `gatys.py` |
| `"covariance"` | `k (sum (S - S_A)^2 + sum (m m^T - m_A m_A^T)^2)` |
| `"mean+std"` | `1/C sum (m - m_A)^2 + (s - s_A)^2`, with `s` the roots of the diagonal of `S` |
| `"wasserstein"` | `1/C (sum (m - m_A)^2 + tr(S + S_A - 2 (S_A^1/2 S S_A^1/2)^1/2))` |

A Gram matrix cannot tell the mean from what varies around it; the others can. `"mean+std"` is Li et al., "Demystifying
Neural Style Transfer" (2017), section 4.2; `"wasserstein"` is the squared 2-Wasserstein distance between Gaussians of
these moments, as first used for style transfer by K. Crowson's style-transfer-pytorch (2021). The units of the last two
are features squared, those of the first two the fourth power: the weights of one mean nothing to the other.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.losses.gatys import Normalization, style_scale
from jaxstyle.losses.matrix_sqrt import MatrixRoot, root, root_trace
from jaxstyle.losses.whitening import Metric, whitened_square
from jaxstyle.typing import Gram, Scalar

StyleLoss = Literal["gram", "covariance", "mean+std", "wasserstein"]
# Those whose residuals are matrices that `whiten` has a metric for.
WHITENED = ("gram", "covariance")
# Of a standard deviation: the root has no gradient at zero, where a channel is that never fires.
VARIANCE_FLOOR = 1e-6
# The default ridge, relative to the Frobenius norm of the style's covariance. In float32 the root of weaker directions
# would be the root of rounding errors.
RELATIVE_RIDGE = 3e-2
# Norm that a style without any variation counts as.
MIN_NORM = 1e-3


class Moments(NamedTuple):
    """Of a layer's feature vectors.

    Attributes:
        gram: `(c, c)`, the mean outer product.
        mean: `(c,)`; None where the loss does not need it.
    """

    gram: Gram
    mean: Float[Array, " c"] | None = None


def check_style_loss(style_loss: str) -> None:
    """Refuse a style loss that is not in the module's table.

    Raises:
        InputError: naming the choices.
    """
    if style_loss not in get_args(StyleLoss):
        raise InputError(f"unknown style loss {style_loss!r}, expected one of {', '.join(get_args(StyleLoss))}")


def style_distance(
    here: Moments,
    style: Moments,
    style_loss: StyleLoss,
    normalization: Normalization = "notebook",
    metric: Metric | None = None,
    matrix_root: MatrixRoot = "auto",
    ridge: float | None = None,
) -> tuple[Scalar, Scalar]:
    """A layer's style loss, and the measure to descend by: the same, or with a metric that with whitened residuals.

    Args:
        here: of the picture.
        style: of the style.
        style_loss: see the module's table.
        normalization: of the first two losses.
        metric: see `whitening.py`; ignored by losses that have no residual matrix.
        matrix_root: method of the square roots in `"wasserstein"`: see `matrix_sqrt.py`.
        ridge: see `wasserstein`.

    Returns:
        The loss and the surrogate.
    """
    if style_loss in WHITENED:
        scale = style_scale(len(here.gram), normalization)
        residuals = [here.gram - style.gram] if style_loss == "gram" else _centered_residuals(here, style)
        loss = scale * sum((jnp.sum(jnp.square(each)) for each in residuals), jnp.float32(0.0))
        if metric is None:
            return loss, loss
        return loss, scale * sum((whitened_square(each, metric) for each in residuals), jnp.float32(0.0))
    loss = _mean_and_deviation(here, style) if style_loss == "mean+std" else wasserstein(here, style, matrix_root, ridge)
    return loss, loss


def covariance(moments: Moments) -> Gram:
    """`G - m m^T`.

    Args:
        moments: with their mean.

    Returns:
        `(c, c)`, symmetric.
    """
    return moments.gram - _outer(moments.mean)


def wasserstein(
    here: Moments, style: Moments, matrix_root: MatrixRoot = "auto", ridge: float | None = None
) -> Scalar:
    """Compute the squared 2-Wasserstein distance between two Gaussians, per channel: see the module's table.

    With the default ridge, `"auto"` and `"eigh"` agree to 1e-4 in the loss and 2e-2 in its gradient. So does
    `"newton-schulz"` where the norm of the image's covariance is at most some three times the style's; elsewhere, and
    with smaller ridges, its 12 iterations are an approximation.

    Args:
        here: moments of the image.
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
    image, target = covariance(here) + identity, target + identity
    outer = root(target, matrix_root)
    inner = jnp.matmul(jnp.matmul(outer, image, precision="highest"), outer, precision="highest")
    common: Scalar = root_trace((inner + inner.T) / 2, matrix_root)
    difference = jnp.trace(image) + jnp.trace(target) - 2.0 * common
    return (jnp.sum(jnp.square(_mean(here) - _mean(style))) + difference) / float(channels)


def _centered_residuals(here: Moments, style: Moments) -> list[Gram]:
    return [covariance(here) - covariance(style), _outer(here.mean) - _outer(style.mean)]


def _mean_and_deviation(here: Moments, style: Moments) -> Scalar:
    def deviation(moments: Moments) -> Float[Array, " c"]:
        return jnp.sqrt(jnp.maximum(jnp.diagonal(covariance(moments)), 0.0) + VARIANCE_FLOOR)

    means, deviations = _mean(here) - _mean(style), deviation(here) - deviation(style)
    return jnp.mean(jnp.square(means)) + jnp.mean(jnp.square(deviations))


def _mean(moments: Moments) -> Float[Array, " c"]:
    assert moments.mean is not None
    return moments.mean


def _outer(mean: Float[Array, " c"] | None) -> Gram:
    assert mean is not None
    return mean[:, None] * mean[None, :]
