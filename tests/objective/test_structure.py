"""Where the content is flat, and what its features are mixed with there."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.image.canvas import Canvas
from jaxstyle.losses.edges import laplacian
from jaxstyle.objective.structure import content_structure
from jaxstyle.transfer.job import make_job
from jaxstyle.transfer.problem import make_problem
from jaxstyle.transfer.stage import stages_of
from jaxstyle.vgg.network import stride

LAYERS = ("relu1_2", "relu2_1", "relu3_1", "relu4_2", "relu5_1")


@pytest.fixture(scope="module")
def half_flat():
    """Gray, but for noise in the right part; incomplete cells at the ends."""
    noise = js.resize(js.white_noise(1, 18, 17), 70, 67)
    return jnp.full((70, 99, 3), 0.5).at[:, 32:].set(noise)


def reference(image):
    """Structure of the cells, one after the other."""
    edges = np.asarray(laplacian(image), np.float64)[:, :, 0] ** 2
    edges = edges / (edges + 0.3**2)
    rows, columns = edges.shape
    result = np.zeros_like(edges)
    for i in range(rows):
        for j in range(columns):
            total = weights = 0.0
            for k in range(max(0, i - 2), min(rows, i + 3)):
                for m in range(max(0, j - 2), min(columns, j + 3)):
                    weight = (1, 4, 6, 4, 1)[k - i + 2] * (1, 4, 6, 4, 1)[m - j + 2]
                    total, weights = total + weight * edges[k, m], weights + weight
            result[i, j] = total / weights / (total / weights + 0.1)
    return result


def test_the_structure_is_that_of_a_slow_reference(half_flat):
    cells = reference(half_flat)
    height, width = half_flat.shape[:2]
    for layer, structure in content_structure(Canvas(half_flat), LAYERS).items():
        step = stride(layer)
        assert structure.shape == (height // step, width // step, 1)
        for i in range(height // step):
            for j in range(width // step):
                own = [
                    cells[min(row // 4, height // 4 - 1), min(column // 4, width // 4 - 1)]
                    for row in range(step * i, step * (i + 1))
                    for column in range(step * j, step * (j + 1))
                ]
                assert float(structure[i, j, 0]) == pytest.approx(np.mean(own), abs=1e-5)


def test_flat_is_0_and_edges_are_near_1(half_flat):
    structure = np.asarray(content_structure(Canvas(half_flat), ("relu4_2",))["relu4_2"])[:, :, 0]
    np.testing.assert_array_equal(structure[:, :2], 0)
    assert structure[:, 5:].min() > 0.5
    assert structure.max() < 1


def test_a_canvas_changes_nothing(half_flat):
    height, width = half_flat.shape[:2]
    pixels = js.white_noise(2, 96, 128).at[:height, :width].set(half_flat)
    canvas = Canvas(pixels, jnp.array([height, width], jnp.int32))
    for layer, structure in content_structure(Canvas(half_flat), LAYERS).items():
        on_canvas = content_structure(canvas, LAYERS)[layer][: structure.shape[0], : structure.shape[1]]
        np.testing.assert_allclose(on_canvas, structure, atol=1e-6)


def test_devices_change_nothing(half_flat):
    objective = js.Objective()
    mesh = js.make_mesh(2, 2)
    canvas = js.shard(half_flat, mesh, js.on_mesh(objective, mesh))
    height, width = half_flat.shape[:2]
    whole = content_structure(Canvas(half_flat), ("relu4_2",))["relu4_2"]
    on_mesh = content_structure(canvas, ("relu4_2",))["relu4_2"][: height // 8, : width // 8]
    np.testing.assert_allclose(on_mesh, whole, atol=1e-6)


@pytest.mark.parametrize(("strength", "flat_areas", "share"), [(0.5, 0.0, 0.0), (0.7, 0.25, 0.25), (0.2, 0.0, 0.6)])
def test_flat_areas_have_the_content_of_the_start(half_flat, tiny_params, strength, flat_areas, share):
    settings = js.preset("gram").override(strength=strength, flat_areas=flat_areas)
    job = make_job(half_flat, [js.white_noise(3, 48, 64)], settings)
    (stage,) = stages_of([job], settings)
    start = js.white_noise(4, *half_flat.shape[:2])
    _, prepared = make_problem([job], [start], tiny_params, stage, None)
    targets = prepared.with_weights(prepared.weights)([1.0]).targets.content["relu4_2"]
    own, initial = (
        js.make_targets(tiny_params, image, [image], settings.objective).content["relu4_2"]
        for image in (half_flat, start)
    )
    structure = content_structure(Canvas(half_flat), ("relu4_2",))["relu4_2"]
    weight = share + (1 - share) * structure
    np.testing.assert_allclose(targets, weight * own + (1 - weight) * initial, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(targets[:, :2], (share * own + (1 - share) * initial)[:, :2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("init", "share"), [("content", 0.0), ("noise", 1.0), ("gray", 1.0)])
def test_noise_and_gray_are_no_content(init, share):
    settings = js.preset("gram").override(flat_areas=0.0, init=init, scales=2, steps=40)
    job = make_job(js.white_noise(1, 128, 128), [js.white_noise(2, 128, 128)], settings)
    assert [stage.flat_areas for stage in stages_of([job], settings)] == [share, 0.0]
