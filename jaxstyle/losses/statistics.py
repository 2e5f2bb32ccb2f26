"""Features to statistics: sums over positions, from which every loss is computed.

Because they are sums, the statistics of a picture are the sum of the statistics of its parts: a picture can be
evaluated whole, window by window, or spread over devices, and the losses are the same numbers.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, area, mask_outside, sides
from jaxstyle.typing import AnyFeatures, Extent, Features, Gram, Image, Scalar

# How smoothness is measured.
Variation = Literal["squared", "absolute", "nine-point"]


class Statistics(NamedTuple):
    """Sums over the positions of a picture, by layer.

    Attributes:
        products: style layer to `(c, c)`, the sum of outer products of its feature vectors; with guides one of them for
            each region, `(regions, c, c)`.
        sums: style layer to `(c,)` or `(regions, c)`, the sum of its feature vectors, where the style loss needs it.
        errors: content layer to the sum of squared differences from the content's features.
        variation: what `variation_sum` gives.
    """

    products: dict[str, Float[Array, "*regions _ _"]]
    sums: dict[str, Float[Array, "*regions _"]]
    errors: dict[str, Scalar]
    variation: Scalar


@jax.custom_vjp
def outer_products(features: Features) -> Gram:
    """Sum over positions of the outer product of the feature vector with itself, `sum over p of f_p f_p^T`.

    Args:
        features: `(h, w, c)` float32.

    Returns:
        `(c, c)` float32, symmetric and positive semidefinite; float32 throughout, whatever the convolutions' precision.
        Differentiable in reverse mode.
    """
    flat = features.reshape(-1, features.shape[-1])
    return jnp.einsum("pc,pd->cd", flat, flat, precision=lax.Precision.HIGHEST)


def _outer_products_forward(features):
    return outer_products(features), features


def _outer_products_backward(features, cotangent):
    # One product of matrices instead of the two that the product rule makes.
    return (jnp.einsum("hwc,cd->hwd", features, cotangent + cotangent.T, precision=lax.Precision.HIGHEST),)


outer_products.defvjp(_outer_products_forward, _outer_products_backward)


def feature_sum(features: Features, guide: Float[Array, "h w regions"] | None = None) -> Float[Array, "*regions c"]:
    """Sum over positions of the feature vector, `sum over p of f_p`; with a guide `T`, `sum over p of T_rp^2 f_p`.

    Args:
        features: `(h, w, c)` float32.
        guide: see `guides.py`.

    Returns:
        `(c,)`, or `(regions, c)`.
    """
    if guide is None:
        return jnp.sum(features, axis=(0, 1))
    regions = [jnp.square(guide[:, :, r : r + 1]) for r in range(guide.shape[2])]
    return jnp.stack([jnp.sum(features * weight, axis=(0, 1)) for weight in regions])


def squared_error(features: Features, target: Features) -> Scalar:
    """Sum over positions and channels of `(features - target)^2`.

    Args:
        features: `(h, w, c)`.
        target: the same shape.

    Returns:
        A scalar.

    Raises:
        InputError: for different shapes.
    """
    check_same_shape(features.shape, target.shape)
    return jnp.sum(jnp.square(features - target))


def check_same_shape(features: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Refuse features and a target of different shapes.

    Raises:
        InputError: naming both.
    """
    if features != target:
        raise InputError(
            f"features have shape {features} and their target {target}, expected the same: "
            "the picture needs the size of the content that the targets were made from"
        )


def variation_sum(image: Image, kind: Variation = "squared", extent: Extent | None = None) -> Scalar:
    """Sum over positions and colors of what neighboring pixels differ by.

    `"squared"` and `"absolute"` take the squares, or the magnitudes, of the differences between vertical and horizontal
    neighbors. `"nine-point"` takes the squares, and a quarter of those between diagonal neighbors on the picture with
    one more pixel around it, a copy of its border, as a mean over as many more places.

    Args:
        image: `(H, W, 3)`.
        kind: see above.
        extent: of the picture, where the image is a larger canvas: see `canvas.py`.

    Returns:
        A scalar. The gradient of the squares exists everywhere, on a constant picture too.
    """
    height, width = sides(image.shape, extent)

    def measured(difference: AnyFeatures, down: int, right: int) -> AnyFeatures:
        if extent is not None:
            difference = mask_outside(difference, Placement(0, 0, height - down, width - right))
        return jnp.abs(difference) if kind == "absolute" else jnp.square(difference)

    vertical, horizontal = measured(image[1:] - image[:-1], 1, 0), measured(image[:, 1:] - image[:, :-1], 0, 1)
    found = jnp.sum(vertical) + jnp.sum(horizontal)
    if kind != "nine-point":
        return found
    falling, rising = image[1:, 1:] - image[:-1, :-1], image[1:, :-1] - image[:-1, 1:]
    # Across the border, the diagonal neighbors are the border's own, in both directions.
    row, column = jnp.arange(image.shape[0])[:, None, None], jnp.arange(image.shape[1])[None, :, None]
    border = jnp.sum(jnp.where((row == 0) | (row == height - 1), horizontal, 0.0)) + jnp.sum(
        jnp.where((column == 0) | (column == width - 1), vertical, 0.0)
    )
    diagonal = jnp.sum(measured(falling, 1, 1)) + jnp.sum(measured(rising, 1, 1)) + 2 * border
    return found + diagonal / 4 * (area(height, width) / area(height + 1, width + 1))
