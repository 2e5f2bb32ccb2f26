"""A server in this process, with the tiny network, and a client that knows its token."""

import threading

import pytest
from starlette.testclient import TestClient

from jaxstyle.serve.app import make_app, make_site

PORT, TOKEN = 8733, "the-token"
ADDRESS = f"http://127.0.0.1:{PORT}"
PATIENCE = 120


class Browser:
    """A client of a server, which sends what a browser sends.

    Attributes:
        site: state of the server.
        http: the client itself.
    """

    def __init__(self, site, http):
        self.site, self.http = site, http
        self._changed = threading.Condition()
        notify = site.events.notify

        def wake():
            notify()
            with self._changed:
                self._changed.notify_all()

        site.runs.notify = wake

    def get(self, path):
        return self._answer(self.http.get(path))

    def post(self, path, body=None):
        return self._answer(self.http.post(path, json={} if body is None else body))

    def delete(self, path):
        return self._answer(self.http.delete(path))

    def upload(self, kind, data):
        return self._answer(self.http.post(f"/api/pictures?kind={kind}", content=data))

    def start(self, **settings):
        """Start a run with the bundled pictures; return it."""
        options = {"size": 64, "steps": 12, "finish": 0, "scales": 1, "supersample": 1} | settings
        body = {"photo": "photo", "paintings": ["painting"], "settings": options}
        return self.site.runs.get(self.post("/api/runs", body)["id"])

    def wait(self, condition, run=None):
        """Wait until a condition holds, without asking again and again."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), "not in time" if run is None else run.to_json(True)

    def finish(self, run):
        """Wait until a run has ended, and its thread too."""
        self.wait(lambda: run.ended and self.site.runs._active is not run, run)
        return run

    @staticmethod
    def _answer(response):
        kind = response.headers.get("content-type", "")
        if response.status_code >= 400:
            return response.status_code, response.json()["error"]
        return response.json() if kind.startswith("application/json") else response


@pytest.fixture
def serving(tiny_weights, tmp_path, unchecked):
    """Start a server with its folders in `tmp_path`, again and again; all end with the test."""
    started = []

    def start():
        site = make_site(tmp_path / "gallery", tmp_path / "saved", tiny_weights)
        http = TestClient(make_app(site, TOKEN, PORT), base_url=ADDRESS, headers={"Origin": ADDRESS})
        http.__enter__()
        browser = Browser(site, http)
        started.append(browser)
        http.get(f"/?token={TOKEN}")
        return browser

    yield start
    for browser in started:
        browser.site.runs.close(PATIENCE)
        browser.http.__exit__(None, None, None)


@pytest.fixture
def browser(serving):
    return serving()
