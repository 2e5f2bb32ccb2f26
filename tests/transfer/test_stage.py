import math

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.losses.edges import laplacian
from jaxstyle.transfer.job import content_size, make_job, resize_job
from jaxstyle.transfer.problem import make_problem
from jaxstyle.transfer.stage import (
    MIN_WINOGRAD_PIXELS,
    content_share,
    full_size_stages,
    stages_of,
    with_algorithm,
)

SIZE = (300, 400)


def problem_of(jobs, starts, params, stage):
    """The problem of a stage, with its whole whitening."""
    _, prepared = make_problem(jobs, starts, params, stage, None)
    return prepared.with_weights(prepared.weights)([1.0] * len(jobs))


@pytest.mark.parametrize(
    ("algorithm", "shorter", "resolved"),
    [("auto", 1, "direct"), ("auto", 0, "auto"), ("winograd", 1, "winograd"), ("direct", 0, "direct")],
)
def test_only_long_stages_compile_winograd_convolutions(algorithm, shorter, resolved):
    steps = MIN_WINOGRAD_PIXELS // math.prod(SIZE) - shorter
    settings = js.preset("gram").override(steps=steps, algorithm=algorithm)
    (stage,) = full_size_stages(settings)
    expected = stage._replace(objective=settings.override(algorithm=resolved).objective)
    assert with_algorithm(stage, SIZE) == expected


def test_a_program_that_runs_again_may_take_longer_to_compile():
    (stage,) = full_size_stages(js.preset("gram").override(steps=10))
    size = 100, MIN_WINOGRAD_PIXELS // 10 // 100 // 4
    assert with_algorithm(stage._replace(runs=3), size).objective.algorithm == "direct"
    assert with_algorithm(stage._replace(runs=4), size).objective.algorithm == "auto"


def test_the_share_of_the_content_halves_with_each_doubling_beyond_the_detail():
    settings = js.preset("gram").override(scales=4, detail=50, steps=100)
    job = make_job(js.white_noise(1, 200, 320), [js.white_noise(2, 200, 160)], settings)
    stages = stages_of([job], settings)
    sizes = [content_size(job, stage.factor) for stage in stages]
    assert sizes == [(50, 80), (100, 160), (200, 320)]
    # The first scale has no other image.
    assert [content_share(resize_job(job, stage.factor), stage) for stage in stages] == [1.0, 50 / 160, 50 / 320]


@pytest.mark.parametrize(("strength", "own"), [(None, 0.25), (0.9, 0.25), (0.5, 0.25), (0.2, 0.7), (0.0, 1.0)])
def test_below_the_middle_strength_more_of_the_content_is_its_own(strength, own):
    settings = js.preset("gram").override(detail=40, strength=strength)
    job = make_job(js.white_noise(1, 100, 160), [js.white_noise(2, 64, 64)], settings)
    *_, stage = stages_of([job], settings.override(init=js.white_noise(3, 40, 64)))
    assert content_share(job, stage) == pytest.approx(own)


def test_a_picture_as_the_start_counts_as_that_of_a_scale_before():
    settings = js.preset("gram").override(detail=50, init=js.white_noise(3, 40, 64))
    content = js.white_noise(1, 200, 320)
    job = make_job(content, [js.white_noise(2, 200, 160)], settings)
    (stage,) = stages_of([job], settings)
    assert content_share(resize_job(job, stage.factor), stage) == 50 / 320


def test_the_content_is_a_mixture_of_features_and_of_edges(tiny_params):
    """Of two images in a batch, only that beyond the detail takes part of its content from the initial image."""
    settings = js.preset("gram").override(scales=2, detail=64, edge_weight=1.0)
    contents = [js.white_noise(seed, 48, width) for seed, width in ((1, 64), (2, 96))]
    jobs = [make_job(content, [js.white_noise(3, 40, 40)], settings) for content in contents]
    starts = [jnp.flip(content, 1) for content in contents]
    stage = stages_of([make_job(js.white_noise(4, 96, 128), [js.white_noise(5, 80, 80)], settings)], settings)[-1]

    def maps(problem):
        return problem.targets.content["relu4_2"], problem.targets.edges

    def measured(image):
        return js.features(tiny_params, image, ["relu4_2"])["relu4_2"], laplacian(image)

    together = maps(problem_of(jobs, starts, tiny_params, stage))
    for k, (job, start, share) in enumerate(zip(jobs, starts, (1.0, 2 / 3), strict=True)):
        alone = maps(problem_of([job], [start], tiny_params, stage))
        for own, other, single, both in zip(measured(job.content), measured(start), alone, together, strict=True):
            expected = share * own + (1 - share) * other
            np.testing.assert_allclose(single, expected, rtol=1e-5, atol=2e-6)
            np.testing.assert_allclose(both[k, : single.shape[0], : single.shape[1]], expected, rtol=1e-5, atol=2e-6)
