"""The edge loss: edges, and small parts such as eyes and letters, should be those of the content.

Styles of strong texture bend contours that a content loss of deep features does not hold. The Laplacian of the colors'
sum, at a quarter of the resolution, does: it responds to edges, and not to brightness.
"""

import jax.numpy as jnp

from jaxstyle.image.canvas import Placement, area, mask_outside, sides
from jaxstyle.losses.statistics import squared_error
from jaxstyle.typing import AnyFeatures, Extent, Image, Scalar
from jaxstyle.vgg.layers import pool

# Side in pixels of the cells that are averaged: two 2x2 poolings.
CELL = 4


def laplacian(image: Image, extent: Extent | None = None) -> AnyFeatures:
    """Compute the Laplacian of the image's cells, `D[i, j] = sum over neighbors n of x[i, j] - x[n]`.

    A cell `x` is the sum of the three colors' means over 4x4 pixels; incomplete cells at the last rows and columns are
    omitted. Inside of the image `D` is the convolution with `[0 -1 0; -1 4 -1; 0 -1 0]`; cells at the border have fewer
    neighbors. So `D` of a constant image is zero everywhere.

    Args:
        image: `(H, W, 3)` in [0, 1].
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        `(H // 4, W // 4, 1)`, zero outside of the image.
    """
    height, width = (side // CELL for side in sides(image.shape, extent))
    cells = pool(pool(jnp.sum(image, axis=2, keepdims=True), "avg"), "avg")
    vertical, horizontal = cells[1:] - cells[:-1], cells[:, 1:] - cells[:, :-1]
    if extent is not None:
        vertical = mask_outside(vertical, Placement(0, 0, height - 1, width))
        horizontal = mask_outside(horizontal, Placement(0, 0, height, width - 1))
    # Across the border there is no difference.
    vertical, horizontal = jnp.pad(vertical, ((1, 1), (0, 0), (0, 0))), jnp.pad(horizontal, ((0, 0), (1, 1), (0, 0)))
    return vertical[:-1] - vertical[1:] + horizontal[:, :-1] - horizontal[:, 1:]


def edge_loss(image: Image, target: AnyFeatures, extent: Extent | None = None) -> Scalar:
    """Compute the mean over cells of squared differences of Laplacians, `1/M sum (D - D_content)^2` for `M` cells.

    A sum over positions, each of which depends on 12 pixels a side.

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
        >>> content = jnp.zeros((4, 8, 3)).at[:, 4:].set(1.0)
        >>> target = laplacian(content)
        >>> target[:, :, 0].tolist(), float(edge_loss(0.5 * content, target))
        ([[-3.0, 3.0]], 2.25)

    References:
        Li, Xu, Nie and Chua, "Laplacian-Steered Neural Style Transfer" (ACM MM 2017).
    """
    height, width = (side // CELL for side in sides(image.shape, extent))
    return squared_error(laplacian(image, extent), target) / area(height, width)
