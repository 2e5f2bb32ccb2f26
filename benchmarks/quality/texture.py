"""Distances of a result to its painting that use no network, so that no loss of features can game them."""

import itertools

import numpy as np
from jaxtyping import Float

from benchmarks.quality.filters import Plane, gradient, oklab, pyramid
from jaxstyle.typing import AnyImage

LEVELS = 5
DIRECTIONS = 32
Statistics = list[Float[np.ndarray, " _"]]
QUANTILES = (np.arange(256) + 0.5) / 256
# Added to standard deviations, in OkLab units: one gray level of 256.
FLOOR = 1 / 256


def relative_distance(result: Statistics, painting: Statistics, photo: Statistics) -> float:
    """Compare statistics; 0 for the painting, 1 for the photo.

    The mean over the groups of `mean |result - painting| / mean |photo - painting|`. Small images have fewer scales
    than large ones; only those of both are compared.
    """

    def distance(a: Float[np.ndarray, " _"], b: Float[np.ndarray, " _"]) -> float:
        count = min(len(a), len(b))
        return float(np.mean(np.abs(a[:count] - b[:count])))

    return float(
        np.mean([distance(a, b) / max(distance(c, b), 1e-12) for a, b, c in zip(result, painting, photo, strict=False)])
    )


def wavelet_statistics(image: AnyImage) -> Statistics:
    """Compute statistics of a wavelet pyramid.

    They are those of Portilla and Simoncelli, "A parametric texture model based on joint statistics of complex wavelet
    coefficients", IJCV 2000, in a simple pyramid: derivatives in four directions at five scales, of the three channels
    of OkLab.

    Args:
        image: pixels, of any size.

    Returns:
        Three groups: logarithms of the standard deviations; skewness and logarithm of the kurtosis plus 1; correlations
        of magnitudes between directions and between scales.
    """
    deviations, shapes, correlations = [], [], []
    pyramids = [pyramid(channel, LEVELS) for channel in np.moveaxis(oklab(image), 2, 0)]
    for planes in zip(*pyramids, strict=True):
        for plane in planes:
            bands = _bands(plane)
            spreads = np.std(bands, axis=1) + FLOOR
            normalized = (bands - bands.mean(axis=1, keepdims=True)) / spreads[:, None]
            deviations.extend(np.log(spreads))
            shapes.extend(np.mean(normalized**3, axis=1))
            # Kurtosis has heavy tails; its logarithm does not.
            shapes.extend(np.log(np.mean(normalized**4, axis=1) + 1))
            correlations.extend(_correlation(a, b) for a, b in itertools.combinations(np.abs(bands), 2))
    for planes in pyramids:
        for fine, coarse in itertools.pairwise(planes):
            height, width = coarse.shape
            for a, b in zip(_bands(fine), _bands(coarse), strict=True):
                coarse_magnitude = np.abs(b).reshape(height, width).repeat(2, axis=0).repeat(2, axis=1)
                fine_magnitude = np.abs(a).reshape(fine.shape)[: 2 * height, : 2 * width]
                correlations.append(_correlation(fine_magnitude.ravel(), coarse_magnitude.ravel()))
    return [np.array(deviations), np.array(shapes), np.array(correlations)]


def gradient_magnitudes(image: AnyImage) -> Statistics:
    """Return quantiles of the magnitude of the gradient of OkLab's lightness, for each of five scales.

    The mean absolute difference of the quantiles of two distributions is their 1-Wasserstein distance.
    """
    planes = pyramid(oklab(image)[:, :, 0], LEVELS)
    return [np.quantile(np.hypot(*gradient(plane)), QUANTILES) for plane in planes]


def color_distance(result: AnyImage, painting: AnyImage) -> float:
    """Compute the sliced 1-Wasserstein distance of the colors in OkLab, times 100; 0 for the painting.

    The mean over 32 directions on the sphere of the distance between the quantiles of the projected colors: Rabin et
    al., "Wasserstein barycenter and its application to texture mixing", 2011.
    """
    directions = sphere(DIRECTIONS)
    ours, theirs = (
        np.quantile(oklab(image).reshape(-1, 3) @ directions.T, QUANTILES, axis=0) for image in (result, painting)
    )
    return float(100 * np.mean(np.abs(ours - theirs)))


def sphere(count: int) -> Float[np.ndarray, "_ 3"]:
    """Return evenly distributed unit vectors: Fibonacci's lattice."""
    k = np.arange(count) + 0.5
    height, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _bands(plane: Plane) -> Float[np.ndarray, "4 _"]:
    """Return derivatives in four directions, 45 degrees apart, each flattened."""
    down, right = gradient(plane)
    diagonals = (down + right) / 2**0.5, (down - right) / 2**0.5
    return np.stack([band.ravel() for band in (down, right, *diagonals)])


def _correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12))
