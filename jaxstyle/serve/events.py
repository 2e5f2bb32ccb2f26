"""Server-sent events: every page hears of every run, at its own pace."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from jaxstyle.serve.run import Run
from jaxstyle.serve.runs import Runs

# Seconds between two messages of a page at least, and between two signs of life at most.
INTERVAL, KEEP_ALIVE = 0.2, 15.0


class Events:
    """Wakes the pages when something has changed. `notify` may be called from any thread, and never waits."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Event] = set()
        self._closing = False

    def open(self) -> None:
        """Begin, in the loop of the server."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End all streams; may be called from any thread."""
        self._closing = True
        self.notify()

    def notify(self) -> None:
        """Say that something has changed."""
        loop = self._loop
        if loop is not None and self._listeners and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    async def stream(self, runs: Runs, describe: Callable[[Run], Any]) -> AsyncIterator[str]:
        """Yield the changes: event `run` for each run that has changed, and `runs` when the list has.

        Args:
            runs: all runs.
            describe: describes a run.
        """
        changed, sent, list_sent = asyncio.Event(), dict[str, int](), -1
        self._listeners.add(changed)
        try:
            while not self._closing:
                changed.clear()
                if runs.revision != list_sent:
                    list_sent = runs.revision
                    yield _message("runs", [describe(run) for run in runs.all()])
                for run in runs.all():
                    if sent.get(run.id) != run.revision:
                        sent[run.id] = run.revision
                        yield _message("run", describe(run))
                await asyncio.sleep(INTERVAL)
                try:
                    await asyncio.wait_for(changed.wait(), KEEP_ALIVE)
                except TimeoutError:
                    yield ": \n\n"
        finally:
            self._listeners.discard(changed)

    def _wake(self) -> None:
        for listener in self._listeners:
            listener.set()


def _message(event: str, value: Any) -> str:
    return f"event: {event}\ndata: {json.dumps(value)}\n\n"
