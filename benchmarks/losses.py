"""The loss by which runs are compared, whatever they minimized."""

import jax.numpy as jnp

import jaxstyle as js
from jaxstyle.typing import Image, Params


def saved_losses(image: Image, content: Image, style: Image, params: Params, settings: js.Settings) -> js.Losses:
    """The losses of a picture as it is saved, rounded to 8 bits, by the objective and weights of settings."""
    targets = js.make_targets(params, content, [style], settings.objective)
    saved = jnp.round(255 * image) / 255
    return js.value_and_grad(saved, params, targets, settings.weights, settings.objective)[0]
