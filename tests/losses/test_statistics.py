import collections

import jax
import jax.numpy as jnp
import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.losses.statistics import feature_sum, outer_products, variation_sum

Sums = collections.namedtuple("Sums", "products sums variation")
seeds = st.integers(0, 2**32 - 1)
# Few shapes, since each compiles; single rows, columns and channels among them.
shapes = st.sampled_from([(5, 6, 4), (1, 7, 3), (6, 1, 5), (4, 3, 1)])


def draw(seed, shape, scale=1.0):
    return jnp.asarray(np.float32(np.random.default_rng(seed).normal(0.3, scale, shape)))


def measure(image, features):
    return Sums(
        {layer: outer_products(features[layer]) for layer in features},
        {layer: feature_sum(features[layer]) for layer in features},
        variation_sum(image),
    )


@given(seed=seeds, shape=shapes, scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_outer_products_are_the_plain_sum_symmetric_and_positive(seed, shape, scale):
    features = draw(seed, shape, scale)
    products = np.asarray(outer_products(features))
    expected = reference.raw_gram(np.asarray(features, "f8"))
    size = np.abs(expected).max()
    np.testing.assert_allclose(products, expected, atol=2e-6 * size, rtol=0)
    np.testing.assert_array_equal(products, products.T)
    assert np.linalg.eigvalsh(products.astype("f8")).min() >= -2e-6 * size


@given(seed=seeds, shape=shapes)
def test_outer_products_do_not_depend_on_the_order_of_positions(seed, shape):
    features = draw(seed, shape)
    flat = np.asarray(features).reshape(-1, shape[2])
    shuffled = np.random.default_rng(seed).permutation(flat).reshape(shape)
    np.testing.assert_allclose(
        outer_products(jnp.asarray(shuffled)), outer_products(features), rtol=1e-5, atol=1e-5 * float(np.sum(flat**2))
    )


@given(seed=seeds, cut=st.sampled_from([1, 3]))
def test_statistics_add_up_over_parts(seed, cut):
    image, features = draw(seed, (5, 6, 3)), draw(seed + 1, (5, 6, 4))

    def sums(rows):
        # A part's variation includes the differences across its lower edge, which no other part has.
        window = slice(rows.start, None if rows.stop is None else rows.stop + 1)
        return jax.device_get(measure(jnp.asarray(image[window]), {"a": jnp.asarray(features[rows])}))

    image, features = np.asarray(image), np.asarray(features)
    whole, upper, lower = sums(slice(0, None)), sums(slice(0, cut)), sums(slice(cut, None))
    # The row below the cut is in both windows, and its own horizontal differences with it.
    counted_twice = np.sum(np.diff(image[cut], axis=0) ** 2)
    np.testing.assert_allclose(upper.products["a"] + lower.products["a"], whole.products["a"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(upper.sums["a"] + lower.sums["a"], whole.sums["a"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(upper.variation + lower.variation - counted_twice, whole.variation, rtol=1e-5)


def test_measure_against_sums_written_out():
    image, shallow, deep = draw(0, (4, 6, 3)), draw(1, (4, 6, 2)), draw(2, (2, 3, 5))
    sums = measure(image, {"a": shallow, "b": deep})
    assert set(sums.products) == {"a", "b"}
    np.testing.assert_allclose(
        sums.products["a"], sum(np.outer(f, f) for row in np.asarray(shallow, "f8") for f in row), rtol=1e-5
    )
    pixels, variation = np.asarray(image, "f8"), 0.0
    for i in range(4):
        for j in range(6):
            for below, right in (((i + 1, j), None), (None, (i, j + 1))):
                other = below or right
                if other[0] < 4 and other[1] < 6:
                    variation += np.sum((pixels[other] - pixels[i, j]) ** 2)
    np.testing.assert_allclose(sums.variation, variation, rtol=1e-5)


def test_gradients_against_central_differences():
    features, image = draw(0, (3, 4, 5)), draw(2, (3, 4, 3))
    mixing = np.random.default_rng(3).normal(size=(5, 5))
    cases = (
        (
            lambda f: jnp.sum(outer_products(f) * jnp.asarray(mixing, jnp.float32)),
            lambda f: np.sum(reference.raw_gram(f) * mixing),
            features,
        ),
        (variation_sum, lambda x: np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.diff(x, axis=1) ** 2), image),
    )
    for function, slow, point in cases:
        gradient = np.asarray(jax.grad(function)(point), "f8")
        expected = np.zeros(point.shape)
        for index in np.ndindex(point.shape):
            one = np.zeros(point.shape)
            one[index] = 1.0
            expected[index] = reference.derivative(slow, np.asarray(point, "f8"), one, 1e-4)
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def test_variation_of_a_constant_picture_has_a_gradient():
    value, gradient = jax.value_and_grad(variation_sum)(jnp.full((4, 5, 3), 0.7))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
