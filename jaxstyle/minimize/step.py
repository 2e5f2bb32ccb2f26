"""One optimization step: one evaluation, one update. The state is a pytree; the step is one compiled program.

The state of a batch has a leading axis of images; `is_batched` tells whether it has one.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from jaxstyle.compiler import Compiled
from jaxstyle.errors import InputError, quote
from jaxstyle.guards import permissive
from jaxstyle.image.ops import check_image
from jaxstyle.objective.base import (
    Losses,
    LossWeights,
    Objective,
    broadcast_weights,
    check_objective,
    check_weight_shapes,
    check_weights,
)
from jaxstyle.objective.evaluate import checked_evaluation, compiled_value_and_grad
from jaxstyle.objective.mesh import mesh_of, shardings_like
from jaxstyle.objective.targets import Targets, check_is_targets
from jaxstyle.optim.averaging import average_of, with_averages_of
from jaxstyle.sharding_types import vary_like
from jaxstyle.typing import Image, Images, Optimizer, Params, Scalar
from jaxstyle.vgg.network import check_params, stride


class State(NamedTuple):
    """All values that change from step to step.

    Attributes:
        image: the next image to evaluate.
        optimizer: state of the optimizer.
        losses: losses of the last evaluated image; zeros before the first step.
        best_image: the evaluated image with the least total loss.
        best_loss: its total loss; infinity before the first step.
        evaluations: number of steps taken; each evaluates one value and gradient.
        num_nonfinite: consecutive evaluations whose loss or gradient was not finite, or too large for the optimizer.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> state = js.init(content, params, targets, js.LossWeights(), objective, js.adam(0.02))
        >>> int(state.evaluations), float(state.best_loss)
        (0, inf)
    """

    image: Image
    optimizer: Any
    losses: Losses
    best_image: Image
    best_loss: Scalar
    evaluations: Int[Array, ""]
    num_nonfinite: Int[Array, ""]


@permissive()
def init(
    image: Image, params: Params, targets: Targets, weights: LossWeights, objective: Objective, optimizer: Optimizer
) -> State:
    """Return the state before the first step, without an evaluation.

    Inside of `jit` and `vmap`, where values are unknown, it checks types and shapes alone.

    Args:
        image: `(H, W, 3)`, the initial image; clipped to [0, 1].
        params: see `load_params`.
        targets: see `make_targets`; made from a content image of the same size as `image`.
        weights: see `LossWeights`.
        objective: static.
        optimizer: `lbfgs()`, `adam()` or any optax transform that needs one gradient a step.

    Returns:
        A state that owns all its buffers, so that `step` can reuse them.

    Raises:
        InputError: for an image of the wrong shape, targets of another size or objective, invalid weights, or
            anything but an optax transform.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> objective = js.Objective(("relu2_1",), ("relu1_1",))
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> state = init(content, params, targets, js.LossWeights(), objective, js.adam(0.02))
        >>> state.best_image.shape, int(state.evaluations)
        ((32, 48, 3), 0)
    """
    check_objective(objective)
    check_image(image, min_side=objective.min_side)
    # For the check alone; accepted so that `init` and `step` take the same arguments.
    check_params(params, objective.layers)
    check_is_targets(targets)
    check_optimizer(optimizer)
    regions = targets.num_regions
    check_weight_shapes(weights, objective, regions)
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((image, weights)))
    if not traced:
        check_weights(weights, objective, regions)
    target_layers = targets.content, targets.style, targets.banks or {}
    own_layers = objective.content_layers, objective.style_layers, objective.neighbor_layers
    if list(map(set, target_layers)) != list(map(set, own_layers)):
        raise InputError(
            f"targets hold the layers {tuple(itertools.chain(*target_layers))}, expected the objective's, "
            f"{tuple(itertools.chain(*own_layers))}: make the targets with the same objective"
        )
    for layer, target in targets.content.items():
        size = tuple(side // stride(layer) for side in image.shape[:2])
        if target.shape[:2] != size:
            raise InputError(
                f"the target feature map of {layer} has size {target.shape[:2]}, expected {size} for an image of size "
                f"{image.shape[:2]}: make the targets from a content image of that size"
            )
    if not traced and not bool(jnp.all(jnp.isfinite(image))):
        raise InputError("the initial image has NaN or infinite pixels, expected values in [0, 1]")
    return init_unchecked(jnp.asarray(image, jnp.float32), optimizer)


def check_optimizer(optimizer: Any) -> None:
    """Raise InputError unless `optimizer` is an optax transform."""
    if not isinstance(optimizer, optax.GradientTransformation):
        raise InputError(f"optimizer is {quote(optimizer)}, expected an optax transform such as lbfgs() or adam()")


def init_unchecked(image: Image | Images, optimizer: Optimizer) -> State:
    """Return the state of `init` without its checks, sharded like the image; for a batch, with a leading axis."""
    make = _initial_states(image.ndim == 4, optimizer)
    shardings = shardings_like(jax.eval_shape(make, image), image, batched=image.ndim == 4)
    if shardings is None and image.ndim == 3:
        return make(image)
    return jax.jit(make, out_shardings=shardings)(image)


def abstract_state(image: Image | Images, optimizer: Optimizer) -> State:
    """Return the shapes, types and shardings of a state as `jax.ShapeDtypeStruct`; nothing is computed."""
    batched = image.ndim == 4
    shapes = jax.eval_shape(_initial_states(batched, optimizer), image)
    shardings = shardings_like(shapes, image, batched) or jax.tree.map(lambda _: image.sharding, shapes)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def is_batched(state: State) -> bool:
    """Return True for the state of a batch."""
    return state.best_loss.ndim > 0


def restart(state: State, optimizer: Optimizer, selected: Bool[np.ndarray, " batch"]) -> State:
    """Return a fresh state that starts from the best image so far, with the same shardings.

    The evaluation count and any running averages of the image are carried over. The old state's buffers are reused.

    Args:
        state: of an image, or of a batch.
        optimizer: of the state.
        selected: which images to restart; the others of a batch remain as they are.
    """
    shardings = None if mesh_of(state.image) is None else tuple(leaf.sharding for leaf in jax.tree.leaves(state))
    flags = jnp.asarray(selected if is_batched(state) else selected[0])
    return _restart(state, flags, optimizer, shardings)


@functools.partial(jax.jit, static_argnames=("optimizer", "shardings"), donate_argnames="state")
def _restart(state: State, selected: Array, optimizer: Optimizer, shardings: tuple[Any, ...] | None) -> State:
    def restart_one(state: State, selected: Array) -> State:
        fresh = _initial_state(state.best_image, optimizer)
        fresh = fresh._replace(
            optimizer=with_averages_of(state.optimizer, fresh.optimizer), evaluations=state.evaluations
        )
        return jax.tree.map(lambda new, old: jnp.where(selected, new, old), fresh, state)

    restarted = (jax.vmap(restart_one) if is_batched(state) else restart_one)(state, selected)
    if shardings is None:
        return restarted
    return jax.lax.with_sharding_constraint(restarted, jax.tree.unflatten(jax.tree.structure(restarted), shardings))


def result_image(state: State) -> Image | Images:
    """Return the result of a run: the average of an optimizer that averages, otherwise the best image."""
    average = average_of(state.optimizer) if not is_batched(state) else jax.vmap(average_of)(state.optimizer)
    return state.best_image if average is None else average


def _initial_states(batched: bool, optimizer: Optimizer) -> Callable[[Any], State]:
    make = functools.partial(_initial_state, optimizer=optimizer)
    return jax.vmap(make) if batched else make


def _initial_state(image: Image, optimizer: Optimizer) -> State:
    clipped = jnp.clip(image, 0.0, 1.0)
    state = State(
        image=clipped,
        optimizer=_copy_shared(optimizer.init(clipped), clipped),
        losses=Losses(*(jnp.array(0.0, jnp.float32) for _ in Losses._fields)),
        best_image=jnp.array(clipped, copy=True),
        best_loss=jnp.array(jnp.inf, jnp.float32),
        evaluations=jnp.array(0, jnp.int32),
        num_nonfinite=jnp.array(0, jnp.int32),
    )
    return vary_like(state)


def _copy_shared(tree: Any, image: Image) -> Any:
    """Copy leaves that occur twice in the state: a buffer can be donated to `step` only once."""
    seen = {id(image)}

    def copy_if_seen(leaf: Array) -> Array:
        if id(leaf) in seen:
            return jnp.array(leaf, copy=True)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(copy_if_seen, tree)


def _overflowed(state: Any, fresh: Any) -> Bool[Array, ""]:
    """True if a value of an optimizer's state is not finite although it is finite in a fresh state.

    Adam's squares of a large gradient overflow, and these pixels would never move again. Infinities in a fresh state
    are placeholders, such as an initial best loss, and do not count as overflow.
    """
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(fresh), strict=True)
    overflows = [
        jnp.any(~jnp.isfinite(leaf) & jnp.isfinite(initial))
        for leaf, initial in pairs
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    return functools.reduce(jnp.logical_or, overflows, jnp.array(False))


def step(
    state: State, params: Params, targets: Targets, weights: LossWeights, objective: Objective, optimizer: Optimizer
) -> State:
    """Evaluate the state's image once and propose the next. Compiled; the old state's buffers are reused.

    Other images, targets or weights do not recompile. To export a step, or to compile it ahead of time:
    `jax.jit(step, static_argnames=("objective", "optimizer"))`.

    If the loss or gradient is not finite, the optimizer receives an all-NaN gradient; `lbfgs`, for example, responds by
    backtracking to a shorter step. If the image that it then proposes is unchanged, or if any proposed image is not
    finite or the optimizer's state has overflowed, the next image is the midpoint between the current and the best
    image, and the optimizer is reinitialized.

    Args:
        state: from `init` or an earlier step; not usable afterwards.
        params: see `load_params`.
        targets: see `make_targets`.
        weights: see `LossWeights`.
        objective: static.
        optimizer: static.

    Returns:
        The next state.

    Raises:
        InputError: for arguments of wrong types, targets or a state that do not belong to the other arguments, a
            state that has been used already, or an optimizer that needs more than one value and gradient a step.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> objective, weights, optimizer = js.Objective(), js.LossWeights(), js.lbfgs(memory_size=5)
        >>> targets = js.make_targets(params, content, [style], objective)
        >>> state = js.init(content, params, targets, weights, objective, optimizer)
        >>> for _ in range(3):
        ...     state = js.step(state, params, targets, weights, objective, optimizer)
        >>> int(state.evaluations)
        3
    """
    if not isinstance(state, State):
        raise InputError(f"state is {quote(state)}, expected a State: init makes one")
    if not isinstance(state.image, Tracer) and state.image.is_deleted():
        raise InputError("state has been used by an earlier step, expected the state that this step returned")
    check_optimizer(optimizer)
    if is_batched(state):
        raise InputError("state is that of a batch, expected that of an image: jax.vmap(step) steps a batch")
    check_objective(objective)
    check_is_targets(targets)
    regions = targets.num_regions
    check_weight_shapes(weights, objective, regions)
    weights = broadcast_weights(weights, objective, regions)
    try:
        return compiled_step(state, params, targets, weights, objective, optimizer)
    except (TypeError, ValueError):
        # The other checks run when the step is compiled, and here for what JAX cannot even read.
        checked_evaluation(state.image, params, targets, weights, objective)
        raise


@functools.partial(Compiled, static_argnames=("objective", "optimizer"), donate_argnames="state")
def compiled_step(
    state: State, params: Params, targets: Targets, weights: LossWeights, objective: Objective, optimizer: Optimizer
) -> State:
    """Take the step of `step`: the compiled function, which can also be lowered for abstract arrays."""
    checked_evaluation(state.image, params, targets, weights, objective)
    fresh = optimizer.init(state.best_image)
    if jax.tree.structure(fresh) != jax.tree.structure(state.optimizer):
        raise InputError("state is of another optimizer, expected that of init with the same optimizer")
    losses, gradient = compiled_value_and_grad(state.image, params, targets, weights, objective)
    free_mask = None if targets.guides is None else targets.guides.free
    if free_mask is not None:
        # Fixed pixels are not optimization variables.
        gradient = jnp.where(free_mask, gradient, 0.0)
    finite = jnp.isfinite(losses.total) & jnp.isfinite(losses.surrogate) & jnp.all(jnp.isfinite(gradient))
    gradient = jnp.where(finite, gradient, jnp.nan)
    update = optax.with_extra_args_support(optimizer).update
    extra = {"value": losses.surrogate, "extent": targets.extent, "free": free_mask}
    try:
        updates, optimizer_state = update(gradient, state.optimizer, state.image, **extra)
    except TypeError as error:
        if "required keyword-only argument" not in str(error):
            raise
        raise InputError(
            f"optimizer needs more than one value and gradient a step ({error}), expected one such as lbfgs(), adam() "
            "or optax.adam(0.02)"
        ) from error
    if free_mask is not None:
        updates = jax.tree.map(lambda leaf: jnp.where(free_mask, leaf, 0.0), updates)
    image: Image = optax.apply_updates(state.image, updates)  # pyright: ignore[reportAssignmentType]

    changed = jnp.any(image != state.image)
    usable = (finite | changed) & jnp.all(jnp.isfinite(image)) & ~_overflowed(optimizer_state, fresh)
    midpoint = 0.5 * (state.best_image + state.image)
    fresh = with_averages_of(optimizer_state, fresh)
    is_best = finite & (losses.total < state.best_loss)
    new_state = State(
        image=jnp.where(usable, image, midpoint),
        optimizer=jax.tree.map(lambda new, initial: jnp.where(usable, new, initial), optimizer_state, fresh),
        losses=losses,
        best_image=jnp.where(is_best, state.image, state.best_image),
        best_loss=jnp.where(is_best, losses.total, state.best_loss),
        evaluations=state.evaluations + 1,
        num_nonfinite=jnp.where(finite & usable, 0, state.num_nonfinite + 1),
    )
    return vary_like(new_state)
