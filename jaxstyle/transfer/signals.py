"""Ctrl-C and SIGTERM: a flag during a run, nothing at all during a write."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from jaxstyle.minimize.status import Status

# What a signal ends a run with, and the exit code of such a run: what shells use.
ENDS = {signal.SIGINT: Status.INTERRUPTED, signal.SIGTERM: Status.TERMINATED}
EXIT_CODES = {status: 128 + number for number, status in ENDS.items()}


@dataclass
class Stop:
    """Whether a signal has come.

    Attributes:
        status: of a run that it ends; None before.
    """

    status: Status | None = None


@contextmanager
def stop_flag() -> Iterator[Stop]:
    """Turn the first signal into a flag: an exception in the middle of a chunk would lose the donated state.

    A second one does what it does outside. A program's own handler of SIGTERM stays.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in ENDS}
    if previous[signal.SIGTERM] is not signal.SIG_DFL:
        del previous[signal.SIGTERM]

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, _: object) -> None:
        stop.status = ENDS[signal.Signals(number)]
        # Not by Python's streams: the signal may have come while they write. Nor need there be anyone who reads.
        with suppress(OSError):
            os.write(2, b"\nstopping after the running steps; once more to stop at once\n")
        restore()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Let signals wait until a write is done that ends a run of minutes."""
    came: list[int] = []
    previous = {number: signal.signal(number, lambda number, _: came.append(number)) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
