"""One picture over eight devices: the numbers of one device, and only edges and sums exchanged."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

import jaxstyle as js
from benchmarks.collectives import collectives, lowered
from jaxstyle.minimize.loop import run
from jaxstyle.objective import mesh as meshes
from jaxstyle.objective import windows
from jaxstyle.objective.base import broadcast_weights
from jaxstyle.objective.evaluate import compiled_value_and_grad

WEIGHTS = js.LossWeights(1.0, 1e3, 1e3)
OPTIMIZER = js.lbfgs(precondition="pyramid")
STEPS = 5
SIZES = [(256, 256), (250, 203), (264, 256)]
MESHES = [(8, 1), (4, 2), (2, 4)]


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def problem_on(photo, painting, params, objective, mesh):
    weights = broadcast_weights(WEIGHTS, objective)
    previous = js.Warped(photo, photo[:, :, :1]) if objective.temporal else None
    if mesh is None:
        photo, painting = js.Canvas(photo), js.Canvas(painting)
    else:
        objective = js.on_mesh(objective, mesh)
        photo, painting = (js.shard(picture, mesh, objective) for picture in (photo, painting))
        params, weights = js.replicated((params, weights), mesh)
    targets = js.whiten(js.make_targets(params, photo, [painting], objective, previous=previous))
    return photo.pixels, (params, targets, weights, objective, OPTIMIZER)


def evaluated(photo, painting, params, objective, mesh):
    """Losses and gradient of the photo, losses and best picture of a short run from it, and where its state lies.

    All from one program: L-BFGS always accepts the first picture, and keeps its gradient.
    """
    pixels, problem = problem_on(photo, painting, params, objective, mesh)
    state, first = run(js.init(pixels, *problem), *problem, np.int32(1))
    size = photo.shape[:2]
    gradient = np.asarray(js.gather(state.optimizer.gradient, *size))
    state, rest = run(state, *problem, np.int32(STEPS - 1))
    rows = np.concatenate([np.asarray(first)[:1], np.asarray(rest)[: STEPS - 1]])
    return gradient, rows, np.asarray(js.gather(state.best_image, *size)), state


# As it is on a mesh. Winograd's form rounds otherwise: see tests/test_windows.py.
DIRECT = js.Objective(algorithm="direct")


@pytest.fixture(scope="session")
def pictures(photograph):
    return photograph("china.jpg", 264, 256), photograph("starry_night.jpg", 216, 200)


@pytest.fixture(scope="session")
def alone(real_params, pictures):
    """What one device finds, for each size."""
    photo, painting = pictures
    return {size: evaluated(js.resize(photo, *size), painting, real_params, DIRECT, None)[:3] for size in SIZES}


def check_gradient(found, expected):
    """Equal but for rounding, and but for pixels below a value that rounding puts on the other side of a ReLU's zero.

    With jax 0.12 such a value near the input moves the gradient of 5x5 pixels, on every mesh, by 4e-4 of its norm.
    """
    assert relative(found, expected) < 1e-3
    differences = np.linalg.norm(found - expected, axis=2)
    rounding = 5e-6 * np.sqrt(np.mean(np.sum(np.square(expected), axis=2)))
    assert np.mean(differences < rounding) > 0.9


def check(found, expected):
    first, expected_first = js.Losses(*found[1][0]), js.Losses(*expected[1][0])
    # At the content itself its loss is rounding, or 0.
    np.testing.assert_allclose(first.content, expected_first.content, rtol=5e-6, atol=1e-6)
    np.testing.assert_allclose(first._replace(content=0), expected_first._replace(content=0), rtol=5e-6)
    check_gradient(found[0], expected[0])
    # Such a value moves the fifth loss by 2e-4.
    np.testing.assert_allclose(found[1][1:], expected[1][1:], rtol=1e-3)
    assert relative(found[2], expected[2]) < 1e-3


# Each size and each mesh once, because one case takes half a minute on a processor: equal parts, parts of few columns,
# and parts wholly beyond the picture. The other pairs are compared below.
PAIRS = [(SIZES[0], MESHES[1]), (SIZES[1], MESHES[2]), (SIZES[2], MESHES[0])]


@pytest.mark.long
@pytest.mark.parametrize(("size", "shape"), PAIRS)
def test_value_gradient_and_a_run_are_those_of_one_device(real_params, pictures, alone, size, shape):
    photo = js.resize(pictures[0], *size)
    found = evaluated(photo, pictures[1], real_params, DIRECT, js.make_mesh(*shape))
    check(found, alone[size])
    # Everything of the picture's shape is still spread over all devices after the steps.
    state = found[3]
    for leaf in (state.image, state.best_image, state.optimizer.s_history, state.optimizer.y_history):
        assert leaf.addressable_shards[0].data.size * 8 == leaf.size


def value_and_gradient(photo, painting, params, mesh, window=None):
    pixels, problem = problem_on(photo, painting, params, js.Objective(window=window), mesh)
    losses, gradient = js.value_and_grad(pixels, *problem[:4])
    return np.stack(losses), np.asarray(js.gather(gradient, *photo.shape[:2]))


@pytest.fixture(scope="session")
def tiny_values(tiny_params, pictures):
    """What one device finds with the tiny network, for each size."""
    photo, painting = pictures
    return {size: value_and_gradient(js.resize(photo, *size), painting, tiny_params, None) for size in SIZES}


@pytest.mark.parametrize(("size", "shape"), [pair for pair in itertools.product(SIZES, MESHES) if pair not in PAIRS])
def test_value_and_gradient_of_every_other_pair_are_too(tiny_params, pictures, tiny_values, size, shape):
    photo = js.resize(pictures[0], *size)
    found = value_and_gradient(photo, pictures[1], tiny_params, js.make_mesh(*shape))
    np.testing.assert_allclose(found[0], tiny_values[size][0], rtol=5e-6)
    assert relative(found[1], tiny_values[size][1]) < 5e-6


@pytest.fixture(scope="session")
def tiny_alone(tiny_params, pictures):
    return evaluated(*pictures, tiny_params, js.Objective(), None)[:3]


@pytest.mark.long
def test_windows_of_every_devices_part_are_exact_too(tiny_params, pictures, tiny_alone):
    """With a tiny network; tests/test_windows.py has windows of the real one."""
    found = evaluated(*pictures, tiny_params, js.Objective(window=64), js.make_mesh(2, 2))
    # The last step is one where rounding counts: noise in the last bit of the photo moves its loss by 2 to 4 parts in
    # 10,000 on one device.
    check(found, tiny_alone)


@pytest.mark.parametrize("shape", [MESHES[0], *(pytest.param(shape, marks=pytest.mark.long) for shape in MESHES[1:])])
def test_a_step_exchanges_edges_and_sums(shape):
    """13 convolutions forward and backward need a row from both neighbors, and Gram matrices are summed once."""
    program = lowered(512, 512, js.Objective(), OPTIMIZER, js.make_mesh(*shape)).compile()
    found = collectives(program.as_text())
    axes = sum(count > 1 for count in shape)
    assert found["collective-permute"]["count"] >= 52 * axes
    # A row of the widest map on one device, 64 channels of float32: nothing larger is exchanged.
    assert found["collective-permute"]["largest"] <= 512 * 64 * 4
    grams = 4 * sum(width**2 for width in (64, 128, 256, 512, 512))
    assert grams <= found["all-reduce"]["bytes"] <= 2.5 * grams
    # What the optimizer's coarsest averages gather is a few pixels; activations, and the picture, are never gathered.
    for kind in ("all-gather", "all-to-all", "reduce-scatter"):
        assert found.get(kind, {"largest": 0})["largest"] <= 3 * 4 * 16 * 16


@pytest.mark.parametrize("window", [None, 64])
def test_value_and_gradient_gather_nothing(tiny_params, photograph, window):
    objective = js.Objective(window=window, edges=True, temporal=True)
    photo = photograph("china.jpg", 512, 512)
    pixels, problem = problem_on(photo, photo, tiny_params, objective, js.make_mesh(4, 2))
    found = collectives(compiled_value_and_grad.lower(pixels, *problem[:4]).compile().as_text())
    assert set(found) == {"collective-permute", "all-reduce"}
    # Windows need one wide margin of each stage, not a row for each layer; 20 are of the edge term.
    assert found["collective-permute"]["count"] < 84 if window else found["collective-permute"]["count"] >= 104


@pytest.mark.long
def test_a_version_without_halos_fails(tiny_params, pictures, tiny_alone, monkeypatch):
    """Each device's part as if it were alone, with zeros around it: the test above is not fooled."""
    split = windows.split

    def without(x, shards, margins=(0, 0)):
        return jnp.pad(split(x, shards), ((0, 0), (0, 0), *((margin, margin) for margin in margins), (0, 0)))

    monkeypatch.setattr(windows, "split", without)
    jax.clear_caches()
    losses, gradient = value_and_gradient(*pictures, tiny_params, js.make_mesh(2, 2), window=64)
    jax.clear_caches()
    # The start's losses and gradient, with which the test above begins.
    expected = tiny_alone[1][0]
    assert losses.shape == expected.shape
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(losses, expected, rtol=5e-6)
    assert relative(gradient, tiny_alone[0]) > 1e-4


