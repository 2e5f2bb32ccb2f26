"""A run that goes on from its checkpoint: bit for bit the run that was never stopped, or a sentence why not."""

import dataclasses
import os
import signal
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle import checkpoint, resuming, transfer

# For optax's own Adam; and bad input must meet the library's own messages.
pytestmark = pytest.mark.usefixtures("lenient_promotion", "unchecked")

PHOTO, PAINTING = js.white_noise(1, 64, 72), js.white_noise(2, 60, 56)


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
        return js.stylize(PHOTO, PAINTING, **{"params": tiny_params, "steps": 60, "scales": 1, "seed": 1} | options)

    return run


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("scales", [1, 2])
@pytest.mark.parametrize("optimizer", [js.lbfgs(memory_size=4), js.adam()], ids=["lbfgs", "adam"])
def test_a_run_killed_anywhere_comes_to_the_same_end(run, tmp_path, optimizer, scales, window):
    """Also across the switch to the plain gradient, and across scales."""
    options = {"optimizer": optimizer, "scales": scales, "window": window}
    expected = run(**options)
    places = [1, *np.sort(np.random.default_rng([scales, window or 0]).integers(2, 60, 4)).tolist()]
    for k, place in enumerate(places):
        kept = js.Checkpoint(tmp_path / f"{k}", every=0)
        with pytest.raises(KilledError):
            run(**options, checkpoint=kept, callback=killed_at(place), callback_every=1)
        assert_same(run(**options, checkpoint=dataclasses.replace(kept, resume=True)), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.5, "color": "luminance"},
        {"optimizer": optax.sgd(1e-9, momentum=0.9)},
        {"optimizer": js.averaged(js.adam(), 0.9)},
        {"init": "noise", "whitening": 0.0},
        {"regions": js.Regions(np.ones((64, 72, 1), np.float32), (np.ones((60, 56, 1), np.float32),))},
        {"mesh": (2, 1)},
    ],
    ids=lambda options: ", ".join(options),
)
def test_with_every_kind_of_option(run, tmp_path, options):
    if "mesh" in options:
        options = {"mesh": js.make_mesh(*options["mesh"])}
    options = {"steps": 24} | options
    expected, kept = run(**options), js.Checkpoint(tmp_path / "run", every=0)
    with pytest.raises(KilledError):
        run(**options, checkpoint=kept, callback=killed_at(9), callback_every=1)
    assert_same(run(**options, checkpoint=dataclasses.replace(kept, resume=True)), expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_before_it_ends_the_run(run, tmp_path, number):
    expected = run()
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kept = js.Checkpoint(tmp_path / "run", every=1e6)

    def callback(progress):
        if progress.evaluations >= 30:
            os.kill(os.getpid(), number)

    try:
        stopped = run(checkpoint=kept, callback=callback, callback_every=10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    ends = {signal.SIGINT: js.Status.INTERRUPTED, signal.SIGTERM: js.Status.TERMINATED}
    assert (stopped.status, stopped.evaluations) == (ends[number], 30)
    again = run(checkpoint=dataclasses.replace(kept, resume=True))
    assert_same(again, expected)
    assert again.seconds > stopped.seconds


def test_resume_begins_where_there_is_nothing_and_a_finished_run_comes_again(run, tmp_path):
    expected, kept = run(steps=21), js.Checkpoint(tmp_path / "run", every=0, resume=True)
    assert_same(run(steps=21, checkpoint=kept), expected)
    assert_same(run(steps=21, checkpoint=kept), expected)


def test_other_pictures_and_settings_are_refused_by_name(run, tmp_path, tiny_params):
    path = tmp_path / "run"
    run(steps=3, checkpoint=js.Checkpoint(path, every=0))
    with pytest.raises(js.InputError, match="is there already"):
        run(steps=3, checkpoint=path)
    resume = js.Checkpoint(path, every=0, resume=True)
    for options, names in (
        ({"steps": 4}, "steps"),
        ({"seed": 2}, "seed"),
        ({"weights": js.LossWeights(1.0, 2.0), "tolerance": 0.1}, "tolerance, weights"),
        ({"optimizer": js.lbfgs(chroma=0.5)}, "optimizer"),
        ({"objective": js.Objective(pooling="avg")}, "objective"),
        ({"params": tiny_params | {"input": {"scale": jnp.ones(3), "shift": jnp.zeros(3)}}}, "params"),
    ):
        with pytest.raises(js.InputError, match=f"of a run with other {names}: expected the same pictures"):
            run(**{"steps": 3} | options, checkpoint=resume)
    with pytest.raises(js.InputError, match="with other content, styles"):
        js.stylize(PAINTING, PHOTO, params=tiny_params, steps=3, scales=1, seed=1, checkpoint=resume)
    forced = dataclasses.replace(resume, force=True)
    assert run(steps=4, checkpoint=forced).evaluations == 4
    with pytest.raises(js.InputError, match=r"(lacks|has) state"):
        run(steps=4, checkpoint=forced, optimizer=js.adam())
    with pytest.raises(js.InputError, match="evaluations of this scale, the run takes 2"):
        run(steps=2, checkpoint=forced)
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    with pytest.raises(js.InputError, match="is no checkpoint"):
        run(steps=3, checkpoint=js.Checkpoint(other, force=True))
    assert other.read_bytes() == b"precious"
    anew = js.Checkpoint(path, every=0, force=True)
    assert run(steps=3, checkpoint=anew, optimizer=js.adam()).evaluations == 3


def test_other_versions_are_told(run, tmp_path, monkeypatch, caplog):
    kept = js.Checkpoint(tmp_path / "run", every=0, resume=True)
    run(steps=3, checkpoint=kept)
    monkeypatch.setattr(resuming, "_versions", lambda: {"jax": "99"})
    run(steps=3, checkpoint=kept)
    assert "the checkpoint was made with jax" in caplog.text


def test_a_checkpoint_without_a_run_is_refused(run, tmp_path):
    path = tmp_path / "run"
    kept = js.Checkpoint(path, resume=True, force=True)
    checkpoint.write(path, checkpoint.Contents({}, {}))
    with pytest.raises(js.InputError, match="is damaged: it lacks"):
        run(steps=3, checkpoint=kept)
    with pytest.raises(js.InputError, match="No such file or directory"):
        run(steps=3, checkpoint=tmp_path / "none" / "run")
    for every in (-1, float("nan"), "often"):
        with pytest.raises(js.InputError, match="expected seconds"):
            js.Checkpoint(path, every=every)


def test_a_save_that_fails_is_a_warning(run, tmp_path, monkeypatch, caplog):
    def full(path, contents):
        raise OSError(28, "No space left on device")

    expected = run(steps=5)
    monkeypatch.setattr(checkpoint, "write", full)
    assert_same(run(steps=5, checkpoint=js.Checkpoint(tmp_path / "run", every=0)), expected)
    assert "cannot write the checkpoint" in caplog.text
    assert "No space left on device" in caplog.text


def test_it_is_saved_as_often_as_told(run, tmp_path, monkeypatch):
    saved, now = [], [0.0]
    monkeypatch.setattr(checkpoint, "write", lambda path, contents: saved.append(contents.words["run"]))
    monkeypatch.setattr(resuming, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def callback(progress):
        now[0] += 1.0

    seen = run(steps=20, checkpoint=js.Checkpoint(tmp_path / "run", every=2.5), callback=callback, callback_every=1)
    # Every step takes a second here: after 3, 6, ... of them.
    assert (seen.evaluations, len(saved)) == (20, 6)


def test_a_smaller_window_after_too_little_memory_is_kept(run, tmp_path, monkeypatch):
    """The window of a resumed run is that of the checkpoint, whatever would be chosen now."""
    expected = run(window=48)
    kept = js.Checkpoint(tmp_path / "run", every=0)
    with pytest.raises(KilledError):
        run(window=48, checkpoint=kept, callback=killed_at(20), callback_every=1)
    told = []
    monkeypatch.setattr(transfer, "windowed", lambda objective, *_, **__: told.append(1) or objective)
    assert_same(run(window="auto", checkpoint=dataclasses.replace(kept, resume=True)), expected)
    assert told
