"""The temporal loss: a frame of a video should look like the frame before, moved along with the scene.

The previous result is warped by the optical flow, and compared pixel by pixel, where the flow can be trusted: not where
something has come into sight, nor at the borders of moving objects.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, quote
from jaxstyle.image.canvas import area, sides
from jaxstyle.losses.statistics import check_same_shape
from jaxstyle.typing import AnyImage, Extent, Image, Scalar


class Warped(NamedTuple):
    """The previous result, warped to the present frame.

    Attributes:
        pixels: `(H, W, 3)` in [0, 1].
        weights: `(H, W, 1)`, from 0, where a pixel shows nothing of the previous frame, to 1.

    Example:
        >>> import jax.numpy as jnp
        >>> # Nothing is known of the right half.
        >>> weights = jnp.ones((32, 48, 1)).at[:, 24:].set(0.0)
        >>> Warped(jnp.zeros((32, 48, 3)), weights).weights.mean().item()
        0.5
    """

    pixels: AnyImage
    weights: Float[Array | np.ndarray, "_ _ 1"]


def temporal_loss(image: Image, target: Warped, extent: Extent | None = None) -> Scalar:
    """Compute `1/D sum over pixels and colors of c (x - w)^2` for an image `x`, `D` pixel values, and a target `w`.

    A sum over positions, each of which depends on one pixel.

    Args:
        image: `(H, W, 3)` in [0, 1].
        target: `w` and its weights `c`; on a canvas with weights of 0 outside of the image.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        A scalar, 0 to 1.

    Raises:
        InputError: for a target of another size.

    Example:
        >>> import jax.numpy as jnp
        >>> weights = jnp.ones((2, 2, 1)).at[0].set(0.0)
        >>> float(temporal_loss(jnp.ones((2, 2, 3)), Warped(jnp.zeros((2, 2, 3)), weights)))
        0.5

    References:
        Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for Videos" (GCPR 2016), equation 7.
    """
    check_same_shape(image.shape, target.pixels.shape)
    total = jnp.sum(target.weights * jnp.square(image - target.pixels))
    return total / (area(*sides(image.shape, extent)) * 3.0)


def check_warped(warped: Any, height: int, width: int) -> None:
    """Raise InputError unless `warped` is a `Warped` frame of this height and width."""
    if not isinstance(warped, Warped):
        raise InputError(f"previous is {quote(warped)}, expected Warped(pixels, weights)")
    for name, array, channels in (("pixels", warped.pixels, 3), ("weights", warped.weights, 1)):
        if np.shape(array) != (height, width, channels):
            raise InputError(
                f"previous.{name} is {quote(array)}, expected shape {(height, width, channels)}, like the content"
            )
        low, high = np.min(array), np.max(array)
        if not (low >= 0 and high <= 1):
            raise InputError(f"previous.{name} has values from {low} to {high}, expected 0 to 1")
