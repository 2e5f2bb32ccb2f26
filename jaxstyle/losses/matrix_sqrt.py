"""Roots of symmetric matrices, and the trace of one with a gradient that is finite everywhere."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.typing import Gram, Scalar

MatrixRoot = Literal["auto", "eigh", "newton-schulz"]
# Of Newton and Schulz: each makes weak eigenvalues 2.25 times better known; 12 suffice above 6e-5 of the norm.
ITERATIONS = 12
# Eigenvalues and norms below count as this: whatever is divided by them stays finite in float32.
LEAST = 1e-12


def root(matrix: Gram, how: MatrixRoot = "auto") -> Gram:
    """The symmetric positive semidefinite square root.

    Args:
        matrix: `(c, c)`, symmetric; eigenvalues that rounding has made negative count as zero.
        how: `"eigh"`, by eigenvectors, exact and on CPUs three times faster; `"newton-schulz"`, by 12 iterations of
            matrix products, for accelerators, whose eigenvectors are slow; `"auto"` is either, as the device is.

    Returns:
        `(c, c)`.

    Example:
        >>> import jax.numpy as jnp
        >>> root(jnp.diag(jnp.array([4.0, 9.0]))).tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """

    def by_eigenvectors(matrix: Gram) -> Gram:
        values, basis = jnp.linalg.eigh(matrix)
        return _product(basis * jnp.sqrt(jnp.maximum(values, 0.0))[None, :], basis.T)

    return _chosen(how, by_eigenvectors, lambda matrix: _newton_schulz(matrix), matrix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def root_trace(matrix: Gram, how: MatrixRoot = "auto") -> Scalar:
    """`tr M^1/2`, whose gradient is `1/2 M^-1/2`: no derivative of eigenvectors, which equal eigenvalues have none of.

    Args:
        matrix: `(c, c)`, symmetric, positive definite but for rounding.
        how: see `root`.

    Returns:
        A scalar.
    """
    return jnp.trace(root(matrix, how))


def _forward(matrix: Gram, how: MatrixRoot) -> tuple[Scalar, Gram]:
    def by_eigenvectors(matrix: Gram) -> tuple[Scalar, Gram]:
        values, basis = jnp.linalg.eigh(matrix)
        # What lies below is rounding.
        floor = jnp.maximum(values[-1] * jnp.finfo(jnp.float32).eps, LEAST)
        roots = jnp.sqrt(jnp.maximum(values, floor))
        return jnp.sum(roots), _product(basis / roots[None, :], basis.T) / 2

    def by_iteration(matrix: Gram) -> tuple[Scalar, Gram]:
        found = _newton_schulz(matrix)
        return jnp.trace(found), _lyapunov(found)

    return _chosen(how, by_eigenvectors, by_iteration, matrix)


def _backward(how: MatrixRoot, gradient: Gram, cotangent: Scalar) -> tuple[Gram]:
    return (cotangent * gradient,)


root_trace.defvjp(_forward, _backward)


def _chosen(how: MatrixRoot, by_eigenvectors: Callable, by_iteration: Callable, matrix: Gram) -> Any:
    if how == "auto":
        return jax.lax.platform_dependent(matrix, cpu=by_eigenvectors, default=by_iteration)
    return by_eigenvectors(matrix) if how == "eigh" else by_iteration(matrix)


def _newton_schulz(matrix: Gram) -> Gram:
    norm, identity = _norm(matrix), jnp.eye(len(matrix), dtype=matrix.dtype)

    def improve(_, pair: tuple[Gram, Gram]) -> tuple[Gram, Gram]:
        found, inverse = pair
        step = (3 * identity - _product(inverse, found)) / 2
        return _product(found, step), _product(step, inverse)

    found, _ = jax.lax.fori_loop(0, ITERATIONS, improve, (matrix / norm, identity))
    return found * jnp.sqrt(norm)


def _lyapunov(found: Gram) -> Gram:
    """The `X` with `R X + X R = 1` for a root `R`, by the iteration for its sign: half the inverse root."""
    norm, identity = _norm(found), jnp.eye(len(found), dtype=found.dtype)

    def improve(_, pair: tuple[Gram, Gram]) -> tuple[Gram, Gram]:
        sign, solution = pair
        step = (3 * identity - _product(sign, sign)) / 2
        # All are polynomials of one matrix, so they commute.
        return _product(sign, step), _product(solution, step)

    _, solution = jax.lax.fori_loop(0, ITERATIONS, improve, (found / norm, identity / norm))
    return solution / 2


def _norm(matrix: Gram) -> Scalar:
    return jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(matrix))), LEAST)


def _product(a: Float[Array, "c d"], b: Float[Array, "d e"]) -> Float[Array, "c e"]:
    return jnp.matmul(a, b, precision="highest")
