"""Many pictures at once: each gets what it gets alone."""

import sys

import jax
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.minimize import loop, status
from jaxstyle.objective.targets import blended_statistics

STEPS = 6


def alike(found, expected):
    assert found.image.shape == expected.image.shape
    assert (found.status, found.evaluations, found.scales) == (expected.status, expected.evaluations, expected.scales)
    # Noise in the last bit of a photo moves later losses by up to 1.4e-4, where it decides a near-tie of max pooling.
    np.testing.assert_allclose(found.losses.total, expected.losses.total, rtol=3e-4)


@pytest.fixture(scope="session")
def photos(photograph):
    return [photograph("china.jpg", 64, 48), photograph("starry_night.jpg", 64, 48), photograph("china.jpg", 40, 56)]


@pytest.mark.parametrize("over", [None, 2, 4])
def test_sizes_styles_weights_and_seeds_of_their_own(tiny_params, photos, starry, china, over):
    """On one device, and over the batch axis of a mesh, which the pictures do not fill."""
    weights = [js.LossWeights(1.0, 1e3), js.LossWeights(2.0, 1e2, edges=1e3), js.LossWeights(1.0, 1e3, 1e3)]
    styles, seeds = [starry, china, [starry, china]], [0, 5, 7]
    mesh = None if over is None else js.make_mesh(batch=over)
    options = {"params": tiny_params, "steps": STEPS}
    results = js.stylize_batch(photos, styles, weights=weights, seeds=seeds, mesh=mesh, **options, preset="gram")
    assert len(results) == 3
    for result, photo, style, weight, seed in zip(results, photos, styles, weights, seeds, strict=True):
        alike(result, js.stylize(photo, style, weights=weight, seed=seed, **options, preset="gram"))


def test_photos_of_one_size_over_devices(tiny_params, photos, starry):
    """They need no canvas, so the preconditioner is a Fourier transform of the whole arrays."""
    options = {"params": tiny_params, "steps": STEPS, "preset": "gram"}
    results = js.stylize_batch(photos[:2], starry, mesh=js.make_mesh(batch=2), **options)
    for result, photo in zip(results, photos[:2], strict=True):
        alike(result, js.stylize(photo, starry, **options))


@pytest.mark.long
def test_over_batch_rows_and_columns(tiny_params, photograph):
    """Four pictures over eight devices: two groups of two by two share two pictures each."""
    photos = [photograph("china.jpg", width, 64) for width in (64, 80, 64, 80)]
    painting = photograph("starry_night.jpg", 64, 64)
    options = {"params": tiny_params, "steps": STEPS, "optimizer": js.lbfgs(precondition="pyramid")}
    results = js.stylize_batch(
        photos, painting, mesh=js.make_mesh(rows=2, columns=2, batch=2), **options, preset="gram"
    )
    for result, photo in zip(results, photos, strict=True):
        alike(result, js.stylize(photo, painting, **options, preset="gram"))


@pytest.mark.long
def test_the_real_network(real_params, photos, starry):
    options = {"params": real_params, "steps": 3}
    results = js.stylize_batch(photos[1:], starry, mesh=js.make_mesh(batch=2), **options, preset="gram")
    for result, photo in zip(results, photos[1:], strict=True):
        alike(result, js.stylize(photo, starry, **options, preset="gram"))


@pytest.mark.long
def test_scales_windows_and_a_canvas(tiny_params, photograph, starry):
    photos = [photograph("china.jpg", 96, 72), photograph("starry_night.jpg", 64, 80)]
    options = {"params": tiny_params, "steps": 22, "scales": 2, "whitening": 0.0, "window": 32}
    results = js.stylize_batch(photos, starry, canvas=(80, 96), **options, preset="gram")
    for result, photo in zip(results, photos, strict=True):
        alone = js.stylize(photo, starry, **options, preset="gram")
        assert len(alone.scales) == 2
        assert (result.scales, result.window, result.image.shape) == (alone.scales, alone.window, photo.shape)
        np.testing.assert_allclose(result.losses.total[:5], alone.losses.total[:5], rtol=1e-4)
        # The optimizer amplifies rounding: 5 % with jax 0.12.
        assert float(result.losses.total[-1]) == pytest.approx(float(alone.losses.total[-1]), rel=0.1)


def test_a_stop_is_for_those_too_that_have_converged(tiny_params, photograph, starry):
    """At a coarse scale, where they would wait for the next."""
    photos = [photograph("china.jpg", 96, 72)] * 2
    weights = [js.LossWeights(1.0, 0.0), js.LossWeights(1.0, 1e3)]
    seen = []

    def callback(progress):
        seen.append(progress)
        return progress.running < 2 or progress.evaluations[0] >= 60

    options = {"params": tiny_params, "steps": 160, "scales": 2, "whitening": 0.0, "tolerance": 0.02}
    results = js.stylize_batch(photos, starry, weights=weights, callback=callback, **options, preset="gram")
    assert all(len(result.scales) == 1 for result in results)
    assert js.Status.STOPPED in {result.status for result in results}


