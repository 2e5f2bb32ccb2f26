"""What survives the end of a server: finished pictures, and runs that go on with the next one."""

import json

import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.serve.saved import SavedRuns


def test_the_gallery_survives_a_restart(serving, tmp_path):
    first = serving()
    run = first.finish(first.start(steps=3, strength=0.3))
    first.site.runs.close()
    second = serving()
    (kept,) = second.get("/api/gallery")
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == [f"{kept['id']}.png"]
    assert second.get(f"/api/gallery/{kept['id']}/recipe")["settings"]["strength"] == 0.3
    file = tmp_path / "gallery" / f"{kept['id']}.png"
    assert second.get(f"/api/gallery/{kept['id']}/picture").content == file.read_bytes()
    assert second.get(f"/api/gallery/{kept['id']}/thumb").headers["content-type"] == "image/jpeg"
    np.testing.assert_allclose(js.load_image(file), run.result.image, atol=0.6 / 255)
    assert second.get("/api/interrupted") == []


def test_the_gallery_shows_pictures_alone(serving, tmp_path):
    browser, folder = serving(), tmp_path / "gallery"
    js.save_image(folder / "mine.png", np.zeros((40, 40, 3), np.float32))
    (folder / "broken.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / "folder.png").mkdir()
    assert [picture["id"] for picture in browser.get("/api/gallery")] == ["mine"]


def interrupted(serving, **settings):
    """A server that ended in the middle of a run, and the run."""
    browser = serving()
    run = browser.start(**{"steps": 40, "tolerance": 0, "seed": 5} | settings)
    browser.wait(lambda: run.evaluations >= 5, run)
    return browser, run


def test_a_run_goes_on_with_the_next_server_to_the_same_picture(serving):
    first, run = interrupted(serving)
    waiting = first.start(steps=4)
    assert first.site.runs.close(120)
    assert [run.state, waiting.state] == ["interrupted", "interrupted"]
    second = serving()
    offered = second.get("/api/interrupted")
    assert {each["id"] for each in offered} == {run.id, waiting.id}
    described = next(each for each in offered if each["id"] == run.id)
    assert described["evaluation"] == run.evaluations
    assert (described["width"], described["height"]) == (64, 43)
    assert second.get(f"/api/interrupted/{run.id}/thumb").headers["content-type"] == "image/jpeg"
    assert second.post(f"/api/interrupted/{run.id}/resume") == {"id": run.id}
    assert second.post(f"/api/interrupted/{run.id}/resume")[0] == 404, "it goes on already"
    again = second.finish(second.site.runs.get(run.id))
    assert again.error is None
    assert again.evaluations == 40
    whole = second.finish(second.start(steps=40, tolerance=0, seed=5))
    np.testing.assert_array_equal(again.result.image, whole.result.image)
    assert second.delete(f"/api/interrupted/{waiting.id}") == {}
    assert second.get("/api/interrupted") == []


def test_a_changed_run_goes_on_with_its_change(serving):
    first, run = interrupted(serving, steps=100_000)
    first.post(f"/api/runs/{run.id}/change", {"strength": 0.9, "style_scale": 1.5})
    at = run.evaluations
    first.wait(lambda: run.evaluations > at + 10, run)
    first.site.runs.close(120)
    second = serving()
    second.post(f"/api/interrupted/{run.id}/resume")
    again = second.site.runs.get(run.id)
    second.wait(lambda: again.state == "running", again)
    assert again.wanted == run.wanted
    assert again.evaluations >= run.evaluations
    assert not second.get(f"/api/runs/{run.id}")["command_exact"]


def test_a_run_that_went_further_goes_on_from_its_picture(serving):
    first = serving()
    run = first.finish(first.start(steps=4))
    first.post(f"/api/runs/{run.id}/further", {"evaluations": 100_000})
    first.wait(lambda: run.evaluations > 10, run)
    first.site.runs.close(120)
    second = serving()
    second.post(f"/api/interrupted/{run.id}/resume")
    again = second.site.runs.get(run.id)
    second.wait(lambda: again.state == "running", again)
    np.testing.assert_array_equal(again.segment.start, run.segment.start)
    assert again.evaluations >= run.evaluations


def test_two_servers_do_not_offer_each_others_runs(serving):
    first, run = interrupted(serving, steps=100_000)
    second = serving()
    assert second.get("/api/interrupted") == []
    assert second.post(f"/api/interrupted/{run.id}/resume")[0] == 404
    first.site.runs.close(120)


def test_damaged_runs_are_not_offered(serving, tmp_path):
    for name, text in (("a", "{"), ("b", json.dumps({"settings": 3})), ("c", "")):
        (tmp_path / "saved" / name).mkdir(parents=True)
        (tmp_path / "saved" / name / "run.json").write_text(text)
    browser = serving()
    assert browser.get("/api/interrupted") == []
    assert browser.post("/api/interrupted/a/resume")[0] == 400


def test_a_folder_that_cannot_be_written_is_a_warning(serving, tmp_path, caplog):
    (tmp_path / "saved").write_text("in the way")
    browser = serving()
    (tmp_path / "gallery").rmdir()
    (tmp_path / "gallery").write_text("in the way")
    run = browser.finish(browser.start(steps=2))
    assert run.state == "finished"
    assert "the run is not saved" in caplog.text
    assert "not in the gallery" in caplog.text


def test_without_a_folder_nothing_is_saved(browser):
    saved = SavedRuns(None)
    assert saved.interrupted() == []
    assert saved.begin(browser.start()) is None


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_names_that_are_paths_are_not_removed(tmp_path, name):
    (tmp_path / "saved").mkdir()
    (tmp_path / "b").mkdir()
    SavedRuns(tmp_path / "saved").remove(name)
    assert (tmp_path / "b").exists()
