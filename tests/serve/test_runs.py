"""A run as the page controls it: started, changed, paused, stopped, taken back and further, one after the other."""

import io

import jax
import numpy as np
import PIL.Image
import pytest

import jaxstyle as js


def long_run(browser, **settings):
    """A run that does not end by itself, in work."""
    run = browser.start(steps=100_000, tolerance=0, **settings)
    browser.wait(lambda: run.state == "running", run)
    return run


def decoded(response):
    return np.asarray(PIL.Image.open(io.BytesIO(response.content)).convert("RGB"))


def test_a_run_paints_a_picture_and_keeps_it(browser):
    # Otherwise a program of an earlier test may be used again.
    jax.clear_caches()
    run = browser.finish(browser.start(steps=20))
    described = browser.get(f"/api/runs/{run.id}")
    assert described["state"] == "finished"
    assert described["error"] is None
    assert described["evaluations"] == described["steps"] == 20
    assert (described["width"], described["height"]) == (64, 43)
    assert described["fraction"] == 1
    assert described["status"] == "step limit"
    assert [row[0] for row in described["losses"]] == sorted({row[0] for row in described["losses"]})
    assert described["losses"][-1][1] < described["losses"][0][1]
    assert described["programs"] > 0
    assert len(described["snapshots"]) > 5
    picture = browser.get(f"/api/runs/{run.id}/picture?version={described['picture']}&full=1")
    photo = browser.get(f"/api/runs/{run.id}/photo")
    assert decoded(picture).shape == decoded(photo).shape == (43, 64, 3)
    assert np.abs(decoded(picture).astype(float) - decoded(photo)).mean() > 2
    snapshot = browser.get(f"/api/runs/{run.id}/snapshots/{described['snapshots'][0]['id']}")
    assert decoded(snapshot).shape == (43, 64, 3)
    (kept,) = browser.get("/api/gallery")
    assert (kept["width"], kept["height"]) == (64, 43)


def test_who_sees_the_end_of_a_run_finds_its_picture(browser):
    run, pictures, notify = browser.start(), [], browser.site.runs.notify

    def look():
        if run.ended:
            pictures.append(len(browser.site.gallery.list()))
        notify()

    browser.site.runs.notify = run.notify = look
    browser.finish(run)
    assert pictures[0] == 1


def test_the_first_picture_is_the_photo(browser):
    run = browser.start()
    seen = {}

    def note():
        present = run.picture()
        seen.setdefault(*present) if present else None
        return run.ended

    browser.wait(note, run)
    np.testing.assert_array_equal(np.asarray(seen[1]), np.asarray(run.inputs.photo.load(64, 32)))


def test_the_picture_is_that_of_the_library(browser, tiny_weights):
    run = browser.finish(browser.start(steps=5, strength=0.6, style_scale=1.5, seed=3))
    content = run.inputs.photo.load(64, 32)
    style = run.inputs.paintings[0].load(96, 32)
    options = {"params": js.load_params(tiny_weights), "steps": 5, "finish": 0, "scales": 1, "strength": 0.6, "seed": 3}
    expected = js.stylize(content, style, preset="default", edges=True, supersample=1.0, **options)
    np.testing.assert_allclose(run.result.image, expected.image, atol=1e-5)


def test_a_number_in_mid_run_compiles_nothing_and_changes_the_picture(browser):
    run = long_run(browser)
    browser.wait(lambda: run.evaluations > 5, run)
    programs, changes = run.programs, ({"strength": 0.95, "edge_weight": 2.0}, {"tv_weight": 10.0, "strength": 0.1})
    for change in changes:
        answer = browser.post(f"/api/runs/{run.id}/change", change)
        assert answer["live"] | change == answer["live"]
        at = run.evaluations
        browser.wait(lambda at=at: run.evaluations > at + 10, run)
    assert run.programs == programs
    described = browser.get(f"/api/runs/{run.id}")
    assert described["settings"]["strength"] == 0.1
    assert not described["command_exact"]
    assert "--strength 0.1" in described["command"]
    browser.post(f"/api/runs/{run.id}/stop")
    browser.finish(run)
    weights = run.result.weights
    assert float(weights.edges) > 0
    assert float(weights.tv) == 10


