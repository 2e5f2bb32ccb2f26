import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.objective.balance import balance

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@pytest.fixture(scope="module")
def problem(tiny_params, china, starry):
    objective = js.Objective(edges=True)
    return tiny_params, js.make_targets(tiny_params, china, [starry], objective), objective


@pytest.fixture(scope="module")
def mosaic(china, starry):
    return js.style_mosaic(0, [starry], *china.shape[:2])


@pytest.mark.parametrize("strength", [0.3, 0.5])
def test_the_weighted_gradients_of_all_layers_have_equal_norms(problem, china, mosaic, strength):
    """Gradients of one term at a time, with the computed weights."""
    params, targets, objective = problem
    weights = balance(china, mosaic, *problem, strength, js.LossWeights(edges=2.0))

    def norm(image, alone):
        return float(jnp.linalg.norm(js.value_and_grad(image, params, targets, alone, objective)[1]))

    each = [tuple(np.asarray(weights.style) * (np.arange(5) == k)) for k in range(5)]
    styles = [norm(china, js.LossWeights(0.0, one)) for one in each]
    content = norm(mosaic, js.LossWeights(weights.content, 0.0))
    np.testing.assert_allclose(styles, np.mean(styles), rtol=1e-4)
    np.testing.assert_allclose(np.sum(styles) / content, 30 * (strength / (1 - strength)) ** 2, rtol=1e-4)
    edges = norm(mosaic, js.LossWeights(0.0, 0.0, edges=weights.edges))
    np.testing.assert_allclose(edges, 2 * content, rtol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_strengths_0_and_1_weight_one_term_alone(problem, china, mosaic, strength):
    weights = balance(china, mosaic, *problem, strength)
    assert (float(weights.content[0]) == 0) == (strength == 1)
    assert (float(jnp.max(weights.style)) == 0) == (strength == 0)


def test_more_strength_is_less_content(tiny_params, china, starry):
    """On a whole run: the further from the photo, the nearer to the style."""
    errors = []
    for strength in (0.2, 0.5, 0.8):
        made = js.stylize(china, starry, params=tiny_params, strength=strength, steps=30, preset="gram")
        targets = js.make_targets(tiny_params, china, [starry], js.Objective())
        losses, _ = js.value_and_grad(made.image, tiny_params, targets, js.LossWeights(1.0, 1.0), js.Objective())
        errors.append((float(losses.content), float(losses.style)))
    assert errors[0][0] < errors[1][0] < errors[2][0]
    assert errors[0][1] > errors[1][1] > errors[2][1]


def test_a_layer_of_weight_zero_keeps_it(problem, china, mosaic):
    given = js.LossWeights(1.0, (1.0, 0.0, 1.0, 1.0, 0.0), 3.0)
    weights = balance(china, mosaic, *problem, 0.5, given)
    assert np.flatnonzero(np.asarray(weights.style) == 0).tolist() == [1, 4]
    assert float(weights.tv) == 3.0


def test_the_result_has_the_weights(tiny_params, china, starry):
    first = js.stylize(china, starry, params=tiny_params, strength=0.5, steps=2, preset="gram")
    again = js.stylize(china, starry, params=tiny_params, weights=first.weights, steps=2, preset="gram")
    np.testing.assert_allclose(again.losses.total, first.losses.total, rtol=1e-6)
    many = js.stylize_batch(china, starry, params=tiny_params, strength=[0.5, 0.8], steps=2, preset="gram")
    for one, other in zip(jax.tree.leaves(many[0].weights), jax.tree.leaves(first.weights), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    assert float(many[1].weights.style[0]) > float(many[0].weights.style[0])


def test_another_style_loss_is_balanced_by_itself(tiny_params, china, starry):
    """The preset's weights are for its own loss."""
    objective = js.Objective(style_loss="mean+std")
    first = js.stylize(china, starry, params=tiny_params, objective=objective, steps=2, preset="gram")
    half = js.stylize(china, starry, params=tiny_params, objective=objective, strength=0.5, steps=2, preset="gram")
    np.testing.assert_allclose(first.losses.total, half.losses.total, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "much"])
def test_strengths_out_of_range(tiny_params, china, starry, strength):
    with pytest.raises(InputError, match=r"strength is .* expected a (finite )?number from 0 to 1"):
        js.stylize(china, starry, params=tiny_params, strength=strength, steps=2, preset="gram")


@pytest.mark.parametrize(
    ("style_loss", "ratio"), [("gram", 30), ("covariance", 30), ("mean+std", 30), ("wasserstein", 8)]
)
def test_the_ratio_at_half_strength_depends_on_the_style_loss(tiny_params, china, starry, mosaic, style_loss, ratio):
    objective = js.Objective(style_loss=style_loss)
    targets = js.make_targets(tiny_params, china, [starry], objective)
    weights = balance(china, mosaic, tiny_params, targets, objective, 0.5)
    # With one content layer its weight is its share.
    np.testing.assert_allclose(weights.content, 1 / (1 + ratio), rtol=1e-5)


def test_sums_read_nothing_beyond_the_array(real_params):
    """The sums of JAX 0.10.2 read beyond the array at this size, in most evaluations."""
    photo, style = js.white_noise(1, 86, 128), js.white_noise(2, 96, 128)
    mosaic = js.style_mosaic(0, [style], 86, 128)
    objective = js.Objective(algorithm="direct")
    targets = js.make_targets(real_params, photo, [style], objective)
    weights = [js.balance(photo, mosaic, real_params, targets, objective, 0.5) for _ in range(8)]
    for other in weights[1:]:
        np.testing.assert_array_equal(other.style, weights[0].style)
        np.testing.assert_array_equal(other.content, weights[0].content)
