"""A picture while it is painted: sliders, pause, back, further, compare, reload, two tabs."""

import re

import pytest
from playwright.sync_api import expect

import jaxstyle as js

pytestmark = pytest.mark.browser


def _slider(page, field):
    return page.locator(f"#knobs [data-field={field}] input[type=range]")


def test_a_slider_changes_the_picture_without_a_new_program(user):
    run = user.start_long()
    user.press("Pause")
    before = user.wait_until(run, lambda state: state["state"] == "paused")
    pixels = user.pixels()
    user.press("Resume")
    sent = []
    user.page.on("request", lambda request: sent.append(request) if request.url.endswith("/change") else None)
    slider = _slider(user.page, "strength")
    for value in ("0.6", "0.7", "0.8", "0.9", "0.95"):
        slider.fill(value)
    after = user.wait_until(run, lambda state: state["live"]["strength"] == 0.95)
    user.wait_until(run, lambda state: state["evaluations"] > after["evaluations"] + 20)
    assert user.state(run)["programs"] == before["programs"]
    # The last value, not all of them.
    assert 1 <= len(sent) <= 3
    assert sent[-1].post_data_json == {"strength": 0.95}
    user.press("Pause")
    user.wait_until(run, lambda state: state["state"] == "paused")
    expect(user.page.locator("#knobs [data-field=strength] input[type=number]")).to_have_value("0.95")
    assert user.pixels() != pixels


def test_a_slider_that_needs_new_targets_says_so_and_works(user):
    run = user.start_long()
    expect(user.page.locator("#knobs [data-field=style_scale]")).to_contain_text("Needs new targets")
    _slider(user.page, "style_scale").fill("1.5")
    user.wait_until(run, lambda state: state["live"]["style_scale"] in (1.5, [1.5]))
    evaluations = user.state(run)["evaluations"]
    user.wait_until(run, lambda state: state["evaluations"] > evaluations + 5)


def test_pause_holds_the_picture_and_resume_goes_on(user):
    run = user.start_long()
    user.press("Pause")
    paused = user.wait_until(run, lambda state: state["state"] == "paused")
    expect(user.page.locator("#run-state")).to_contain_text("Paused")
    user.page.wait_for_timeout(300)
    assert user.state(run)["evaluations"] == paused["evaluations"]
    user.press("Resume")
    user.wait_until(run, lambda state: state["evaluations"] > paused["evaluations"])


def test_back_to_an_earlier_picture_and_on_from_there(user):
    run = user.start_long(steps=3000)
    user.wait_until(run, lambda state: len(state["snapshots"]) >= 3)
    user.press("Pause")
    user.wait_until(run, lambda state: state["state"] == "paused")
    strip = user.page.get_by_role("region", name="Earlier pictures")
    strip.get_by_role("button").first.click()
    expect(user.page.locator("#run .picture")).to_have_attribute("data-source", re.compile("/snapshots/"))
    strip.get_by_role("button", name="Back to the present picture").click()
    expect(user.page.locator("#run .picture")).to_have_attribute("data-source", re.compile("/picture"))
    strip.get_by_role("button").first.click()
    before = user.state(run)
    strip.get_by_role("button", name="Continue from here").click()
    after = user.wait_until(run, lambda state: state["evaluations"] > before["evaluations"])
    # The loss is that of the earlier picture, which was worse.
    (row, *_) = [row for row in after["losses"] if row[0] > before["evaluations"]]
    assert row[1] > 1.1 * before["losses"][-1][1]


def test_stop_keeps_the_picture_and_more_evaluations_go_further(user):
    run = user.start_long()
    user.press("Stop and keep")
    stopped = user.wait_until(run, lambda state: state["state"] == "stopped")
    user.page.get_by_label("Number of evaluations").fill("15")
    user.press("More evaluations")
    expect(user.page.locator("#run-state")).to_have_text("Finished")
    assert user.state(run)["evaluations"] == stopped["evaluations"] + 15


def test_the_next_size_up_continues_from_the_picture(user):
    run = user.start(size=64, steps=10)
    user.wait_until(run, lambda state: state["state"] == "finished")
    user.page.get_by_label("Long side in pixels").and_(user.page.locator("#larger input")).fill("96")
    user.press("Next size up")
    expect(user.page.locator("#run-detail")).to_contain_text("96x64 pixels")
    expect(user.page.locator("#run-state")).to_have_text("Finished")


def test_before_and_after_with_the_keyboard_and_zoom_to_pixels(user):
    run = user.start(steps=5)
    user.wait_until(run, lambda state: state["state"] == "finished")
    page = user.page
    painted = user.pixels()
    user.press("Before / after")
    wipe = page.get_by_role("slider", name=re.compile("Before and after"))
    expect(wipe).to_be_focused()
    page.keyboard.press("End")
    expect(wipe).to_have_value("100")
    photo = user.pixels()
    page.keyboard.press("Home")
    assert photo != painted
    user.press("Before / after")
    expect(wipe).to_be_hidden()
    page.locator("#run .canvas").focus()
    page.keyboard.press("1")
    expect(page.locator("#run").get_by_role("status", name="Zoom")).to_have_text("100 %")
    assert page.locator("#run .frame").bounding_box()["width"] == user.state(run)["width"]
    page.keyboard.press("+")
    assert page.locator("#run .frame").bounding_box()["width"] == 2 * user.state(run)["width"]
    page.keyboard.press("0")
    assert page.locator("#run .frame").bounding_box()["width"] > 500


