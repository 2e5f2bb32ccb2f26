"""Small pictures are made at a larger size and reduced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxstyle as js
from jaxstyle.transfer.job import content_size, make_job
from jaxstyle.transfer.pyramid import SUPERSAMPLED_SIDE, supersampling
from jaxstyle.transfer.stage import stages_of

SIDES = st.integers(32, 1200)
OPTIONS = {"preset": "gram", "steps": 4, "mosaic": 0.0}


@pytest.fixture(scope="module")
def inputs(photograph):
    return photograph("china.jpg", 48, 32), photograph("starry_night.jpg", 40, 64)


@given(SIDES, SIDES, st.floats(1, 4))
def test_the_factor(height, width, largest):
    factor, longest = supersampling(height, width, largest), max(height, width)
    assert 1 <= factor <= largest
    if factor > 1:
        assert factor * longest <= SUPERSAMPLED_SIDE * (1 + 1e-12)
    if longest >= SUPERSAMPLED_SIDE:
        assert factor == 1
    elif largest * longest <= SUPERSAMPLED_SIDE:
        assert factor == largest


@given(SIDES, SIDES, st.floats(1, 4), st.integers(1, 4))
def test_every_scale_is_the_size_of_the_picture_times_its_factor(height, width, largest, scales):
    settings = js.preset("gram").override(supersample=largest, scales=scales)
    result = settings.scales_of(height, width, [(300, 400)])
    assert result[-1].factor == pytest.approx(supersampling(height, width, largest))
    for scale in result:
        assert (scale.height, scale.width) == (round(height * scale.factor), round(width * scale.factor))


def test_it_is_the_larger_picture_reduced(inputs, tiny_params):
    result = js.stylize(*inputs, params=tiny_params, supersample=2.0, **OPTIONS)
    height, width, _ = inputs[0].shape
    large = [js.resize(image, 2 * image.shape[0], 2 * image.shape[1]) for image in inputs]
    expected = js.stylize(*large, params=tiny_params, **OPTIONS)
    np.testing.assert_allclose(result.image, js.resize(expected.image, height, width), atol=1e-6)
    np.testing.assert_allclose(result.losses.total, expected.losses.total, rtol=1e-6)
    assert [(scale.height, scale.width, scale.factor) for scale in result.scales] == [(2 * height, 2 * width, 2.0)]


@pytest.mark.parametrize("color", ["luminance", "symmetric"])
def test_the_photo_stays_outside_of_all_regions(inputs, tiny_params, color):
    content, style = inputs
    mask = np.zeros((*content.shape[:2], 1), np.float32)
    mask[:, 16:] = 1
    regions = js.Regions(mask, (np.ones(1, np.float32),))
    options = {"regions": regions, "color": color, "supersample": 2.0}
    result = js.stylize(content, style, params=tiny_params, **options, **OPTIONS)
    assert result.image.shape == content.shape
    np.testing.assert_allclose(result.image[:, :16], content[:, :16], atol=1e-6)
    assert np.abs(np.asarray(result.image - content)[:, 16:]).max() > 0.01


def test_an_image_to_start_from_may_have_either_size(inputs, tiny_params):
    content, style = inputs
    large = js.resize(style, 64, 96)
    options = {"params": tiny_params, "supersample": 2.0, **OPTIONS}
    starts = [js.stylize(content, style, init=init, **options).losses.total[0] for init in (large, content)]
    assert starts[0] != starts[1]
    enlarged = js.resize(content, 64, 96)
    assert float(js.stylize(content, style, init=enlarged, **options).losses.total[0]) == pytest.approx(
        float(starts[1]), rel=1e-5
    )


def test_a_batch_has_one_factor_which_is_that_of_its_largest_picture(inputs, tiny_params):
    content, style = inputs
    contents = [content, js.resize(content, 36, 54)]
    options = {"params": tiny_params, "supersample": 2.0, **OPTIONS}
    together = js.stylize_batch(contents, style, **options)
    for image, result in zip(contents, together, strict=True):
        alone = js.stylize(image, style, **options)
        assert result.image.shape == image.shape
        assert result.scales == alone.scales
        np.testing.assert_allclose(result.image, alone.image, atol=2e-3)
    settings = js.preset("gram").override(supersample=2.0)
    jobs = [make_job(js.white_noise(1, *size), [style], settings) for size in ((100, 400), (64, 64))]
    (stage,) = stages_of(jobs, settings)
    assert [content_size(job, stage.factor) for job in jobs] == [(128, 512), (82, 82)]
