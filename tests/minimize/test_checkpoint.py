"""A resumed run is bit-identical to an uninterrupted one, or refused in one sentence."""

import dataclasses
import os
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.image.ops import resize
from jaxstyle.minimize import checkpoint as saving
from jaxstyle.minimize import checkpoint_file, restore, status
from jaxstyle.minimize.step import abstract_state
from jaxstyle.transfer import run as driver

# For optax's own Adam; and bad input must meet the library's own messages.
pytestmark = pytest.mark.usefixtures("lenient_promotion", "unchecked")

CONTENT, STYLE = js.white_noise(1, 64, 72), js.white_noise(2, 70, 64)


class KilledError(Exception):
    pass


def killed_at(count):
    """A callback with which a run dies, as if by SIGKILL: nothing is saved any more."""

    def callback(progress):
        if progress.evaluations >= count:
            raise KilledError

    return callback


def assert_same(result, expected):
    np.testing.assert_array_equal(result.image, expected.image)
    np.testing.assert_array_equal(np.stack(result.losses), np.stack(expected.losses))
    same = ("evaluations", "status", "scales", "window")
    assert [getattr(result, name) for name in same] == [getattr(expected, name) for name in same]


@pytest.fixture
def run(tiny_params):
    def run(**options):
        return js.stylize(
            CONTENT, STYLE, **{"params": tiny_params, "steps": 60, "scales": 1, "seed": 1} | options, preset="gram"
        )

    return run


@pytest.mark.parametrize(
    ("optimizer", "scales", "window"),
    [
        pytest.param(optimizer, scales, window, marks=() if (scales, window) in quick else pytest.mark.long)
        for optimizer, quick in ((js.lbfgs(memory_size=4), {(2, 40)}), (js.adam(), {(1, None)}))
        for scales in (1, 2)
        for window in (None, 40)
    ],
)
def test_a_run_killed_anywhere_resumes_bit_identically(run, tmp_path, monkeypatch, optimizer, scales, window):
    """Also across scales, where the content is an earlier result, and the early switch to the plain gradient."""
    monkeypatch.setattr(status, "SURROGATE_TOLERANCE", 0.5)
    options = {"optimizer": optimizer, "scales": scales, "window": window, "steps": 70, "whitening": 1.0, "detail": 1}
    expected = run(**options)
    assert len(expected.scales) == scales
    places = [2, *np.sort(np.random.default_rng([scales, window or 0]).integers(3, 60, 3)).tolist(), 65]
    finishing = []
    for k, place in enumerate(places):
        checkpoint = js.Checkpoint(tmp_path / f"{k}", every=0)
        with pytest.raises(KilledError):
            run(**options, checkpoint=checkpoint, callback=killed_at(place), callback_every=1)
        finishing.append(checkpoint_file.read(checkpoint.path).metadata["run"]["powers"] == [0.0])
        assert_same(run(**options, checkpoint=dataclasses.replace(checkpoint, resume=True)), expected)
    # At one size it comes after 40 evaluations.
    assert finishing[-1] or scales == 2


