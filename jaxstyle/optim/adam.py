"""Adam as an optax transform that keeps pixels in [0, 1]."""

import jax
import jax.numpy as jnp
import optax

from jaxstyle.errors import InputError, check_number, quote
from jaxstyle.image.ops import check_array
from jaxstyle.optim.named import named_transform
from jaxstyle.typing import Image

MAX_LEARNING_RATE = 1e6


def adam(learning_rate: float = 0.02, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformationExtraArgs:
    """Make Adam (Kingma and Ba, 2015), with the image clipped to [0, 1] after every step.

    The same arguments return the same object, so that it can be a static argument of a compiled function.

    Args:
        learning_rate: approximately the largest change of a pixel in a step, above 0; 0.02 is 5 of 255 gray levels.
        b1: decay of the mean of gradients, from 0 to below 1.
        b2: decay of the mean of squared gradients, from 0 to below 1.

    Returns:
        An optax transform.

    Raises:
        InputError: for numbers out of range.

    Example:
        >>> adam(0.02) is adam()
        True
    """
    check_number(learning_rate, "learning_rate", 0, MAX_LEARNING_RATE)
    if learning_rate == 0:
        raise InputError("learning_rate is 0, expected a positive number such as 0.02")
    for name, decay in (("b1", b1), ("b2", b2)):
        check_number(decay, name, 0, 1)
        if decay == 1:
            raise InputError(f"{name} is {quote(decay)}, expected a number from 0 to below 1")
    return _adam(float(learning_rate), float(b1), float(b2))


@named_transform("adam")
def _adam(learning_rate: float, b1: float, b2: float) -> optax.GradientTransformationExtraArgs:
    inner = optax.adam(learning_rate, b1, b2)

    def init(image: Image) -> optax.OptState:
        check_array(image, "image", "one array of pixels")
        return inner.init(image)

    def update(gradient, state, image=None, **_):
        check_array(image, "image", "the array of pixels that init got")
        # optax raises a float to an integer power.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = inner.update(gradient, state, image)
        return jnp.clip(optax.apply_updates(image, updates), 0.0, 1.0) - image, state  # pyright: ignore[reportArgumentType, reportOperatorIssue]

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
