"""The surrogate of the style loss whose gradient the optimizer follows: the residual of the Gram matrices, whitened.

The loss `sum (G - A)^2` is badly scaled. A change `dF = Z F` of the features changes the Gram matrix `G` by
`Z G + G Z`, in the eigenbasis of `G` by `Z_ij (l_i + l_j)`: entries between weak directions change thousands of times
more slowly than those between strong ones, and most evaluations of a run go there. Gauss-Newton steps correct this by a
division; near the optimum `G` is the style's `A`, whose eigenbasis `Q` and eigenvalues `l` are known in advance:

    surrogate = sum_ij gain_ij (Q^T (G - A) Q)_ij^2,    gain_ij = (2 floor / ((l_i + l_j) / l_max + floor))^power

With `power = 0` that is the loss itself, because `Q` is orthogonal. Strong directions, which converge within a few
evaluations anyway, have smaller weights than in the loss, and weak ones, which hold the rest of the loss later, about
the same: so the balance with the content stays nearly the loss's own. Only the gradient is the surrogate's: losses are
reported, and the best image is selected, by the loss itself. Measured: docs/optimizers.md.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.typing import Gram, Scalar

# Smallest eigenvalue that counts, relative to the largest.
FLOOR = 0.03


class Metric(NamedTuple):
    """Metric of a style layer's residual.

    Attributes:
        basis: `(c, c)`, columns are eigenvectors of the style's Gram matrix; with regions one for each.
        gain: `(c, c)`, the weight of each squared entry in that basis; with regions one for each.
    """

    basis: Float[Array, "*regions c c"]
    gain: Float[Array, "*regions c c"]


def whitening(
    grams: Mapping[str, Float[Array, "*regions _ _"]], power: float | Scalar = 1.0, floor: float = FLOOR
) -> dict[str, Metric]:
    """Compute the metric of every style layer.

    Args:
        grams: style layer to the style's Gram matrix `(c, c)`, or one for each region `(regions, c, c)`.
        power: 0 for the loss itself; 1 for a division by the sum of the eigenvalues.
        floor: added to that sum, relative to the largest eigenvalue, above 0.

    Returns:
        Layer to metric.

    Example:
        >>> import jax.numpy as jnp
        >>> metric = whitening({"relu1_1": jnp.diag(jnp.array([1.0, 3.0]))}, floor=1.0)["relu1_1"]
        >>> [round(float(gain), 2) for gain in metric.gain.ravel()]
        [1.2, 0.86, 0.86, 0.67]
    """
    metric = functools.partial(_metric, power=power, floor=floor)
    return {layer: (jax.vmap(metric) if gram.ndim == 3 else metric)(gram) for layer, gram in grams.items()}


def whitened_square(residual: Gram, metric: Metric) -> Scalar:
    """Compute `sum_ij gain_ij (Q^T R Q)_ij^2` for a symmetric residual `R = G - A`, `(c, c)`."""
    rotated = jnp.matmul(metric.basis.T, jnp.matmul(residual, metric.basis, precision="highest"), precision="highest")
    return jnp.sum(metric.gain * jnp.square(rotated))


def _metric(gram: Gram, power: float | Scalar, floor: float) -> Metric:
    values, basis = jnp.linalg.eigh(gram)
    # All eigenvalues of a black style are zero.
    values = jnp.maximum(values, 0.0) / jnp.maximum(values[-1], jnp.finfo(jnp.float32).tiny)
    return Metric(basis, (2 * floor / (values[:, None] + values[None, :] + floor)) ** power)
