"""The problem of a stage: the arrays of each job, alone and with others."""

import jax
import numpy as np

import jaxstyle as js
from jaxstyle.objective.evaluate import compiled_value_and_grad
from jaxstyle.transfer.job import make_job, resize_job
from jaxstyle.transfer.problem import make_problem
from jaxstyle.transfer.stage import full_size_stages


def test_previous_frames_of_a_batch_are_those_of_each_job(tiny_params):
    """On canvases, as their sizes differ."""
    settings = js.Settings(temporal_weight=20.0, whitening=0.0)
    (stage,) = full_size_stages(settings)
    jobs = []
    for k, size in enumerate([(32, 48), (40, 32)]):
        previous = js.Warped(js.white_noise(10 + k, *size), js.white_noise(20 + k, *size)[:, :, :1])
        jobs.append(make_job(js.white_noise(k, *size), [js.white_noise(5, 32, 32)], settings, previous=previous))
    starts = [1 - job.content for job in jobs]

    def evaluate(jobs, starts):
        pixels, problem = make_problem(jobs, starts, tiny_params, stage, None)
        params, targets, weights, objective, _ = problem.with_weights(problem.weights)([0.0] * len(jobs))

        def one(pixels, targets, weights):
            return compiled_value_and_grad(pixels, params, targets, weights, objective)

        return (jax.vmap(one) if len(jobs) > 1 else one)(pixels, targets, weights)

    together, gradients = evaluate(jobs, starts)
    for k, (job, start) in enumerate(zip(jobs, starts, strict=True)):
        losses, gradient = evaluate([job], [start])
        assert losses.temporal > 0.1
        np.testing.assert_allclose([term[k] for term in together], losses, rtol=1e-5)
        height, width = job.content.shape[:2]
        np.testing.assert_allclose(gradients[k, :height, :width], gradient, atol=1e-5 * float(abs(gradient).max()))
        assert not np.any(gradients[k, height:])


def test_a_smaller_job_has_a_smaller_previous_frame():
    settings = js.Settings(temporal_weight=1.0)
    previous = js.Warped(js.white_noise(1, 64, 96), js.white_noise(2, 64, 96)[:, :, :1])
    job = make_job(js.white_noise(0, 64, 96), [js.white_noise(3, 32, 32)], settings, previous=previous)
    half = resize_job(job, 0.5).previous
    assert (half.pixels.shape, half.weights.shape) == ((32, 48, 3), (32, 48, 1))
    np.testing.assert_allclose(half.pixels.mean(), previous.pixels.mean(), atol=1e-2)
