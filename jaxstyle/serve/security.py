"""Who may ask: a browser with our cookie, that took our page from our address, and nobody else."""

import ipaddress
import secrets
import socket
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN_BYTES = 24


class Guard:
    """Refuse what does not come from our page; set the headers that protect it.

    Args:
        app: what is protected.
        token: secret of the address.
        port: of the server. Cookies are of a host with all its ports, so the name has it.
        remote: If True, other names than those of the loopback are ours: addresses, and this machine's name.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, remote: bool = False):
        self.app, self.token, self.port, self.remote = app, token, port, remote
        self.cookie = f"jaxstyle-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it pass."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        response = self._answer(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = HEADERS | ({} if b"cache-control" in present else {"Cache-Control": "no-store"})
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        await (self.app if response is None else response)(scope, receive, send_with_headers)

    def _answer(self, scope: Scope) -> Response | None:
        """The refusal, or the answer to the address with the token; None lets the request pass."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _refusal(scope, "the address is not that of this server, expected the one that it printed")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return _refusal(
                scope, "the request does not say which page it comes from, expected the page of this server"
            )
        if origin is not None and origin != f"http://{hosts[0]}":
            return _refusal(scope, "the request comes from another page, expected the page of this server")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] == "/" and scope["method"] == "GET" and given is not None:
            if not secrets.compare_digest(given[-1].encode(), self.token.encode()):
                return _refusal(scope, "the token is wrong, expected the whole address that the server printed")
            response = RedirectResponse("/", status_code=303)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
            return response
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        if not secrets.compare_digest(cookie.encode(), self.token.encode()):
            return _refusal(scope, "this browser is not known, expected the whole address that the server printed")
        return None

    def _is_ours(self, host: str) -> bool:
        """True for a name of this server with its port. A name that only leads here is another site's."""
        name, _, port = host.rpartition(":")
        if port != str(self.port):
            return False
        name = name.removeprefix("[").removesuffix("]")
        if name in LOOPBACK:
            return True
        return self.remote and (_is_address(name) or name.lower() in own_names())


def own_names() -> set[str]:
    """Names that other machines have for this one."""
    return {name.lower() for name in (socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local")}


def is_loopback(host: str) -> bool:
    """True for a name or an address that only this machine reaches."""
    return host in LOOPBACK or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def address(host: str, port: int, token: str) -> str:
    """Return the address to open."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/?{urlencode({'token': token})}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(scope: Scope, sentence: str) -> Response:
    if scope["path"].startswith("/api"):
        return JSONResponse({"error": sentence}, status_code=403)
    return PlainTextResponse(f"{sentence}\n", status_code=403)
