"""The first evaluations in a draft precision, and where the exact ones begin."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.transfer import draft as drafts
from jaxstyle.transfer import run as driver
from jaxstyle.transfer.draft import MIN_DRAFT_PIXELS, Progress, agrees, checkpoints, draft_objective, draft_precision
from jaxstyle.transfer.stage import stages_of

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
def measured(monkeypatch):
    """What the driver compared: at each checkpoint the progress before, that of now, and the answer."""
    seen = []

    def record(*arguments):
        seen.append((*arguments, agrees(*arguments)))
        return seen[-1][-1]

    monkeypatch.setattr(driver, "agrees", record)
    return seen


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(drafts.jax, "devices", lambda: [SimpleNamespace(platform="gpu")])


def exact_loss(image, settings, params):
    targets = js.make_targets(params, CONTENT, [STYLE], settings.objective)
    return float(js.value_and_grad(image, params, targets, settings.weights, settings.objective)[0].total)


def test_the_default_is_a_draft_of_long_stages_on_accelerators_alone():
    settings, large = js.Settings(), (4096, 4096)
    assert draft_precision(settings, large, 100) is None
    assert draft_precision(dataclasses.replace(settings, draft="bfloat16"), (64, 64), 2) == "bfloat16"


@pytest.mark.usefixtures("accelerator")
def test_on_an_accelerator():
    settings, size = js.Settings(), (1000, 1000)
    steps = MIN_DRAFT_PIXELS // 1_000_000
    assert draft_precision(settings, size, steps) == "bfloat16"
    assert draft_precision(settings, size, steps - 1) is None
    for changes in ({"draft": "none"}, {"precision": "bfloat16"}):
        assert draft_precision(dataclasses.replace(settings, **changes), size, steps) is None
    # The last evaluation is exact, and there is only one.
    assert draft_precision(dataclasses.replace(settings, draft="default"), size, 1) is None


def test_every_size_and_its_finish_begin_in_the_draft(tiny_params):
    from jaxstyle.transfer.job import make_job

    settings = js.preset("default").override(draft="default", steps=40)
    job = make_job(js.white_noise(0, 256, 256), [STYLE], settings)
    assert {stage.draft for stage in stages_of([job], settings)} == {"default"}


def test_checkpoints_come_at_twice_the_number_and_before_the_last_evaluation():
    assert [checkpoints(steps) for steps in (2, 5, 6, 7, 80)] == [(1,), (4,), (5,), (5, 6), (5, 10, 20, 40, 79)]


def test_a_draft_agrees_while_the_exact_losses_of_running_images_fall_too():
    before = Progress((10.0, 10.0), (11.0, 11.0))

    def after(*exact):
        return Progress((8.0, 8.0), exact)

    assert agrees(before, after(9.9, 9.9), [True, True])
    assert not agrees(before, after(9.9, 10.1), [True, True])
    assert agrees(before, after(9.9, 11.0), [True, False])
    assert not agrees(before, after(9.9, np.nan), [True, True])
    # Without progress in its own numbers a draft is no use.
    assert not agrees(before, before, [True, True])


def test_winograd_is_for_float32():
    objective = draft_objective(js.Objective(algorithm="winograd", window=64), "bfloat16")
    assert objective == js.Objective(algorithm="direct", precision="bfloat16", window=64)


def test_the_result_is_judged_exactly(run, tiny_params, measured):
    result, settings = run(draft="bfloat16"), js.preset("gram")
    assert [answer for *_, answer in measured] == [True] * 3
    assert result.evaluations == 24
    exact, plain = exact_loss(result.image, settings, tiny_params), run()
    # The last evaluation is of the best picture of the draft.
    np.testing.assert_allclose(result.losses.total[-1], exact, rtol=1e-5)
    assert plain.losses.total[0] != result.losses.total[0]
    assert exact < 1.1 * float(jnp.min(plain.losses.total))


def test_where_the_draft_misleads_the_exact_loss_takes_over(run, tiny_params, monkeypatch):
    """From its best image, with all evaluations that are left."""
    draft = run(draft="bfloat16")
    monkeypatch.setattr(driver, "agrees", lambda *_: False)
    result = run(draft="bfloat16")
    np.testing.assert_array_equal(result.losses.total[:5], draft.losses.total[:5])
    assert result.losses.total[5] != draft.losses.total[5]
    assert result.evaluations == 24
    best = float(jnp.min(result.losses.total[5:]))
    np.testing.assert_allclose(exact_loss(result.image, js.preset("gram"), tiny_params), best, rtol=1e-5)
    # Five evaluations and a new start are lost, no more.
    assert best < 1.2 * float(jnp.min(run().losses.total))


@pytest.mark.parametrize(
    ("answer", "evaluations"), [(True, 1), (True, 5), (True, 23), (False, 5), (False, 10), (False, 12)]
)
def test_a_killed_run_goes_on_bit_identically(run, tmp_path, monkeypatch, evaluations, answer):
    """At checkpoints, where it is saved before it is known which precision comes next, and between them."""
    if not answer:
        decisions = iter([True, False] * 4)
        monkeypatch.setattr(driver, "agrees", lambda *_: next(decisions))
    options = {"draft": "bfloat16"}
    expected, checkpoint = run(**options), js.Checkpoint(tmp_path / "run", every=0)

    def die(progress):
        if progress.evaluations >= evaluations:
            raise KilledError

    with pytest.raises(KilledError):
        run(**options, checkpoint=checkpoint, callback=die, callback_every=1)
    if not answer:
        # The decisions that the killed run has not made yet.
        left = [True, False][sum(evaluations > place for place in (5, 10)) :]
        monkeypatch.setattr(driver, "agrees", lambda *_: left.pop(0))
    again = run(**options, checkpoint=dataclasses.replace(checkpoint, resume=True))
    np.testing.assert_array_equal(again.image, expected.image)
    np.testing.assert_array_equal(np.stack(again.losses), np.stack(expected.losses))


def test_a_batch_leaves_the_draft_together(run, measured):
    other = js.white_noise(5, 64, 72)
    together = run(CONTENT, other, draft="bfloat16")
    assert [len(running) for _, _, running, _ in measured] == [2] * len(measured)
    for content, result in zip((CONTENT, other), together, strict=True):
        alone = run(content, draft="bfloat16")
        np.testing.assert_allclose(result.losses.total[:5], alone.losses.total[:5], rtol=0.02)
        assert float(result.losses.total[-1]) < 0.1 * float(result.losses.total[0])


def test_a_change_of_the_run_stays_in_the_draft(run, measured):
    changed = run(
        draft="bfloat16",
        callback=lambda progress: js.Change(strength=0.7) if progress.evaluations == 8 else None,
        callback_every=4,
    )
    assert changed.evaluations == 24
    # Compared with what it was after the change, whose loss is another one.
    before, after, _, answer = measured[1]
    assert before.exact[0] != measured[0][1].exact[0]
    assert answer
    assert after.exact < before.exact


def test_it_needs_only_the_programs_of_both_precisions(run, compiled):
    # A size that no other test has compiled.
    run(js.white_noise(1, 66, 74), draft="bfloat16", steps=12)
    assert [name for name in compiled if "run_steps" in name] == ["jit(run_steps)"] * 2
