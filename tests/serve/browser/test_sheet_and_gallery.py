"""A sheet of settings, and the gallery."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_a_cell_of_a_sheet_continues_at_full_size(user):
    page = user.page
    user.choose(size=96, steps=8)
    page.get_by_text("Try out settings side by side").click()
    page.get_by_label("Rows: values with commas").fill("0.3, 0.7")
    page.get_by_label("Columns: setting").select_option("Edges")
    page.get_by_label("Columns: values with commas").fill("0, 1.5")
    page.locator("#try-out").get_by_label("Long side in pixels").fill("64")
    user.press("Make a sheet")
    page.wait_for_url("**#sheet/*")
    sheet = page.url
    cells = page.locator("#sheet td button")
    expect(cells).to_have_count(4)
    expect(page.locator("#sheet")).to_contain_text("4 of 4 pictures")
    expect(cells.locator("img:visible")).to_have_count(4)
    sources = cells.locator("img").evaluate_all("images => images.map((image) => image.src)")
    assert len(set(sources)) == 4
    # One entry in the list of runs, not four.
    expect(page.get_by_role("region", name="Runs").get_by_role("link", name="Sheet, 4 of 4 pictures")).to_have_count(1)
    page.reload()
    page.get_by_role("button", name=re.compile("Continue with Strength 0.7, Edges 1.5$")).click()
    page.wait_for_url("**#run/*")
    state = user.wait_until(page.url.split("#run/")[1], lambda state: state["state"] == "finished")
    assert (state["width"], state["settings"]["strength"], state["settings"]["edge_weight"]) == (96, 0.7, 1.5)
    page.go_back()
    expect(page).to_have_url(sheet)


def test_a_wrong_value_of_an_axis_is_a_sentence(user):
    user.choose()
    user.page.get_by_text("Try out settings side by side").click()
    user.page.get_by_label("Rows: values with commas").fill("0.3, much")
    user.press("Make a sheet")
    expect(user.page.locator("#try-out [role=alert]")).to_have_text("Strength has the value much, expected a number.")


def test_finished_pictures_are_in_the_gallery_with_their_settings(user):
    run = user.start(steps=3, strength=0.41)
    user.wait_until(run, lambda state: state["state"] == "finished")
    page = user.page
    page.get_by_role("link", name="Gallery").click()
    page.locator("#gallery li a").first.click()
    picture = page.locator("#kept .picture")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == 64
    expect(page.locator("#kept dl")).to_contain_text("0.41")
    user.press("Use these settings")
    expect(page.locator("#new [data-field=strength] input[type=number]")).to_have_value("0.41")