def test_the_size_of_strokes_and_colors_make_new_targets(browser):
    run = long_run(browser)
    browser.post(f"/api/runs/{run.id}/change", {"style_scale": 2.0, "color": "luminance"})
    at = run.evaluations
    browser.wait(lambda: run.evaluations > at + 10, run)
    browser.post(f"/api/runs/{run.id}/stop")
    browser.finish(run)
    assert run.error is None
    image, photo = np.asarray(run.result.image), np.asarray(run.inputs.photo.load(64, 32))
    # Two differences of channels are the photo's, but for clipped pixels.
    inside = (image > 0.02).all(-1) & (image < 0.98).all(-1)
    np.testing.assert_allclose(
        (image[..., 0] - image[..., 2])[inside], (photo[..., 0] - photo[..., 2])[inside], atol=2e-3
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strength": 2}, "strength is 2, expected a number from 0 to 1"),
        ({"steps": 5}, "'steps' does not change in a run"),
        ({"style_scale": 0.1}, "at least 32 a side are needed"),
        ({"color": "blue"}, "unknown color 'blue'"),
        ({"tv_weight": [1, 2, 3]}, "tv weight"),
    ],
)
def test_a_wrong_change_is_refused_and_the_run_goes_on(browser, change, words):
    run = long_run(browser)
    status, error = browser.post(f"/api/runs/{run.id}/change", change)
    assert status == 400
    assert words in error
    at = run.evaluations
    browser.wait(lambda: run.evaluations > at + 10, run)


def test_a_pause_waits_and_the_run_stops_while_it_is_paused(browser):
    run = long_run(browser)
    browser.post(f"/api/runs/{run.id}/pause")
    browser.wait(lambda: run.state == "paused", run)
    at = run.evaluations, run.to_json()["seconds"]
    assert (run.evaluations, run.to_json()["seconds"]) == at
    assert browser.post(f"/api/runs/{run.id}/pause")[0] == 400
    browser.post(f"/api/runs/{run.id}/resume")
    browser.wait(lambda: run.evaluations > at[0] + 5, run)
    assert browser.post(f"/api/runs/{run.id}/resume") == (400, "the run is not paused")
    browser.post(f"/api/runs/{run.id}/pause")
    browser.wait(lambda: run.state == "paused", run)
    browser.post(f"/api/runs/{run.id}/stop")
    browser.finish(run)
    assert run.state == "stopped"
    assert browser.post(f"/api/runs/{run.id}/stop") == (400, "the run has ended already")
    assert len(browser.get("/api/gallery")) == 1


def test_back_continues_from_an_earlier_picture(browser):
    run = long_run(browser)
    browser.wait(lambda: run.evaluations > 20, run)
    first, at = run.snapshots[0], run.evaluations
    browser.post(f"/api/runs/{run.id}/back", {"snapshot": first.id})
    browser.wait(lambda: run.segment.start is first.pixels and run.state == "running" and run.evaluations > at, run)
    assert run.snapshots[0] is first
    browser.post(f"/api/runs/{run.id}/stop")
    browser.finish(run)
    assert run.error is None
    assert browser.post(f"/api/runs/{run.id}/back", {"snapshot": "none"})[0] == 404


def test_back_to_a_coarse_picture_goes_through_the_later_sizes_again(browser):
    run = browser.finish(browser.start(size=128, steps=24, scales=2, share=0.5))
    coarse = run.snapshots[0]
    assert max(coarse.pixels.shape) == 64
    assert coarse.scales == 2
    browser.post(f"/api/runs/{run.id}/back", {"snapshot": coarse.id})
    browser.finish(run)
    assert run.state == "finished"
    assert [scale.width for scale in run.result.scales] == [64, 128]


def test_a_finished_run_goes_further(browser):
    run = browser.finish(browser.start(steps=8))
    before = np.asarray(run.result.image)
    answer = browser.post(f"/api/runs/{run.id}/further", {"evaluations": 6})
    assert answer["id"] == run.id
    browser.wait(lambda: run.state == "finished" and run.evaluations == 14, run)
    browser.finish(run)
    assert run.steps == 14
    assert np.abs(np.asarray(run.result.image) - before).max() > 0
    assert len(browser.get("/api/gallery")) == 2


