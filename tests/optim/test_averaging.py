import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.optim.averaging import average_of, averaged


def test_the_average_against_its_sum_written_out():
    """Of random walks, start included."""
    decay, steps = 0.8, [jnp.asarray(np.random.default_rng(k).normal(size=(2, 3, 3)), jnp.float32) for k in range(6)]
    optimizer = averaged(optax.sgd(1.0), decay)
    image = jnp.ones((2, 3, 3), jnp.float32)
    state, pictures = optimizer.init(image), [image]
    np.testing.assert_allclose(average_of(state), image, rtol=1e-6)
    for step in steps:
        updates, state = optimizer.update(step, state, image)
        image = image + updates
        pictures.append(image)
    n = len(pictures)
    weights = (1 - decay) * decay ** np.arange(n - 1, -1, -1)
    expected = sum(w * np.asarray(x, "f8") for w, x in zip(weights, pictures, strict=True)) / (1 - decay**n)
    np.testing.assert_allclose(average_of(state), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("lenient_promotion")
def test_a_run_gives_the_average_and_goes_the_same_way(tiny_params, china, starry):
    plain, mean = (
        js.stylize(china, starry, params=tiny_params, optimizer=each, steps=12, scales=1, whitening=0.0, preset="gram")
        for each in (js.adam(0.05), js.averaged(js.adam(0.05), 0.9))
    )
    np.testing.assert_allclose(mean.losses.total, plain.losses.total, rtol=1e-5)
    assert float(jnp.mean(jnp.abs(mean.image - plain.image))) > 1e-3
    (batched,) = js.stylize_batch(
        china,
        starry,
        params=tiny_params,
        optimizer=js.averaged(js.adam(0.05), 0.9),
        steps=12,
        scales=1,
        whitening=0.0,
        preset="gram",
    )
    np.testing.assert_allclose(batched.image, mean.image, atol=1e-3)


def test_a_picture_that_is_not_finite_is_left_out():
    optimizer = averaged(optax.sgd(1.0), 0.5)
    image = jnp.ones((2, 2, 3), jnp.float32)
    state = optimizer.init(image)
    _, state = optimizer.update(jnp.full_like(image, jnp.nan), state, image)
    np.testing.assert_array_equal(average_of(state), image)


def test_equal_arguments_are_the_same_object():
    assert averaged(js.adam(), 0.9) is averaged(js.adam(), 0.9)
    assert hash(averaged(js.lbfgs())) == hash(averaged(js.lbfgs(), 0.99))
    assert jax.tree.leaves(averaged(js.lbfgs()).init(jnp.ones((4, 4, 3))))


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decays_out_of_range(decay):
    with pytest.raises(InputError, match=r"decay is .* expected a (finite )?number from 0 to"):
        averaged(js.adam(), decay)
