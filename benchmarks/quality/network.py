"""Measures with the features of VGG-19: content fidelity, global effects, local patterns, and layers of no loss.

The first three are those of Wang et al., "Evaluate and improve the quality of neural style transfer", CVIU 2021. All
take images as `(H, W, 3)` in [0, 1], and average pooling unless stated otherwise.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jaxstyle as js
from jaxstyle.losses.statistics import feature_sum
from jaxstyle.losses.style import Moments, wasserstein
from jaxstyle.typing import AnyFeatures, AnyImage, Features, Image, Params
from jaxstyle.vgg.layers import Pooling

CONTENT_LAYERS = ("relu4_1", "relu5_1")
GLOBAL_LAYERS = ("relu2_1", "relu3_1", "relu4_1", "relu5_1")
PATTERN_LAYERS = ("relu3_1", "relu4_1")
# No preset has a loss at these layers.
UNUSED_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_2")
LAYERS = tuple(sorted({*CONTENT_LAYERS, *GLOBAL_LAYERS, *PATTERN_LAYERS, *UNUSED_LAYERS}))
BINS = 128
# Ridge of the covariances, in squared features: VGG's are of the order of 1e3 and more.
RIDGE = 1e-2

Maps = Mapping[str, AnyFeatures]


def feature_maps(params: Params, image: Image, pooling: Pooling = "avg") -> dict[str, AnyFeatures]:
    """Return the features at all layers of this module's measures."""
    return _features(params, image, pooling)


@partial(jax.jit, static_argnames="pooling")
def _features(params: Params, image: Image, pooling: Pooling) -> dict[str, AnyFeatures]:
    return js.features(params, image, LAYERS, pooling=pooling)


def cosine(a: Float[Array | np.ndarray, "..."], b: Float[Array | np.ndarray, "..."]) -> float:
    """Compute the cosine of two flattened arrays, `<a, b> / (|a| |b|)`."""
    a, b = (np.asarray(array, np.float64).ravel() for array in (a, b))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), np.finfo(np.float64).tiny))


def content_fidelity(result: Maps, photo: Maps, layers: Sequence[str] = CONTENT_LAYERS) -> float:
    """Compute the mean over the layers of the cosine of the feature maps; 1 for the photo itself.

    Args:
        result: features of the result.
        photo: features of the photo, of the same size.
        layers: names.
    """
    return float(np.mean([cosine(result[layer], photo[layer]) for layer in layers]))


def global_effects(
    result: Maps, painting: Maps, images: tuple[AnyImage, AnyImage], layers: Sequence[str] = GLOBAL_LAYERS
) -> float:
    """Compare colors and Gram matrices; 1 for the painting itself.

    Half the mean over the layers of the cosine of the Gram matrices, plus half the mean over R, G, B of the cosine of
    their histograms with 128 bins.

    Args:
        result: features of the result.
        painting: features of the painting, of any size.
        images: pixels of result and painting.
        layers: names.
    """
    grams = [cosine(js.gram_matrix(result[layer]), js.gram_matrix(painting[layer])) for layer in layers]
    ours, theirs = ([_histogram(image[:, :, channel]) for channel in range(3)] for image in images)
    return float((np.mean(grams) + np.mean([cosine(a, b) for a, b in zip(ours, theirs, strict=True)])) / 2)


def local_patterns(
    result: Maps, painting: Maps, own_patches: Sequence[int], layers: Sequence[str] = PATTERN_LAYERS
) -> float:
    """Compare 3x3 patches of features; 1 for the painting itself.

    Half the mean over the layers of the mean over the result's patches of the cosine to the nearest patch of the
    painting, plus half the mean over the layers of the number of the painting's patches that are nearest to some patch,
    relative to the number that its own patches find.

    Args:
        result: features of the result, at least 3x3 positions at each layer.
        painting: features of the painting, likewise.
        own_patches: `count_patches` of the painting and itself.
        layers: names.
    """
    nearest = [nearest_patches(result[layer], painting[layer]) for layer in layers]
    similarities = [float(jnp.mean(cosines)) for cosines, _ in nearest]
    shares = [len(np.unique(indices)) / own for (_, indices), own in zip(nearest, own_patches, strict=True)]
    return float((np.mean(similarities) + np.mean(shares)) / 2)


def count_patches(maps: Maps, painting: Maps, layers: Sequence[str] = PATTERN_LAYERS) -> list[int]:
    """Count the patches of the painting that are the nearest to some patch, at each layer."""
    return [len(np.unique(nearest_patches(maps[layer], painting[layer])[1])) for layer in layers]


@jax.jit
def nearest_patches(features: Features, others: AnyFeatures) -> tuple[Float[Array, "_ _"], jax.Array]:
    """Return the largest cosine of each 3x3 patch to all 3x3 patches of another map, and the index of that patch.

    The product of two patches is the sum over their nine positions of products of single feature vectors, so each row
    needs only the products of three rows of vectors with all others: a third of the work of comparing patches, and no
    patch is ever formed.

    Args:
        features: `(h, w, c)`.
        others: `(k, l, c)`.

    Returns:
        `(h - 2, w - 2)` cosines and flat indices into `(k - 2, l - 2)`.
    """
    height, width, _ = features.shape
    norms, other_norms = _patch_norms(features), _patch_norms(others)

    def best(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = jax.lax.dynamic_slice_in_dim(features, row, 3)
        products = jnp.einsum("iwc,klc->iwkl", rows, others, precision="highest")
        other_height, other_width = others.shape[0] - 2, others.shape[1] - 2
        total = sum(
            products[i, j : j + width - 2, i : i + other_height, j : j + other_width]
            for i in range(3)
            for j in range(3)
        )
        cosines = (total / other_norms[None]).reshape(width - 2, -1)
        index = jnp.argmax(cosines, axis=1)
        return jnp.max(cosines, axis=1) / jax.lax.dynamic_index_in_dim(norms, row, keepdims=False), index

    return jax.lax.map(best, jnp.arange(height - 2))


def gaussian_distances(maps: Maps, painting: Maps, layers: Sequence[str] = UNUSED_LAYERS) -> list[float]:
    """Compute the 2-Wasserstein distance between the Gaussians of the features at each layer; 0 for the painting."""
    squares = (_wasserstein(_moments(maps[layer]), _moments(painting[layer])) for layer in layers)
    return [max(0.0, float(square)) ** 0.5 for square in squares]


@jax.jit
def _wasserstein(a: Moments, b: Moments) -> jax.Array:
    return wasserstein(a, b, matrix_root="eigh", ridge=RIDGE)


def _moments(features: Features) -> Moments:
    count = features.shape[0] * features.shape[1]
    return Moments(js.gram_matrix(features), feature_sum(features) / float(count))


def _patch_norms(features: AnyFeatures) -> jax.Array:
    """Return the norm of each 3x3 patch."""
    squares = jnp.sum(jnp.square(features), axis=2)
    height, width = squares.shape
    total = sum(squares[i : i + height - 2, j : j + width - 2] for i in range(3) for j in range(3))
    return jnp.sqrt(jnp.maximum(total, jnp.float32(1e-12)))


def _histogram(channel: Float[Array | np.ndarray, "_ _"]) -> np.ndarray:
    return np.histogram(np.asarray(channel), BINS, (0.0, 1.0))[0].astype(np.float64)
