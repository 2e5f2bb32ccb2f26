"""`jaxstyle serve` as a process: its one line, its events, its end by Ctrl-C, and what it refuses."""

import contextlib
import http.cookiejar
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from jaxstyle.cli.app import main
from jaxstyle.serve import server as module

pytestmark = pytest.mark.usefixtures("default_handlers", "unchecked")


class Process:
    """A server, and a browser that has opened its address."""

    def __init__(self, folder, weights, *words):
        command = [
            sys.executable,
            "-m",
            "jaxstyle",
            "serve",
            "--no-browser",
            "--port",
            "0",
            "--weights",
            weights,
            *words,
        ]
        # Programs that one server compiles are there for the next one.
        environment = os.environ | {"JAXSTYLE_CACHE": str(folder / "cache"), "JAX_ENABLE_COMPILATION_CACHE": "true"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, **streams)
        self.address = self.process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", self.address), self.process.stderr.read()
        self.origin = self.address.split("/?")[0]
        self.browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        self.browser.addheaders = [("Origin", self.origin)]
        self.browser.open(self.address).close()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with self.browser.open(self.origin + path, data) as response:
            return json.loads(response.read())

    def start(self, **settings):
        settings = {"size": 64, "steps": 12, "finish": 0, "scales": 1} | settings
        return self.ask("/api/runs", {"photo": "photo", "paintings": ["painting"], "settings": settings})["id"]

    def events(self):
        """Name and value of each event, until the server ends."""
        with self.browser.open(self.origin + "/api/events") as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            name = None
            for line in stream:
                key, _, value = line.decode().strip().partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    yield name, json.loads(value)

    def until(self, condition):
        """The first description of a run for which a condition holds."""
        with contextlib.closing(self.events()) as events:
            return next(value for name, value in events if name == "run" and condition(value))

    def end(self, number):
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=120)
        return self.process.returncode, output, errors


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def started(tmp_path, tiny_weights, programs):
    with contextlib.ExitStack() as ends:

        def start(*words):
            process = Process(tmp_path, tiny_weights, "--compile-cache", str(programs), *words)
            ends.enter_context(process.process)
            ends.callback(process.process.kill)
            return process

        yield start


@pytest.mark.long
def test_ctrl_c_saves_the_run_and_the_next_start_goes_on(started, tmp_path):
    first = started()
    run = first.start(steps=100_000, tolerance=0)
    described = first.until(lambda described: described["evaluations"] >= 20)
    assert described["id"] == run
    assert "losses" not in described
    seen = described["loss"][0]
    assert seen == described["evaluations"]
    code, output, errors = first.end(signal.SIGINT)
    assert code == 130
    assert output == ""
    assert errors == "\nsaving the run; once more to end at once\n"
    second = started()
    (offered,) = second.ask("/api/interrupted")
    assert offered["id"] == run
    assert offered["evaluation"] >= seen
    assert second.ask(f"/api/interrupted/{run}/resume", {}) == {"id": run}
    assert second.until(lambda described: described["state"] == "running")["evaluations"] > seen
    assert second.end(signal.SIGTERM)[0] == 143
    assert list((tmp_path / "jaxstyle-gallery").iterdir()) == [], "nothing is finished"


def test_a_killed_server_loses_no_run(started):
    first = started()
    run = first.start(steps=100_000, tolerance=0)
    first.until(lambda described: described["state"] == "running")
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    second = started()
    assert [offered["id"] for offered in second.ask("/api/interrupted")] == [run]
    second.ask(f"/api/interrupted/{run}/resume", {})
    second.until(lambda described: described["state"] == "running")


def test_two_pages_see_every_run_to_its_end(started, tmp_path):
    process = started()
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(contextlib.closing(process.events())) for _ in range(2)]
        assert [next(page) for page in pages] == [("runs", [])] * 2
        runs = [process.start(steps=3), process.start(steps=4)]
        for page in pages:
            ended = set()
            while ended != set(runs):
                name, value = next(page)
                if name == "run" and value["state"] == "finished":
                    ended.add(value["id"])
    assert [run["id"] for run in process.ask("/api/runs")] == runs[::-1]
    assert len(list((tmp_path / "jaxstyle-gallery").iterdir())) == 2
    # Open streams do not hold up the end.
    assert process.end(signal.SIGINT)[0] == 130


def refusal(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["serve", *map(str, words)])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_another_machine_needs_a_permission(capsys):
    text = refusal(["--host", "0.0.0.0"], capsys)
    assert "everybody who sees the address can use this machine's time and memory" in text
    assert "--allow-remote" in text


def test_a_permitted_host_says_what_it_means(monkeypatch, caplog, tmp_path, capsys):
    monkeypatch.setattr(module, "_serve", lambda *_: 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["serve", "--host", "0.0.0.0", "--allow-remote", "--port", "0", "--no-browser", "--compile-cache", "off"])
    assert stop.value.code == 0
    captured = capsys.readouterr()
    assert "whoever has the address can use it, and nothing is encrypted" in captured.err
    assert captured.out.startswith("http://0.0.0.0:")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--port", 70000], "--port is 70000, expected 0 to 65535"),
        (["--host", "no.such.host.invalid", "--allow-remote"], "--host is no.such.host.invalid, which is no address"),
        (["--gallery", __file__], "which cannot be written: File exists"),
        (["--weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_wrong_options_are_sentences(capsys, words, text):
    assert text in refusal([*words, "--compile-cache", "off", "--no-browser"], capsys)


def test_a_port_in_use_is_a_sentence(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = refusal(["--port", port, "--no-browser", "--compile-cache", "off"], capsys)
    assert f"--port is {port}, which another program uses: choose another, or 0 for any" in text


def test_a_missing_extra_is_one_sentence_with_the_command(monkeypatch, capsys):
    for name in ("starlette", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    text = refusal([], capsys)
    assert text == "jaxstyle: error: jaxstyle serve needs starlette and uvicorn: pip install 'jaxstyle[serve]'\n"


def test_the_browser_is_opened(monkeypatch, tmp_path, capsys):
    opened = []
    monkeypatch.setattr(module.webbrowser, "open", opened.append)
    monkeypatch.setattr(module, "_serve", lambda *_: 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["serve", "--port", "0", "--compile-cache", "off"])
    assert opened == [capsys.readouterr().out.strip()]
