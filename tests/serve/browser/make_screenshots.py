"""Make the screenshots of docs/serve: `python tests/serve/browser/make_screenshots.py`, with the real network."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import PIL.Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

DOCS = Path(__file__).parents[3] / "docs" / "serve"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
# A busy machine may paint for a while.
PATIENCE = 1_800_000


def main() -> None:
    """Start a server, drive its page, and write the pictures."""
    DOCS.mkdir(exist_ok=True)
    expect.set_options(timeout=PATIENCE)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [
            sys.executable,
            "-m",
            "jaxstyle",
            "serve",
            "--no-browser",
            "--port",
            "0",
            "--gallery",
            f"{folder}/gallery",
        ]
        # Runs that were interrupted earlier are not to be offered.
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            address = next(filter(None, (re.search(r"http://\S+\?token=\S+", line) for line in server.stdout)))[0]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            try:
                take_all(browser, address)
            finally:
                browser.close()
                server.send_signal(signal.SIGINT)


def take_all(browser: Browser, address: str) -> None:
    """Make a picture and a sheet, and take every screenshot."""
    dark, light = (open_page(browser, address, color_scheme=scheme) for scheme in ("dark", "light"))
    phone = open_page(browser, address, color_scheme="dark", **PHONE)
    fill(light)
    expect(light.locator("#plan")).to_contain_text("384x")
    save(light, "start_light")
    run = start(light)
    dark.goto(run)
    expect(dark.locator("#run-detail")).to_contain_text("size 2 of 2")
    expect(dark.locator(".strip li").nth(8)).to_be_visible()
    dark.wait_for_timeout(1500)
    save(dark, "run_dark")
    phone.goto(run)
    phone.locator("#knobs .field").first.scroll_into_view_if_needed()
    phone.mouse.wheel(0, 150)
    phone.wait_for_timeout(1500)
    save(phone, "phone_dark")
    expect(light.locator("#run-state")).to_have_text("Finished")
    light.get_by_role("button", name="Before / after").click()
    light.get_by_role("slider", name=re.compile("Before and after")).fill("42")
    light.wait_for_timeout(1500)
    save(light, "finished_light")
    light.goto(address)
    light.goto(address.split("?")[0] + "#new")
    fill(light)
    light.locator("#new [data-field=steps] input").fill("40")
    light.get_by_text("Try out settings side by side").click()
    light.locator("#try-out").get_by_label("Long side in pixels").fill("128")
    light.get_by_role("button", name="Make a sheet").click()
    expect(light.locator("#sheet")).to_contain_text("9 of 9 pictures")
    light.wait_for_timeout(1500)
    save(light, "sheet_light")
    for strength in ("0.3", "0.5", "0.8"):
        light.goto(address.split("?")[0] + "#new")
        light.locator("#new [data-field=size] input").fill("192")
        light.locator("#new [data-field=strength] input[type=number]").fill(strength)
        start(light)
        expect(light.locator("#run-state")).to_have_text("Finished")
    dark.goto(address.split("?")[0] + "#gallery")
    dark.wait_for_timeout(1500)
    save(dark, "gallery_dark")


def open_page(browser: Browser, address: str, **options: object) -> Page:
    """Open the server in a window of its own."""
    context = browser.new_context(**({"viewport": {"width": 1400, "height": 900}} | options))
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    return page


def fill(page: Page) -> None:
    """Choose the bundled pictures and a size."""
    expect(page.locator(".slot.photo")).to_be_visible()
    for kind in ("photo", "painting"):
        button = page.get_by_role("button", name=f"Use the bundled {kind}")
        if button.is_visible():
            button.click()
    page.get_by_role("button", name="384 pixels").click()
    page.locator("#new [data-field=steps] input").fill("50")


def start(page: Page) -> str:
    """Start the picture; return the address of its page."""
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**#run/*")
    return page.url


def save(page: Page, name: str) -> None:
    """Write a screenshot as a small file."""
    with PIL.Image.open(BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(DOCS / f"{name}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
