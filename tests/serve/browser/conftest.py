"""A real server, and a real browser that uses its page."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Page, expect, sync_playwright

# A machine that does other work too may compile for a while.
PATIENCE = 180_000
expect.set_options(timeout=PATIENCE)


class Server:
    """`jaxstyle serve` as a process of its own.

    Attributes:
        address: with the token, as printed.
        folder: of the gallery, and of the runs that have not finished.
    """

    def __init__(self, folder: Path, weights: str, cache: Path):
        self.folder = folder
        command = [sys.executable, "-m", "jaxstyle", "serve", "--no-browser", "--port", "0"]
        command += ["--gallery", str(folder / "gallery"), "--weights", weights, "--compile-cache", str(cache)]
        # Runs that do not finish are saved in the user's cache.
        environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "true", "XDG_CACHE_HOME": str(folder / "cache")}
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output = ""
        self.address = self._read_address()
        # A full pipe would stop the server.
        self._reader = threading.Thread(target=self._read_rest)
        self._reader.start()

    def _read_address(self) -> str:
        for line in self._process.stdout:
            self.output += line
            if match := re.search(r"http://\S+\?token=\S+", line):
                return match[0]
        pytest.fail(f"the server ended without an address:\n{self.output}")

    def _read_rest(self) -> None:
        for line in self._process.stdout:
            self.output += line

    @property
    def origin(self) -> str:
        """Address without path and token."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    def interrupt(self) -> int:
        """Send Ctrl-C; return the exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(60)
        self._reader.join()
        self._process.stdout.close()
        return code

    def close(self) -> None:
        """End the server, if it has not ended yet."""
        if self._process.poll() is None:
            self._process.kill()
            self.interrupt()


@pytest.fixture(scope="session")
def start_server(tiny_weights, tmp_path_factory):
    """Start a server for a folder; all of them end with the tests."""
    servers, cache = [], tmp_path_factory.mktemp("programs")

    def start(folder):
        servers.append(Server(folder, tiny_weights, cache))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def server(start_server, tmp_path_factory):
    """A server for tests that do not end it."""
    return start_server(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("the tests of the page need a browser: install Debian's package chromium")
    with sync_playwright() as playwright:
        # Without a sandbox of its own, which root cannot have.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open the address of a server in a window of its own, and check at the end that the page did nothing forbidden.

    Messages of the console, errors of scripts, violations of the policy and requests to other hosts fail the test.
    """
    problems, contexts = [], []

    def open_(address, allowed="", **options):
        host = urlsplit(address).netloc
        usual = {"viewport": {"width": 1400, "height": 900}, "base_url": f"http://{host}"}
        context = chromium.new_context(**(usual | options))
        contexts.append(context)

        def check_request(request):
            parts = urlsplit(request.url)
            if parts.scheme not in ("blob", "data") and parts.netloc != host:
                problems.append(f"request to {request.url}")

        def check_message(message):
            if message.type in ("error", "warning") and not (allowed and re.search(allowed, message.text)):
                problems.append(f"{message.type}: {message.text}")

        context.on("request", check_request)
        context.on("console", check_message)
        context.on("weberror", lambda error: problems.append(f"script: {error.error}"))
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(open_page, server) -> Page:
    """The page of the shared server, as a new user sees it."""
    page = open_page(server.address)
    page.goto(f"{server.origin}/#new")
    expect(page.locator(".slot.photo")).to_be_visible()
    return page


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Folder with small files to drop: photo.jpg, painting.png, mask.png."""
    folder, data = tmp_path_factory.mktemp("pictures"), Path(__file__).parents[3] / "jaxstyle" / "data"
    for source, name, size in (("china.jpg", "photo.jpg", (96, 64)), ("starry_night.jpg", "painting.png", (96, 80))):
        with PIL.Image.open(data / source) as image:
            image.convert("RGB").resize(size).save(folder / name)
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 48:] = 255
    PIL.Image.fromarray(mask).save(folder / "mask.png")
    return folder


DROP = """async (element, files) => {
  const transfer = new DataTransfer();
  for (const { name, content } of files) {
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  element.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


class User:
    """What a user does with a page."""

    def __init__(self, page: Page, pictures: Path):
        self.page, self.pictures = page, pictures

    def drop(self, place: str, *files: Path, name: str | None = None) -> None:
        """Drop files on a place, the first one under another name if there is one."""
        contents = [
            {"name": name or file.name, "content": base64.b64encode(file.read_bytes()).decode()} for file in files
        ]
        self.page.locator(place).evaluate(DROP, contents)

    def set(self, field: str, value: object) -> None:
        """Set a field of the form."""
        self.page.locator(f"#new [data-field={field}]").locator("input[type=number], input[type=text]").fill(str(value))

    def set_all(self, size: int = 64, steps: int = 20, **settings: object) -> None:
        """Fill in settings of a quick run: one size, no finish, shallow layers, so that little is compiled."""
        self.page.locator("#new details:has(#more-fields)").evaluate("details => { details.open = true; }")
        layers = {"content_layers": "relu2_2", "style_layers": "relu1_1 relu2_1"}
        for name, value in {"size": size, "steps": steps, "scales": 1, "finish": 0, **layers, **settings}.items():
            self.set(name, value)

    def choose(self, **settings: object) -> None:
        """Drop a photo and a painting, and fill in settings."""
        for kind, name in (("photo", "photo.jpg"), ("painting", "painting.png")):
            if not self.page.locator(f".slot.{kind} figure").count():
                self.drop(f".slot.{kind}", self.pictures / name)
        self.set_all(**settings)
        expect(self.page.locator("#new .slot figure img")).to_have_count(2)

    def start(self, **settings: object) -> str:
        """Start a picture; return the number of its run."""
        self.choose(**settings)
        self.page.get_by_role("button", name="Start", exact=True).click()
        self.page.wait_for_url("**#run/*")
        return self.page.url.split("#run/")[1]

    def start_long(self, steps: int = 1_000_000) -> str:
        """Start a picture that does not end by itself, and wait until it is painted."""
        run = self.start(steps=steps, tolerance=0)
        self.wait_until(run, lambda state: state["state"] == "running" and state["evaluations"] > 3)
        return run

    def state(self, run: str) -> dict:
        """What the server says of a run."""
        answer = self.page.request.get(f"/api/runs/{run}")
        assert answer.ok, answer.text()
        return answer.json()

    def wait_until(self, run: str, condition: Callable[[dict], bool]) -> dict:
        """Wait for the events of the server until a condition holds for a run; return its state."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not condition(state := self.state(run)):
            assert time.monotonic() < deadline, state
            self.page.wait_for_timeout(50)
        return state

    def press(self, name: str) -> None:
        """Press a button of the shown page."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def shown(self) -> str:
        """Address of the picture that is shown."""
        picture = self.page.locator("#run .picture")
        expect(picture).to_be_visible()
        return picture.get_attribute("data-source")

    def pixels(self) -> bytes:
        """Picture of the shown picture."""
        return self.page.locator("#run .frame").screenshot()


@pytest.fixture
def user(page, pictures):
    user = User(page, pictures)
    yield user
    # The next test is not to wait for this one's pictures.
    for run in page.request.get("/api/runs").json():
        if run["state"] == "queued":
            page.request.delete(f"/api/runs/{run['id']}", headers={"Origin": page.evaluate("origin")})
    for run in page.request.get("/api/runs").json():
        if run["state"] in ("starting", "running", "paused"):
            page.request.post(f"/api/runs/{run['id']}/stop", data={}, headers={"Origin": page.evaluate("origin")})
