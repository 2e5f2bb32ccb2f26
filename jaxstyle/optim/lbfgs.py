"""Optimizers as optax transforms that need exactly one value and gradient a step, and keep pixels in [0, 1].

`lbfgs` is a projected, non-monotone L-BFGS without a line search: every point that it proposes is evaluated once, and
either accepted or answered by a shorter step along the same direction. Nothing branches on values, so it compiles to
one program, and `vmap` gives every picture of a batch its own decisions.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import area, sides
from jaxstyle.optim.named import named_transform
from jaxstyle.optim.preconditioners import PRECONDITIONERS, Precondition, scale_chroma
from jaxstyle.typing import Extent, Image, Scalar

# A pixel this close to a bound lies on it: adding an update rounds to an ulp.
ON_BOUND = 1e-6
# One gray level of 8 bits.
GRAY_LEVEL = 1 / 255


class LbfgsState(NamedTuple):
    """State of `lbfgs`.

    Attributes:
        image: the last accepted picture.
        gradient: of the loss there.
        recent_losses: losses of the last accepted pictures, -inf where there are none yet.
        direction: where the next pictures are proposed.
        step: how far along it the proposal under evaluation lies.
        s_history: `(memory, H, W, 3)`, differences of accepted pictures, a ring.
        y_history: `(memory, H, W, 3)`, the differences of their gradients.
        rho: `(memory,)`, 1 / (s . y); zero marks an empty place.
        pairs: how many pairs have been kept since the memory was last dropped.
        accepted: how many pictures have been accepted.
        failures: proposals refused in a row.
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
    """Limited-memory BFGS on the pixel box [0, 1], one evaluation a step.

    With the accepted picture `x`, its gradient `g` and the direction `d = -H g` of the two-loop recursion (Nocedal and
    Wright, algorithm 7.4), it proposes `clip(x + t d, 0, 1)` with `t = 1`. The proposal is accepted if its loss is
    finite and at most `max(last accepted losses) + 1e-4 g . s` (Grippo, Lampariello and Lucidi, 1986); otherwise `t`
    shrinks to the minimizer of the quadratic through what is known, within [0.1 t, 0.5 t]. Pixels on a bound that
    the step would push out of the box are held there (Bertsekas, 1982).

    `precondition="spectral"` starts the recursion from `gamma F^-1 diag(1 / f^exponent) F` instead of `gamma I`, with
    `F` the Fourier transform and `f` the spatial frequency: photographs have 1/f amplitudes, so that coarse structure
    moves as fast as fine; `"pyramid"` does about the same with local averages (see `preconditioners.py`). The loss
    bends several times more for a change of color than for one of brightness, so the part of the gradient that differs
    between the channels is scaled by `chroma`.

    The same arguments return the same object, so that it can be a static argument of a compiled function.

    Args:
        memory_size: pairs kept; 24 bytes a pixel each.
        precondition: `"spectral"`, `"pyramid"`, for pictures spread over devices, or None.
        exponent: of the frequency, 0 to 4; 0 treats all frequencies alike.
        chroma: of differences between channels, above 0, up to 10; 1 treats them like their mean.
        window: accepted losses that a proposal is compared with; 1 makes the run monotone.
        max_failures: refusals in a row after which the memory is dropped.

    Returns:
        An optax transform; `update(gradient, state, image, value=loss)` gives the update to the next proposal. With
        `extent=` the image is a canvas: see `canvas.py`.

    Raises:
        InputError: for numbers out of range.

    Example:
        >>> lbfgs() is lbfgs(memory_size=10)
        True
    """
    for name, value in (("memory_size", memory_size), ("window", window), ("max_failures", max_failures)):
        if not 1 <= value <= 1000:
            raise InputError(f"{name} is {value}, expected 1 to 1000")
    if precondition not in (None, *PRECONDITIONERS):
        raise InputError(f"unknown precondition {precondition!r}, expected 'spectral', 'pyramid' or None")
    if not 0 <= exponent <= 4:
        raise InputError(f"exponent is {exponent}, expected 0 to 4")
    if not 0 < chroma <= 10:
        raise InputError(f"chroma is {chroma}, expected a number above 0, up to 10")
    return _lbfgs(memory_size, precondition, exponent, chroma, window, max_failures)


