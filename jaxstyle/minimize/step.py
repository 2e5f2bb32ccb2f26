"""One step of the optimization: one evaluation, one update. The state is a pytree; the step is one compiled program."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from jaxstyle.errors import InputError
from jaxstyle.image.ops import check_image
from jaxstyle.objective.base import Losses, LossWeights, Objective, check_weights
from jaxstyle.objective.evaluate import value_and_grad
from jaxstyle.objective.mesh import shardings_like
from jaxstyle.objective.targets import Targets
from jaxstyle.optim.averaging import AveragedState, average_of
from jaxstyle.optim.lbfgs import LbfgsState
from jaxstyle.typing import Image, Params, Scalar
from jaxstyle.vgg.network import stride


class State(NamedTuple):
    """Everything that changes from step to step.

    Attributes:
        image: the picture that the next step will evaluate.
        optimizer: the optimizer's own state.
        losses: of the picture that the last step evaluated; zeros before the first.
        best_image: the evaluated picture with the least total loss.
        best_loss: its total loss; infinity before the first step.
        evaluations: steps taken so far, each one value and gradient.
        num_nonfinite: evaluations in a row whose loss or gradient was not finite, or too large for the optimizer.
    """

    image: Image
    optimizer: Any
    losses: Losses
    best_image: Image
    best_loss: Scalar
    evaluations: Int[Array, ""]
    num_nonfinite: Int[Array, ""]


def init(
    image: Image,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
    optimizer: optax.GradientTransformation,
) -> State:
    """The state before the first step; nothing is evaluated yet. Checks values, so it runs outside `jit`.

    Args:
        image: `(H, W, 3)` where the optimization starts; clipped to [0, 1].
        params: see `load_params`.
        targets: see `make_targets`; their content must have the image's size.
        weights: see `LossWeights`.
        objective: static.
        optimizer: `lbfgs()`, `adam()` or any optax transform.

    Returns:
        A state that owns all its buffers, so that `step` may reuse them.

    Raises:
        InputError: for a misshapen image, targets of another size or objective, or wrong weights.
    """
    del params
    check_image(image, min_side=objective.min_side)
    check_weights(weights, objective, None if targets.guides is None else len(targets.guides.shares))
    if set(targets.content) != set(objective.content_layers) or set(targets.style) != set(objective.style_layers):
        raise InputError(
            f"targets hold the layers {(*targets.content, *targets.style)}, the objective uses "
            f"{(*objective.content_layers, *objective.style_layers)}: make the targets with the same objective"
        )
    for layer, target in targets.content.items():
        size = tuple(side // stride(layer) for side in image.shape[:2])
        if target.shape[:2] != size:
            raise InputError(
                f"the targets' {layer} has {target.shape[:2]} positions, an image of {image.shape[:2]} pixels has "
                f"{size}: make the targets from a content of the image's size"
            )
    if not bool(jnp.all(jnp.isfinite(image))):
        raise InputError("the image to start from has NaN or infinite pixels, expected values in [0, 1]")
    return init_unchecked(image, optimizer)


def init_unchecked(image: Image, optimizer: optax.GradientTransformation) -> State:
    """What `init` gives, unchecked. On a mesh the state lies as the image does.

    Args:
        image: `(H, W, 3)` where the optimization starts; clipped to [0, 1].
        optimizer: any optax transform.

    Returns:
        A state that owns all its buffers.
    """
    make = functools.partial(_initial_state, optimizer=optimizer)
    shardings = shardings_like(jax.eval_shape(make, image), image)
    return make(image) if shardings is None else jax.jit(make, out_shardings=shardings)(image)


def state_like(image: Image, optimizer: optax.GradientTransformation) -> State:
    """What `init_unchecked` gives, as shapes, types and places alone; nothing is computed, nothing takes memory.

    Args:
        image: where the optimization starts.
        optimizer: any optax transform.

    Returns:
        A state of `jax.ShapeDtypeStruct`.
    """
    shapes = jax.eval_shape(functools.partial(_initial_state, optimizer=optimizer), image)
    places = shardings_like(shapes, image) or jax.tree.map(lambda _: image.sharding, shapes)
    return jax.tree.map(lambda leaf, put: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=put), shapes, places)


def result_image(state: State) -> Image:
    """What a run gives of its state: the best picture, or the average of an optimizer that averages.

    Args:
        state: of one picture; `vmap` it for many.

    Returns:
        `(H, W, 3)`.
    """
    return average_of(state.optimizer) if isinstance(state.optimizer, AveragedState) else state.best_image


def _initial_state(image: Image, optimizer: optax.GradientTransformation) -> State:
    start = jnp.clip(image, 0.0, 1.0)
    return State(
        image=start,
        optimizer=_own(optimizer.init(start), start),
        losses=Losses(*(jnp.array(0.0, jnp.float32) for _ in Losses._fields)),
        best_image=jnp.array(start, copy=True),
        best_loss=jnp.array(jnp.inf, jnp.float32),
        evaluations=jnp.array(0, jnp.int32),
        num_nonfinite=jnp.array(0, jnp.int32),
    )


def all_finite(optimizer: Any) -> Bool[Array, ""]:
    """Whether the optimizer's state is finite: Adam's squares of a large gradient may not be, and then it stands still.

    L-BFGS has infinities of its own, for losses that are not there yet.
    """
    inner = optimizer.inner if isinstance(optimizer, AveragedState) else optimizer
    leaves = [] if isinstance(inner, LbfgsState) else jax.tree.leaves(inner)
    sound = [jnp.all(jnp.isfinite(leaf)) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, sound, jnp.array(True))


def reject_nonfinite(
    finite: Bool[Array, ""], image: Image, changed: Any, state: State, optimizer: optax.GradientTransformation
) -> tuple[Image, Any]:
    """Where an evaluation was not sound, half way back to the best picture instead, with a new optimizer.

    L-BFGS refuses such a picture by itself: it tries a shorter step, and drops its memory only where that does not do.
    """
    inner = changed.inner if isinstance(changed, AveragedState) else changed
    if isinstance(inner, LbfgsState):
        return image, changed
    half_way = 0.5 * (state.best_image + state.image)
    image = jnp.where(finite, image, jnp.where(jnp.isfinite(half_way), half_way, state.best_image))
    fresh = optimizer.init(state.best_image)
    if isinstance(changed, AveragedState) and isinstance(fresh, AveragedState):
        # The average of what was good goes on.
        fresh = changed._replace(inner=fresh.inner)
    return image, jax.tree.map(lambda new, old: jnp.where(finite, new, old), changed, fresh)


def _own(tree: Any, image: Image) -> Any:
    """Copies of leaves that stand twice in the state: a buffer can be given to `step` for reuse only once."""
    seen = {id(image)}

    def own(leaf: Array) -> Array:
        if id(leaf) in seen:
            return jnp.array(leaf, copy=True)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, tree)


@functools.partial(jax.jit, static_argnames=("objective", "optimizer"), donate_argnames="state")
def step(
    state: State,
    params: Params,
    targets: Targets,
    weights: LossWeights,
    objective: Objective,
    optimizer: optax.GradientTransformation,
) -> State:
    """Evaluate the state's picture once and propose the next. Compiled; the old state's buffers are reused.

    Nothing is compiled again for other pictures, targets or weights of the same shapes.

    Args:
        state: from `init` or an earlier step; not usable afterwards.
        params: see `load_params`.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: static.
        optimizer: static.

    Returns:
        The next state.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> photo, painting = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> objective, weights, optimizer = js.Objective(), js.LossWeights(), js.lbfgs(memory_size=5)
        >>> targets = js.make_targets(params, photo, [painting], objective)
        >>> state = js.init(photo, params, targets, weights, objective, optimizer)
        >>> for _ in range(3):
        ...     state = js.step(state, params, targets, weights, objective, optimizer)
        >>> int(state.evaluations)
        3
    """
    losses, gradient = value_and_grad(state.image, params, targets, weights, objective)
    if targets.guides is not None:
        # A pixel that keeps the photo is none of the optimizer's variables.
        gradient = jnp.where(targets.guides.free, gradient, 0.0)
    update = optax.with_extra_args_support(optimizer).update
    free = None if targets.guides is None else targets.guides.free
    extra = {"value": losses.surrogate, "extent": targets.extent, "free": free}
    updates, optimizer_state = update(gradient, state.optimizer, state.image, **extra)
    if free is not None:
        updates = jax.tree.map(lambda each: jnp.where(free, each, 0.0), updates)
    finite = jnp.isfinite(losses.total) & jnp.isfinite(losses.surrogate) & jnp.all(jnp.isfinite(gradient))
    image: Image = optax.apply_updates(state.image, updates)  # pyright: ignore[reportAssignmentType]
    sound = finite & all_finite(optimizer_state)
    image, optimizer_state = reject_nonfinite(sound, image, optimizer_state, state, optimizer)
    better = finite & (losses.total < state.best_loss)
    return State(
        image=image,
        optimizer=optimizer_state,
        losses=losses,
        best_image=jnp.where(better, state.image, state.best_image),
        best_loss=jnp.where(better, losses.total, state.best_loss),
        evaluations=state.evaluations + 1,
        num_nonfinite=jnp.where(sound, 0, state.num_nonfinite + 1),
    )
