"""Filters of measures without a network, in NumPy: arrays `(H, W)` float64, edges continued by reflection."""

import numpy as np
from jaxtyping import Float

from jaxstyle.image.color import LUMA
from jaxstyle.typing import AnyImage

Plane = Float[np.ndarray, "_ _"]

# Ottosson, "A perceptual color space for image processing", 2020: linear sRGB to cone responses, their roots to OkLab.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def luminance(image: AnyImage) -> Plane:
    """Return the luma of Rec. 601."""
    return np.asarray(image, np.float64) @ np.array(LUMA)


def oklab(image: AnyImage) -> Float[np.ndarray, "_ _ 3"]:
    """Convert sRGB in [0, 1] to OkLab.

    Example:
        >>> np.round(oklab(np.array([[[1.0, 0.0, 0.0]]], np.float32)), 3).tolist()
        [[[0.628, 0.225, 0.126]]]
    """
    encoded = np.clip(np.asarray(image, np.float64), 0, 1)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_CONES.T) @ TO_OKLAB.T


def blur(plane: Plane, sigma: float) -> Plane:
    """Convolve with a Gaussian, cut off at three standard deviations."""
    radius = max(1, round(3 * sigma))
    weights = np.exp(-np.square(np.arange(-radius, radius + 1) / sigma) / 2)
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(plane, ((radius, radius), (0, 0)), mode="symmetric")
        total = np.zeros_like(plane)
        for offset, weight in enumerate(weights):
            total += weight * padded[offset : offset + len(plane)]
        plane = total.T
    return plane


def gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Return central differences down and to the right."""
    padded = np.pad(plane, 1, mode="symmetric")
    return (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2


def halve(plane: Plane) -> Plane:
    """Average 2x2 blocks; an odd last row or column is dropped."""
    height, width = (side // 2 * 2 for side in plane.shape)
    return plane[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def pyramid(plane: Plane, levels: int) -> list[Plane]:
    """Return the plane and its successive halves, at most `levels` in total, none below 8 pixels a side."""
    planes = [plane]
    while len(planes) < levels and min(planes[-1].shape) >= 16:
        planes.append(halve(planes[-1]))
    return planes


def median(plane: Plane) -> Plane:
    """Return the median of 3x3 neighborhoods."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, 1, mode="symmetric"), (3, 3))
    return np.median(windows, axis=(2, 3))