@pytest.mark.parametrize(
    ("optimizer", "count"), [(js.lbfgs(memory_size=4), 1), pytest.param(js.adam(), 5, marks=pytest.mark.long)]
)
def test_a_batch_killed_anywhere_resumes_bit_identically(tiny_params, tmp_path, monkeypatch, optimizer, count):
    """Images of two sizes, of which one stops before the other and one switches to the loss itself, at two scales."""
    monkeypatch.setattr(status, "SURROGATE_TOLERANCE", 0.5)
    contents, weights = [CONTENT, js.white_noise(3, 72, 64)], [js.LossWeights(1.0, 0.0), js.LossWeights(1.0, 1e3)]
    options = {"params": tiny_params, "weights": weights, "optimizer": optimizer, "steps": 200, "scales": 2}
    options |= {"whitening": 1.0, "tolerance": 0.003, "seeds": [1, 2], "mosaic": [0.0, 0.25], "detail": 64}
    expected = js.stylize_batch(contents, STYLE, **options, preset="gram")
    total = max(result.evaluations for result in expected)
    assert min(result.evaluations for result in expected) < total
    for k, place in enumerate(np.random.default_rng(5).integers(2, total, count)):
        checkpoint = js.Checkpoint(tmp_path / f"{k}", every=0)

        def die(progress, place=place):
            if max(progress.evaluations) >= place:
                raise KilledError

        with pytest.raises(KilledError):
            js.stylize_batch(
                contents, STYLE, **options, checkpoint=checkpoint, callback=die, callback_every=1, preset="gram"
            )
        again = js.stylize_batch(
            contents, STYLE, **options, checkpoint=dataclasses.replace(checkpoint, resume=True), preset="gram"
        )
        for result, same in zip(again, expected, strict=True):
            assert_same(result, same)
    with pytest.raises(js.InputError, match="of a run with other images"):
        js.stylize_batch(
            contents[::-1], STYLE, **options, checkpoint=dataclasses.replace(checkpoint, resume=True), preset="gram"
        )
    restarted = dataclasses.replace(checkpoint, resume=True, restart=True)
    (_, other) = js.stylize_batch(contents[::-1], STYLE, **options | {"steps": 2}, checkpoint=restarted, preset="gram")
    assert other.evaluations == 2


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.5, "color": "luminance"},
        {"optimizer": optax.sgd(1e-9, momentum=0.9)},
        {"optimizer": js.averaged(js.adam(), 0.9)},
        {"init": "noise", "whitening": 0.0},
        {"regions": js.Regions(np.ones((64, 72, 1), np.float32), (np.ones((70, 64, 1), np.float32),))},
        {"mesh": (2, 1)},
        {"mesh": (2, 1), "draft": "bfloat16"},
    ],
    ids=lambda options: ", ".join(options),
)
def test_a_run_with_any_option_resumes_bit_identically(run, tmp_path, options):
    if "mesh" in options:
        options = {"mesh": js.make_mesh(*options["mesh"])}
    options = {"steps": 24} | options
    expected, checkpoint = run(**options), js.Checkpoint(tmp_path / "run", every=0)
    with pytest.raises(KilledError):
        run(**options, checkpoint=checkpoint, callback=killed_at(9), callback_every=1)
    assert_same(run(**options, checkpoint=dataclasses.replace(checkpoint, resume=True)), expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_before_it_ends_the_run(run, tmp_path, number):
    expected = run()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    checkpoint = js.Checkpoint(tmp_path / "run", every=1e6)

    def callback(progress):
        if progress.evaluations >= 30:
            os.kill(os.getpid(), number)

    try:
        stopped = run(checkpoint=checkpoint, callback=callback, callback_every=10)
    finally:
        for handled, handler in handlers.items():
            signal.signal(handled, handler)
    ends = {signal.SIGINT: js.Status.INTERRUPTED, signal.SIGTERM: js.Status.TERMINATED}
    assert (stopped.status, stopped.evaluations) == (ends[number], 30)
    again = run(checkpoint=dataclasses.replace(checkpoint, resume=True))
    assert_same(again, expected)
    assert again.seconds > stopped.seconds


def test_resume_starts_a_new_run_without_a_file_and_repeats_a_finished_one(run, tmp_path):
    expected, checkpoint = run(steps=21), js.Checkpoint(tmp_path / "run", every=0, resume=True)
    assert_same(run(steps=21, checkpoint=checkpoint), expected)
    assert_same(run(steps=21, checkpoint=checkpoint), expected)


def test_other_pictures_and_settings_are_refused_by_name(run, tmp_path, tiny_params):
    path = tmp_path / "run"
    run(steps=3, checkpoint=js.Checkpoint(path, every=0))
    with pytest.raises(js.InputError, match="exists already"):
        run(steps=3, checkpoint=path)
    resume = js.Checkpoint(path, every=0, resume=True)
    for options, names in (
        ({"steps": 4}, "steps"),
        ({"seed": 2}, "seed"),
        ({"weights": js.LossWeights(1.0, 2.0), "tolerance": 0.1}, "style_weight, tolerance"),
        ({"optimizer": js.lbfgs(chroma=0.5)}, "optimizer"),
        ({"objective": js.Objective(pooling="avg")}, "pooling"),
        ({"params": tiny_params | {"input": {"scale": jnp.ones(3), "shift": jnp.zeros(3)}}}, "params"),
    ):
        with pytest.raises(js.InputError, match=f"of a run with other {names}: expected the same images"):
            run(**{"steps": 3} | options, checkpoint=resume)
    with pytest.raises(js.InputError, match="with other content, styles"):
        js.stylize(STYLE, CONTENT, params=tiny_params, steps=3, scales=1, seed=1, checkpoint=resume, preset="gram")
    forced = dataclasses.replace(resume, force=True)
    assert run(steps=4, checkpoint=forced).evaluations == 4
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    with pytest.raises(js.InputError, match="is no checkpoint"):
        run(steps=3, checkpoint=js.Checkpoint(other, force=True))
    assert other.read_bytes() == b"precious"
    anew = js.Checkpoint(path, every=0, force=True)
    assert run(steps=3, checkpoint=anew, optimizer=js.adam()).evaluations == 3


def test_other_versions_are_a_warning(run, tmp_path, monkeypatch, caplog):
    checkpoint = js.Checkpoint(tmp_path / "run", every=0, resume=True)
    run(steps=3, checkpoint=checkpoint)
    monkeypatch.setattr("jaxstyle.minimize.checkpoint.current_versions", lambda: {"jax": "99"})
    run(steps=3, checkpoint=checkpoint)
    assert "the checkpoint was made with jax" in caplog.text


def test_a_checkpoint_without_a_run_is_refused(run, tmp_path):
    path = tmp_path / "run"
    checkpoint = js.Checkpoint(path, resume=True, force=True)
    checkpoint_file.write(path, checkpoint_file.Contents({}, {}))
    with pytest.raises(js.InputError, match="is damaged: it lacks"):
        run(steps=3, checkpoint=checkpoint)
    with pytest.raises(js.InputError, match="No such file or directory"):
        run(steps=3, checkpoint=tmp_path / "none" / "run")
    for every in (-1, float("nan"), "often"):
        with pytest.raises(js.InputError, match="expected seconds"):
            js.Checkpoint(path, every=every)


def test_a_save_that_fails_is_a_warning(run, tmp_path, monkeypatch, caplog):
    def full(path, contents):
        raise OSError(28, "No space left on device")

    expected = run(steps=5)
    monkeypatch.setattr(checkpoint_file, "write", full)
    assert_same(run(steps=5, checkpoint=js.Checkpoint(tmp_path / "run", every=0)), expected)
    assert "cannot write the checkpoint" in caplog.text
    assert "No space left on device" in caplog.text


def test_saves_are_as_often_as_requested(run, tmp_path, monkeypatch):
    saved, now = [], [0.0]
    monkeypatch.setattr(checkpoint_file, "write", lambda path, contents: saved.append(contents.metadata["run"]))
    monkeypatch.setattr(saving, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def callback(progress):
        now[0] += 1.0

    seen = run(steps=20, checkpoint=js.Checkpoint(tmp_path / "run", every=2.5), callback=callback, callback_every=1)
    # Every step takes a second here: after 3, 6, ... of them.
    assert (seen.evaluations, len(saved)) == (20, 6)


def test_a_resumed_run_has_the_windows_of_the_checkpoint(run, tmp_path, monkeypatch):
    """Whatever window would fit into the memory now, at this scale and at later ones."""
    real = driver.with_window

    def choose(window):
        monkeypatch.setattr(driver, "with_window", lambda stage, _: real(stage, window))

    choose(40)
    expected = run(scales=2)
    assert len(expected.scales) == 2
    checkpoint = js.Checkpoint(tmp_path / "run", every=0)
    with pytest.raises(KilledError):
        run(scales=2, checkpoint=checkpoint, callback=killed_at(10), callback_every=1)
    choose(None)
    result = run(scales=2, checkpoint=dataclasses.replace(checkpoint, resume=True))
    assert_same(result, expected)
    assert result.window == 40


def test_a_forced_run_continues_from_the_best_image_with_the_new_settings(run, tmp_path, tiny_params):
    """Not with the optimizer and the least loss of the old content, below which no new loss would fall."""
    checkpoint = js.Checkpoint(tmp_path / "run", every=0)
    run(steps=20, checkpoint=checkpoint)
    start = np.asarray(checkpoint_file.read(checkpoint.path).tensors["state.best_image"])
    forced = dataclasses.replace(checkpoint, resume=True, force=True)
    other, weights = js.white_noise(7, 64, 72), js.LossWeights(1.0, 77.0)
    options = {"params": tiny_params, "steps": 20, "scales": 1, "seed": 1, "weights": weights, "whitening": 0.0}
    result = js.stylize(other, STYLE, checkpoint=forced, **options, preset="gram")
    assert not np.array_equal(result.image, start)
    np.testing.assert_array_equal(np.unique(result.weights.style), [77.0])
    assert result.evaluations == 20
    fresh = js.stylize(other, STYLE, init=run(steps=20).image, **options, preset="gram")
    np.testing.assert_allclose(result.losses.total[0], fresh.losses.total[0], rtol=1e-6)


@pytest.mark.parametrize("other", [{"height": 96, "width": 96}, {"height": 40, "width": 80}, {"steps": 8, "scales": 1}])
def test_a_forced_run_may_have_another_size_or_fewer_scales(run, tmp_path, tiny_params, other):
    """The whole best image is resized: not its corner, and not only where the new one is smaller."""
    checkpoint = js.Checkpoint(tmp_path / "run", every=0)
    with pytest.raises(KilledError):
        run(scales=2, checkpoint=checkpoint, callback=killed_at(35), callback_every=1)
    assert checkpoint_file.read(checkpoint.path).metadata["run"]["stage"] == 1
    best = checkpoint_file.read(checkpoint.path).tensors["state.best_image"]
    assert best.shape == (64, 72, 3)
    height, width = other.get("height", 64), other.get("width", 72)
    content = js.white_noise(1, height, width)
    # One evaluation reports the image that the run starts from.
    options = {"params": tiny_params, "seed": 1, "steps": other.get("steps", 1), "scales": 1, "whitening": 0.0}
    forced = dataclasses.replace(checkpoint, resume=True, force=True)
    result = js.stylize(content, STYLE, checkpoint=forced, **options, preset="gram")
    start = jnp.clip(resize(jnp.asarray(best), height, width), 0, 1)
    expected = js.stylize(content, STYLE, init=start, mosaic=0.0, **options, preset="gram")
    np.testing.assert_allclose(result.losses.total[0], expected.losses.total[0], rtol=1e-5)
    assert result.image.shape == content.shape
    assert result.evaluations == options["steps"]


def test_hosts_save_together(run, tmp_path, monkeypatch):
    """A host that writes no file must not request a save at every chunk."""
    requests = []
    monkeypatch.setattr(saving, "is_first", lambda: False)
    monkeypatch.setattr(saving, "allreduce_max", lambda number, mesh: requests.append(number) or number)
    now = [0.0]
    monkeypatch.setattr(saving, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def callback(progress):
        now[0] += 1.0

    run(steps=12, checkpoint=js.Checkpoint(tmp_path / "run", every=3.5), callback=callback, callback_every=1)
    assert requests == [0, 0, 0, 1] * 3


def test_resuming_needs_no_second_state(run, tmp_path, china):
    """Only shapes are made to restore the arrays."""
    before = sum(array.nbytes for array in jax.live_arrays())
    like = abstract_state(china, js.lbfgs())
    assert sum(array.nbytes for array in jax.live_arrays()) == before
    fresh = js.lbfgs().init(china)
    assert [leaf.shape for leaf in jax.tree.leaves(like.optimizer)] == [leaf.shape for leaf in jax.tree.leaves(fresh)]


def test_restored_arrays_are_released_one_by_one(run, tmp_path):
    """There may be no memory for two states: what is on the device is not in the host's memory, too."""
    checkpoint = js.Checkpoint(tmp_path / "run", every=0)
    run(steps=3, checkpoint=checkpoint)
    metadata = checkpoint_file.read(checkpoint.path).metadata
    resume = dataclasses.replace(checkpoint, resume=True)
    snapshot = restore.load_snapshot(resume, metadata["fingerprint"])
    assert "state.best_image" in snapshot.run_state.state
    restored = restore.restore_state(snapshot, CONTENT, js.lbfgs(), 3)
    assert restored.state.best_image.shape == CONTENT.shape
    assert snapshot.run_state.state == {}


def test_what_can_never_be_saved_is_refused_before_the_run(run, tmp_path):
    path = tmp_path / "run"
    with pytest.raises(js.InputError, match="which no checkpoint can hold"):
        run(checkpoint=path, optimizer=optax.adam(0.1, mu_dtype=jnp.bfloat16))
    for options, message in (
        ({"path": 5}, "path is 5"),
        ({"path": path, "note": {"when": object()}}, "not valid JSON"),
    ):
        with pytest.raises(js.InputError, match=message):
            js.Checkpoint(**options)
    with pytest.raises(js.InputError, match="checkpoint is 5, expected the path"):
        run(checkpoint=5)
    with pytest.raises(js.InputError, match="File name too long"):
        run(checkpoint=tmp_path / ("x" * 300))
