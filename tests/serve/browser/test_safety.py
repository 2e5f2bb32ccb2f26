"""What other pages and other programs cannot do."""

import contextlib
import http.client
import http.server
import re
import threading
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def _answer(origin, path="/api/runs", method="GET", **headers):
    """Answer to a request that no browser would send."""
    parts = urlsplit(origin)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()


def test_without_the_token_or_with_a_wrong_one_nothing_is_shown(open_page, server):
    for address in (f"{server.origin}/", f"{server.origin}/?token=wrong"):
        page = open_page(address, allowed="status of 40")
        expect(page.locator("body")).not_to_contain_text("New picture")
        status = page.request.get(f"{server.origin}/api/runs").status
        assert status in (401, 403)
        assert page.request.get(f"{server.origin}/api/options").status == status


def test_the_token_leaves_the_address(page):
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    cookies = page.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]


def test_the_page_of_another_site_starts_nothing(open_page, server, page):
    """A page on another host of this machine, in the same browser as ours."""
    script = f"""<script>
      Promise.allSettled([
        fetch("{server.origin}/api/runs", {{method: "POST", mode: "no-cors", credentials: "include", body: "{{}}"}}),
        fetch("{server.origin}/api/options", {{credentials: "include"}}),
      ]).then(([post, read]) => document.title = post.status + " " + read.status);
    </script><iframe src="{server.origin}/"></iframe>"""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(script.encode())

        def log_message(self, *_):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    before = page.request.get("/api/runs").json()
    tab = page.context.browser.new_context(storage_state=page.context.storage_state()).new_page()
    try:
        tab.goto(f"http://localhost:{other.server_port}/")
        expect(tab).to_have_title(re.compile("."))
        # The request is sent and not answered usefully; what the answer holds cannot be read.
        assert tab.title().endswith(" rejected")
        assert "New picture" not in "".join(frame.content() for frame in tab.frames)
    finally:
        tab.context.close()
        other.shutdown()
        thread.join()
        other.server_close()
    assert page.request.get("/api/runs").json() == before


def test_another_name_for_this_machine_is_refused(open_page, server):
    """The browser resolves the name to this machine, as after a rebinding of DNS."""
    address = server.address.replace("127.0.0.1", "rebound.example")
    # The header for origins is for this machine and https only.
    page = open_page(address, allowed="status of 4|Cross-Origin-Opener-Policy")
    expect(page.locator("body")).not_to_contain_text("New picture")
    assert page.context.cookies() == []


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:1", "", "127.0.0.1.example", "127.0.0.1:1"])
def test_a_wrong_host_is_refused_even_with_the_cookie(page, server, host):
    (cookie,) = page.context.cookies()
    pair = f"{cookie['name']}={cookie['value']}"
    assert _answer(server.origin, Cookie=pair)[0] == 200
    status, text = _answer(server.origin, Cookie=pair, Host=host)
    assert 400 <= status < 500
    assert "Traceback" not in text


@pytest.mark.parametrize("origin", ["http://rebound.example", "null", "http://localhost:1", "https://127.0.0.1"])
def test_a_wrong_origin_is_refused_even_with_the_cookie(page, server, origin):
    (cookie,) = page.context.cookies()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}", "Content-Type": "application/json", "Origin": origin}
    for method, path in (("POST", "/api/runs"), ("POST", "/api/plan"), ("DELETE", "/api/runs/1"), ("GET", "/api/runs")):
        status, text = _answer(server.origin, path, method, **headers)
        assert status == 403, (method, path, text)


def test_paths_of_the_machine_are_neither_taken_nor_shown(page, server):
    (cookie,) = page.context.cookies()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    for path in (
        "/static/../__init__.py",
        "/static/..%2f__init__.py",
        "/static/%2e%2e/%2e%2e/errors.py",
        "/api/gallery/..%2f..%2fetc%2fpasswd/picture",
        "/api/runs/..%2f../picture",
        "/static//etc/passwd",
    ):
        status, text = _answer(server.origin, path, **headers)
        assert 400 <= status < 500, path
        assert str(server.folder) not in text
        assert "root:" not in text
    everything = str(page.request.get("/api/options").json()) + str(page.request.get("/api/gallery").json())
    assert str(server.folder.parent) not in everything


def test_the_policy_forbids_inline_scripts(page):
    policy = page.request.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
