"""Wrong types and values in every public function of losses, optimizers and objective: one clear sentence each."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js

pytestmark = pytest.mark.usefixtures("unchecked")

IMAGE = jnp.full((8, 8, 3), 0.5)
OBJECTIVE = js.Objective(("relu2_1",), ("relu1_1",))
# What is neither a number nor an array, and numbers that are not finite.
NO_NUMBERS = (None, "1", [1.0], {}, math.nan, math.inf, 1j, True)
NO_COUNTS = (*NO_NUMBERS, 0, -1, 1.5, 10**30)
NO_BATCHES = (None, "image.png", [[0.5]], 0.5, IMAGE[0], IMAGE[:, :, :2], IMAGE.astype(jnp.int32))
NO_IMAGES = (*NO_BATCHES, IMAGE[None])


def refused(function, *arguments, **keywords):
    """The message of the InputError, which is one line that says what is expected."""
    with pytest.raises(js.InputError) as error:
        function(*arguments, **keywords)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "expected" in message or "needs" in message or "use on_mesh" in message, message
    return message


FIELDS = [
    *(("content_layers", value) for value in (None, "relu1_1", 3, ("relu9_1",), (None,), ("relu1_1",) * 2, [["a"]])),
    *(("style_layers", value) for value in (None, "relu1_1", 3, ("relu9_1",), (1.0,), {"relu1_1"}, [["relu1_1"]])),
    *((name, value) for name in ("normalization", "pooling", "padding", "precision") for value in (None, 1, ["max"])),
    *((name, value) for name in ("style_loss", "variation", "matrix_root") for value in (None, "", 1, ["gram"])),
    *(("window", value) for value in ("auto", 31, -64, 0, 64.0, math.nan, [64], True)),
    *(("shards", value) for value in (None, "11", 1, (1,), (1, 0), (1, -1), (1.0, 1), (1, 1, 1), (True, 1), [[1], 1])),
    *((name, value) for name in ("edges", "temporal") for value in (None, "yes", 1.0, [True])),
    *(("ridge", value) for value in ("1", -1e-4, math.nan, math.inf, [1e-4], True, 1e39)),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_objectives(field, value):
    refused(js.Objective, **{field: value})


def test_lists_for_tuples_make_the_same_objective():
    """A list has no hash, and an objective is a static argument."""
    objective = js.Objective(content_layers=["relu2_1"], style_layers=["relu1_1"], shards=[2, 1])
    assert objective == js.Objective(("relu2_1",), ("relu1_1",), shards=(2, 1))
    assert hash(objective) == hash(js.Objective(("relu2_1",), ("relu1_1",), shards=(2, 1)))
    numbers = js.Objective(window=np.int64(64), ridge=np.float32(0.5), shards=(np.int32(2), 1))
    assert hash(numbers) == hash(js.Objective(window=64, ridge=0.5, shards=(2, 1)))


MAP, GRAM = jnp.ones((2, 3, 4)), jnp.eye(4)
NO_ARRAYS = (None, "features", [[[1.0]]], 1.0, MAP.astype(jnp.int32))
LOSSES = [
    *((js.gram_matrix, (value,)) for value in (*NO_ARRAYS, MAP[0], MAP[:0])),
    *((js.content_loss, (value, MAP)) for value in (*NO_ARRAYS, MAP[0], MAP[:1])),
    *((js.content_loss, (MAP, value)) for value in (*NO_ARRAYS, MAP[0], MAP[:1])),
    *((js.content_loss, (MAP, MAP, value)) for value in (None, "mean", 1)),
    *((js.style_loss, (value, GRAM)) for value in (*NO_ARRAYS, GRAM[0], GRAM[:2], GRAM[:2, :2])),
    *((js.style_loss, (GRAM, value)) for value in (*NO_ARRAYS, GRAM[0], GRAM[:2], GRAM[:1, :1])),
    *((js.style_loss, (GRAM, GRAM, value)) for value in (None, "mean", 1)),
    *((js.total_variation, (value,)) for value in NO_BATCHES),
]


@pytest.mark.parametrize(("function", "arguments"), LOSSES)
def test_losses(function, arguments):
    refused(function, *arguments)


OPTIMIZERS = [
    *((js.lbfgs, name, value) for name in ("memory_size", "window", "max_failures") for value in (*NO_COUNTS, 1001)),
    *((js.lbfgs, "precondition", value) for value in ("fourier", 1, ["spectral"])),
    *((js.lbfgs, "exponent", value) for value in (*NO_NUMBERS, -1.0, 5.0)),
    *((js.lbfgs, "chroma", value) for value in (*NO_NUMBERS, -1.0, 0.0, 11.0)),
    *((js.adam, "learning_rate", value) for value in (*NO_NUMBERS, -1.0, 0.0)),
    *((js.adam, name, value) for name in ("b1", "b2") for value in (*NO_NUMBERS, -0.1, 1.0)),
    *((lambda decay: js.averaged(js.adam(), decay), "decay", value) for value in (*NO_NUMBERS, -0.1, 1.0)),
    *((js.averaged, "optimizer", value) for value in (None, "adam", js.adam, [js.adam()])),
]


@pytest.mark.parametrize(("make", "name", "value"), OPTIMIZERS)
def test_optimizers(make, name, value):
    assert name in refused(make, **{name: value})


def test_equal_numbers_make_the_same_optimizer():
    """Static arguments of compiled functions are compared."""
    assert js.lbfgs(np.int64(10), exponent=1) is js.lbfgs(10, exponent=1.0)
    assert js.adam(np.float64(0.02)) is js.adam(0.02)
    assert js.averaged(js.adam(), np.float64(0.5)) is js.averaged(js.adam(), 0.5)


@pytest.fixture(scope="module")
def problem(tiny_params):
    targets = js.make_targets(tiny_params, IMAGE, [IMAGE**2], OBJECTIVE)
    return {
        "image": IMAGE,
        "params": tiny_params,
        "targets": targets,
        "weights": js.LossWeights(),
        "objective": OBJECTIVE,
    }


NO_WEIGHTS = [
    None,
    (1.0, 1.0, 0.0),
    *(js.LossWeights(value) for value in (*NO_NUMBERS[:2], {}, math.nan, 1j, -1.0, 1e39, (1.0, 2.0), ("1",), [[1.0]])),
    *(js.LossWeights(1.0, value) for value in (None, "1", (), (math.nan,), (1.0, -2.0), np.ones((1, 1)), ["1"])),
    *(js.LossWeights(1.0, 1.0, value) for value in (None, "1", (1.0,), math.inf, -1.0, np.array([1.0]))),
    *(js.LossWeights(regions=value) for value in (None, "1", (1.0, 2.0), -1.0)),
    *(js.LossWeights(edges=value) for value in (None, "1", (1.0,), -1.0, 1.0)),
    *(js.LossWeights(temporal=value) for value in (None, "1", (1.0,), -1.0, 1.0)),
]
NO_TARGETS = (None, "targets", {}, js.Targets({}, {}), js.Targets({"relu2_1": IMAGE}, {}))
EVALUATIONS = [
    *(("image", value) for value in (*NO_BATCHES, IMAGE[:4], IMAGE[:1])),
    *(("params", value) for value in (None, "oxford", {}, [1.0])),
    *(("targets", value) for value in NO_TARGETS),
    *(("weights", value) for value in NO_WEIGHTS),
    *(("objective", value) for value in (None, "default", [OBJECTIVE], js.Objective(("relu2_2",), ()))),
    ("objective", js.Objective(("relu2_1",), ("relu1_1",), style_loss="covariance")),
    ("objective", js.Objective(("relu2_1",), ("relu1_1",), edges=True)),
    ("objective", js.Objective(("relu2_1",), ("relu1_1",), temporal=True)),
]


@pytest.mark.parametrize(("name", "value"), EVALUATIONS)
def test_value_and_grad(problem, name, value):
    refused(js.value_and_grad, **problem | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("photo", value) for value in (*NO_IMAGES, IMAGE[:4])),
        *(("mosaic", value) for value in (*NO_IMAGES, IMAGE[:4])),
        *(("strength", value) for value in (*NO_NUMBERS, -0.1, 1.1, jnp.ones(2))),
        *((name, value) for name, value in EVALUATIONS if name not in ("image", "weights")),
        *(("weights", value) for value in NO_WEIGHTS[1:]),
    ],
)
def test_balance(problem, name, value):
    arguments = {key: part for key, part in problem.items() if key != "image"}
    refused(js.balance, **arguments | {"photo": IMAGE, "mosaic": IMAGE, "strength": 0.5} | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("content", value) for value in (*NO_IMAGES, IMAGE[:3], js.Canvas(None))),
        *(("styles", value) for value in (None, "style.png", IMAGE, [], {}, *([value] for value in NO_IMAGES))),
        *(("params", value) for value in (None, "oxford", {})),
        *(("objective", value) for value in (None, "default", [OBJECTIVE])),
        *(("style_weights", value) for value in ("1", 1.0, [], [1.0, 1.0], *([value] for value in NO_NUMBERS), [-1.0])),
        *(("style_weights", value) for value in ([0.0], np.ones((1, 1)), {"style": 1.0})),
        *(("regions", value) for value in ("left", np.ones((8, 8, 1), np.float32))),
    ],
)
def test_make_targets(tiny_params, name, value):
    arguments = {"params": tiny_params, "content": IMAGE, "styles": [IMAGE], "objective": OBJECTIVE}
    refused(js.make_targets, **arguments | {name: value})


def test_whiten(problem):
    for targets in NO_TARGETS[:3]:
        refused(js.whiten, targets)
    for power in (*NO_NUMBERS, -1.0, 100.0, jnp.ones(2)):
        assert "power" in refused(js.whiten, problem["targets"], power)


def test_meshes():
    for name in ("rows", "columns", "batch"):
        for value in NO_COUNTS:
            assert name in refused(js.make_mesh, **{name: value})
    for devices in ("cpu", 1, ["cpu"], [None], {}):
        assert "devices" in refused(js.make_mesh, devices=devices)
    assert "needs 4 devices, there are 1" in refused(js.make_mesh, 4, devices=jax.devices()[:1])
    mesh, split = js.make_mesh(), js.make_mesh(2)
    for value in (None, "mesh", (1, 1), jax.devices()):
        assert "mesh" in refused(js.on_mesh, OBJECTIVE, value)
        assert "mesh" in refused(js.shard, IMAGE, value, OBJECTIVE)
        assert "mesh" in refused(js.replicated, IMAGE, value)
    for value in (None, "default", [OBJECTIVE]):
        assert "objective" in refused(js.on_mesh, value, mesh)
        assert "objective" in refused(js.shard, IMAGE, mesh, value)
    for value in NO_IMAGES:
        refused(js.shard, value, mesh, OBJECTIVE)
    assert "use on_mesh" in refused(js.shard, IMAGE, split, OBJECTIVE)
    for tree in ("params", {"layer": "kernel"}, [object()]):
        assert "tree" in refused(js.replicated, tree, mesh)


def test_gather():
    for value in (None, "image", [1.0], 1.0, np.ones((8, 8, 3), np.float32), jnp.ones((8, 8))):
        assert "image" in refused(js.gather, value)
    for value in (*NO_COUNTS[1:], 9):
        assert "height" in refused(js.gather, IMAGE, value)
        assert "width" in refused(js.gather, IMAGE, 8, value)


def test_spread_is_an_alias_of_shard():
    assert js.spread is js.shard


def test_right_arguments_are_accepted(problem):
    """The opposite of all of the above."""
    js.averaged(optax.sgd(1.0), 0)
    js.value_and_grad(**problem | {"image": np.asarray(IMAGE), "weights": js.LossWeights([1], (np.float32(2),), 0)})
    js.value_and_grad(**problem | {"weights": js.LossWeights(jnp.ones(1), jnp.ones(()), np.float64(1))})
    js.whiten(problem["targets"], np.float32(0.5))
    js.gather(IMAGE, np.int64(4), 8)
    js.replicated({"a": 1.0, "b": (np.ones(2), jnp.ones(2))}, js.make_mesh())