def test_a_reloaded_page_finds_the_run(user, server):
    run = user.start_long()
    user.page.reload()
    expect(user.page.locator("#run-state")).to_contain_text("Painting")
    assert f"/runs/{run}/" in user.shown()
    first = user.shown()
    expect(user.page.locator("#run .picture")).not_to_have_attribute("data-source", first)
    # Also a new tab that knows only the address of the server.
    user.page.goto("about:blank")
    user.page.goto(server.origin)
    expect(user.page).to_have_url(re.compile(f"#run/{run}$"))


def test_two_tabs_show_the_same_run(user):
    run = user.start_long()
    tab = user.page.context.new_page()
    tab.goto(user.page.url)
    expect(tab.locator("#run-state")).to_contain_text("Painting")
    _slider(user.page, "strength").fill("0.8")
    expect(tab.locator("#knobs [data-field=strength] input[type=number]")).to_have_value("0.8")
    tab.get_by_role("button", name="Stop and keep").click()
    user.wait_until(run, lambda state: state["state"] == "stopped")
    for page in (user.page, tab):
        expect(page.locator("#run-state")).to_have_text("Stopped and kept")


def test_a_hidden_page_fetches_no_pictures(user):
    user.start_long()
    page, fetched = user.page, []
    page.evaluate("""() => {
      Object.defineProperty(document, "hidden", { get: () => window.isHidden });
      window.isHidden = true;
      document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.wait_for_timeout(400)
    page.on("request", lambda request: fetched.append(request.url))
    page.wait_for_timeout(700)
    assert fetched == []
    page.evaluate("() => { window.isHidden = false; document.dispatchEvent(new Event('visibilitychange')); }")
    first = user.shown()
    expect(page.locator("#run .picture")).not_to_have_attribute("data-source", first)


def test_at_most_three_pictures_a_second_are_fetched(user):
    user.start_long()
    fetched = []
    user.page.on("request", lambda request: fetched.append(request.url) if "/picture?" in request.url else None)
    user.page.wait_for_timeout(2000)
    assert 2 <= len(fetched) <= 7


def test_runs_wait_in_a_queue_with_their_place(user):
    first = user.start_long()
    page = user.page
    page.get_by_role("link", name="New picture").click()
    user.press("Start")
    page.wait_for_url(re.compile(f"#run/(?!{first}$)"))
    second = page.url.split("#run/")[1]
    expect(page.locator("#run-state")).to_contain_text("in the queue")
    expect(page.get_by_role("region", name="Runs")).to_contain_text("Waiting, 1st in the queue")
    user.press("Take out of the queue")
    page.wait_for_url("**#new")
    assert second not in [run["id"] for run in page.request.get("/api/runs").json()]
    page.locator("#active").click()
    page.wait_for_url(f"**#run/{first}")


def test_downloads_hold_the_recipe_and_the_command_can_be_copied(user, tmp_path):
    run = user.start(steps=4, seed=7)
    user.wait_until(run, lambda state: state["state"] == "finished")
    for name, ending in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tiff")):
        with user.page.expect_download() as download:
            user.page.get_by_role("link", name=name).click()
        assert "/" not in download.value.suggested_filename
        download.value.save_as(tmp_path / f"picture.{ending}")
        recipe = js.read_recipe(tmp_path / f"picture.{ending}")
        assert (recipe["settings"]["seed"], recipe["settings"]["steps"]) == (7, 4)
        assert js.load_image(tmp_path / f"picture.{ending}").shape == (user.state(run)["height"], 64, 3)
    user.page.get_by_text("Settings and command").click()
    command = user.page.get_by_label("Command line")
    expect(command).to_contain_text(re.compile("^jaxstyle stylize .*--seed 7"))
    user.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    user.press("Copy the command")
    expect(user.page.locator("#copied")).to_have_text("Copied.")
    assert user.page.evaluate("navigator.clipboard.readText()") == command.inner_text()


def test_settings_of_a_run_go_back_into_the_form(user):
    run = user.start(steps=4, strength=0.33)
    user.wait_until(run, lambda state: state["state"] == "finished")
    user.page.get_by_text("Settings and command").click()
    user.press("New picture with these settings")
    expect(user.page.locator("#new [data-field=strength] input[type=number]")).to_have_value("0.33")
    expect(user.page.locator(".slot figure")).to_have_count(2)
    user.press("Start")
    user.page.wait_for_url(re.compile(f"#run/(?!{run}$)"))
    expect(user.page.locator("#run-state")).to_have_text("Finished")
