"""The average of the last images instead of the best one: smoother for optimizers with fixed step sizes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxstyle.errors import InputError, check_number, quote
from jaxstyle.image.ops import check_array
from jaxstyle.optim.named import named_transform
from jaxstyle.typing import Image, Scalar


class AveragedState(NamedTuple):
    """State of `averaged`.

    Attributes:
        inner: state of the optimizer.
        total: weighted sum of the images so far.
        missing: 1 minus the sum of their weights.
    """

    inner: Any
    total: Image
    missing: Scalar


def averaged(optimizer: optax.GradientTransformation, decay: float = 0.99) -> optax.GradientTransformationExtraArgs:
    """Make an optimizer whose result is the bias-corrected exponential moving average of its images.

    The average after `n` images is `sum_k (1 - d) d^(n-k) x_k / (1 - d^n)`. The images themselves stay the same. The
    same arguments return the same object.

    Args:
        optimizer: `adam()`, or any optax transform.
        decay: `d`, from 0, the last image alone, to below 1; about the last `1 / (1 - d)` images contribute.

    Returns:
        An optax transform whose runs return the average. In `update(..., free=mask)` the mask is True for pixels that
        may change.

    Raises:
        InputError: for a decay out of range, or anything but an optax transform.

    Example:
        >>> import jaxstyle as js
        >>> averaged(js.adam(), 0.99) is averaged(js.adam())
        True

    References:
        Kingma and Ba, "Adam", ICLR 2015, section 7.2.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise InputError(f"optimizer is {quote(optimizer)}, expected an optax transform such as adam()")
    check_number(decay, "decay", 0, 1)
    if decay == 1:
        raise InputError("decay is 1, expected a number from 0 to below 1 such as 0.99")
    return _averaged(optimizer, float(decay))


@named_transform("averaged")
def _averaged(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformationExtraArgs:
    inner = optax.with_extra_args_support(optimizer)

    def init(image: Image) -> AveragedState:
        check_array(image, "image", "one array of pixels")
        return AveragedState(inner.init(image), (1 - decay) * image, jnp.array(decay, jnp.float32))

    def update(gradient, state: AveragedState, image, *, value=0.0, free=None, **extra):
        updates, inner_state = inner.update(gradient, state.inner, image, value=value, free=free, **extra)
        change = updates if free is None else jax.tree.map(lambda update: jnp.where(free, update, 0.0), updates)
        # An image is added when it is proposed, and subtracted again if its loss turns out not to be finite.
        evaluated = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        without = _without(image, state)
        total, missing = (jnp.where(evaluated, *pair) for pair in zip(state[1:], without[1:], strict=True))
        proposal = image + change
        finite = evaluated & jnp.all(jnp.isfinite(proposal))
        total = jnp.where(finite, decay * total + (1 - decay) * proposal, total)
        return updates, AveragedState(inner_state, total, jnp.where(finite, decay * missing, missing))

    def _without(image: Image, state: AveragedState) -> AveragedState:
        if decay == 0:
            return state
        missing = state.missing / decay
        # The start stays, as the only image before the first step; an image that is not finite was not added.
        added = (missing < 1) & jnp.all(jnp.isfinite(image))
        total = jnp.where(added, (state.total - (1 - decay) * image) / decay, state.total)
        return state._replace(total=total, missing=jnp.where(added, missing, state.missing))

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def average_of(state: Any) -> Image | None:
    """Return the average in an optimizer's state, also of `averaged` within a chain; None if there is none."""
    nodes = jax.tree.leaves(state, is_leaf=_is_averaged)
    averages = [node.total / (1 - node.missing) for node in nodes if _is_averaged(node)]
    return averages[0] if averages else None


def with_averages_of(state: Any, fresh: Any) -> Any:
    """Return a fresh state of the same optimizer that continues the averages of `state`."""
    return jax.tree.map(
        lambda initial, node: node._replace(inner=initial.inner) if _is_averaged(initial) else initial,
        fresh,
        state,
        is_leaf=_is_averaged,
    )


def _is_averaged(node: Any) -> bool:
    return isinstance(node, AveragedState)
