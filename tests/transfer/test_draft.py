"""The first evaluations in a draft precision, and the exact ones that follow."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.transfer import draft
from jaxstyle.transfer.draft import MIN_PIXELS, MIN_STEPS, draft_objective, draft_precision, exact_steps
from jaxstyle.transfer.job import make_job
from jaxstyle.transfer.stage import continues_draft, stages_of, steps_of
from jaxstyle.transfer.summary import final_loss

CONTENT, STYLE = js.white_noise(1, 64, 72), js.white_noise(2, 70, 64)


class KilledError(Exception):
    pass


@pytest.fixture
def run(tiny_params):
    def run(*contents, **options):
        options = {"params": tiny_params, "steps": 24, "scales": 1, "preset": "gram"} | options
        if len(contents) > 1:
            return js.stylize_batch(contents, STYLE, **options)
        return js.stylize(*(contents or (CONTENT,)), STYLE, **options)

    return run


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(draft.jax, "devices", lambda: [SimpleNamespace(platform="gpu")])


def exact_loss(image, settings, params):
    targets = js.make_targets(params, CONTENT, [STYLE], settings.objective)
    return float(js.value_and_grad(image, params, targets, settings.weights, settings.objective)[0].total)


def test_a_cpu_has_no_draft_unless_asked_for():
    settings = js.Settings()
    assert draft_precision(settings, (4096, 4096), 100) is None
    explicit = dataclasses.replace(settings, draft="bfloat16")
    assert draft_precision(explicit, (64, 64), MIN_STEPS) == "bfloat16"
    assert draft_precision(explicit, (64, 64), MIN_STEPS - 1) is None


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_it_is_for_large_pictures_in_float32():
    settings, size, steps = js.Settings(), (1000, 1000), MIN_PIXELS // 1_000_000
    assert draft_precision(settings, size, steps) == "bfloat16"
    assert draft_precision(settings, size, steps - 1) is None
    for changes in ({"draft": "none"}, {"precision": "bfloat16"}, {"precision": "default"}):
        assert draft_precision(dataclasses.replace(settings, **changes), size, steps) is None


def test_winograd_is_for_float32():
    objective = draft_objective(js.Objective(algorithm="winograd", window=64), "bfloat16")
    assert objective == js.Objective(algorithm="direct", precision="bfloat16", window=64)


def test_every_size_and_its_finish_begin_with_a_draft():
    settings = js.preset("default").override(draft="bfloat16", steps=40, supersample=1.0)
    job = make_job(js.white_noise(0, 256, 256), [STYLE], settings)
    stages = stages_of([job], settings)
    precisions = [stage.objective.precision for stage in stages]
    assert precisions == ["bfloat16", "highest"] * 4
    assert [stage.is_draft for stage in stages] == [True, False] * 4
    assert [continues_draft(stages, index) for index in range(8)] == [False, True] * 4
    assert sum(stage.steps for stage in stages) == 40 + 2 * settings.finish
    for before, stage in zip(stages[::2], stages[1::2], strict=True):
        assert stage.steps == exact_steps(before.steps + stage.steps)
        assert (before.factor, before.detail) == (stage.factor, stage.detail)


def test_exact_stages_take_what_a_draft_leaves():
    settings = js.preset("gram").override(draft="bfloat16", steps=40)
    stages = stages_of([make_job(CONTENT, [STYLE], settings)], settings)
    assert [stage.steps for stage in stages] == [36, 4]
    assert steps_of(stages, 0, []) == 36
    assert [steps_of(stages, 1, [taken]) for taken in (36, 20)] == [4, 20]


def test_the_result_is_that_of_exact_losses(run, tiny_params):
    result, plain = run(draft="bfloat16", steps=40), run(steps=40)
    assert (result.evaluations, [scale.steps for scale in result.scales]) == (40, [36, 4])
    assert plain.losses.total[0] != result.losses.total[0]
    # The first exact evaluation is of the best picture of the draft.
    exact = exact_loss(result.image, js.preset("gram"), tiny_params)
    np.testing.assert_allclose(final_loss(result), exact, rtol=1e-5)
    assert float(result.losses.total[-1]) == final_loss(result)
    assert exact < 1.2 * float(jnp.min(plain.losses.total))


def test_a_draft_ends_when_its_loss_hardly_falls(run, tiny_params, monkeypatch):
    monkeypatch.setattr(draft, "TOLERANCE", 0.5)
    result = run(draft="bfloat16", steps=60, whitening=0.0)
    (first, second) = (scale.steps for scale in result.scales)
    assert (first < 54, first + second) == (True, 60)
    assert final_loss(result) < float(jnp.min(result.losses.total[:first]))
    np.testing.assert_allclose(final_loss(result), exact_loss(result.image, js.preset("gram"), tiny_params), rtol=1e-5)


def test_the_content_is_mixed_with_the_image_before_the_draft(tiny_params, monkeypatch):
    """Both minimize one loss, also where part of the content is that of the initial image."""
    from jaxstyle.transfer import run as driver

    seen, real = [], driver.make_problem

    def record(*arguments, **options):
        pixels, problem = real(*arguments, **options)
        seen.append(problem.with_weights(problem.weights)((0.0,)).targets.content["relu4_2"])
        return pixels, problem

    monkeypatch.setattr(driver, "make_problem", record)
    options = {"params": tiny_params, "steps": 24, "preset": "gram", "init": js.white_noise(5, 64, 72)}
    js.stylize(CONTENT, STYLE, **options, draft="bfloat16", detail=36)
    drafted, exact = seen
    np.testing.assert_allclose(drafted, exact, atol=0.02 * float(jnp.abs(exact).max()))


@pytest.mark.parametrize("evaluations", [1, 9, 22, 23])
def test_a_killed_run_goes_on_bit_identically(run, tmp_path, evaluations):
    options = {"draft": "bfloat16", "detail": 36, "init": js.white_noise(5, 64, 72)}
    expected, checkpoint = run(**options), js.Checkpoint(tmp_path / "run", every=0)

    def die(progress):
        if progress.evaluations >= evaluations:
            raise KilledError

    with pytest.raises(KilledError):
        run(**options, checkpoint=checkpoint, callback=die, callback_every=1)
    again = run(**options, checkpoint=dataclasses.replace(checkpoint, resume=True))
    np.testing.assert_array_equal(again.image, expected.image)
    np.testing.assert_array_equal(np.stack(again.losses), np.stack(expected.losses))


def test_a_run_with_a_draft_is_not_resumed_on_a_device_without(run, tmp_path, monkeypatch):
    checkpoint = js.Checkpoint(tmp_path / "run", every=0)
    with monkeypatch.context() as changed:
        changed.setattr(draft, "MIN_PIXELS", 0)
        changed.setattr(draft.jax, "devices", lambda: [SimpleNamespace(platform="gpu", device_kind="GPU")])
        # The whole picture is evaluated at once: what memory a GPU has is not known here.
        stopped = run(checkpoint=checkpoint, callback=lambda progress: True, window="whole")
    assert stopped.status is js.Status.STOPPED
    with pytest.raises(js.InputError, match="of a run with other draft"):
        run(checkpoint=dataclasses.replace(checkpoint, resume=True), window="whole")


def test_a_batch_is_drafted_like_its_pictures(run):
    other = js.white_noise(5, 64, 72)
    for content, result in zip((CONTENT, other), run(CONTENT, other, draft="bfloat16"), strict=True):
        alone = run(content, draft="bfloat16")
        assert result.evaluations == alone.evaluations == 24
        np.testing.assert_allclose(result.losses.total[:4], alone.losses.total[:4], rtol=0.03)
        assert float(result.losses.total[-1]) < 0.1 * float(result.losses.total[0])


def test_a_callback_may_change_a_draft(run):
    def change(progress):
        return js.Change(strength=0.7) if progress.evaluations == 8 else None

    changed = run(draft="bfloat16", callback=change, callback_every=4)
    assert (changed.evaluations, changed.status) == (24, js.Status.STEP_LIMIT)
    assert float(changed.weights.style[0]) != float(run(draft="bfloat16").weights.style[0])
