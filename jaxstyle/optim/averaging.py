"""The mean of the last pictures instead of the best one: smoother, where an optimizer with fixed steps jitters."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxstyle.errors import InputError
from jaxstyle.optim.named import named_transform
from jaxstyle.typing import Image, Scalar


class AveragedState(NamedTuple):
    """State of `averaged`.

    Attributes:
        inner: the optimizer's.
        total: weighted sum of the pictures so far.
        missing: what the sum of their weights lacks to 1.
    """

    inner: Any
    total: Image
    missing: Scalar


def averaged(optimizer: optax.GradientTransformation, decay: float = 0.99) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose result is the exponential moving average of its pictures, without the bias of its start.

    The average after `n` pictures is `sum_k (1 - d) d^(n-k) x_k / (1 - d^n)`. The pictures themselves, and where the
    optimizer goes, stay the same. The same arguments return the same object.

    Args:
        optimizer: `adam()`, or any optax transform.
        decay: `d`, from 0, the last picture, to below 1; about the last `1 / (1 - d)` pictures count.

    Returns:
        An optax transform, whose runs give the average. `update(..., free=mask)` says which pixels may change.

    Raises:
        InputError: for a decay out of range.

    References:
        Kingma and Ba, "Adam", ICLR 2015, section 7.2.
    """
    if not (math.isfinite(decay) and 0 <= decay < 1):
        raise InputError(f"decay is {decay}, expected a number from 0 to below 1 such as 0.99")
    return _averaged(optimizer, decay)


@named_transform("averaged")
def _averaged(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformationExtraArgs:
    inner = optax.with_extra_args_support(optimizer)

    def init(image: Image) -> AveragedState:
        first = (1 - decay) * image
        return AveragedState(inner.init(image), first, jnp.array(decay, jnp.float32))

    def update(gradient, state: AveragedState, image, *, value=0.0, free=None, **extra):
        updates, changed = inner.update(gradient, state.inner, image, value=value, free=free, **extra)
        moved = updates if free is None else jax.tree.map(lambda each: jnp.where(free, each, 0.0), updates)
        # A picture counts when it is proposed; one that turns out to have no finite loss is taken out again.
        good = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        without = _without(image, state)
        total, missing = (jnp.where(good, *pair) for pair in zip(state[1:], without[1:], strict=True))
        new = image + moved
        finite = good & jnp.all(jnp.isfinite(new))
        total = jnp.where(finite, decay * total + (1 - decay) * new, total)
        return updates, AveragedState(changed, total, jnp.where(finite, decay * missing, missing))

    def _without(image: Image, state: AveragedState) -> AveragedState:
        if decay == 0:
            return state
        left = state.missing / decay
        # The start is all there is before the first step; and what is no number was not added.
        added = (left < 1) & jnp.all(jnp.isfinite(image))
        total = jnp.where(added, (state.total - (1 - decay) * image) / decay, state.total)
        return state._replace(total=total, missing=jnp.where(added, left, state.missing))

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
