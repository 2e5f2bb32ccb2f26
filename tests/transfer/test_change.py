"""A change in the middle of a run: the weights of a run that started with them, and no program compiled."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js

pytestmark = pytest.mark.usefixtures("unchecked")

CHANGES = [
    {"strength": 0.8},
    {"strength": 0.0},
    {"strength": 1.0},
    {"tv_weight": 100.0},
    {"edge_weight": 3.0},
    {"strength": 0.25, "edge_weight": 1.5},
]


@pytest.fixture(scope="module")
def inputs(tiny_params, photograph):
    content, style = photograph("china.jpg", 48, 32), photograph("starry_night.jpg", 40, 48)
    return {"content": content, "style": style, "params": tiny_params, "edges": True, "callback_every": 5}


def changed_at(evaluation, *changes):
    """A callback that returns the changes one after the other, from an evaluation on, and what it has seen."""
    seen, rest = [], list(changes)

    def callback(progress):
        seen.append(progress)
        return rest.pop(0) if rest and progress.evaluations >= evaluation else None

    return callback, seen


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("preset", ["default", "gram"])
def test_the_weights_are_those_of_a_run_with_the_settings(inputs, change, preset):
    # The content of flat areas would be that of what the run started from, at the strength before.
    options = {"preset": preset, "strength": 0.5, "steps": 10, "finish": 0, "scales": 1, "flat_areas": 1.0}
    callback, _ = changed_at(5, js.Change(**change))
    result = js.stylize(**inputs, **options, callback=callback)
    expected = js.stylize(**inputs, **options | change | {"steps": 1}).weights
    for name, weights in result.weights._asdict().items():
        np.testing.assert_allclose(weights, getattr(expected, name), rtol=1e-4, err_msg=name)
    assert result.evaluations == 10


def test_weights_take_the_place_of_a_strength_and_back(inputs):
    options = {"preset": "gram", "strength": 1.0, "steps": 15, "scales": 1}
    callback, _ = changed_at(5, js.Change(style_weight=3.0), js.Change(strength=0.3))
    result = js.stylize(**inputs, **options, callback=callback)
    expected = js.stylize(**inputs, **options | {"strength": 0.3, "steps": 1}).weights
    np.testing.assert_allclose(result.weights.style, expected.style, rtol=1e-4)
    np.testing.assert_allclose(result.weights.content, expected.content, rtol=1e-4)


def test_the_run_continues_from_the_present_image(inputs):
    """The first loss after a change is that of the image before it, at the new weights."""
    options = {"preset": "gram", "steps": 12, "scales": 1}
    callback, seen = changed_at(5, js.Change(strength=0.9))
    result = js.stylize(**inputs, **options, callback=callback)
    before = next(progress for progress in seen if progress.evaluations == 5)
    objective = js.Objective(edges=True)
    targets = js.make_targets(inputs["params"], inputs["content"], [inputs["style"]], objective)
    losses, _ = js.value_and_grad(before.image, inputs["params"], targets, result.weights, objective)
    assert float(result.losses.total[5]) == pytest.approx(float(losses.total), rel=1e-4)
    after = next(progress for progress in seen if progress.evaluations > 5)
    assert float(after.losses.total) == pytest.approx(float(losses.total), rel=1e-4)
    # The new loss falls too.
    assert float(result.losses.total[5:].min()) < float(result.losses.total[5])


def test_later_stages_have_the_change_too(inputs, photograph):
    options = {"preset": "gram", "strength": 0.5, "steps": 24, "scales": 2, "share": 0.5}
    inputs = inputs | {"content": photograph("china.jpg", 96, 64), "style": photograph("starry_night.jpg", 80, 96)}
    callback, _ = changed_at(5, js.Change(strength=0.7, edge_weight=2.0))
    result = js.stylize(**inputs, **options, callback=callback)
    options |= {"strength": 0.7, "edge_weight": 2.0, "scales": 1, "steps": 1}
    expected = js.stylize(**inputs, **options).weights
    assert len(result.scales) == 2
    np.testing.assert_allclose(result.weights.content, expected.content, rtol=1e-3)
    np.testing.assert_allclose(result.weights.edges, expected.edges, rtol=1e-3)


def test_the_weights_of_another_strength_are_measured_at_the_size_of_the_scale(inputs, photograph):
    """Those of strength 1 say nothing about the content's."""
    inputs = inputs | {"content": photograph("china.jpg", 96, 64), "style": photograph("starry_night.jpg", 80, 96)}
    options = {"preset": "gram", "strength": 1.0, "steps": 24, "scales": 2, "share": 0.5}
    seen = {}

    def callback(progress):
        seen.setdefault(progress.scale.factor, progress.evaluations)
        return js.Change(strength=0.7) if progress.evaluations == 5 else None

    result = js.stylize(**inputs, **options, callback=callback)
    expected = js.stylize(**inputs, **options | {"strength": 0.7, "scales": 1, "steps": 1}).weights
    assert seen[0.5] <= 5 < seen[1.0]
    np.testing.assert_allclose(result.weights.content, expected.content, rtol=1e-3)
    np.testing.assert_allclose(result.weights.style, expected.style, rtol=1e-3)


