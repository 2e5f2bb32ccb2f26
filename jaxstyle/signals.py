"""Ctrl-C: a flag during a run, nothing at all during a write."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Exit code of a run that Ctrl-C ended: what shells use.
INTERRUPTED = 130


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag: an exception in the middle of a chunk would lose the donated state."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(*_) -> None:
        flag.set()
        print("\nstopping after the running steps; Ctrl-C again to stop at once", file=sys.stderr)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C away from a write of some milliseconds that ends a run of minutes."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