@pytest.mark.long
def test_stylize_on_a_mesh_is_stylize(tiny_params, photograph):
    photo, painting = photograph("china.jpg", 100, 75), photograph("starry_night.jpg", 90, 64)
    options = {"params": tiny_params, "steps": 24, "scales": 2, "whitening": 1.0}
    seen = []
    expected = js.stylize(photo, painting, optimizer=OPTIMIZER, **options, preset="gram")
    sharded = js.stylize(photo, painting, mesh=js.make_mesh(2, 2), callback=seen.append, **options, preset="gram")
    assert sharded.image.shape == expected.image.shape
    assert sharded.scales == expected.scales
    np.testing.assert_allclose(sharded.losses.total[:4], expected.losses.total[:4], rtol=1e-4)
    assert float(sharded.losses.total[-1]) == pytest.approx(float(expected.losses.total[-1]), rel=0.05)
    picture = js.gather(seen[-1].image, seen[-1].scale.height, seen[-1].scale.width)
    assert picture.shape == sharded.image.shape


def test_a_mesh_of_the_users_own_will_do(tiny_params, photograph):
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType.Auto,))
    photo = photograph("china.jpg", 64, 48)
    result = js.stylize(photo, photo, params=tiny_params, steps=2, mesh=mesh, preset="gram")
    assert result.image.shape == photo.shape
    assert meshes.image_spec(mesh) == PartitionSpec("rows", None, None)


