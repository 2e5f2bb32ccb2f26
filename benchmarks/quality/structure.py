"""Agreement of a result with the structure of its photo, without a network: luminance and contours."""

import math

import numpy as np
from jaxtyping import Bool

from benchmarks.quality.filters import Plane, blur, gradient, luminance
from jaxstyle.typing import AnyImage

# Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004.
SSIM_SIGMA, SSIM_MEAN, SSIM_VARIANCE = 1.5, 0.01**2, 0.03**2
# Share of the positions of an image that are contours.
CONTOURS = 0.05
# Distance at which contours match, relative to the diagonal: Martin, Fowlkes and Malik, "Learning to detect natural
# image boundaries using local brightness, color, and texture cues", 2004.
TOLERANCE = 0.0075
# Long side at which the filters have their nominal size; others are proportional to the image.
NOMINAL_SIDE = 256


def ssim(result: AnyImage, photo: AnyImage) -> float:
    """Compute the mean structural similarity of the luminances; 1 for the photo itself.

    `(2 m_a m_b + c_1) (2 s_ab + c_2) / ((m_a^2 + m_b^2 + c_1) (s_a^2 + s_b^2 + c_2))`, with means, variances and
    covariance in Gaussian windows of standard deviation 1.5 pixels.
    """
    a, b = luminance(result), luminance(photo)
    mean_a, mean_b = (blur(plane, SSIM_SIGMA) for plane in (a, b))
    variance_a, variance_b, covariance = (
        blur(x * y, SSIM_SIGMA) - mean_x * mean_y
        for x, mean_x, y, mean_y in ((a, mean_a, a, mean_a), (b, mean_b, b, mean_b), (a, mean_a, b, mean_b))
    )
    numerator = (2 * mean_a * mean_b + SSIM_MEAN) * (2 * covariance + SSIM_VARIANCE)
    denominator = (mean_a**2 + mean_b**2 + SSIM_MEAN) * (variance_a + variance_b + SSIM_VARIANCE)
    return float(np.mean(numerator / denominator))


def contour_f_score(result: AnyImage, photo: AnyImage) -> float:
    """Compute the F-score of the result's contours, with the photo's as the truth; 1 for the photo itself.

    `2 P R / (P + R)`: the precision `P` is the share of the result's contours with one of the photo nearby, the recall
    `R` the share of the photo's contours with one of the result nearby.
    """
    tolerance = TOLERANCE * math.hypot(*photo.shape[:2])
    ours, photos = contours(result), contours(photo)
    precision, recall = (
        np.count_nonzero(mask & _near(other, tolerance)) / max(1, np.count_nonzero(mask))
        for mask, other in ((ours, photos), (photos, ours))
    )
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def contours(image: AnyImage) -> Bool[np.ndarray, "_ _"]:
    """Return the positions of contours: the local maxima of the gradient, across it, with the largest magnitudes.

    At most 5 % of the positions are contours, however strong their contrast, so a pale result is not at a disadvantage.
    """
    down, right = gradient(blur(luminance(image), 1.5 * scale_of(image)))
    magnitude = np.hypot(down, right)
    ridge = _is_maximum_across(magnitude, down, right) & (magnitude > 1e-6)
    count = round(CONTOURS * magnitude.size)
    if ridge.sum() <= count:
        return ridge
    return ridge & (magnitude >= np.partition(magnitude[ridge], -count)[-count])


def scale_of(image: AnyImage) -> float:
    """Return the size of the filters for an image, relative to their nominal size."""
    return max(image.shape[:2]) / NOMINAL_SIDE


def _is_maximum_across(magnitude: Plane, down: Plane, right: Plane) -> Bool[np.ndarray, "_ _"]:
    """Compare each magnitude with the two neighbors in the direction of the gradient, rounded to 45 degrees."""
    padded = np.pad(magnitude, 1)
    octant = np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    height, width = magnitude.shape
    result = np.zeros(magnitude.shape, bool)
    for direction, (i, j) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[1 + i : 1 + i + height, 1 + j : 1 + j + width]
        behind = padded[1 - i : 1 - i + height, 1 - j : 1 - j + width]
        # Of two equal neighbors one is a maximum.
        result |= (octant == direction) & (magnitude > ahead) & (magnitude >= behind)
    return result


def _near(mask: Bool[np.ndarray, "_ _"], distance: float) -> Bool[np.ndarray, "_ _"]:
    """Return the positions within a Euclidean distance of the mask."""
    reach = int(distance)
    padded = np.pad(mask, reach)
    height, width = mask.shape
    offsets = [
        (i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1) if i * i + j * j <= distance**2
    ]
    return np.any([padded[reach + i : reach + i + height, reach + j : reach + j + width] for i, j in offsets], axis=0)
