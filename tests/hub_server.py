"""A fake Hugging Face Hub on 127.0.0.1: serves byte ranges of one file, and fails on request.

As on the real Hub, the file's URL redirects to another server (another origin, which must not receive the token), and
the redirect names the commit.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """A received request."""

    server: str
    """ "hub" or "cdn"."""
    path: str
    range: str
    authorization: str | None


@dataclass
class FakeHub:
    """Responses of the two servers, which tests may change, and the requests received."""

    content: bytes
    commit: str
    endpoint: str = ""
    cdn: str = ""
    statuses: list[int] = field(default_factory=list)
    """HTTP errors for the first requests, one each."""
    cuts: list[int | None] = field(default_factory=list)
    """Number of bytes after which to close the connection, for the first data responses; None sends everything."""
    ranges: bool = True
    """If False, range requests get the whole file."""
    content_range: str | None = None
    """Sent instead of the correct header."""
    requests: list[Request] = field(default_factory=list)
    bytes_sent: int = 0

    @property
    def data_requests(self) -> list[Request]:
        return [request for request in self.requests if request.server == "cdn"]


@contextmanager
def serve(content: bytes, commit: str) -> Iterator[FakeHub]:
    """Run the two servers while the block runs."""
    fake = FakeHub(content, commit)
    servers = [_start(fake, name) for name in ("hub", "cdn")]
    fake.endpoint, fake.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield fake
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _start(fake: FakeHub, name: str) -> ThreadingHTTPServer:
    """Start one server in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.requests.append(
                Request(name, self.path, self.headers.get("Range", ""), self.headers.get("Authorization"))
            )
            respond = _redirect if name == "hub" else _send
            respond(fake, self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def _redirect(fake: FakeHub, handler: BaseHTTPRequestHandler) -> None:
    """Respond as the Hub: an error, or a redirect to the bytes."""
    if fake.statuses:
        _headers(handler, fake.statuses.pop(0), {"Content-Length": "0"})
        return
    if not re.fullmatch(r"/[\w.-]+/[\w.-]+/resolve/[0-9a-f]{40}/[\w.-]+", handler.path):
        _headers(handler, 404, {"Content-Length": "0"})
        return
    _headers(
        handler,
        302,
        {
            "Location": f"{fake.cdn}/blob?signature=xyz",
            "X-Repo-Commit": fake.commit,
            "X-Linked-Size": str(len(fake.content)),
            "Content-Length": "0",
        },
    )


def _send(fake: FakeHub, handler: BaseHTTPRequestHandler) -> None:
    """Send the requested bytes, or the whole file if ranges are off."""
    size = len(fake.content)
    first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
    if not fake.ranges:
        first, last = 0, size - 1
    if first >= size:
        _headers(handler, 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
        return
    part = memoryview(fake.content)[first : last + 1]
    headers = {"Content-Length": str(len(part)), "ETag": '"abc"'}
    if fake.ranges:
        headers["Content-Range"] = fake.content_range or f"bytes {first}-{first + len(part) - 1}/{size}"
    _headers(handler, 206 if fake.ranges else 200, headers)
    cut = fake.cuts.pop(0) if fake.cuts else None
    part = part[:cut]
    fake.bytes_sent += len(part)
    # The client closes the connection to reject a response.
    with suppress(ConnectionError):
        handler.wfile.write(part)


def _headers(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    """Send a status line and headers."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
