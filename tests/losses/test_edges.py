"""The edge loss against sums written out in NumPy float64, finite differences, and what it must ignore."""

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
def test_the_laplacian_against_sums_over_windows(size):
    expected = reference.laplacian(np.asarray(draw(0, *size), "f8"))
    np.testing.assert_allclose(laplacian(draw(0, *size))[:, :, 0], expected, atol=2e-6)


def test_a_cell_is_an_average_of_an_average():
    """Halved two times with the weights 1 3 3 1 along each axis."""
    line = np.random.default_rng(0).uniform(size=40)

    def halved(x, start):
        return np.array([x[k : k + 4] @ [1, 3, 3, 1] / 8 for k in range(start, len(x) - 3, 2)])

    image = jnp.asarray(np.float32(np.broadcast_to(line[None, :, None], (24, 40, 3))))
    # Cells 1 to 8 lack nothing at the border; along the other axis the image is constant.
    cells = 3 * halved(halved(line, 1), 0)
    inner = laplacian(image)[2, 2:-2, 0]
    np.testing.assert_allclose(inner, 2 * cells[1:-1] - cells[:-2] - cells[2:], atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradient_against_float64(size):
    image, target = draw(0, *size), laplacian(draw(1, *size))

    def slow(pixels):
        return reference.edge_loss(pixels, np.asarray(target, "f8")[:, :, 0])

    value, gradient = jax.value_and_grad(edge_loss)(image, target)
    assert value == pytest.approx(slow(np.asarray(image, "f8")), abs=1e-6)
    expected = np.zeros(image.shape)
    for index in np.ndindex(image.shape):
        one = np.zeros(image.shape)
        one[index] = 1.0
        expected[index] = reference.derivative(slow, np.asarray(image, "f8"), one, 1e-4)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_where_the_content_is_flat_strokes_are_free():
    content = jnp.zeros((32, 64, 3)).at[:, 48:].set(1.0)
    target = laplacian(content)
    left, right = content.at[8:24, 4:24].set(0.5), content.at[8:24, 44:52].set(0.5)
    assert edge_loss(left, target) == 0 < edge_loss(right, target)


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
