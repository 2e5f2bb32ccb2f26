import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.errors import InputError
from jaxstyle.image.ops import check_image, resize, white_noise


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("array", "message"),
    [
        ("photo.jpg", "photo is 'photo.jpg', expected an array of pixels: load_image reads a file"),
        (np.zeros((4, 5), np.float32), r"photo has shape \(4, 5\), expected \(height, width, 3\)"),
        (np.zeros((4, 5, 4), np.float32), "without alpha"),
        (np.zeros((1, 4, 5, 3), np.float32), "one image without a batch axis"),
        (np.zeros((3, 8, 9), np.float32), "puts the channels last"),
        (np.zeros((4, 5, 3), np.uint8), "dtype uint8, expected float32 .*8-bit pixels are divided by 255"),
        (np.zeros((4, 5, 3), np.float16), "dtype float16"),
        (np.ma.zeros((9, 9, 3), np.float32), "photo is a masked array, .*filled"),
        (np.zeros((7, 9, 3), np.float32), "photo is 9x7 pixels, expected at least 8 a side"),
        (np.zeros((9, 7, 3), np.float32), "photo is 7x9 pixels"),
    ],
)
def test_check_image_refuses(array, message):
    with pytest.raises(InputError, match=message):
        check_image(array, "photo", min_side=8)


def test_check_image_takes_values_outside_the_box():
    check_image(jnp.full((8, 9, 3), 7.0), min_side=8)


def lanczos_weights(size, new):
    """Lanczos-3 as a matrix: the kernel stretched when it shrinks, rows normalized, samples at pixel centers."""
    stretch = max(size / new, 1.0)
    centers = (np.arange(new) + 0.5) * size / new - 0.5
    x = np.abs(centers[:, None] - np.arange(size)) / stretch
    weights = np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(5, 9), (24, 18), (13, 40)])
def test_resize_is_lanczos(height, width):
    image = np.random.default_rng(0).uniform(size=(13, 18, 3)).astype(np.float32)
    rows, columns = lanczos_weights(13, height), lanczos_weights(18, width)
    expected = np.clip(np.einsum("ai,bj,ijc->abc", rows, columns, image), 0, 1)
    np.testing.assert_allclose(resize(jnp.asarray(image), height, width), expected, atol=2e-6)


@given(value=st.floats(0, 1, width=32), height=st.integers(1, 3), width=st.sampled_from([1, 7]))
def test_resize_keeps_a_constant_and_the_box(value, height, width):
    resized = resize(jnp.full((4, 5, 3), value, jnp.float32), height, width)
    assert resized.shape == (height, width, 3)
    np.testing.assert_allclose(resized, value, atol=1e-6)


def test_resize_clips_the_overshoot():
    edge = jnp.zeros((8, 8, 3)).at[:, 4:].set(1.0)
    unclipped = jax.image.resize(edge, (16, 16, 3), "lanczos3")
    resized = resize(edge, 16, 16)
    assert unclipped.min() < -0.01
    assert unclipped.max() > 1.01
    assert resized.min() == 0
    assert resized.max() == 1


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_resize_refuses_empty_sizes(size):
    with pytest.raises(InputError, match=f"(height|width) is {min(size)}, expected an integer from 1 to 65536"):
        resize(jnp.zeros((4, 5, 3)), *size)


def test_white_noise_is_uniform_and_repeatable():
    noise = white_noise(3, 40, 50)
    assert noise.shape == (40, 50, 3)
    assert noise.dtype == jnp.float32
    np.testing.assert_array_equal(noise, white_noise(3, 40, 50))
    assert not np.array_equal(noise, white_noise(4, 40, 50))
    assert 0 <= noise.min() < 0.01
    assert 0.99 < noise.max() < 1
    # A tenth of 6000 uniform values: 600 with a standard deviation of 23.
    np.testing.assert_allclose(np.histogram(noise, 10, (0, 1))[0], 600, atol=120)
    # Neighbors know nothing of each other.
    flat = np.asarray(noise).ravel() - 0.5
    assert abs(np.corrcoef(flat[1:], flat[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_white_noise_refuses_seeds_that_would_wrap(seed):
    with pytest.raises(InputError, match=f"seed is {seed}, expected an integer from 0 to 4294967295"):
        white_noise(seed, 4, 4)
    assert white_noise(2**32 - 1, 4, 4).shape == (4, 4, 3)


def test_noise_of_a_seed_depends_on_no_setting_of_the_program():
    expected = np.asarray(white_noise(7, 4, 5))
    settings = jax.default_prng_impl("rbg"), jax.threefry_partitionable(False), jax.enable_x64(True)
    for setting in settings:
        with setting:
            np.testing.assert_array_equal(white_noise(7, 4, 5), expected)
