"""`stylize`: what a run gives, how it stops, that it compiles once, and a whole run with the real weights."""

import dataclasses
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.image.mosaic import initial_image
from jaxstyle.minimize import loop
from jaxstyle.minimize.status import Status
from jaxstyle.transfer import run


@pytest.fixture(scope="module")
def params(tiny_params):
    return tiny_params


@pytest.fixture(scope="module")
def photo():
    return js.white_noise(1, 33, 48)


@pytest.fixture(scope="module")
def painting():
    return js.white_noise(2, 40, 37)


def test_a_run_gives_the_best_picture_and_one_row_of_losses_a_step(params, photo, painting):
    result = js.stylize(photo, painting, params=params, steps=12, preset="gram")
    assert result.status is Status.STEP_LIMIT
    assert result.evaluations == 12
    assert all(values.shape == (12,) for values in result.losses)
    np.testing.assert_allclose(result.losses.total, sum(result.losses[1:4]), rtol=1e-5)
    assert result.losses.total[-1] < 0.5 * result.losses.total[0]
    assert result.image.shape == photo.shape
    assert 0 <= float(result.image.min()) <= float(result.image.max()) <= 1
    objective = js.preset("gram").objective
    targets = js.make_targets(params, photo, [painting], objective)
    again, _ = js.value_and_grad(result.image, params, targets, js.preset("gram").weights, objective)
    np.testing.assert_allclose(again.total, result.losses.total.min(), rtol=1e-5)


@pytest.mark.usefixtures("lenient_promotion")
def test_a_program_that_computes_in_64_bits_can_stylize(params, photo, painting):
    """All scales and the finish are computed in float32."""
    with jax.enable_x64(True):
        result = js.stylize(photo, painting, params=params, steps=2, finish=2, scales=1)
    assert result.status is Status.STEP_LIMIT
    assert {str(leaf.dtype) for leaf in (result.image, *result.losses)} == {"float32"}


def test_chunks_do_not_change_the_run(params, photo, painting):
    """The same steps as one by one, whatever the callback's rhythm."""
    settings = js.preset("gram")
    targets = js.make_targets(params, photo, [painting], settings.objective)
    arguments = (params, js.whiten(targets), settings.weights, settings.objective, settings.transform)
    state = js.init(photo, *arguments)
    totals = []
    for _ in range(9):
        state = js.step(state, *arguments)
        totals.append(float(state.losses.total))
    result = js.stylize(photo, painting, params=params, steps=9, mosaic=0.0, callback_every=4, preset="gram")
    np.testing.assert_allclose(result.losses.total, totals, rtol=1e-4)


def test_one_compile_a_run_and_none_for_the_next(params, photo, painting):
    before = loop.run._cache_size()
    js.stylize(photo, painting, params=params, steps=30, callback_every=7, preset="gram")
    first = loop.run._cache_size() - before
    js.stylize(
        photo[::-1],
        painting[::-1],
        params=params,
        steps=11,
        weights=js.LossWeights(2.0, (1.0,) * 5, 3.0),
        preset="gram",
    )
    js.stylize(
        photo,
        painting,
        params=params,
        steps=3,
        init="noise",
        weights=js.LossWeights(2.0, (2.0,) * 5, 0.0),
        preset="gram",
    )
    # One program a shape of the weights: a number for all layers, or one each.
    assert first <= 1
    assert loop.run._cache_size() - before <= 2


def test_the_callback_sees_every_multiple_and_can_stop(params, photo, painting):
    seen = []
    js.stylize(
        photo, painting, params=params, steps=10, callback=lambda p: seen.append(p), callback_every=3, preset="gram"
    )
    assert {3, 6, 9, 10} <= {progress.evaluations for progress in seen}
    totals = [float(progress.losses.total) for progress in seen]
    assert totals == sorted(totals, reverse=True)
    # Pictures that a callback keeps stay valid after later chunks.
    assert all(bool(jnp.isfinite(progress.image).all()) for progress in seen)
    stopped = js.stylize(
        photo, painting, params=params, steps=50, callback=lambda p: p.evaluations >= 4, callback_every=2, preset="gram"
    )
    assert stopped.status is Status.STOPPED
    assert stopped.evaluations < 50