@named_transform("lbfgs")
def _lbfgs(
    memory_size: int,
    precondition: Precondition | None,
    exponent: float,
    chroma: float,
    window: int,
    max_failures: int,
) -> optax.GradientTransformationExtraArgs:
    def smooth(field: Image, extent: Extent | None) -> Image:
        return scale_chroma(PRECONDITIONERS[precondition](field, exponent, extent), chroma) if precondition else field

    def init(image: Image) -> LbfgsState:
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

    def update(gradient, state: LbfgsState, image, *, value, extent=None, **_):
        s = image - state.image
        slope = _dot(state.gradient, s)
        # Before anything is accepted, any finite loss will do.
        bar = jnp.where(state.accepted > 0, jnp.max(state.recent_losses) + 1e-4 * slope, jnp.inf)
        accept = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & (value <= bar)
        failures = jnp.where(accept, 0, state.failures + 1)
        # Without pairs there is nothing to drop: then the step only goes on shrinking.
        restart = (failures >= max_failures) & (state.pairs > 0)

        # The newest pair, kept only where it shows positive curvature.
        y = gradient - state.gradient
        s_dot_y = _dot(s, y)
        keep = accept & (s_dot_y > 1e-6 * jnp.sqrt(_dot(s, s)) * jnp.sqrt(_dot(y, y)))
        place = state.pairs % memory_size
        s_history = state.s_history.at[place].set(jnp.where(keep, s, state.s_history[place]))
        y_history = state.y_history.at[place].set(jnp.where(keep, y, state.y_history[place]))
        newest = 1 / jnp.where(keep, s_dot_y, 1.0)
        rho = state.rho.at[place].set(jnp.where(keep, newest, state.rho[place]))
        rho = jnp.where(restart, 0.0, rho)
        pairs = jnp.where(restart, 0, state.pairs + keep.astype(jnp.int32))

        last = (state.accepted - 1) % window
        value_here = jnp.where(accept, value, state.recent_losses[last])
        accepted = state.accepted + accept.astype(jnp.int32)
        recent_losses = state.recent_losses.at[(accepted - 1) % window].set(value_here)
        x = jnp.where(accept, image, state.image)
        g = jnp.where(accept, gradient, state.gradient)

        pixels = area(*sides(image.shape, extent))
        smoothed = functools.partial(smooth, extent=extent)
        fresh = _direction(x, g, s_history, y_history, rho, pairs, smoothed, pixels)
        new = accept | restart
        direction = jnp.where(new, fresh, state.direction)
        step = jnp.where(new, 1.0, state.step * _shrink(value, value_here, slope))
        proposal = jnp.clip(x + step * direction, 0.0, 1.0)
        failures = jnp.where(restart, 0, failures)
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
    # Not a matrix s_dot_y: those run in TF32 or bfloat16 on some devices.
    return jnp.sum(a * b)


def _shrink(value: Scalar, value_here: Scalar, slope: Scalar) -> Scalar:
    """Where the quadratic through both values with this slope is least, relative to the refused step."""
    rise = value - value_here - slope
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
    """`-H g` by the two-loop recursion over the free pixels, or steepest descent where that does not descend."""

    def blocked(toward: Image) -> Bool[Array, "height width 3"]:
        return ((image <= ON_BOUND) & (toward < 0)) | ((image >= 1 - ON_BOUND) & (toward > 0))

    # A pixel that descent would push out of the box stays, whatever `H` says: its own slope points the other way.
    held = blocked(-gradient)
    gradient = jnp.where(held, 0.0, gradient)
    memory_size = len(rho)
    order = (pairs - 1 - jnp.arange(memory_size)) % memory_size

    def first(q, place):
        alpha = rho[place] * _dot(s_history[place], q)
        return q - alpha * y_history[place], alpha

    def second(r, inputs):
        place, alpha = inputs
        beta = rho[place] * _dot(y_history[place], r)
        return r + (alpha - beta) * s_history[place], None

    q, alphas = jax.lax.scan(first, gradient, order)
    newest = order[0]
    y = y_history[newest]
    scale = 1 / jnp.where(rho[newest] > 0, rho[newest] * _dot(y, smooth(y)), 1.0)
    r, _ = jax.lax.scan(second, scale * smooth(q), (order, alphas), reverse=True)
    direction = jnp.where(held | blocked(-r), 0.0, -r)

    # Without curvature nothing says how far to go: one gray level on average.
    steepest = -smooth(gradient)
    steepest = jnp.where(held | blocked(steepest), 0.0, steepest)
    mean = jnp.sum(jnp.abs(steepest)) / (3 * pixels)
    steepest = steepest * (GRAY_LEVEL / jnp.maximum(mean, jnp.finfo(jnp.float32).tiny))
    descends = _dot(gradient, direction) < 0
    return jnp.where((pairs > 0) & descends, direction, steepest)
