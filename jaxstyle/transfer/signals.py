"""Signals that end a process: a flag during a run, deferred during a write."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from jaxstyle.minimize.status import Status

# The status of a run that a signal ends: Ctrl-C; the request to end; the terminal is closed; a cluster's warning before
# the end, and the kernel's that the processor time is used up.
ENDS = {
    signal.SIGINT: Status.INTERRUPTED,
    signal.SIGTERM: Status.TERMINATED,
    signal.SIGHUP: Status.TERMINATED,
    signal.SIGUSR1: Status.TERMINATED,
    signal.SIGXCPU: Status.TERMINATED,
}
# A second one ends the process at once. The others repeat by themselves: shell and kernel both report a closed
# terminal, and SIGXCPU comes every second.
TWICE = (signal.SIGINT, signal.SIGTERM)
# Exit codes of such runs, as shells define them.
EXIT_CODES = {Status.INTERRUPTED: 128 + signal.SIGINT, Status.TERMINATED: 128 + signal.SIGTERM}

Handler = Callable[[int, Any], Any] | int | None


@dataclass
class Stop:
    """Set once a signal arrives.

    Attributes:
        status: of a run that the signal ends; None before.
    """

    status: Status | None = None


@contextmanager
def replaced_handlers(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Install signal handlers for the block, but not for ignored signals, such as Ctrl-C in the background of a script.

    Only the main thread can have handlers: elsewhere do nothing.
    """
    previous = _replaceable(handlers) if threading.current_thread() is threading.main_thread() else {}
    try:
        _install({number: handlers[number] for number in previous})
        yield
    finally:
        _install(previous)


@contextmanager
def stop_flag() -> Iterator[Stop]:
    """Turn the first signal into a flag: an exception in the middle of a chunk would lose the donated state.

    A second Ctrl-C or SIGTERM has its usual effect. The program's own handlers stay, except that of Ctrl-C.
    """
    stop = Stop()
    previous = {
        number: handler
        for number, handler in _replaceable(ENDS).items()
        if number is signal.SIGINT or handler is signal.SIG_DFL
    }

    def handle(number: int, _: object) -> None:
        stop.status = ENDS[signal.Signals(number)]
        # Not by Python's streams: the signal may arrive while they write. The stream may also be closed.
        with suppress(OSError):
            os.write(2, b"\nstopping after the running steps; once more to stop at once\n")
        _install({number: handler for number, handler in previous.items() if number in TWICE})

    with replaced_handlers(dict.fromkeys(previous, handle)):
        yield stop


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Defer signals until the block ends: a write at the end of a run must not be lost."""
    deferred: list[int] = []
    try:
        with replaced_handlers(dict.fromkeys(ENDS, lambda number, _: deferred.append(number))):
            yield
    finally:
        for number in deferred:
            signal.raise_signal(number)


def _replaceable(numbers: Mapping[signal.Signals, Any]) -> dict[signal.Signals, Handler]:
    """The handlers of these signals, without those set outside of Python, which cannot be installed again."""
    handlers = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}


def _install(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