def test_ctrl_c_keeps_the_picture_so_far(params, photo, painting):
    before = signal.getsignal(signal.SIGINT)

    def press(progress):
        if progress.evaluations >= 5:
            os.kill(os.getpid(), signal.SIGINT)

    result = js.stylize(photo, painting, params=params, steps=1000, callback=press, callback_every=5, preset="gram")
    assert result.status is Status.INTERRUPTED
    assert 5 <= result.evaluations < 1000
    assert float(result.losses.total.min()) < float(result.losses.total[0])
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("default_handlers")
def test_a_second_ctrl_c_raises(params, photo, painting):
    def press(progress):
        # Two signals from outside could arrive as one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        js.stylize(photo, painting, params=params, steps=20, callback=press, preset="gram")


def test_it_runs_outside_the_main_thread(params, photo, painting):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(js.stylize(photo, painting, params=params, steps=2, preset="gram"))
    )
    thread.start()
    thread.join()
    assert results[0].evaluations == 2


def test_it_converges(params, photo, painting):
    """A tiny network on a tiny picture gets nowhere after a while; a large tolerance says so early."""
    result = js.stylize(photo, painting, params=params, steps=400, tolerance=0.02, preset="gram")
    assert result.status is Status.CONVERGED
    assert 20 < result.evaluations < 400
    only_content = js.LossWeights(1.0, 0.0, 0.0)
    at_target = js.stylize(photo, photo, params=params, steps=100, mosaic=0.0, weights=only_content, preset="gram")
    assert at_target.status is Status.CONVERGED
    np.testing.assert_allclose(at_target.image, photo, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run(params, photo, painting):
    broken = {**params, "conv1_1": {**params["conv1_1"], "bias": params["conv1_1"]["bias"].at[0].set(jnp.inf)}}
    for optimizer in (js.lbfgs(), js.adam()):
        # optax's own Adam mixes an int32 count with floats.
        with jax.numpy_dtype_promotion("standard"):
            result = js.stylize(photo, painting, params=broken, steps=100, optimizer=optimizer, preset="gram")
        assert result.status is Status.NOT_FINITE
        assert result.evaluations == 1
        assert bool(jnp.isfinite(result.image).all())


def test_overflow_in_the_middle_is_survived_or_named(params, photo, painting):
    """Weights near the end of float32: the run either goes on with finite pictures or says why it stopped."""
    result = js.stylize(
        photo, painting, params=params, steps=60, weights=js.LossWeights(1e36, 1e37, 0.0), preset="gram"
    )
    assert bool(jnp.isfinite(result.image).all())
    assert result.status in (Status.NOT_FINITE, Status.STEP_LIMIT, Status.CONVERGED)


def test_inits(params, photo, painting):
    def first_loss(**options):
        return float(js.stylize(photo, painting, params=params, steps=1, **options, preset="gram").losses.content[0])

    assert first_loss(init="content", mosaic=0.0) == 0
    assert first_loss(init="content") == first_loss(init="content", mosaic=js.preset("gram").mosaic) > 0
    noise = first_loss(init="noise", seed=3)
    assert noise > 0
    assert noise == first_loss(init="noise", seed=3)
    assert noise != first_loss(init="noise", seed=4)
    assert first_loss(init=photo) == 0
    assert first_loss(init=painting) > 0, "resized to the content's size"


def test_several_styles_blend(params, photo, painting):
    other = js.white_noise(5, 64, 64) ** 2
    one = js.stylize(photo, [painting, other], params=params, steps=1, style_weights=(1.0, 0.0), preset="gram")
    alone = js.stylize(photo, painting, params=params, steps=1, preset="gram")
    np.testing.assert_allclose(one.losses.style, alone.losses.style, rtol=1e-5)
    both = js.stylize(photo, (painting, other), params=params, steps=1, preset="gram")
    assert float(both.losses.style[0]) != pytest.approx(float(alone.losses.style[0]), rel=1e-3)


def test_numpy_pictures_are_welcome(params, photo, painting):
    result = js.stylize(np.asarray(photo), [np.asarray(painting)], params=params, steps=1, preset="gram")
    assert result.evaluations == 1


@pytest.fixture(scope="module")
def large():
    """A picture with room for two scales."""
    return js.white_noise(6, 67, 96)


@pytest.fixture(scope="module")
def style():
    """Large enough for them too."""
    return js.white_noise(7, 80, 90)


def test_coarse_to_fine_is_two_runs_one_after_the_other(params, large, style):
    """The same losses as step by step by hand: everything at half size, then from the enlarged best picture."""
    result = js.stylize(large, style, params=params, steps=23, scales=2, mosaic=0.0, preset="gram")
    assert [scale[:3] for scale in result.scales] == [(34, 48, 0.5), (67, 96, 1.0)]
    assert [scale.steps for scale in result.scales] == [11, 12]
    assert result.evaluations == 23
    assert result.image.shape == large.shape

    settings = js.preset("gram")
    halves = js.resize(large, 34, 48), js.resize(style, 40, 45)
    picture, totals = halves[0], []
    for (photo, painting), steps in ((halves, 11), ((large, style), 12)):
        targets = js.make_targets(params, photo, [painting], settings.objective)
        arguments = (params, js.whiten(targets), settings.weights, settings.objective, settings.transform)
        state = js.init(js.resize(picture, *photo.shape[:2]), *arguments)
        for _ in range(steps):
            state = js.step(state, *arguments)
            totals.append(float(state.losses.total))
        picture = state.best_image
    np.testing.assert_allclose(result.losses.total, totals, rtol=2e-3)


def test_the_preset_or_the_caller_says_how_many_scales(params, monkeypatch):
    seen = []

    def spy(*arguments, **options):
        seen.append((arguments, options))
        raise js.InputError("enough")

    monkeypatch.setattr("jaxstyle.transfer.settings.pyramid", spy)
    photo, paintings = js.white_noise(1, 64, 256), [js.white_noise(2, 40, 50), js.white_noise(2, 33, 70)]
    for options in ({}, {"preset": "gatys-notebook"}, {"scales": 3}, {"preset": "paper", "scales": "auto"}):
        with pytest.raises(js.InputError, match="enough"):
            js.stylize(photo, paintings, params=params, steps=20, **options)
    expected = [(128, 512, 20, "auto"), (64, 256, 20, 1), (128, 512, 20, 3), (64, 256, 20, "auto")]
    assert [arguments for arguments, _ in seen] == expected
    assert seen[0][1] == {"share": 0.25, "ratio": 2.0, "styles": [(80, 100), (66, 140)], "min_side": 32}


def test_a_callback_follows_the_scales(params, large, style):
    seen = []
    js.stylize(
        large,
        style,
        params=params,
        steps=24,
        scales=2,
        callback=lambda p: seen.append(p),
        callback_every=5,
        preset="gram",
    )
    assert {5, 10, 12, 15, 20, 24} <= {progress.evaluations for progress in seen}
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    for progress in seen:
        coarse = progress.evaluations <= 12
        assert progress.scale[:2] == progress.image.shape[:2] == ((34, 48) if coarse else (67, 96))
        assert progress.steps == 24
        # A step at half size costs about a quarter.
        expected = progress.evaluations / 4 if coarse else 3 + (progress.evaluations - 12)
        assert progress.fraction == pytest.approx(expected / 15, rel=0.02)


@pytest.mark.parametrize("how", ["callback", "Ctrl-C"])
def test_a_run_that_stops_at_a_coarse_scale_gives_a_picture_of_the_full_size(params, large, style, how):
    seen = []

    def stop(progress):
        seen.append(progress)
        if how == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        return how == "callback"

    result = js.stylize(
        large, style, params=params, steps=40, scales=2, callback=stop, seed=5, init="noise", preset="gram"
    )
    assert result.status is (Status.STOPPED if how == "callback" else Status.INTERRUPTED)
    assert [scale.steps for scale in result.scales] == [1]
    assert seen[0].image.shape == (34, 48, 3)
    np.testing.assert_array_equal(seen[0].image, js.white_noise(5, 34, 48), "noise of the first scale's size")
    np.testing.assert_array_equal(result.image, js.resize(seen[0].image, 67, 96))


def test_the_mosaic_is_of_the_first_scale(params, large, style):
    """With smaller pieces: as many pixels at a coarse scale would be blocks at the full one."""
    seen = []
    options = {"callback": lambda progress: seen.append(progress.image) or True, "seed": 5, "mosaic": 0.5}
    js.stylize(large, style, params=params, steps=40, scales=2, **options, preset="gram")
    small, painting = (js.resize(each, *(round(side / 2) for side in each.shape[:2])) for each in (large, style))
    expected = initial_image("content", small, [painting], mosaic=0.5, seed=5, factor=0.5)
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


def test_a_coarse_scale_that_is_not_finite_ends_the_run(params, large, style):
    broken = {**params, "conv1_1": {**params["conv1_1"], "bias": params["conv1_1"]["bias"].at[0].set(jnp.inf)}}
    result = js.stylize(large, style, params=broken, steps=40, scales=2, preset="gram")
    assert result.status is Status.NOT_FINITE
    assert result.evaluations == 1
    assert result.image.shape == large.shape
    assert bool(jnp.isfinite(result.image).all())


def test_a_coarse_scale_that_converged_hands_over_to_the_next(params, large, style):
    """What it did not spend is not spent at the full size, which is dearer."""
    result = js.stylize(large, style, params=params, steps=200, scales=2, tolerance=0.05, preset="gram")
    assert 20 < result.scales[0].steps < 100
    assert 20 < result.scales[1].steps <= 100
    assert result.evaluations == len(result.losses.total) == sum(scale.steps for scale in result.scales)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"callback_every": 0}, "callback_every is 0"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"mosaic": 1.5}, "mosaic is 1.5, expected a number from 0 to 1"),
        ({"scales": 0}, "scales is 0, expected 'auto' or a number from 1 to 16"),
        ({"preset": "gatys"}, "unknown preset 'gatys'"),
        ({"init": "content.png"}, "unknown init 'content.png'"),
        ({"weights": js.LossWeights(-1.0, 1.0)}, "content weight is -1.0"),
        ({"weights": js.LossWeights(0.0, 0.0)}, "all weights are zero"),
        ({"style_weights": (1.0, 2.0)}, "2 style weights for 1 styles"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(params, photo, painting, options, message):
    with pytest.raises(js.InputError, match=message):
        js.stylize(photo, painting, params=params, **({"steps": 1, "preset": "gram"} | options))


def test_bad_pictures_are_refused_in_one_sentence(params, photo, painting):
    with pytest.raises(js.InputError, match="expected at least 32 a side"):
        js.stylize(photo[:20], painting, params=params, preset="gram")
    with pytest.raises(js.InputError, match="style is 20x40"):
        js.stylize(photo, painting[:, :20], params=params, preset="gram")
    with pytest.raises(js.InputError, match="expected at least one"):
        js.stylize(photo, [], params=params, preset="gram")
    with pytest.raises(js.InputError, match="NaN or infinite"):
        js.stylize(photo, painting, params=params, init=photo.at[0].set(jnp.nan), preset="gram")


def test_clumsy_calls_are_refused_in_one_sentence(unchecked, params, photo, painting):
    for arguments, options, message in (
        ((photo * 255, painting), {}, "content has values from .* divide 8-bit pixels by 255"),
        ((photo, painting * 255), {}, "style has values"),
        (("photo.jpg", painting), {}, "content is 'photo.jpg', expected an array of pixels"),
        ((photo, "painting.jpg"), {}, "style is 'painting.jpg', expected an array"),
        ((photo, None), {}, "style is None, expected an array"),
        ((photo, painting), {"optimizer": "sgd"}, "optimizer is 'sgd', expected 'lbfgs', 'adam', or an optax"),
        ((photo, painting), {"size": 64}, "no setting 'size', expected images of that size: load_image"),
        (
            (photo, painting),
            {"colour": "style"},
            "there is no setting 'colour', expected an attribute of Settings, such as color",
        ),
        ((photo, painting), {"weights": (1, 2, 3)}, "weights is .* expected LossWeights"),
        ((photo, painting), {"steps": 1.5}, "steps is 1.5, expected a whole number"),
        ((photo, painting), {"scales": "many"}, "scales is 'many', expected 'auto' or a number"),
    ):
        with pytest.raises(js.InputError, match=message):
            js.stylize(*arguments, **({"params": params} | options), preset="gram")


def test_the_real_thing(real_params, china, starry):
    """A photo takes on a painting's style: most of the style loss goes, the photo stays recognizable."""
    result = js.stylize(china, starry, params=real_params, steps=40, preset="gram")
    photo = js.stylize(china, starry, params=real_params, steps=1, mosaic=0.0, preset="gram")
    assert float(result.losses.style[-1]) < 0.02 * float(photo.losses.style[0])
    assert result.status is Status.STEP_LIMIT
    same_layout = np.corrcoef(np.asarray(result.image).mean(-1).ravel(), np.asarray(china).mean(-1).ravel())[0, 1]
    assert same_layout > 0.3


@pytest.mark.long
@pytest.mark.parametrize("name", ["paper", "gatys-notebook"])
def test_presets_with_the_real_weights(real_params, china, starry, name):
    result = js.stylize(china, starry, params=real_params, preset=name, steps=12)
    assert float(result.losses.total.min()) < 0.25 * float(result.losses.total[0])


def test_out_of_memory_is_tried_once_more_in_windows(params, painting, monkeypatch):
    seen = []
    real = run.minimize

    def full(state, make_problem, *rest):
        seen.append(make_problem((0.0,)).objective.window)
        if len(seen) == 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
        return real(state, make_problem, *rest)

    monkeypatch.setattr(run, "minimize", full)
    photo = js.white_noise(1, 100, 140)
    with pytest.warns(UserWarning, match="out of memory: retrying with windows of 128 pixels"):
        result = js.stylize(photo, painting, params=params, steps=2, preset="gram")
    assert seen == [None, 128]
    assert (result.evaluations, result.window) == (2, 128)

    # Not if the window was asked for.
    seen.clear()
    with pytest.raises(jax.errors.JaxRuntimeError):
        js.stylize(photo, painting, params=params, steps=2, window=64, preset="gram")
    assert seen == [64]


def test_a_window_by_name_is_auto_or_whole(params, photo, painting, unchecked):
    with pytest.raises(js.InputError, match="window is 'all', expected auto, whole, or 32 pixels or more"):
        js.stylize(photo, painting, params=params, window="all", preset="gram")


@pytest.mark.long
def test_windows_give_the_same_run(params):
    photo, painting = js.white_noise(1, 90, 120), js.white_noise(2, 80, 64)
    whole, windowed = (
        js.stylize(photo, painting, params=params, steps=6, window=window, preset="gram") for window in (None, 48)
    )
    np.testing.assert_allclose(windowed.losses.total, whole.losses.total, rtol=1e-4)
    assert np.abs(np.asarray(windowed.image - whole.image)).max() < 1e-3


def test_settings_are_keywords_and_keywords_override_them(params, photo, painting):
    options = {"steps": 4, "seed": 3, "color": "luminance", "mosaic": 0.5, "whitening": 0.0, "strength": 0.4}
    keywords = js.stylize(photo, painting, params=params, **options, preset="gram")
    settings = dataclasses.replace(js.Settings(), **options | {"steps": 9, "init": "noise"})
    assert js.stylize(photo, painting, settings, params=params).evaluations == 9
    result = js.stylize(photo, painting, settings, params=params, steps=4, init="content")
    np.testing.assert_array_equal(result.image, keywords.image)
    (again, _) = js.stylize_batch(
        [photo, painting], painting, settings, params=params, steps=4, init="content", seeds=[3, 4]
    )
    np.testing.assert_allclose(again.losses.total, keywords.losses.total, rtol=1e-3)


def test_settings_are_the_preset_of_gram_matrices_alone():
    default = js.preset("gram").parts()
    own = js.Settings().parts()
    assert {name for name in default if default[name] != own[name]} == {"name", "source"}


def test_settings_and_a_preset_contradict_each_other(params, photo, painting, unchecked):
    with pytest.raises(js.InputError, match="settings and preset='paper' are given, expected one of them"):
        js.stylize(photo, painting, js.Settings(), params=params, preset="paper")


def test_a_strength_in_settings_keeps_the_weights_of_regions(params, photo, painting):
    masks = np.zeros((*photo.shape[:2], 2), np.float32)
    masks[:, :24, 0], masks[:, 24:, 1] = 1, 1
    regions = js.Regions(masks, (np.ones(2, np.float32),))
    settings = js.Settings(strength=0.5, region_weight=(1.0, 0.25))
    result = js.stylize(photo, painting, settings, params=params, regions=regions, steps=2)
    np.testing.assert_array_equal(result.weights.regions, np.float32([1.0, 0.25]))
