"""A client that watches a server as the page does: a word on each line of standard input lets it watch, or rest."""

import contextlib
import http.client
import http.cookiejar
import json
import sys
import threading
import urllib.request
from urllib.parse import urlsplit


def main() -> None:
    """Follow the server whose address is the argument."""
    parts = urlsplit(sys.argv[1])
    origin = f"{parts.scheme}://{parts.netloc}"
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)
    browser.open(sys.argv[1]).close()
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def watch(ended: threading.Event) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException), browser.open(f"{origin}/api/events") as events:
            for line in events:
                if ended.is_set():
                    return
                if line.startswith(b"data: {"):
                    run = json.loads(line[6:])
                    browser.open(f"{origin}/api/runs/{run['id']}/picture?version={run['picture']}").read()

    for line in sys.stdin:
        stop.set()
        for thread in threads:
            thread.join()
        if line.strip() == "watch":
            stop = threading.Event()
            threads = [threading.Thread(target=watch, args=(stop,), daemon=True)]
            threads[0].start()
        else:
            threads = []
        print("ready", flush=True)


if __name__ == "__main__":
    main()
