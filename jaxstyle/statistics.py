"""Features to statistics: sums over positions, from which every loss is computed.

Because they are sums, the statistics of a picture are the sum of the statistics of its parts: a picture can be
evaluated whole, window by window, or spread over devices, and the losses are the same numbers.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxstyle.canvas import Frame, inside, sides
from jaxstyle.errors import InputError
from jaxstyle.typing import Extent, Features, Gram, Image, Scalar


class Statistics(NamedTuple):
    """Sums over the positions of a picture, by layer.

    Attributes:
        products: style layer to `(c, c)`, the sum of outer products of its feature vectors.
        errors: content layer to the sum of squared differences from the content's features.
        variation: sum of squared differences between neighbouring pixels.
    """

    products: dict[str, Gram]
    errors: dict[str, Scalar]
    variation: Scalar


def outer_products(features: Features) -> Gram:
    """Sum over positions of the outer product of the feature vector with itself, `sum over p of f_p f_p^T`.

    Args:
        features: `(h, w, c)` float32.

    Returns:
        `(c, c)` float32, symmetric and positive semidefinite; float32 throughout, whatever the convolutions' precision.
    """
    flat = features.reshape(-1, features.shape[-1])
    return jnp.einsum("pc,pd->cd", flat, flat, precision=lax.Precision.HIGHEST)


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


def squared_variation(image: Image, extent: Extent | None = None) -> Scalar:
    """Sum of squared differences between vertical and horizontal neighbours, over positions and colours.

    Args:
        image: `(H, W, 3)`.
        extent: of the picture, where the image is a larger canvas: see `canvas.py`.

    Returns:
        A scalar; its gradient exists everywhere, on a constant picture too.
    """
    vertical, horizontal = image[1:] - image[:-1], image[:, 1:] - image[:, :-1]
    if extent is not None:
        height, width = sides(image.shape, extent)
        vertical = inside(vertical, Frame(0, 0, height - 1, width))
        horizontal = inside(horizontal, Frame(0, 0, height, width - 1))
    return jnp.sum(jnp.square(vertical)) + jnp.sum(jnp.square(horizontal))