def test_a_finished_run_goes_to_the_next_size(browser):
    run = browser.finish(browser.start(steps=8))
    browser.post(f"/api/runs/{run.id}/further", {"size": 96})
    browser.wait(lambda: run.state == "finished" and run.result.image.shape == (64, 96, 3), run)
    assert browser.get(f"/api/runs/{run.id}")["width"] == 96


def test_only_a_run_that_has_ended_goes_further(browser):
    run = long_run(browser)
    assert browser.post(f"/api/runs/{run.id}/further", {"evaluations": 5})[0] == 400
    browser.post(f"/api/runs/{run.id}/stop")
    browser.finish(run)
    for body in ({"evaluations": 0}, {"size": 10**6}, {"evaluations": "many"}):
        assert browser.post(f"/api/runs/{run.id}/further", body)[0] == 400


def test_runs_wait_for_each_other(browser):
    first, second, third = long_run(browser), browser.start(steps=3), browser.start(steps=3)
    assert [run.state for run in (first, second, third)] == ["running", "queued", "queued"]
    assert [run.position for run in (first, second, third)] == [0, 1, 2]
    assert [run["id"] for run in browser.get("/api/runs")] == [third.id, second.id, first.id]
    assert browser.delete(f"/api/runs/{second.id}") == {}
    assert third.position == 1
    assert browser.delete(f"/api/runs/{first.id}")[0] == 400
    browser.post(f"/api/runs/{third.id}/change", {"strength": 0.9})
    browser.post(f"/api/runs/{first.id}/stop")
    browser.finish(third)
    assert third.state == "finished"
    assert third.wanted.settings.strength == 0.9
    assert not third.changed, "it began with the change"
    assert browser.get(f"/api/runs/{second.id}")[0] == 404


def test_a_run_that_cannot_work_says_why_and_the_next_one_begins(browser):
    mask = io.BytesIO()
    PIL.Image.new("L", (40, 40), 255).save(mask, "PNG")
    mask = browser.upload("mask", mask.getvalue())["id"]
    settings = {"size": 64, "steps": 3, "finish": 0, "scales": 1}
    body = {"photo": "photo", "paintings": ["painting"], "mask": mask, "settings": settings}
    wrong = browser.site.runs.get(browser.post("/api/runs", body)["id"])
    right = browser.finish(browser.start(steps=3))
    assert wrong.state == "failed"
    assert "aspect ratio" in wrong.error
    assert right.state == "finished"


def test_a_start_from_an_earlier_picture(browser):
    first = browser.finish(browser.start(steps=6))
    settings = {"size": 64, "steps": 3, "finish": 0, "scales": 1}
    start = {"run": first.id, "snapshot": first.snapshots[0].id}
    body = {"photo": "photo", "paintings": ["painting"], "settings": settings, "start": start}
    run = browser.finish(browser.site.runs.get(browser.post("/api/runs", body)["id"]))
    assert run.segment.start is first.snapshots[0].pixels
    assert run.state == "finished"