def test_each_has_its_own_end(tiny_params, photos, starry):
    """The first has nothing to do but to reach its own start, and stops while the other goes on."""
    weights = [js.LossWeights(1.0, 0.0), js.LossWeights(1.0, 1e3)]
    options = {"params": tiny_params, "steps": 80, "whitening": 0.0, "tolerance": 0.02}
    results = js.stylize_batch(photos[0], starry, weights=weights, **options, preset="gram")
    alone = [js.stylize(photos[0], starry, weights=each, **options, preset="gram") for each in weights]
    assert alone[0].evaluations != alone[1].evaluations
    for found, expected in zip(results, alone, strict=True):
        assert (found.status, found.evaluations) == (expected.status, expected.evaluations)
        # Where a picture waits for others it stays as it is.
        np.testing.assert_allclose(found.losses.total[:10], expected.losses.total[:10], rtol=1e-4)
        assert float(found.losses.total.min()) == pytest.approx(float(expected.losses.total.min()), rel=0.1)


def test_a_picture_that_slows_down_goes_on_with_the_loss_itself(tiny_params, photos, starry, monkeypatch):
    """As alone: the switch comes for each picture by itself."""
    monkeypatch.setattr(status, "SURROGATE_TOLERANCE", 0.05)
    turned = []
    again = loop.restart

    def watched(states, optimizer, selected):
        turned.append(selected)
        return again(states, optimizer, selected)

    monkeypatch.setattr(loop, "restart", watched)
    options = {"params": tiny_params, "steps": 60}
    results = js.stylize_batch(photos[:2], starry, **options, preset="gram")
    assert turned
    for found, photo in zip(results, photos[:2], strict=True):
        expected = js.stylize(photo, starry, **options, preset="gram")
        assert (found.status, found.evaluations) == (expected.status, expected.evaluations)
        np.testing.assert_allclose(found.losses.total[:5], expected.losses.total[:5], rtol=1e-4)
        assert float(found.losses.total[-1]) == pytest.approx(float(expected.losses.total[-1]), rel=0.1)


@pytest.mark.parametrize(("color", "measured"), [("style", [1, 2]), ("symmetric", [1, 1, 2])])
def test_each_style_is_measured_once(tiny_params, photos, starry, china, monkeypatch, color, measured):
    """NumPy arrays too, which are converted for each photo. In the photo's colors each photo has a style of its own."""
    calls = []

    def measure(params, styles, *others):
        calls.append(len(styles))
        return blended_statistics(params, styles, *others)

    monkeypatch.setattr(sys.modules["jaxstyle.transfer.problem"], "blended_statistics", measure)
    one, two = np.asarray(starry), np.asarray(china)
    options = {"params": tiny_params, "steps": 1, "scales": 1, "color": color}
    js.stylize_batch(photos, [one, one, [one, two]], **options, preset="gram")
    assert calls == measured
    calls.clear()
    weights = [[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]
    js.stylize_batch(photos, [[one, two]] * 3, style_weights=weights, **options, preset="gram")
    assert len(calls) == (2 if color == "style" else 3)


def test_another_batch_of_the_same_shape_compiles_nothing(tiny_params, photos, starry):
    options = {"params": tiny_params, "steps": 2, "canvas": (64, 64)}
    js.stylize_batch(photos[:2], starry, **options, preset="gram")
    before = loop.run._cache_size()
    js.stylize_batch(photos[1:], starry, seeds=[3, 4], weights=js.LossWeights(2.0, 5.0), **options, preset="gram")
    assert loop.run._cache_size() == before


def test_callbacks_see_and_stop(tiny_params, photos, starry):
    seen = []

    def callback(progress):
        seen.append(progress)
        return len(seen) == 2

    results = js.stylize_batch(photos, starry, params=tiny_params, steps=50, callback=callback, preset="gram")
    assert [result.status for result in results] == [js.Status.STOPPED] * 3
    assert seen[0].running == 3
    assert seen[0].evaluations == (1, 1, 1)
    assert 0 < seen[0].fraction < seen[1].fraction < 1
    assert seen[1].losses[0] == pytest.approx(float(results[0].losses.total.min()))


def test_an_array_of_pictures_will_do(tiny_params, photos, starry):
    stack = np.stack(photos[:2])
    results = js.stylize_batch(stack, starry, params=tiny_params, steps=2, preset="gram")
    assert [result.image.shape for result in results] == [(48, 64, 3)] * 2
    assert isinstance(results[0].image, jax.Array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contents": []}, "0 contents"),
        ({"contents": "photo"}, "contents is 'photo'"),
        ({"seeds": [1, 2]}, "3 contents, 2 seeds"),
        ({"seeds": 1.5}, "seeds is"),
        ({"styles": np.ones((20, 64, 3), np.float32)}, "style is 64x20"),
        ({"weights": [js.LossWeights(-1.0)] * 3}, "content weight"),
        ({"steps": 0}, "steps is 0"),
        ({"mesh": "all"}, "expected a jax.sharding.Mesh"),
        ({"canvas": 64}, "canvas is 64"),
        ({"seeds": [1.5, 2, 3]}, "expected whole numbers"),
    ],
)
def test_bad_input_is_refused(tiny_params, photos, starry, change, message, unchecked):
    arguments = {"contents": photos, "styles": starry, "steps": 2} | change
    with pytest.raises(js.InputError, match=message):
        js.stylize_batch(
            arguments.pop("contents"), arguments.pop("styles"), params=tiny_params, **arguments, preset="gram"
        )
