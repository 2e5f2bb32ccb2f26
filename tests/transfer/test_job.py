"""What a run starts from, by its strength."""

import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.transfer.job import make_job, next_image, start_image

CONTENT, STYLE = js.resize(js.white_noise(1, 20, 28), 80, 112), js.white_noise(2, 64, 64)


def job_of(strength):
    return make_job(CONTENT, [STYLE], js.Settings(strength=strength, mosaic=0.4))


@pytest.mark.parametrize(("strength", "share"), [(None, 1.0), (0.8, 1.0), (0.5, 1.0), (0.2, 0.4), (0.0, 0.0)])
def test_below_the_middle_strength_the_start_approaches_the_content(strength, share):
    mosaic = js.style_mosaic(0, [STYLE], *CONTENT.shape[:2])
    expected = CONTENT + share * 0.4 * (mosaic - CONTENT)
    np.testing.assert_allclose(start_image(job_of(strength), "content"), expected, atol=1e-6)


@pytest.mark.parametrize(("strength", "share"), [(None, 0.0), (0.8, 0.0), (0.5, 0.0), (0.2, 0.6), (0.0, 1.0)])
def test_a_larger_scale_gets_detail_back(strength, share):
    coarse = js.resize(CONTENT, 40, 56)
    enlarged = js.resize(coarse, 80, 112)
    image = next_image(job_of(strength), coarse)
    np.testing.assert_allclose(image, np.clip(enlarged + share * (CONTENT - enlarged), 0, 1), atol=1e-6)


def test_an_image_of_this_size_stays():
    image = js.white_noise(3, 80, 112)
    np.testing.assert_array_equal(next_image(job_of(0.0), image), image)


def test_strength_0_is_the_content(tiny_params):
    """At all scales, with the finish, and reduced from twice its size."""
    result = js.stylize(CONTENT, STYLE, params=tiny_params, strength=0.0, steps=40, scales=3, finish=2)
    assert [scale.factor for scale in result.scales] == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    np.testing.assert_allclose(result.image, CONTENT, atol=1e-5)
