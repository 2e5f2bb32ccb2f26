"""The server process: its socket, its address, and its end."""

import contextlib
import errno
import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from jaxstyle.errors import InputError
from jaxstyle.serve.app import Site, make_app, make_site
from jaxstyle.serve.security import address, is_loopback, new_token
from jaxstyle.transfer.signals import ENDS, EXIT_CODES, replaced_handlers
from jaxstyle.vgg.weights import load_params

log = logging.getLogger(__name__)

# Seconds that open connections have at the end.
GRACE = 2


class _Server(uvicorn.Server):
    """A server whose signals are handled here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers as they are."""
        yield


def serve(
    host: str, port: int, gallery: Path, saved: Path | None, network: str, allow_remote: bool, browser: bool
) -> int:
    """Serve until a signal; return the exit code.

    Args:
        host: name or address to listen on.
        port: to listen on; 0 is any free one.
        gallery: folder of pictures.
        saved: folder of runs that have not finished; None saves none.
        network: weights of VGG-19.
        allow_remote: permits a host that other machines reach.
        browser: If True, open the address in the browser.

    Raises:
        InputError: for a host or port that cannot be used.
    """
    remote = not is_loopback(host)
    if remote and not allow_remote:
        raise InputError(
            f"host is {host}, which other machines reach: everybody who sees the address can use this machine's time "
            "and memory and see all pictures, and nothing is encrypted; add allow_remote=True if that is what you want"
        )
    # Refuses what cannot be loaded, before anybody waits for it.
    load_params(network)
    with contextlib.closing(_listen(host, port)) as listening:
        site = make_site(gallery, saved, network)
        port, token = listening.getsockname()[1], new_token()
        if remote:
            log.warning(
                "other machines reach this server: whoever has the address can use it, and nothing is encrypted"
            )
        # The one line of standard output: for people and programs.
        print(address(host, port, token), flush=True)
        if browser:
            threading.Thread(target=webbrowser.open, args=(address(host, port, token),), daemon=True).start()
        return _serve(site, make_app(site, token, port, remote), listening)


def _serve(site: Site, app: object, listening: socket.socket) -> int:
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        ws="none",
        loop="asyncio",
        http="h11",
    )
    server, codes = _Server(config), list[int]()

    def end(number: int, _: object) -> None:
        if codes:
            # Nothing can be saved while a program is compiled, and the compiler does not stop.
            os._exit(codes[0])
        codes.append(EXIT_CODES[ENDS[signal.Signals(number)]])
        os.write(2, b"\nsaving the run; once more to end at once\n")
        server.should_exit = True
        site.events.close()

    with replaced_handlers(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), end)):
        server.run(sockets=[listening])
        site.runs.close()
    return codes[0] if codes else 1


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"host is {host}, which is no address of this machine ({error.strerror})") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen()
        return listening
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port is {port}, which another program uses: choose another, or 0 for any") from error
        raise InputError(f"host is {host} and port is {port}, which cannot be used: {error.strerror}") from error
