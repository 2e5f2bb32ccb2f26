"""The edge loss: edges, and small parts such as eyes and letters, should be those of the content.

Styles of strong texture bend contours that a content loss of deep features does not hold. The Laplacian of the colors'
sum, at a quarter of the resolution, does: it responds to edges, and not to brightness. Where the content is flat it
does not count, so that strokes may appear there.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxstyle.image.canvas import Placement, area, edge_extend, mask_outside, sides
from jaxstyle.losses.statistics import check_same_shape
from jaxstyle.typing import AnyFeatures, Extent, Image, Scalar

# Distance in pixels of two cells, and the weights of a cell's pixels along an axis: two times the binomial [1 3 3 1] at
# every second position. Averages over squares would show these squares in the image.
CELL = 4
TAPS = np.array([1, 3, 6, 10, 12, 12, 10, 6, 3, 1], np.float32) / 64
# Laplacian that counts half: a contour between two grays that differ by a tenth.
CONTRAST = 0.3


def laplacian(image: Image, extent: Extent | None = None) -> AnyFeatures:
    """Compute the Laplacian of the image's cells, `D[i, j] = sum over neighbors n of x[i, j] - x[n]`.

    A cell `x` is the sum of the three colors' averages over 10x10 pixels with binomial weights; the next cell begins 4
    pixels further. Rows and columns at the end that do not fill 4 pixels have no cell of their own. Inside of the image
    `D` is the convolution with `[0 -1 0; -1 4 -1; 0 -1 0]`; cells at the border have fewer neighbors. So `D` of a
    constant image is zero everywhere.

    Args:
        image: `(H, W, 3)` in [0, 1].
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        `(H // 4, W // 4, 1)`, zero outside of the image.
    """
    height, width = (side // CELL for side in sides(image.shape, extent))
    cells = _cells(image, extent)
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
    share = jnp.square(target) / (jnp.square(target) + CONTRAST**2)
    return jnp.sum(share * jnp.square(result - target)) / area(height, width)


def _cells(image: Image, extent: Extent | None) -> AnyFeatures:
    """Averages of the colors' sum, `(H // 4, W // 4, 1)`; outside of the image are its border's pixels."""
    x = jnp.sum(image, axis=2, keepdims=True)
    if extent is not None:
        x = edge_extend(edge_extend(x, 0, extent[0]), 1, extent[1])
    margin = (len(TAPS) - CELL) // 2
    x = jnp.pad(x, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    kernel = np.outer(TAPS, TAPS)[:, :, None, None]
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        x[None], kernel, (CELL, CELL), "VALID", dimension_numbers=dimensions, precision="highest"
    )
    return y[0]
