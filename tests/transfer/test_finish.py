"""The finish: one more stage, with another objective, whose weights are relative."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.losses.edges import edge_loss, laplacian
from jaxstyle.objective.relative import relative_weights
from jaxstyle.transfer.finish import finish_weights
from jaxstyle.transfer.stage import finish_stage

STEPS, FINISH = 4, 5


@pytest.fixture(scope="module")
def inputs():
    return js.white_noise(1, 48, 64), js.white_noise(2, 64, 48)


@pytest.fixture(scope="module")
def finished(tiny_params, inputs):
    return js.stylize(*inputs, params=tiny_params, steps=STEPS, finish=FINISH, preset="gram")


def test_it_begins_from_the_run_without_it(tiny_params, inputs, finished):
    plain = js.stylize(*inputs, params=tiny_params, steps=STEPS, preset="gram")
    assert finished.evaluations == STEPS + FINISH
    assert [(scale.height, scale.width) for scale in finished.scales] == [(48, 64)] * 2
    assert [scale.steps for scale in finished.scales] == [STEPS, FINISH]
    np.testing.assert_array_equal(finished.losses.total[:STEPS], plain.losses.total)
    assert np.all(finished.losses.neighbors[:STEPS] == 0)
    # Its first loss is that of the plain result, and its picture has the least.
    stage = finish_stage(js.Settings(finish=FINISH))
    assert (stage.factor, stage.steps, stage.whitening) == (1.0, FINISH, 0.0)
    targets = js.make_targets(tiny_params, inputs[0], [inputs[1]], stage.objective)
    weights = relative_weights(finish_weights(None, 0.0), targets, stage.objective, (48, 64))
    for image, loss in (
        (plain.image, finished.losses.total[STEPS]),
        (finished.image, finished.losses.total[STEPS:].min()),
    ):
        losses, _ = js.value_and_grad(image, tiny_params, targets, weights, stage.objective)
        assert float(losses.total) == pytest.approx(float(loss), rel=1e-5)
    assert finished.losses.total[STEPS:].min() < 0.99 * finished.losses.total[STEPS]


@pytest.mark.long
@pytest.mark.parametrize("ways", ["windows", "devices"])
def test_it_is_the_same_in_windows_and_on_devices(tiny_params, inputs, ways):
    """At the first evaluations: rounding makes long runs drift apart."""
    common = {"params": tiny_params, "steps": 1, "finish": 2, "mosaic": 0.0, "precondition": "pyramid"}
    options = {"window": 32} if ways == "windows" else {"mesh": js.make_mesh(2, 1)}
    other, whole = js.stylize(*inputs, **common, **options, preset="gram"), js.stylize(*inputs, **common, preset="gram")
    np.testing.assert_allclose(other.losses.total[1:], whole.losses.total[1:], rtol=2e-3)


def test_a_batch_is_finished_like_its_pictures(tiny_params, inputs):
    content, style = inputs
    contents, styles = [content, content[:40, :48]], [style, style[::-1]]
    batch = js.stylize_batch(contents, styles, params=tiny_params, steps=2, finish=3, preset="gram")
    for pair, result in zip(zip(contents, styles, strict=True), batch, strict=True):
        alone = js.stylize(*pair, params=tiny_params, steps=2, finish=3, preset="gram")
        np.testing.assert_allclose(result.losses.total, alone.losses.total, rtol=1e-3)


def test_regions_keep_their_weights(tiny_params, inputs):
    mask = np.zeros((48, 64, 2), np.float32)
    mask[:, :32, 0] = mask[:, 32:, 1] = 1
    regions = js.Regions(mask, [np.ones(2, np.float32)])
    options = {"params": tiny_params, "steps": 1, "finish": 2, "regions": regions}
    result = js.stylize(*inputs, **options, region_weight=(1.0, 0.25), preset="gram")
    np.testing.assert_array_equal(result.weights.regions, np.float32([1.0, 0.25]))
    equal = js.stylize(*inputs, **options, preset="gram")
    assert float(result.losses.neighbors[1]) < float(equal.losses.neighbors[1])


def test_it_has_the_settings_of_the_run_but_its_own_layers():
    settings = js.Settings(precision="default", padding="replicate", normalization="paper", finish=3)
    stage = finish_stage(dataclasses.replace(settings, shards=(2, 1)))
    assert (stage.objective.precision, stage.objective.padding) == ("default", "replicate")
    assert stage.objective.shards == (2, 1)
    assert stage.optimizer is js.lbfgs(precondition="pyramid")
    assert js.preset("gram").finish == 0


def test_a_strength_divides_the_weights_between_photo_and_style():
    assert finish_weights(0.5, 0.0) == finish_weights(None, 0.0)
    weights = finish_weights(0.0, 1.0)
    assert min(weights.content, weights.edges) > 0 == weights.style == weights.tv == weights.neighbors
    weights = finish_weights(1.0, 1.0)
    assert weights.content == weights.edges == 0 < min(weights.style, weights.tv, weights.neighbors)
    several = [finish_weights(s, 1.0) for s in (0.2, 0.4, 0.6, 0.8)]
    ratios = [weights.neighbors / weights.content for weights in several]
    assert ratios == sorted(ratios)
    assert len({weights.edges / weights.content for weights in several}) == 1


def test_the_edge_weight_is_that_of_the_run():
    assert finish_weights(0.3, 2.0).edges == 2 * finish_weights(0.3, 1.0).edges > 0 == finish_weights(0.3, 0.0).edges
    # Without a strength the weight of a run has the units of the loss.
    assert finish_weights(None, 1e6).edges == 0
    assert finish_stage(js.Settings(edge_weight=1.0, finish=3)).objective.edges
    assert not finish_stage(js.Settings(finish=3)).objective.edges


def test_every_picture_of_a_batch_has_the_finish_of_its_strength_and_edge_weight(tiny_params, inputs):
    options = {"params": tiny_params, "preset": "gram", "steps": 2, "finish": FINISH}
    strengths, weights = [0.0, 0.5, 0.5, 1.0], [js.LossWeights(edges=weight) for weight in (0.0, 0.0, 10.0, 10.0)]
    results = js.stylize_batch(inputs[0], inputs[1], strength=strengths, weights=weights, **options)
    photo, middle, edges, texture = (result.weights for result in results)
    assert np.all(photo.neighbors == 0)
    assert np.all(photo.content > 0)
    assert np.all(texture.content == 0)
    assert texture.edges == middle.edges == 0 < edges.edges
    assert np.all(texture.neighbors > 0)
    alone = js.stylize(*inputs, strength=0.5, **options).weights
    np.testing.assert_allclose(middle.content, alone.content, rtol=1e-6)

    def distance(result):
        return float(edge_loss(result.image, laplacian(inputs[0])))

    assert results[2].losses.edges[-1] < results[2].losses.edges[2]
    assert distance(results[2]) < 0.5 * distance(results[1])


def test_every_scale_has_its_finish(tiny_params):
    photo, painting = js.white_noise(1, 96, 128), js.white_noise(2, 128, 96)
    options = {"params": tiny_params, "preset": "gram", "steps": 20, "scales": 2}
    result = js.stylize(photo, painting, finish=3, **options)
    assert [(scale.height, scale.steps) for scale in result.scales] == [(48, 10), (48, 3), (96, 10), (96, 3)]
    assert result.evaluations == 26
    finishes = np.asarray(result.losses.neighbors) > 0
    assert np.flatnonzero(finishes).tolist() == [10, 11, 12, 23, 24, 25]


def test_it_resumes_to_the_same_picture(tiny_params, inputs, finished, tmp_path):
    """Stopped in the middle of the finish."""
    checkpoint = js.Checkpoint(tmp_path / "run", every=0, resume=True)
    options = {"params": tiny_params, "steps": STEPS, "finish": FINISH, "checkpoint": checkpoint, "callback_every": 1}
    stopped = js.stylize(*inputs, **options, callback=lambda progress: progress.evaluations == STEPS + 2, preset="gram")
    assert stopped.evaluations == STEPS + 2
    resumed = js.stylize(*inputs, **options, preset="gram")
    np.testing.assert_array_equal(resumed.image, finished.image)
    np.testing.assert_array_equal(np.stack(resumed.losses), np.stack(finished.losses))


def test_features_move_to_those_of_the_style(real_params):
    """With the real network, on a photo of a gradient and a style of stripes."""
    rows = jnp.linspace(0, 1, 64)[:, None, None]
    content = jnp.broadcast_to(rows, (64, 64, 3))
    style = jnp.broadcast_to((jnp.arange(64) // 4 % 2).astype(jnp.float32)[None, :, None], (64, 64, 3))
    result = js.stylize(content, style, params=real_params, steps=2, finish=6, mosaic=0.0, preset="gram")
    neighbors = np.asarray(result.losses.neighbors[2:])
    assert neighbors.min() < 0.999 * neighbors[0]
    assert jnp.all(jnp.isfinite(result.image))


def test_what_is_too_small_for_it_is_refused_before_the_run(tiny_params, unchecked):
    shallow = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",), "params": tiny_params, "steps": 4}
    photo, small = js.white_noise(1, 40, 40), js.white_noise(2, 8, 8)
    assert js.stylize(photo, small, **shallow, preset="gram").evaluations == 4
    with pytest.raises(js.InputError, match="style is 8x8 pixels, expected at least 32"):
        js.stylize(photo, small, **shallow, finish=2, callback=lambda _: pytest.fail("it ran"), preset="gram")


def test_neighbors_alone_are_an_objective(tiny_params, inputs):
    layers = {"content_layers": (), "style_layers": (), "neighbor_layers": ("relu3_1",)}
    result = js.stylize(*inputs, params=tiny_params, steps=4, **layers, preset="gram")
    assert float(result.losses.total.min()) < float(result.losses.total[0])
