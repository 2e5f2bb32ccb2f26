"""Square roots of symmetric matrices, and the trace of a root with a gradient that is finite everywhere."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.sharding_types import vary_like
from jaxstyle.typing import Gram, Scalar

MatrixRoot = Literal["auto", "eigh", "newton-schulz"]
# Iterations of "newton-schulz", as published; each makes weak eigenvalues 2.25 times better known, so that 12 suffice
# above 6e-5 of the norm.
PUBLISHED_ITERATIONS = 12
# "auto" iterates until rounding stops it: float32 knows no eigenvalue that needs more.
MAX_ITERATIONS = 30
# Smaller eigenvalues and norms count as this one: divisions by them stay finite in float32.
MIN_NORM = 1e-12


class Iterate(NamedTuple):
    """Newton-Schulz iterate for a matrix of norm 1; `product` is `inverse` times `square_root`."""

    square_root: Gram
    inverse: Gram
    product: Gram
    previous_error: Scalar
    iteration: Int[Array, ""]


def root(matrix: Gram, method: MatrixRoot = "auto") -> Gram:
    """Return the symmetric positive semidefinite square root.

    Args:
        matrix: `(c, c)`, symmetric; eigenvalues that rounding has made negative count as zero.
        method: `"eigh"`, by eigenvectors; `"auto"`, by eigenvectors on CPUs, and on accelerators, whose eigenvectors
            are slow, by Newton and Schulz's iteration of matrix products until it converges; `"newton-schulz"`, 12 of
            these iterations, as K. Crowson's style-transfer-pytorch makes, converged or not.

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

    return _by_method(method, by_eigenvectors, lambda matrix: _converged(matrix)[0], _published, matrix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def root_trace(matrix: Gram, method: MatrixRoot = "auto") -> Scalar:
    """Compute `tr M^1/2`, whose gradient is `1/2 M^-1/2`, without derivatives of eigenvectors.

    Those do not exist where eigenvalues are equal.

    Args:
        matrix: `(c, c)`, symmetric, positive definite up to rounding.
        method: see `root`.

    Returns:
        A scalar.
    """
    return jnp.trace(root(matrix, method))


def _forward(matrix: Gram, method: MatrixRoot) -> tuple[Scalar, Gram]:
    def by_eigenvectors(matrix: Gram) -> tuple[Scalar, Gram]:
        values, basis = jnp.linalg.eigh(matrix)
        # Smaller eigenvalues are rounding errors.
        floor = jnp.maximum(values[-1] * jnp.finfo(jnp.float32).eps, MIN_NORM)
        roots = jnp.sqrt(jnp.maximum(values, floor))
        return jnp.sum(roots), _product(basis / roots[None, :], basis.T) / 2

    def converged(matrix: Gram) -> tuple[Scalar, Gram]:
        square_root, inverse = _converged(matrix)
        return jnp.trace(square_root), (inverse + inverse.T) / 4

    def published(matrix: Gram) -> tuple[Scalar, Gram]:
        square_root = _published(matrix)
        return jnp.trace(square_root), _lyapunov(square_root)

    return _by_method(method, by_eigenvectors, converged, published, matrix)


def _backward(method: MatrixRoot, gradient: Gram, cotangent: Scalar) -> tuple[Gram]:
    return (cotangent * gradient,)


root_trace.defvjp(_forward, _backward)


def _by_method(
    method: MatrixRoot, by_eigenvectors: Callable, converged: Callable, published: Callable, matrix: Gram
) -> Any:
    if method == "auto":
        return jax.lax.platform_dependent(matrix, cpu=by_eigenvectors, default=converged)
    return by_eigenvectors(matrix) if method == "eigh" else published(matrix)


def _published(matrix: Gram) -> Gram:
    """Square root by the published number of Newton-Schulz iterations."""
    norm = _norm(matrix)
    start = matrix / norm, vary_like(jnp.eye(len(matrix), dtype=matrix.dtype), matrix)

    def improve(_, pair: tuple[Gram, Gram]) -> tuple[Gram, Gram]:
        square_root, inverse = pair
        return _improve(square_root, inverse, _product(inverse, square_root))

    square_root, _ = jax.lax.fori_loop(0, PUBLISHED_ITERATIONS, improve, start)
    return square_root * jnp.sqrt(norm)


def _converged(matrix: Gram) -> tuple[Gram, Gram]:
    """Square root and inverse square root by Newton-Schulz iterations, until rounding stops their convergence."""
    norm, identity = _norm(matrix), vary_like(jnp.eye(len(matrix), dtype=matrix.dtype), matrix)

    def error(iterate: Iterate) -> Scalar:
        return jnp.sum(jnp.square(identity - iterate.product))

    def converges(iterate: Iterate) -> Bool[Array, ""]:
        # Eigenvalues that rounding has made negative diverge, slowly at first: this ends the loop before they matter.
        return (iterate.iteration < MAX_ITERATIONS) & (error(iterate) < iterate.previous_error)

    def improve(iterate: Iterate) -> Iterate:
        square_root, inverse = _improve(iterate.square_root, iterate.inverse, iterate.product)
        product = _product(inverse, square_root)
        return Iterate(square_root, inverse, product, error(iterate), iterate.iteration + 1)

    # Numbers like the norm: others would not be on the mesh of a batch that is sharded on Explicit axes.
    infinity, zero = jnp.full_like(norm, jnp.inf), jnp.zeros_like(norm, jnp.int32)
    start = Iterate(matrix / norm, identity, matrix / norm, infinity, zero)
    last = jax.lax.while_loop(converges, improve, start)
    return last.square_root * jnp.sqrt(norm), last.inverse / jnp.sqrt(norm)


def _improve(square_root: Gram, inverse: Gram, product: Gram) -> tuple[Gram, Gram]:
    """One coupled iteration; `product` is inverse times root (Higham, Functions of Matrices, 2008, section 6)."""
    step = (3 * jnp.eye(len(product), dtype=product.dtype) - product) / 2
    return _product(square_root, step), _product(step, inverse)


def _lyapunov(square_root: Gram) -> Gram:
    """Solve `R X + X R = 1` for a root `R` by the iteration for its sign: half the inverse root."""
    norm, identity = _norm(square_root), jnp.eye(len(square_root), dtype=square_root.dtype)

    def improve(_, pair: tuple[Gram, Gram]) -> tuple[Gram, Gram]:
        sign, solution = pair
        step = (3 * identity - _product(sign, sign)) / 2
        # All are polynomials of one matrix, so they commute.
        return _product(sign, step), _product(solution, step)

    _, solution = jax.lax.fori_loop(0, PUBLISHED_ITERATIONS, improve, (square_root / norm, identity / norm))
    return solution / 2


def _norm(matrix: Gram) -> Scalar:
    return jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(matrix))), MIN_NORM)


def _product(a: Float[Array, "c d"], b: Float[Array, "d e"]) -> Float[Array, "c e"]:
    return jnp.matmul(a, b, precision="highest")
