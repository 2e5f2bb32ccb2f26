"""The start of a picture: files that are dropped or chosen, good and bad ones."""

import re
import struct
import zlib

import pytest
from playwright.sync_api import expect

import jaxstyle as js

pytestmark = pytest.mark.browser


def test_dropped_files_become_a_picture_that_grows(user):
    user.choose(size=64, steps=30)
    expect(user.page.locator("#plan")).to_contain_text(re.compile(r"64x4[23]"))
    user.press("Start")
    user.page.wait_for_url("**#run/*")
    run = user.page.url.split("#run/")[1]
    expect(user.page.locator("#run-state")).to_have_text("Finished")
    state = user.state(run)
    assert state["picture"] > 1
    # The page writes the state before the picture is loaded.
    picture = f"/api/runs/{run}/picture?version={state['picture']}"
    expect(user.page.locator("#run .picture")).to_have_attribute("data-source", picture)
    assert state["evaluations"] == 30
    assert state["losses"][-1][1] < state["losses"][0][1]
    expect(user.page.get_by_role("img", name=re.compile("Total loss .* after 30 evaluations"))).to_be_visible()


def test_bundled_pictures_take_one_click_each(user):
    user.press("Use the bundled photo")
    user.press("Use the bundled painting")
    user.set_all(steps=3)
    user.press("Start")
    expect(user.page.locator("#run-state")).to_have_text("Finished")


def test_files_that_are_dropped_beside_the_places_fill_them(user):
    user.drop("#new .panel", user.pictures / "photo.jpg", user.pictures / "painting.png")
    expect(user.page.locator(".slot.photo figcaption")).to_contain_text("photo.jpg, 96x64")
    expect(user.page.locator(".slot.painting figcaption")).to_contain_text("painting.png, 96x80")


def test_chosen_files_several_paintings_and_a_mask_are_used(user):
    page = user.page
    page.get_by_label("Choose a photo").set_input_files(user.pictures / "photo.jpg")
    page.get_by_label("Choose paintings").set_input_files([user.pictures / "painting.png", user.pictures / "photo.jpg"])
    page.get_by_label("Choose a mask").set_input_files(user.pictures / "mask.png")
    expect(page.locator(".slot figure")).to_have_count(4)
    page.get_by_role("button", name="Remove photo.jpg").last.click()
    expect(page.locator(".slot.painting figure")).to_have_count(1)
    user.set_all(steps=3)
    user.press("Start")
    expect(page.locator("#run-state")).to_have_text("Finished")
    run = user.state(page.url.split("#run/")[1])
    assert len(run["paintings"]) == 1
    assert run["mask"]


def test_a_value_out_of_range_is_a_sentence(open_page, server, pictures, user):
    page = open_page(server.address, allowed="status of 4")
    other = type(user)(page, pictures)
    page.goto(f"{server.origin}/#new")
    other.choose(size=0)
    expect(page.locator("#plan.bad")).to_contain_text("0")
    other.press("Start")
    expect(page.locator("#start-error")).to_contain_text("0")


def _huge_png(path, width, height):
    """Write a picture of few bytes and many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def test_broken_and_too_large_files_are_refused_in_a_sentence(open_page, server, pictures, user, tmp_path):
    page = open_page(server.address, allowed="status of 4")
    page.goto(f"{server.origin}/#new")
    other = type(user)(page, pictures)
    (tmp_path / "broken.jpg").write_bytes((pictures / "photo.jpg").read_bytes()[:300])
    (tmp_path / "words.png").write_text("no picture")
    huge = _huge_png(tmp_path / "huge.png", 40_000, 40_000)
    error = page.locator(".slot.photo [role=alert]")
    for file, words in ((tmp_path / "broken.jpg", ""), (tmp_path / "words.png", ""), (huge, "pixels")):
        other.drop(".slot.photo", file)
        expect(error).to_contain_text(f"{file.name}: ")
        expect(error).to_contain_text(words)
        expect(error).not_to_contain_text("Traceback")
        assert str(tmp_path.parent) not in error.inner_text()
    expect(page.locator(".slot.photo figure")).to_have_count(0)
    other.drop(".slot.photo", pictures / "photo.jpg")
    expect(page.locator(".slot.photo figure")).to_have_count(1)
    expect(error).to_be_hidden()


def test_a_path_in_a_file_name_goes_nowhere(user, server):
    sent = []
    user.page.on("request", lambda request: sent.append((request.url, request.headers)))
    before = sorted(server.folder.parent.rglob("*evil*"))
    for name in ("../../evil.png", "/tmp/evil.png", '<img src=x onerror="document.title=1">evil.png'):
        user.drop(".slot.photo", user.pictures / "photo.jpg", name=name)
        # The browser itself may replace characters of paths.
        expect(user.page.locator(".slot.photo figcaption")).to_contain_text("evil.png, 96x64")
    assert "evil" not in str(sent)
    assert sorted(server.folder.parent.rglob("*evil*")) == before
    assert user.page.title() == "jaxstyle"


def test_a_picture_of_ours_loads_its_settings(user, tmp_path):
    run = user.start(steps=3, strength=0.72)
    user.wait_until(run, lambda state: state["state"] == "finished")
    with user.page.expect_download() as download:
        user.page.get_by_role("link", name="PNG").click()
    download.value.save_as(tmp_path / "ours.png")
    assert js.read_recipe(tmp_path / "ours.png")["settings"]["strength"] == 0.72
    user.page.goto(user.page.url.split("#")[0] + "#new")
    user.press("reset all settings")
    strength = user.page.locator("#new [data-field=strength] input[type=number]")
    expect(strength).not_to_have_value("0.72")
    user.drop("#new .panel", tmp_path / "ours.png")
    expect(strength).to_have_value("0.72")
    expect(user.page.locator("#recipe-status")).to_have_text("The settings of ours.png are loaded.")
    # Another picture holds none.
    user.page.get_by_label("Load the settings of a picture made here").set_input_files(user.pictures / "photo.jpg")
    expect(user.page.locator("#recipe-status")).to_contain_text("holds no settings")
