"""Mess: specks and crossings where a painter would leave strokes or a contour, by structure tensors.

The structure tensor of the lightness is the Gaussian mean of `g g^T`, with the gradient `g`; its eigenvalues are
`l1 >= l2` (Förstner and Gülch, "A fast operator for detection and precise location of distinct points, corners and
centres of circular features", 1987). Along a stroke or a contour the gradient has one direction, and `l2` is near zero.
Specks, crossing strokes and the contours of a double exposure have gradients in all directions, and `l2` is large.
Straight strokes and contours of any strength leave both measures unchanged.
"""

import numpy as np
from jaxtyping import Bool

from benchmarks.quality.filters import Plane, blur, gradient, oklab
from benchmarks.quality.structure import contours, scale_of
from jaxstyle.typing import AnyImage

# Share of the photo that counts as flat: where the smoothed gradient is smallest.
FLAT_SHARE = 0.4
# Standard deviations of the image's blur and of the tensor's, and distance of the positions along a contour, in pixels
# of an image with a long side of 256; larger images have proportional ones.
IMAGE_SIGMA, TENSOR_SIGMA, CONTOUR_SIGMA = 1.0, 2.0, 2.0
# Density of blurred contours, at the nominal size, from which a position is near one.
NEAR = 0.1


def flat_mess(result: AnyImage, painting: AnyImage, photo: AnyImage) -> float:
    """Measure specks and crossing strokes where the photo is flat.

    The mean of `sqrt(l2)` of the result where the photo is flat, divided by its mean in the whole painting: about 1 for
    the painting itself, near 0 for a clean photo, above 1 for a result that is messier than its painting.

    Args:
        result: pixels of the result, of the photo's size.
        painting: pixels of the painting, of any size.
        photo: pixels of the photo.
    """
    scale = scale_of(photo)
    _, across = eigenvalues(result, scale)
    _, reference = eigenvalues(painting, scale)
    return float(np.mean(np.sqrt(across)[flat_areas(photo)]) / max(np.mean(np.sqrt(reference)), 1e-6))


def contour_mess(result: AnyImage, photo: AnyImage) -> float:
    """Measure crossings of the photo's contours.

    `2 sum l2 / sum (l1 + l2)` along the contours of the photo: 0 for gradients of one direction, 1 for gradients of all
    directions. Only that half of the contours counts where the photo itself has the clearest direction: at corners and
    in foliage it has none.

    Args:
        result: pixels of the result, of the photo's size.
        photo: pixels of the photo.
    """
    scale = scale_of(photo)
    near = blur(contours(photo).astype(np.float64), CONTOUR_SIGMA * scale) > NEAR / scale
    along, across = eigenvalues(photo, scale)
    ratio = across / np.maximum(along, 1e-12)
    clear = near & (ratio <= np.median(ratio[near])) if near.any() else near
    along, across = eigenvalues(result, scale)
    return float(2 * np.sum(across[clear]) / max(np.sum((along + across)[clear]), 1e-12))


def flat_areas(photo: AnyImage) -> Bool[np.ndarray, "_ _"]:
    """Return where the gradient of the photo, averaged over its surroundings, is smallest."""
    scale = scale_of(photo)
    magnitude = np.hypot(*gradient(blur(oklab(photo)[:, :, 0], 1.5 * scale)))
    surroundings = blur(magnitude, 3 * scale)
    return surroundings <= np.quantile(surroundings, FLAT_SHARE)


def eigenvalues(image: AnyImage, scale: float) -> tuple[Plane, Plane]:
    """Return the larger and the smaller eigenvalue of the structure tensor at each position."""
    down, right = gradient(blur(oklab(image)[:, :, 0], IMAGE_SIGMA * scale))
    a, b, c = (blur(product, TENSOR_SIGMA * scale) for product in (down * down, right * right, down * right))
    middle, difference = (a + b) / 2, np.hypot((a - b) / 2, c)
    return middle + difference, np.maximum(middle - difference, 0)