def test_the_mask_keeps_the_photo(browser):
    mask = np.zeros((43, 64), np.uint8)
    mask[:, 32:] = 255
    file = io.BytesIO()
    PIL.Image.fromarray(mask).save(file, "PNG")
    uploaded = browser.upload("mask", file.getvalue())
    body = {"photo": "photo", "paintings": ["painting"], "mask": uploaded["id"]}
    body["settings"] = {"size": 64, "steps": 4, "finish": 0, "scales": 1}
    run = browser.finish(browser.site.runs.get(browser.post("/api/runs", body)["id"]))
    assert run.error is None
    photo = np.asarray(run.inputs.photo.load(64, 32))
    np.testing.assert_array_equal(np.asarray(run.result.image)[:, :30], photo[:, :30])
    assert np.abs(np.asarray(run.result.image)[:, 34:] - photo[:, 34:]).max() > 0.05


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("tiff", "TIFF")])
def test_a_download_has_the_recipe(browser, name, kind):
    run = browser.finish(browser.start(steps=3, strength=0.35))
    response = browser.get(f"/api/runs/{run.id}/download?format={name}")
    assert response.headers["content-disposition"] == f'attachment; filename="jaxstyle.{name}"'
    file = io.BytesIO(response.content)
    assert PIL.Image.open(file).format == kind
    file.seek(0)
    recipe = js.read_recipe(file)
    assert recipe["settings"]["strength"] == 0.35
    assert recipe["evaluations"] == 3
    # Dropped on the page again.
    uploaded = browser.upload("painting", response.content)
    assert uploaded["recipe"]["settings"]["strength"] == 0.35
    again = browser.start(**uploaded["recipe"]["settings"])
    assert again.wanted == run.wanted
    browser.finish(again)
    np.testing.assert_array_equal(again.result.image, run.result.image)


def test_there_is_nothing_to_download_before_the_end(browser):
    run = long_run(browser)
    assert browser.get(f"/api/runs/{run.id}/download?format=png")[0] == 400
    assert browser.get(f"/api/runs/{run.id}/download?format=gif")[0] == 400
    waiting = browser.start()
    assert browser.get(f"/api/runs/{waiting.id}/picture")[0] == 404


def test_a_sheet_is_small_runs(browser):
    axes = {"strength": [0.2, 0.8], "style_scale": [1.0, 1.5]}
    settings = {"steps": 3, "finish": 0, "scales": 1, "size": 512}
    body = {"photo": "photo", "paintings": ["painting"], "settings": settings, "axes": axes, "size": 48}
    sheet = browser.post("/api/sweeps", body)["id"]
    described = browser.get(f"/api/sweeps/{sheet}")
    runs = [browser.site.runs.get(cell["run"]) for cell in described["cells"]]
    for run in runs:
        browser.finish(run)
    assert [cell["settings"] for cell in described["cells"]] == [
        {"strength": strength, "style_scale": scale} for strength in (0.2, 0.8) for scale in (1.0, 1.5)
    ]
    assert all(cell["state"] == "finished" for cell in browser.get(f"/api/sweeps/{sheet}")["cells"])
    assert [run.wanted.settings.strength for run in runs] == [0.2, 0.2, 0.8, 0.8]
    assert {run.sweep for run in runs} == {sheet}
    assert {run.result.image.shape for run in runs} == {(32, 48, 3)}
    assert browser.get("/api/gallery") == []
    assert described["settings"]["size"] == 512


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": {}}, "one or two options"),
        ({"axes": {"strength": []}}, "expected a list of values"),
        ({"axes": {"strength": [2]}}, "strength is 2"),
        ({"axes": {"size": [64]}}, "a sheet cannot vary 'size'"),
        ({"axes": {"strength": [0.5] * 30}}, "30 cells, expected at most 25"),
        ({"size": 5000}, "size is 5000"),
    ],
)
def test_a_wrong_sheet_is_refused(browser, change, words):
    body = {"photo": "photo", "paintings": ["painting"], "axes": {"strength": [0.5]}, "size": 48} | change
    status, error = browser.post("/api/sweeps", body)
    assert status == 400
    assert words in error
    assert browser.get("/api/runs") == []


def test_the_plan_says_whether_it_fits(browser, monkeypatch):
    monkeypatch.setattr("jaxstyle.serve.plan.device_rate", lambda: 1e11)
    body = {"photo": "photo", "paintings": ["painting"], "settings": {"size": 96}}
    small = browser.post("/api/plan", body)
    assert (small["width"], small["height"], small["fits"]) == (96, 64, True)
    large = browser.post("/api/plan", body | {"settings": {"size": 4096}})
    assert large["memory_bytes"] > 100 * small["memory_bytes"]
    assert large["seconds"] > 100 * small["seconds"]
    monkeypatch.setattr("jaxstyle.serve.plan.free_memory", lambda: 10**9)
    assert not browser.post("/api/plan", body | {"settings": {"size": 4096}})["fits"]
