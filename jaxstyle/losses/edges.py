"""The edge loss: edges, and small parts such as eyes and letters, should be those of the content.

Styles of strong texture bend contours that a content loss of deep features does not hold. The Laplacian of the colors'
sum, at a quarter of the resolution, does: it responds to edges, and not to brightness. Where the content is flat it
does not count, so that strokes may appear there.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.image.canvas import Dim, Placement, area, mask_outside, sides
from jaxstyle.losses.statistics import check_same_shape
from jaxstyle.typing import AnyFeatures, Extent, Image, Scalar

# Side of the cells in pixels, and the weights of the pixels of the cell before, of the cell itself and of the next one:
# two times the binomial [1 3 3 1] at every second position. Averages of the cells alone would show in the image.
CELL = 4
BEFORE, OWN, AFTER = np.array([[0, 1, 3, 6], [10, 12, 12, 10], [6, 3, 1, 0]], np.float32) / 64
# Laplacian that counts half: a contour between two grays that differ by a tenth.
CONTRAST = 0.3


def laplacian(image: Image, extent: Extent | None = None) -> AnyFeatures:
    """Compute the Laplacian of the image's cells, `D[i, j] = sum over neighbors n of x[i, j] - x[n]`.

    A cell `x` of 4x4 pixels is the sum of the colors' averages over 10x10 pixels around it, with binomial weights;
    at the border, over those that exist. Incomplete cells at the last rows and columns are omitted. Inside of the image
    `D` is the convolution with `[0 -1 0; -1 4 -1; 0 -1 0]`; cells at the border have fewer neighbors. So `D` of a
    constant image is zero everywhere.

    Args:
        image: `(H, W, 3)` in [0, 1].
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        `(H // 4, W // 4, 1)`, zero outside of the image.
    """
    height, width = sides(image.shape, extent)
    cells = _averages(_averages(jnp.sum(image, axis=2), height).T, width).T[:, :, None]
    height, width = height // CELL, width // CELL
    vertical, horizontal = cells[1:] - cells[:-1], cells[:, 1:] - cells[:, :-1]
    if extent is not None:
        vertical = mask_outside(vertical, Placement(0, 0, height - 1, width))
        horizontal = mask_outside(horizontal, Placement(0, 0, height, width - 1))
    # Across the border there is no difference.
    vertical, horizontal = jnp.pad(vertical, ((1, 1), (0, 0), (0, 0))), jnp.pad(horizontal, ((0, 0), (1, 1), (0, 0)))
    return vertical[:-1] - vertical[1:] + horizontal[:, :-1] - horizontal[:, 1:]


def edge_loss(image: Image, target: AnyFeatures, extent: Extent | None = None) -> Scalar:
    """Compute the mean over cells of squared differences of Laplacians where the content has edges,

        1/M sum p (D - D_content)^2,    p = D_content^2 / (D_content^2 + 0.3^2)

    for `M` cells. A sum over positions, each of which depends on 18 pixels a side.

    Args:
        image: `(H, W, 3)` in [0, 1], at least 4 pixels a side.
        target: `(H // 4, W // 4, 1)`, the `laplacian` of the content.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        A scalar, 0 where the image is the content, or differs from it by a constant; 1e-2 to 1 for other images.

    Raises:
        InputError: for a target of another size.

    Example:
        >>> import jax.numpy as jnp
        >>> content = jnp.zeros((8, 16, 3)).at[:, 8:].set(1.0)
        >>> target = laplacian(content)
        >>> [round(float(edge_loss(image, target)), 3) for image in (content, 1 - 0.5 * content, content[:, ::-1])]
        [0.0, 2.935, 5.218]

    References:
        Li, Xu, Nie and Chua, "Laplacian-Steered Neural Style Transfer" (ACM MM 2017), without `p`, and with averages of
        squares as cells.
    """
    height, width = (side // CELL for side in sides(image.shape, extent))
    result = laplacian(image, extent)
    check_same_shape(result.shape, target.shape)
    return jnp.sum(edge_share(target) * jnp.square(result - target)) / area(height, width)


def edge_share(target: AnyFeatures) -> AnyFeatures:
    """Compute how much of an edge each cell is, `p` of `edge_loss`, from 0 to below 1."""
    return jnp.square(target) / (jnp.square(target) + CONTRAST**2)


def _averages(x: Float[Array, "n m"], side: Dim) -> Float[Array, "cells m"]:
    """Weighted averages along the first axis, one for each cell, of the pixels that are in whole cells of the image."""
    inside = (jnp.arange(x.shape[0], dtype=jnp.int32) < side // CELL * CELL)[:, None]
    return _sums(jnp.where(inside, x, 0.0)) / jnp.maximum(_sums(inside.astype(jnp.float32)), OWN.sum())


def _sums(x: Float[Array, "n m"]) -> Float[Array, "cells m"]:
    """Weighted sums along the first axis; by slices of cells, so that devices exchange their borders alone."""
    cells = len(x) // CELL
    blocks = x[: cells * CELL].reshape(cells, CELL, -1)
    before, own, after = (jnp.sum(weights[None, :, None] * blocks, axis=1) for weights in (BEFORE, OWN, AFTER))
    return own + jnp.pad(before[:-1], ((1, 0), (0, 0))) + jnp.pad(after[1:], ((0, 1), (0, 0)))
