"""The edge loss against sums written out in NumPy float64, finite differences, and what it must not notice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import on_canvas
from jaxstyle.losses.edges import edge_loss, laplacian

seeds = st.integers(0, 2**32 - 1)
# Few shapes, since each compiles; sides that are no multiples of 4, and a single cell.
SIZES = [(8, 12), (11, 21), (4, 7), (15, 4)]


def draw(seed, height, width):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=(height, width, 3))))


@pytest.mark.parametrize("size", SIZES)
def test_the_laplacian_is_the_sum_over_the_neighbors_that_exist(size):
    image = np.asarray(draw(0, *size), "f8")
    rows, columns = size[0] // 4, size[1] // 4
    cells, expected = np.zeros((rows, columns)), np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        cells[i, j] = sum(image[4 * i + k, 4 * j + m].sum() for k in range(4) for m in range(4)) / 16
    for i, j in np.ndindex(rows, columns):
        for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if 0 <= k < rows and 0 <= m < columns:
                expected[i, j] += cells[i, j] - cells[k, m]
    np.testing.assert_allclose(laplacian(draw(0, *size))[:, :, 0], expected, atol=2e-6)
    np.testing.assert_allclose(reference.laplacian(image), expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradient_against_float64(size):
    image, target = draw(0, *size), laplacian(draw(1, *size))

    def slow(pixels):
        return np.mean((reference.laplacian(pixels) - np.asarray(target, "f8")[:, :, 0]) ** 2)

    value, gradient = jax.value_and_grad(edge_loss)(image, target)
    assert value == pytest.approx(slow(np.asarray(image, "f8")), abs=1e-6)
    expected = np.zeros(image.shape)
    for index in np.ndindex(image.shape):
        one = np.zeros(image.shape)
        one[index] = 1.0
        expected[index] = reference.derivative(slow, np.asarray(image, "f8"), one, 1e-4)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@given(seed=seeds, size=st.sampled_from(SIZES), shift=st.floats(-1, 1, width=32))
def test_the_content_has_no_loss_however_bright_and_another_image_has_one(seed, size, shift):
    content = draw(seed, *size)
    target = laplacian(content)
    assert edge_loss(content, target) == 0
    assert edge_loss(content + jnp.float32(shift), target) < 1e-11
    if min(size) >= 8:
        assert edge_loss(draw(seed + 1, *size), target) > 1e-4


@pytest.mark.parametrize("size", SIZES)
def test_on_a_canvas_only_the_image_counts(size):
    image, target = draw(0, *size), laplacian(draw(1, *size))
    expected = jax.value_and_grad(edge_loss)(image, target)
    canvas = on_canvas(image, 18, 24)
    noisy = draw(2, 18, 24).at[: size[0], : size[1]].set(image)
    content = on_canvas(draw(1, *size), 18, 24)
    value, gradient = jax.value_and_grad(edge_loss)(noisy, laplacian(*content), canvas.extent)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient[: size[0], : size[1]], expected[1], atol=1e-6)
    assert not np.any(gradient[size[0] :])
    assert not np.any(gradient[:, size[1] :])


@pytest.mark.usefixtures("unchecked")
def test_another_size_is_refused():
    with pytest.raises(InputError, match=r"features has shape \(2, 3, 1\) and its target \(3, 2, 1\), expected the"):
        edge_loss(draw(0, 8, 12), laplacian(draw(1, 12, 8)))
