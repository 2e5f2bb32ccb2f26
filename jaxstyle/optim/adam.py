"""Adam as an optax transform that keeps pixels in [0, 1]."""

import math

import jax.numpy as jnp
import optax

from jaxstyle.errors import InputError
from jaxstyle.optim.named import named_transform


def adam(learning_rate: float = 0.02, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma and Ba, 2015), with the picture clipped to [0, 1] after every step.

    The same arguments return the same object, so that it can be a static argument of a compiled function.

    Args:
        learning_rate: about the largest change of a pixel in a step; 0.02 is 5 of 255 gray levels.
        b1: decay of the gradient's mean.
        b2: decay of its square's mean.

    Returns:
        An optax transform.

    Raises:
        InputError: for numbers out of range.
    """
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"learning_rate is {learning_rate}, expected a positive number such as 0.02")
    for name, value in (("b1", b1), ("b2", b2)):
        if not 0 <= value < 1:
            raise InputError(f"{name} is {value}, expected a number in [0, 1)")
    return _adam(learning_rate, b1, b2)


@named_transform("adam")
def _adam(learning_rate: float, b1: float, b2: float) -> optax.GradientTransformationExtraArgs:
    inner = optax.adam(learning_rate, b1, b2)

    def update(gradient, state, image, **_):
        updates, state = inner.update(gradient, state, image)
        return jnp.clip(optax.apply_updates(image, updates), 0.0, 1.0) - image, state  # pyright: ignore[reportArgumentType, reportOperatorIssue]

    return optax.GradientTransformationExtraArgs(inner.init, update)  # pyright: ignore[reportArgumentType]
