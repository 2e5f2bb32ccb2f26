import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.losses.matrix_sqrt import root, root_trace


@pytest.fixture(params=["auto", "auto on accelerators", "eigh", "newton-schulz"])
def method(request, monkeypatch):
    """Each method of roots; "auto" also as it is on devices other than CPUs."""
    if request.param == "auto on accelerators":
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, default, **_: default(*arrays))
    return request.param.split()[0]


def covariance(seed, channels, rank):
    samples = np.random.default_rng(seed).normal(0, 1, (rank, channels))
    return samples.T @ samples / rank


def exact(matrix, power):
    values, basis = np.linalg.eigh(np.asarray(matrix, "f8"))
    return (basis * values**power) @ basis.T


@given(seed=st.integers(0, 100))
def test_the_root_squared_is_the_matrix(method, seed):
    matrix = jnp.asarray(covariance(seed, 6, 40), jnp.float32)
    found = np.asarray(root(matrix, method), "f8")
    np.testing.assert_allclose(found @ found, matrix, atol=1e-5 * float(jnp.max(matrix)))
    np.testing.assert_allclose(found, exact(matrix, 0.5), atol=1e-5 * float(jnp.max(matrix)))


@given(seed=st.integers(0, 100))
def test_the_trace_and_its_gradient(method, seed):
    matrix = jnp.asarray(covariance(seed, 6, 40), jnp.float32)
    value, gradient = jax.value_and_grad(lambda m: root_trace(m, method))(matrix)
    np.testing.assert_allclose(value, np.trace(exact(matrix, 0.5)), rtol=1e-5)
    np.testing.assert_allclose(gradient, exact(matrix, -0.5) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_nothing_breaks_on_matrices_of_low_rank_or_equal_eigenvalues(method, rank):
    matrix = jnp.eye(6) if rank == 0 else jnp.asarray(covariance(0, 6, rank), jnp.float32)
    value, gradient = jax.value_and_grad(lambda m: root_trace(m, method))(matrix)
    np.testing.assert_allclose(value, np.sqrt(np.linalg.eigvalsh(np.asarray(matrix, "f8")).clip(0)).sum(), rtol=2e-3)
    assert np.all(np.isfinite(gradient))


def test_a_black_image_has_a_root(method):
    value, gradient = jax.value_and_grad(lambda m: root_trace(m, method))(jnp.zeros((4, 4)))
    assert float(value) < 1e-5
    assert np.all(np.isfinite(gradient))


def test_the_converged_root_of_wide_spectra(monkeypatch):
    """Eigenvalues over five orders of magnitude, of which 12 iterations would not know the smallest."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, default, **_: default(*arrays))
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    matrix = jnp.asarray((basis * np.logspace(-5, 0, 8)) @ basis.T, jnp.float32)
    value, gradient = jax.value_and_grad(root_trace)(matrix)
    np.testing.assert_allclose(value, np.sum(np.logspace(-2.5, 0, 8)), rtol=1e-4)
    expected = exact(matrix, -0.5) / 2
    assert np.linalg.norm(gradient - expected) < 2e-2 * np.linalg.norm(expected)
