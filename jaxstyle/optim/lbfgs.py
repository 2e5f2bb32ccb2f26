"""L-BFGS as an optax transform that needs exactly one value and gradient a step, and keeps pixels in [0, 1].

`lbfgs` is a projected, non-monotone L-BFGS without a line search: every proposal is evaluated once, and either accepted
or followed by a shorter step along the same direction. Python control flow does not depend on values, so it compiles to
one program, and under `vmap` every image of a batch has its own decisions.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.errors import InputError, check_choice, check_integer, check_number
from jaxstyle.image.canvas import area, sides
from jaxstyle.image.ops import check_array
from jaxstyle.optim.named import named_transform
from jaxstyle.optim.preconditioners import PRECONDITIONERS, Precondition, scale_chroma
from jaxstyle.typing import Extent, Image, Scalar

# Largest distance of a pixel from a bound that counts as on it: the sum of image and update is rounded.
ON_BOUND = 1e-6
# One gray level of 8 bits.
GRAY_LEVEL = 1 / 255
# Pairs, losses and rejections at most.
MAX_COUNT = 1000


class LbfgsState(NamedTuple):
    """State of `lbfgs`.

    Attributes:
        image: the last accepted image.
        gradient: gradient of the loss there.
        recent_losses: losses of the last accepted images, a ring buffer; -inf in empty slots.
        direction: search direction.
        step: step length of the current proposal along it.
        s_history: `(memory, H, W, 3)`, differences of accepted images, a ring buffer.
        y_history: `(memory, H, W, 3)`, differences of their gradients.
        rho: `(memory,)`, 1 / (s . y); zero in empty slots.
        pairs: number of pairs stored since the last reset.
        accepted: number of accepted images.
        failures: number of proposals rejected in a row.
    """

    image: Image
    gradient: Image
    recent_losses: Float[Array, " window"]
    direction: Image
    step: Scalar
    s_history: Float[Array, "memory height width 3"]
    y_history: Float[Array, "memory height width 3"]
    rho: Float[Array, " memory"]
    pairs: Int[Array, ""]
    accepted: Int[Array, ""]
    failures: Int[Array, ""]


def lbfgs(
    memory_size: int = 10,
    *,
    precondition: Precondition | None = "spectral",
    exponent: float = 1.0,
    chroma: float = 0.35,
    window: int = 5,
    max_failures: int = 10,
) -> optax.GradientTransformationExtraArgs:
    """Make limited-memory BFGS on the pixel box [0, 1], with one evaluation a step.

    With the accepted image `x`, its gradient `g` and the direction `d = -H g` of the two-loop recursion (Nocedal and
    Wright, algorithm 7.4), it proposes `clip(x + t d, 0, 1)` with `t = 1`. The proposal is accepted if its loss is
    finite and at most `max(last accepted losses) + 1e-4 g . s` (Grippo, Lampariello and Lucidi, 1986); otherwise `t`
    shrinks to the minimizer of the quadratic through both values and the slope, within [0.1 t, 0.5 t]. Pixels on a
    bound that the step would push out of the box are fixed there (Bertsekas, 1982).

    `precondition="spectral"` starts the recursion from `gamma F^-1 diag(1 / f^exponent) F` instead of `gamma I`, with
    `F` the Fourier transform and `f` the spatial frequency. Amplitudes of natural images fall as 1/f, so coarse
    structure converges as fast as fine; `"pyramid"` approximates it by local averages (see `preconditioners.py`). The
    curvature of the loss is several times larger for changes of color than of brightness, so the part of the gradient
    that differs between the channels is scaled by `chroma`.

    The same arguments return the same object, so that it can be a static argument of a compiled function.

    Args:
        memory_size: number of stored pairs, 1 to 1000, of 24 bytes a pixel each.
        precondition: `"spectral"`, `"pyramid"`, for images sharded over devices, or None.
        exponent: exponent of the frequency, 0 to 4; 0 for equal treatment of all frequencies.
        chroma: scale of differences between channels, above 0, up to 10; 1 for the scale of their mean.
        window: number of accepted losses that a proposal is compared with, 1 to 1000; 1 for a monotone run.
        max_failures: number of rejections in a row after which the memory is reset, 1 to 1000.

    Returns:
        An optax transform; `update(gradient, state, image, value=loss)` returns the update to the next proposal. With
        `extent=` the image is a canvas: see `canvas.py`.

    Raises:
        InputError: for values out of range.

    Example:
        >>> lbfgs() is lbfgs(memory_size=10)
        True
    """
    for name, count in (("memory_size", memory_size), ("window", window), ("max_failures", max_failures)):
        check_integer(count, name, 1, MAX_COUNT)
    if precondition is not None:
        check_choice(precondition, "precondition", PRECONDITIONERS)
    check_number(exponent, "exponent", 0, 4)
    check_number(chroma, "chroma", 0, 10)
    if chroma == 0:
        raise InputError("chroma is 0, expected a number above 0, up to 10")
    return _lbfgs(int(memory_size), precondition, float(exponent), float(chroma), int(window), int(max_failures))


@named_transform("lbfgs")
def _lbfgs(
    memory_size: int, precondition: Precondition | None, exponent: float, chroma: float, window: int, max_failures: int
) -> optax.GradientTransformationExtraArgs:
    def smooth(field: Image, extent: Extent | None) -> Image:
        return scale_chroma(PRECONDITIONERS[precondition](field, exponent, extent), chroma) if precondition else field

    def init(image: Image) -> LbfgsState:
        check_array(image, "image", "one array of pixels")

        def zeros(*leading: int) -> Array:
            return jnp.zeros((*leading, *image.shape), image.dtype)

        return LbfgsState(
            image=image,
            gradient=zeros(),
            recent_losses=jnp.full((window,), -jnp.inf, jnp.float32),
            direction=zeros(),
            step=jnp.array(0.0, jnp.float32),
            s_history=zeros(memory_size),
            y_history=zeros(memory_size),
            rho=jnp.zeros((memory_size,), jnp.float32),
            pairs=jnp.array(0, jnp.int32),
            accepted=jnp.array(0, jnp.int32),
            failures=jnp.array(0, jnp.int32),
        )

    def update(gradient, state: LbfgsState, image: Any = None, *, value: Any = None, extent=None, **_):
        check_array(image, "image", "the array of pixels that init got")
        if value is None:
            raise InputError(
                "value is None, expected the loss of the image: update(gradient, state, image, value=loss)"
            )
        s = image - state.image
        slope = _dot(state.gradient, s)
        # The first finite loss is accepted.
        bound = jnp.where(state.accepted > 0, jnp.max(state.recent_losses) + 1e-4 * slope, jnp.inf)
        accept = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & (value <= bound)
        failures = jnp.where(accept, 0, state.failures + 1)
        # Without pairs there is nothing to reset: then the step only shrinks further.
        reset = (failures >= max_failures) & (state.pairs > 0)

        # The newest pair is stored only if its curvature is positive.
        y = gradient - state.gradient
        s_dot_y = _dot(s, y)
        store = accept & (s_dot_y > 1e-6 * jnp.sqrt(_dot(s, s)) * jnp.sqrt(_dot(y, y)))
        slot = state.pairs % memory_size
        s_history = state.s_history.at[slot].set(jnp.where(store, s, state.s_history[slot]))
        y_history = state.y_history.at[slot].set(jnp.where(store, y, state.y_history[slot]))
        newest = 1 / jnp.where(store, s_dot_y, 1.0)
        rho = state.rho.at[slot].set(jnp.where(store, newest, state.rho[slot]))
        rho = jnp.where(reset, 0.0, rho)
        pairs = jnp.where(reset, 0, state.pairs + store.astype(jnp.int32))

        last = (state.accepted - 1) % window
        accepted_value = jnp.where(accept, value, state.recent_losses[last])
        accepted = state.accepted + accept.astype(jnp.int32)
        recent_losses = state.recent_losses.at[(accepted - 1) % window].set(accepted_value)
        x = jnp.where(accept, image, state.image)
        g = jnp.where(accept, gradient, state.gradient)

        pixels = area(*sides(image.shape, extent))
        smoothed = functools.partial(smooth, extent=extent)
        new_direction = _direction(x, g, s_history, y_history, rho, pairs, smoothed, pixels)
        new = accept | reset
        direction = jnp.where(new, new_direction, state.direction)
        step = jnp.where(new, 1.0, state.step * _shrink_factor(value, accepted_value, slope))
        proposal = jnp.clip(x + step * direction, 0.0, 1.0)
        failures = jnp.where(reset, 0, failures)
        return proposal - image, LbfgsState(
            x, g, recent_losses, direction, step, s_history, y_history, rho, pairs, accepted, failures
        )

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def uses_lbfgs(optimizer: optax.GradientTransformation) -> bool:
    """True if the optimizer is `lbfgs`, also within a chain or an average."""
    state = jax.eval_shape(optimizer.init, jax.ShapeDtypeStruct((2, 2, 3), jnp.float32))
    return any(map(_is_lbfgs, jax.tree.leaves(state, is_leaf=_is_lbfgs)))


def _is_lbfgs(node: Any) -> bool:
    return isinstance(node, LbfgsState)


def _dot(a: Array, b: Array) -> Scalar:
    # Not a matrix product: those run in TF32 or bfloat16 on some devices.
    return jnp.sum(a * b)


def _shrink_factor(value: Scalar, accepted_value: Scalar, slope: Scalar) -> Scalar:
    """Minimizer of the quadratic through both values with this slope, relative to the rejected step."""
    rise = value - accepted_value - slope
    ratio = -slope / (2 * jnp.where(rise > 0, rise, 1.0))
    return jnp.where(jnp.isfinite(value) & (rise > 0), jnp.clip(ratio, 0.1, 0.5), 0.1)


def _direction(
    image: Image,
    gradient: Image,
    s_history: Array,
    y_history: Array,
    rho: Array,
    pairs: Int[Array, ""],
    smooth: Callable[[Image], Image],
    pixels: float | Scalar,
) -> Image:
    """Compute `-H g` by the two-loop recursion over the free pixels, or steepest descent if that does not descend."""

    def blocked(change: Image) -> Bool[Array, "height width 3"]:
        return ((image <= ON_BOUND) & (change < 0)) | ((image >= 1 - ON_BOUND) & (change > 0))

    # Pixels that the gradient would push out of the box are fixed, even if `H` would move them inwards.
    fixed = blocked(-gradient)
    gradient = jnp.where(fixed, 0.0, gradient)
    memory_size = len(rho)
    order = (pairs - 1 - jnp.arange(memory_size, dtype=jnp.int32)) % memory_size

    def first_loop(q, slot):
        alpha = rho[slot] * _dot(s_history[slot], q)
        return q - alpha * y_history[slot], alpha

    def second_loop(r, inputs):
        slot, alpha = inputs
        beta = rho[slot] * _dot(y_history[slot], r)
        return r + (alpha - beta) * s_history[slot], None

    q, alphas = jax.lax.scan(first_loop, gradient, order)
    newest = order[0]
    y = y_history[newest]
    scale = 1 / jnp.where(rho[newest] > 0, rho[newest] * _dot(y, smooth(y)), 1.0)
    r, _ = jax.lax.scan(second_loop, scale * smooth(q), (order, alphas), reverse=True)
    direction = jnp.where(fixed | blocked(-r), 0.0, -r)

    # Without curvature the step length is unknown: one gray level on average.
    steepest = -smooth(gradient)
    steepest = jnp.where(fixed | blocked(steepest), 0.0, steepest)
    mean = jnp.sum(jnp.abs(steepest)) / (3 * pixels)
    steepest = steepest * (GRAY_LEVEL / jnp.maximum(mean, jnp.finfo(jnp.float32).tiny))
    descends = _dot(gradient, direction) < 0
    return jnp.where((pairs > 0) & descends, direction, steepest)
