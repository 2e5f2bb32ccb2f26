"""Statistics of features: sums over positions, from which every loss is computed.

Because they are sums, the statistics of an image are the sum of the statistics of its parts: an image can be evaluated
whole, window by window, or sharded over devices, and the losses are the same numbers.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, area, mask_outside, sides
from jaxstyle.typing import AnyFeatures, Extent, Features, Gram, Image, Scalar
from jaxstyle.vgg.layers import at_least_float32, sum_type

# Measures of smoothness: see `variation_sum`.
Variation = Literal["squared", "absolute", "nine-point"]


@jax.custom_vjp
def outer_products(features: Features) -> Gram:
    """Compute the sum over positions of outer products of the feature vector, `sum over p of f_p f_p^T`.

    Args:
        features: `(h, w, c)` float32, or bfloat16, whose products float32 represents exactly.

    Returns:
        `(c, c)` float32, symmetric and positive semidefinite; summed in float32, whatever the convolutions' precision.
        Differentiable in reverse mode.
    """
    flat = features.reshape(-1, features.shape[-1])
    return jnp.einsum(
        "pc,pd->cd", flat, flat, precision=lax.Precision.HIGHEST, preferred_element_type=sum_type(flat.dtype)
    )


def _outer_products_forward(features):
    return outer_products(features), features


def _outer_products_backward(features, cotangent):
    # One matrix product instead of the two of the product rule.
    weights = (cotangent + cotangent.T).astype(features.dtype)
    return (jnp.einsum("hwc,cd->hwd", features, weights, precision=lax.Precision.HIGHEST),)


outer_products.defvjp(_outer_products_forward, _outer_products_backward)


def feature_sum(features: Features, guide: Float[Array, "h w regions"] | None = None) -> Float[Array, "*regions c"]:
    """Compute the sum over positions of feature vectors, `sum over p of f_p`; with a guide `sum over p of T_rp^2 f_p`.

    Args:
        features: `(h, w, c)` float32 or bfloat16.
        guide: the guide `T` of the layer: see `guides.py`.

    Returns:
        `(c,)`, or `(regions, c)`.
    """
    # As a matrix product, which rounds less than the sum of a reduction: variances are small differences.
    features = at_least_float32(features)
    weights = jnp.ones((*features.shape[:2], 1), features.dtype) if guide is None else jnp.square(guide)
    sums = jnp.einsum("hwr,hwc->rc", weights, features, precision=lax.Precision.HIGHEST)
    return sums[0] if guide is None else sums


def check_same_shape(shape: tuple[int, ...], target: tuple[int, ...], name: str = "features") -> None:
    """Raise InputError for arrays whose shape is not that of their target."""
    if shape != target:
        reason = ": the image needs the size of the content that the targets were made from"
        raise InputError(
            f"{name} has shape {shape} and its target {target}, expected the same{reason if name == 'features' else ''}"
        )


def variation_sum(image: Image, kind: Variation = "squared", extent: Extent | None = None) -> Scalar:
    """Compute the sum over positions and colors of the differences between neighboring pixels.

    `"squared"` and `"absolute"` take the squares, or the magnitudes, of the differences between vertical and horizontal
    neighbors. `"nine-point"` takes the squares, and a quarter of the squares between diagonal neighbors in the image
    with one more pixel around it, a copy of its border, scaled to the original number of positions.

    Args:
        image: `(H, W, 3)`.
        kind: see above.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        A scalar. The gradient of the squares exists everywhere, on a constant image, too.
    """
    height, width = sides(image.shape, extent)

    def measure(difference: AnyFeatures, down: int, right: int) -> AnyFeatures:
        if extent is not None:
            difference = mask_outside(difference, Placement(0, 0, height - down, width - right))
        return jnp.abs(difference) if kind == "absolute" else jnp.square(difference)

    vertical, horizontal = measure(image[1:] - image[:-1], 1, 0), measure(image[:, 1:] - image[:, :-1], 0, 1)
    direct = jnp.sum(vertical) + jnp.sum(horizontal)
    if kind != "nine-point":
        return direct
    falling, rising = image[1:, 1:] - image[:-1, :-1], image[1:, :-1] - image[:-1, 1:]
    # Across the border, the diagonal neighbors are the border's own, in both directions.
    rows, columns = (jnp.arange(length, dtype=jnp.int32) for length in image.shape[:2])
    row, column = rows[:, None, None], columns[None, :, None]
    border = jnp.sum(jnp.where((row == 0) | (row == height - 1), horizontal, 0.0)) + jnp.sum(
        jnp.where((column == 0) | (column == width - 1), vertical, 0.0)
    )
    diagonal = jnp.sum(measure(falling, 1, 1)) + jnp.sum(measure(rising, 1, 1)) + 2 * border
    return direct + diagonal / 4 * (area(height, width) / area(height + 1, width + 1))
