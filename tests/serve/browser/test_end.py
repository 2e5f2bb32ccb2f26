"""The end of the server, and the next start with the same folder."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_interrupted_pictures_go_on_or_are_discarded_after_a_restart(start_server, open_page, pictures, user, tmp_path):
    server = start_server(tmp_path)
    # The page notices the end of its server.
    window = type(user)(open_page(server.address, allowed=r"Failed to load|ERR_|net::"), pictures)
    finished = window.start(steps=3, strength=0.25)
    window.wait_until(finished, lambda state: state["state"] == "finished")
    window.page.goto(f"{server.origin}/#new")
    run = window.start_long()
    window.page.goto(f"{server.origin}/#new")
    waiting = window.start(steps=3)
    assert window.state(waiting)["state"] == "queued"
    evaluations = window.state(run)["evaluations"]
    assert server.interrupt() in (0, 130)
    expect(window.page.locator("#connection")).to_contain_text("The server does not answer.")
    assert "Traceback" not in server.output

    again = start_server(tmp_path)
    window = type(user)(open_page(again.address), pictures)
    offer = window.page.locator("#interrupted")
    expect(offer).to_contain_text("2 pictures were interrupted.")
    offer.get_by_role("button", name=re.compile(r"^Discard .*pixels, 0 evaluations")).click()
    expect(offer).to_contain_text("A picture was interrupted.")
    window.page.reload()
    offer.get_by_role("button", name=re.compile("^Continue")).click()
    window.page.wait_for_url(f"**#run/{run}")
    window.wait_until(run, lambda state: state["evaluations"] > evaluations)
    expect(offer).to_be_hidden()
    window.press("Stop and keep")
    window.wait_until(run, lambda state: state["state"] == "stopped")

    # Both pictures are in the gallery.
    window.page.get_by_role("link", name="Gallery").click()
    expect(window.page.locator("#gallery li")).to_have_count(2)
    window.page.locator("#gallery li a").last.click()
    expect(window.page.locator("#kept dl")).to_contain_text("0.25")
    window.page.close()
    again.interrupt()
