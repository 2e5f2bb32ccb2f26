"""What commands say while they work: sentences on the error stream, and a line of JSON a chunk for who watches a job.

The library logs with Python's `logging`, under the name `jaxstyle`, and never prints. A command shows it; standard
output has results alone.
"""

import contextlib
import datetime
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from jaxstyle.cli.option_names import with_option_names
from jaxstyle.errors import InputError

ROOT = logging.getLogger("jaxstyle")
log = logging.getLogger(__name__)

# A line of JSON: called with its event and its fields.
EventLogger = Callable[..., None]


class _ToTerminal(logging.Handler):
    """To the error stream, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        tqdm.write(f"jaxstyle: {level}{with_option_names(record.getMessage())}", file=sys.stderr)


class _PipeSafeStream:
    """A stream that nobody may read any more: a closed pipe or terminal must not end a run."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except OSError:
            # So that what is left in its buffer does not fail once more when the process ends.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show what is logged, and warnings, as a command does; afterwards all is as it was."""
    handler, before = _ToTerminal(), (ROOT.level, ROOT.propagate)
    ROOT.addHandler(handler)
    ROOT.setLevel(logging.INFO)
    ROOT.propagate = False
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(_PipeSafeStream(sys.stdout)),
            contextlib.redirect_stderr(_PipeSafeStream(sys.stderr)),
        ):
            warnings.showwarning = lambda message, *_, **__: log.warning("%s", message)
            yield
    finally:
        ROOT.removeHandler(handler)
        ROOT.setLevel(before[0])
        ROOT.propagate = before[1]


def set_level(verbose: bool, quiet: bool) -> None:
    """Show more than usual, or only warnings and errors.

    Args:
        verbose: whether details are shown.
        quiet: whether nothing is shown that is no warning.
    """
    ROOT.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


@contextlib.contextmanager
def json_lines(path: Path | None) -> Iterator[EventLogger]:
    """A log of one JSON object a line, which others can read while it grows.

    Args:
        path: the file, which lines are added to; `-` is standard output; None logs nothing.

    Yields:
        A function of an event, such as "chunk", and fields. What is not finite becomes null. Where a line cannot be
        written, a warning says so once, and the log ends.

    Raises:
        InputError: if the file cannot be opened.
    """
    if path is None:
        yield lambda event, **fields: None
        return
    try:
        if str(path) != "-" and path.exists() and not _is_log(path):
            raise InputError(f"{path} is there already and no log: expected lines of JSON, or a new file")
        # Without a buffer: what a full disk refused must not fail once more at the end.
        stream = contextlib.nullcontext(sys.stdout.buffer) if str(path) == "-" else path.open("ab", buffering=0)
    except OSError as error:
        raise InputError(f"cannot write the log {path}: {error.strerror}; choose another place") from error
    with stream as file:
        failed = False

        def line(event: str, **fields: Any) -> None:
            nonlocal failed
            if failed:
                return
            try:
                _write(file, {"time": _now(), "event": event} | fields)
            except OSError as error:
                failed = True
                log.warning("cannot write the log %s: %s; the run goes on without it", path, error.strerror)

        yield line


def memory_in_use() -> dict[str, int | None]:
    """Bytes that this process, and the default device, have in use now, and had at most; None where nobody knows."""
    used = peak = None
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        parts = [line.split() for line in lines if line.endswith("kB")]
        sizes = {name: 1024 * int(number) for name, number, _ in parts}
        used, peak = sizes.get("VmRSS:"), sizes.get("VmHWM:")
    stats = jax.local_devices()[0].memory_stats() or {}
    return {
        "memory": used,
        "memory_peak": peak,
        "device_memory": stats.get("bytes_in_use"),
        "device_memory_peak": stats.get("peak_bytes_in_use"),
    }


def result_printer(path: Path | None) -> Callable[[str], None]:
    """What tells a command's result: on standard output, or, where the log goes there, with all other sentences.

    Args:
        path: of the log, see `json_lines`.

    Returns:
        A function of a sentence.
    """
    return (lambda text: log.info("%s", text)) if str(path) == "-" else tqdm.write


def _write(file: Any, fields: dict[str, Any]) -> None:
    file.write(json.dumps(_finite(fields), allow_nan=False).encode() + b"\n")
    file.flush()


def _is_log(path: Path) -> bool:
    """Whether a file is empty, or begins with a line that a log could have."""
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    try:
        return not line or "event" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _finite(value: Any) -> Any:
    """Plain values, with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
