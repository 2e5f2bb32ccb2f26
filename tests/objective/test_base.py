import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.objective.base import broadcast_weights, check_weights
from jaxstyle.objective.evaluate import weighted_losses
from jaxstyle.objective.windows import Statistics

SMALL = js.Objective(content_layers=("relu2_1",), style_layers=("relu1_1", "conv2_2"))
BOTH = ["paper", "notebook"]


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


def test_the_default_layers_are_the_papers():
    objective = js.Objective()
    assert objective.content_layers == ("relu4_2",)
    assert objective.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert objective.layers == ("relu4_2", "relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert objective.min_side == 32
    assert SMALL.min_side == 4
    # Two cells of the edge term.
    assert dataclasses.replace(SMALL, edges=True).min_side == 8


def test_objectives_are_values():
    assert js.Objective() == js.Objective()
    assert hash(js.Objective()) == hash(js.Objective())
    assert js.Objective(pooling="avg") != js.Objective()
    # A layer in both roles is computed once.
    assert js.Objective(("relu1_1",), ("relu1_1", "relu2_1")).layers == ("relu1_1", "relu2_1")
    with pytest.raises(AttributeError):
        js.Objective().pooling = "avg"  # type: ignore


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"content_layers": ("relu4_9",)}, "unknown layer 'relu4_9'"),
        ({"style_layers": ("relu1_1", "relu1_1")}, "contains duplicates"),
        ({"content_layers": "relu4_2"}, "expected a list of layer names"),
        ({"style_layers": "relu4_2"}, "expected a list of layer names"),
        ({"content_layers": (), "style_layers": ()}, "no layers at all, expected at least one"),
        ({"normalization": "sum"}, "unknown normalization 'sum', expected one of 'paper', 'notebook'"),
        ({"pooling": "mean"}, "unknown pooling 'mean'"),
        ({"padding": "same"}, "unknown padding 'same'"),
        ({"precision": "half"}, "unknown precision 'half'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_objectives_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        js.Objective(**arguments)


@pytest.mark.usefixtures("unchecked")
def test_layers_in_a_list_are_accepted():
    """As they are, a list could not be hashed, and an objective is a static argument."""
    objective = js.Objective(content_layers=["relu2_1"], style_layers=["relu1_1"])  # type: ignore
    assert objective == js.Objective(("relu2_1",), ("relu1_1",))
    assert hash(objective) == hash(js.Objective(("relu2_1",), ("relu1_1",)))


@pytest.mark.parametrize(
    "weights",
    [
        js.LossWeights(),
        js.LossWeights(content=0.0, style=(0.0, 1.0)),
        js.LossWeights(content=(2.0,), style=0.0),
        js.LossWeights(content=0.0, style=0.0, tv=1.0),
        js.LossWeights(style=jnp.array([1.0, 2.0])),
        js.LossWeights(style=np.float32(3.0)),
        js.LossWeights(0.0, 0.0, edges=1.0),
        js.LossWeights(0.0, 0.0, temporal=1.0),
    ],
)
def test_right_weights_are_accepted(weights):
    check_weights(weights, dataclasses.replace(SMALL, edges=True, temporal=True))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (js.LossWeights(content=-1.0), r"the content weight is -1\.0, expected finite numbers that are not negative"),
        (js.LossWeights(style=float("nan")), "the style weight is nan"),
        (js.LossWeights(tv=float("inf")), "the tv weight is inf"),
        (js.LossWeights(content=1e39), r"the content weight is 1e\+39, expected finite"),
        (js.LossWeights(style=(1.0, -2.0)), r"the style weight is \[1\.0, -2\.0\]"),
        (js.LossWeights(style=(1.0, 2.0, 3.0)), "style weight has 3 numbers, expected one number, or one .* 2 style"),
        (js.LossWeights(content=(1.0, 2.0)), "the content weight has 2 numbers"),
        (js.LossWeights(style=()), "the style weight has 0 numbers"),
        (js.LossWeights(tv=(1.0,)), "the tv weight has 1 numbers, expected one number"),  # type: ignore
        (js.LossWeights(style=jnp.ones((2, 1))), r"the style weight is an array of shape \(2, 1\)"),
        (js.LossWeights(0.0, 0.0, 0.0), "all weights are zero, expected at least one positive"),
        (js.LossWeights(0.0, (0.0, 0.0), 0.0), "all weights are zero"),
        (js.LossWeights(edges=-1.0), r"the edges weight is -1\.0"),
        (js.LossWeights(edges=2.0), r"the edges weight is 2\.0, expected 0, or an objective with edges=True"),
        (js.LossWeights(temporal=2.0), r"the temporal weight is 2\.0, expected 0, or an objective with temporal=True"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        check_weights(weights, SMALL)


def test_the_weight_of_a_term_without_layers_does_not_count():
    with pytest.raises(InputError, match="all weights are zero"):
        check_weights(js.LossWeights(content=5.0, style=0.0), js.Objective(content_layers=()))


@pytest.mark.parametrize("normalization", BOTH)
def test_weighted_losses_write_the_formula_once(normalization):
    objective = js.Objective(("relu2_1", "relu3_1"), ("relu1_1", "pool2"), normalization, edges=True, temporal=True)
    rng = np.random.default_rng(0)
    products = {layer: rng.normal(size=(c, c)) for layer, c in (("relu1_1", 4), ("pool2", 6))}
    grams = {layer: rng.normal(size=p.shape) for layer, p in products.items()}
    errors, shapes = {"relu2_1": 3.0, "relu3_1": 5.0}, {"relu2_1": (5, 8, 4), "relu3_1": (2, 4, 7)}
    losses = weighted_losses(
        Statistics(
            {layer: jnp.asarray(p, jnp.float32) for layer, p in products.items()},
            {},
            {layer: jnp.float32(e) for layer, e in errors.items()},
            {},
            {},
        ),
        jnp.float32(11.0),
        jnp.float32(0.5),
        jnp.float32(0.25),
        (11, 17),
        js.Targets(
            {layer: jnp.zeros(shape) for layer, shape in shapes.items()},
            {layer: jnp.asarray(g, jnp.float32) for layer, g in grams.items()},
        ),
        js.LossWeights(content=(2.0, 3.0), style=(5.0, 7.0), tv=13.0, edges=17.0, temporal=19.0),
        objective,
    )
    # Positions at 11x17: 187 at relu1_1 and 2 * 4 at pool2, whose odd rows and columns are dropped twice.
    squares = [np.sum((products[layer] / M - grams[layer]) ** 2) for layer, M in (("relu1_1", 187), ("pool2", 8))]
    if normalization == "paper":
        content = 2 * 3.0 / 2 + 3 * 5.0 / 2
        style = (5 * squares[0] / (4 * 4**2) + 7 * squares[1] / (4 * 6**2)) / 2
    else:
        content = 2 * 3.0 / 160 + 3 * 5.0 / 56
        style = 5 * squares[0] / 4**4 + 7 * squares[1] / 6**4
    tv = 13 * 11.0 / 187
    total = content + style + tv + 17 * 0.5 + 19 * 0.25
    np.testing.assert_allclose(losses, (total, content, style, tv, total, 0.0, 17 * 0.5, 19 * 0.25), rtol=1e-5)


@pytest.mark.parametrize("normalization", BOTH)
@pytest.mark.parametrize("side", [1024, 8192])
def test_losses_of_huge_pictures(side, normalization):
    """Value and gradient where counts of positions and channels are beyond 32-bit integers."""
    objective = js.Objective(("relu1_2",), ("relu1_1",), normalization)
    product, gram = np.full((64, 64), 3.0 * side**2), np.full((64, 64), 2.0)
    error = 0.01 * side**2 * 64.0

    # `weighted_losses` needs the target's shape only: a map of 8192x8192 takes 16 GiB.
    targets = js.Targets(
        {"relu1_2": jax.ShapeDtypeStruct((side, side, 64), jnp.float32)},  # type: ignore
        {"relu1_1": jnp.asarray(gram, jnp.float32)},
    )

    def total(product, error, variation):
        sums = Statistics({"relu1_1": product}, {}, {"relu1_2": error}, {}, {})
        weights, zero = js.LossWeights(2.0, 5.0, 7.0), jnp.float32(0.0)
        return weighted_losses(sums, variation, zero, zero, (side, side), targets, weights, objective).total

    value, slopes = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(
        jnp.asarray(product, jnp.float32), jnp.float32(error), jnp.float32(0.5 * side**2)
    )
    M, N = float(side) ** 2, 64.0
    if normalization == "paper":
        content_slope, style, style_slope = 2.0 / 2, N**2 / (4 * N**2), 2 / (4 * N**2) / M
    else:
        content_slope, style, style_slope = 2.0 / (M * N), N**2 / N**4, 2 / N**4 / M
    np.testing.assert_allclose(value, content_slope * error + 5 * style + 7 * 0.5, rtol=1e-5)
    np.testing.assert_allclose(slopes[0], 5 * style_slope, rtol=1e-5)
    np.testing.assert_allclose(slopes[1], content_slope, rtol=1e-5)
    np.testing.assert_allclose(slopes[2], 7 / M, rtol=1e-5)


def test_weights_are_traced_not_baked_in():
    traces = []

    @jax.jit
    def total(weights, error):
        traces.append(1)
        sums = Statistics({}, {}, {"relu2_1": error}, {}, {})
        targets = js.Targets({"relu2_1": jnp.zeros((2, 2, 4))}, {})
        zero, objective = jnp.float32(0.0), js.Objective(("relu2_1",), ())
        return weighted_losses(sums, zero, zero, zero, (4, 4), targets, weights, objective).total

    values = [float(total(js.LossWeights(content=w), jnp.float32(16.0))) for w in (1.0, 2.0, 0.5)]
    assert values == [1.0, 2.0, 0.5]
    assert len(traces) == 1


def test_broadcast_weights_have_the_same_shapes_for_all_weights():
    for weights, style in (
        (js.LossWeights(2.0, 3.0, 4.0), (3.0, 3.0)),
        (js.LossWeights((2.0,), (3.0, 5.0), 4.0), (3.0, 5.0)),
        (js.LossWeights(np.float64(2.0), jnp.array([3.0]), 4), (3.0, 3.0)),
    ):
        arrays = broadcast_weights(weights, SMALL)
        assert [(array.shape, array.dtype) for array in arrays] == [
            ((1,), "float32"),
            ((2,), "float32"),
            ((), "float32"),
            ((), "float32"),
            ((0,), "float32"),
            ((), "float32"),
            ((), "float32"),
        ]
        for array, expected in zip(arrays, ((2.0,), style, 4.0, 1.0, (), 0.0, 0.0), strict=True):
            np.testing.assert_array_equal(array, expected)