@pytest.mark.parametrize("preset", ["default", "gram"])
def test_a_number_compiles_nothing(inputs, compiled, preset, photograph):
    # Of a size of its own, so that the run compiles.
    inputs = inputs | {"content": photograph("china.jpg", 50 + len(preset), 36), "callback_every": 2}
    options = {"preset": preset, "strength": 0.5, "steps": 25, "finish": 0, "scales": 1}
    numbers = []

    def callback(progress):
        numbers.append(len(compiled))
        position = len(numbers) - 3
        return js.Change(**CHANGES[position]) if 0 <= position < len(CHANGES) else None

    before = len(compiled)
    js.stylize(**inputs, **options, callback=callback)
    assert numbers[2] > before, "the run itself compiles, so that programs are counted at all"
    assert numbers[-1] == numbers[2], compiled[numbers[2] :]
    assert len(numbers) > len(CHANGES) + 3


def test_colors_and_styles_change_the_targets(inputs, photograph):
    options = {"preset": "gram", "strength": 0.5, "steps": 12, "scales": 1}
    style = photograph("china.jpg", 64, 40)
    callback, _ = changed_at(5, js.Change(style=style, color="luminance"))
    result = js.stylize(**inputs, **options, callback=callback)
    expected = js.stylize(**inputs | {"style": style}, **options | {"steps": 1}, color="luminance")
    for name, weights in result.weights._asdict().items():
        np.testing.assert_allclose(weights, getattr(expected.weights, name), rtol=1e-4, err_msg=name)
    chrominance = result.image - jnp.mean(result.image @ jnp.float32([0.299, 0.587, 0.114]))
    assert bool(jnp.isfinite(chrominance).all())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strength": 2.0}, "strength is 2.0"),
        ({"tv_weight": -1.0}, "tv weight is -1.0"),
        ({"color": "blue"}, "unknown color 'blue'"),
        ({"style": [np.zeros((32, 32, 3), np.float32)] * 2}, "2 styles, expected 1"),
        ({"style": np.zeros((8, 8, 3), np.float32)}, "8x8|\\(8, 8"),
    ],
)
def test_a_wrong_change_is_an_error(inputs, change, words):
    callback, _ = changed_at(1, js.Change(**change))
    with pytest.raises(js.InputError, match=words):
        js.stylize(**inputs, preset="gram", steps=5, callback=callback)


def test_a_run_without_an_edge_term_gets_none(inputs):
    callback, _ = changed_at(1, js.Change(edge_weight=2.0))
    with pytest.raises(js.InputError, match=r"edge_weight is 2\.0, but the run has no edge term"):
        js.stylize(**inputs | {"edges": False}, preset="gram", steps=5, callback=callback)


@pytest.mark.parametrize("change", [js.Change(strength=0.8), js.Change(strength=0.2), js.Change(color="symmetric")])
def test_a_changed_run_is_resumed_with_the_settings_of_the_change(inputs, change, tmp_path):
    """With a content that is partly the initial image's: the share is another one below strength 0.5."""
    path, options = tmp_path / "run", {"preset": "default", "steps": 24, "finish": 0, "scales": 1}
    options |= {"init": js.white_noise(1, 32, 48), "detail": 16}
    callback, _ = changed_at(5, change)
    whole = js.stylize(**inputs, **options, callback=callback)

    def stopping(progress):
        if progress.evaluations >= 15:
            return True
        return change if progress.evaluations == 5 else None

    js.stylize(**inputs, **options, callback=stopping, checkpoint=js.Checkpoint(path, every=1e9))
    resume = js.Checkpoint(path, resume=True)
    with pytest.raises(js.InputError, match=r"other (strength|color)"):
        js.stylize(**inputs, **options, checkpoint=resume)
    resumed = js.stylize(**inputs, **options | change.settings(), checkpoint=resume)
    np.testing.assert_array_equal(resumed.losses.total, whole.losses.total)
    np.testing.assert_array_equal(resumed.image, whole.image)


def test_convergence_counts_from_the_change(inputs):
    """Checks are 20 evaluations apart, from the change on."""
    callback, _ = changed_at(7, js.Change(strength=0.6))
    options = {"preset": "gram", "steps": 400, "scales": 1, "tolerance": 0.05, "whitening": 0.0}
    result = js.stylize(**inputs | {"callback_every": 7}, **options, callback=callback)
    assert result.status is js.Status.CONVERGED
    assert (result.evaluations - 7) % 20 == 0
