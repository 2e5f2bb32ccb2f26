import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from xla_flags import FAST_COMPILE

from jaxstyle.optim.preconditioners import PRECONDITIONERS, scale_chroma

# Odd and even sizes, where the half spectrum ends differently, and single rows.
SIZES = [(6, 8), (7, 5), (5, 8), (1, 9), (8, 1)]
COMPILED = {name: jax.jit(function, static_argnames="exponent") for name, function in PRECONDITIONERS.items()}


def noise(seed, *size):
    return np.float32(np.random.default_rng(seed).normal(size=(*size, 3)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_spectral_divides_by_frequency(size, exponent):
    field = noise(0, *size)
    expected = reference.spectral_matrix(*size, exponent) @ field.reshape(-1, 3)
    smoothed = COMPILED["spectral"](jnp.asarray(field), exponent)
    np.testing.assert_allclose(smoothed, expected.reshape(*size, 3), atol=1e-5 * np.abs(expected).max())


def halving(length):
    """The matrix of averages 1 3 3 1 at every other place, pixels beyond the edge being those at the edge."""
    matrix = np.zeros(((length + 1) // 2, length))
    for i in range(len(matrix)):
        for offset, weight in ((-1, 1), (0, 3), (1, 3), (2, 1)):
            matrix[i, min(max(2 * i + offset, 0), length - 1)] += weight / 8
    return matrix


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_pyramid_is_its_formula(size, exponent):
    """Sum over k of a_k n_0 / n_k D_k^T D_k, with D_k a product of Kronecker products; three halves is its reach."""
    field, down = noise(0, *size), np.eye(size[0] * size[1])
    expected, (height, width) = np.zeros((size[0] * size[1], 3)), size
    for k in range(max(size).bit_length()):
        weight = 2 ** (1.5 * exponent) * (2 ** (k * exponent) - 2 ** ((k - 1) * exponent)) if k else 1.0
        expected += weight * down.shape[1] / len(down) * down.T @ (down @ field.reshape(-1, 3))
        down = np.kron(halving(height), halving(width)) @ down
        height, width = (height + 1) // 2, (width + 1) // 2
    smoothed = COMPILED["pyramid"](jnp.asarray(field), exponent)
    np.testing.assert_allclose(smoothed, expected.reshape(*size, 3), rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [*SIZES, (4, 64)])
def test_pyramid_scales_what_is_constant_by_the_longest_side(size):
    """By 2 for each halving, also where one side is a single pixel long before the other."""
    smoothed = COMPILED["pyramid"](jnp.ones((*size, 3)), 1.0)
    levels = max(size).bit_length() - 1
    assert float(jnp.mean(smoothed)) == pytest.approx(1 + 2**1.5 * (2**levels - 1), rel=1e-5)


@pytest.mark.parametrize("period", [4, 8, 16, 32])
def test_pyramid_is_about_spectral(period):
    """A wave of one frequency, whose gains relative to the finest wave's are compared."""

    def gain(name, period):
        wave = np.cos(2 * np.pi * np.arange(128) / period)[None, :, None] * np.ones((128, 1, 3))
        smoothed = COMPILED[name](jnp.asarray(wave, jnp.float32), 1.0)
        # Away from the borders, where a pyramid has less to average.
        inside = np.s_[32:-32, 32:-32]
        return np.sum(np.asarray(smoothed)[inside] * wave[inside]) / np.sum(wave[inside] ** 2)

    expected, found = (gain(name, period) / gain(name, 2) for name in ("spectral", "pyramid"))
    assert 0.6 < found / expected < 1.2


@pytest.mark.parametrize("name", PRECONDITIONERS)
@given(seed=st.integers(0, 2**32 - 2), size=st.sampled_from(SIZES))
def test_linear_symmetric_and_positive(name, seed, size):
    a, b = noise(seed, *size), noise(seed + 1, *size)

    def smooth(field):
        return np.asarray(COMPILED[name](jnp.asarray(field), 1.0))

    scale = np.linalg.norm(a) * np.linalg.norm(b) * max(size)
    assert abs(np.sum(a * smooth(b)) - np.sum(b * smooth(a))) < 1e-5 * scale
    np.testing.assert_allclose(smooth(2 * a - b), 2 * smooth(a) - smooth(b), atol=1e-5 * scale)
    # No frequency is above 1/sqrt(2) cycles a pixel, and a pyramid only adds: nothing shrinks.
    assert np.sum(a * smooth(a)) > 0.999 * np.sum(a * a)


@pytest.mark.parametrize("name", PRECONDITIONERS)
@pytest.mark.parametrize("size", [*SIZES[:2], *(pytest.param(size, marks=pytest.mark.long) for size in SIZES[2:])])
def test_exponent_zero_changes_nothing(name, size):
    field = jnp.asarray(noise(0, *size))
    np.testing.assert_allclose(PRECONDITIONERS[name](field, 0.0), field, atol=1e-6)


FOUR_DEVICES = """
import functools, math, re, jax, jax.numpy as jnp
from jaxstyle.optim.preconditioners import PRECONDITIONERS
mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
field = jax.ShapeDtypeStruct((512, 512, 3), jnp.float32, sharding=rows)
for name, function in PRECONDITIONERS.items():
    program = jax.jit(functools.partial(function, exponent=1.0), out_shardings=rows).lower(field).compile().as_text()
    # The left sides of the lines that exchange something: one shape, or several in a tuple.
    lines = re.findall(r"= (.*) (?:all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)\\(", program)
    shapes = re.findall(r"\\[([\\d,]+)\\]", " ".join(lines))
    print(name, max(math.prod(map(int, shape.split(","))) for shape in shapes))
"""


def test_spread_over_devices_a_pyramid_exchanges_edges_alone():
    """The largest array exchanged: a Fourier transform needs the whole picture, a pyramid rows of its neighbors."""
    flags = f"{FAST_COMPILE} --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES], env=environment, capture_output=True, text=True, check=True
    )
    largest = {name: int(size) for name, size in map(str.split, run.stdout.splitlines())}
    assert largest["spectral"] >= 512 * 512 * 3 / 2
    assert largest["pyramid"] <= 3 * 512 * 3


def test_chroma_scales_what_differs_between_channels():
    field = jnp.asarray(noise(0, 6, 8))
    gray = jnp.mean(field, axis=-1, keepdims=True) * jnp.ones((1, 1, 3))
    np.testing.assert_allclose(scale_chroma(gray, 0.2), gray, atol=1e-6)
    np.testing.assert_allclose(scale_chroma(field - gray, 0.2), 0.2 * (field - gray), atol=1e-6)
    np.testing.assert_allclose(scale_chroma(field, 1.0), field, atol=1e-6)