@pytest.mark.parametrize(
    ("size", "shards", "expected"),
    [((250, 203), (8, 1), (256, 203)), ((250, 203), (2, 4), (256, 256)), ((33, 48), (1, 3), (33, 48))],
)
def test_the_canvas_divides_at_every_layer(size, shards, expected):
    assert meshes.canvas_size(*size, js.Objective(shards=shards)) == expected


def test_windows_on_a_narrow_picture_get_a_wider_canvas():
    """Each device's part has at least the halo that its neighbors need."""
    assert meshes.canvas_size(2000, 60, js.Objective(shards=(2, 4), window=256)) == (2016, 192)
    assert meshes.canvas_size(2000, 60, js.Objective(shards=(2, 4))) == (2016, 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: js.make_mesh(0), "rows is 0, expected an integer from 1"),
        (lambda: js.make_mesh(4, 4), "needs 16 devices, there are 8"),
        (lambda: js.on_mesh(js.Objective(), "mesh"), "expected a jax.sharding.Mesh"),
        (lambda: js.on_mesh(js.Objective(), jax.make_mesh((2,), ("x",))), "expected some of"),
        (lambda: js.on_mesh(js.Objective(), jax.make_mesh((2,), ("rows",))), re.escape("expected AxisType.Auto")),
        (lambda: js.shard(jnp.zeros((32, 32, 3)), js.make_mesh(2), js.Objective()), "use on_mesh"),
        (lambda: js.Objective(shards=(2, 0)), "number of devices in shards is 0"),
    ],
)
def test_bad_meshes_are_refused(call, message, unchecked):
    with pytest.raises(js.InputError, match=message):
        call()


def test_replicated_and_gathered_are_the_same_array():
    mesh = js.make_mesh(2, 2)
    x = js.white_noise(0, 64, 64)
    assert js.replicated(x, mesh).sharding.is_fully_replicated
    spread = js.shard(x, mesh, js.Objective(shards=(2, 2)))
    assert spread.extent is None
    np.testing.assert_array_equal(js.gather(spread.pixels), x)
    odd = js.shard(x[:50], mesh, js.Objective(shards=(2, 2)))
    np.testing.assert_array_equal(js.gather(odd.pixels, *map(int, odd.extent)), x[:50])


def test_objectives_of_one_mesh_are_equal():
    objective = js.on_mesh(js.Objective(), js.make_mesh(4, 2))
    assert objective == dataclasses.replace(js.Objective(), shards=(4, 2))
    assert isinstance(js.make_mesh(), Mesh)
