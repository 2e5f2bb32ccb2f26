"""Output of the commands: sentences on the error stream, and optionally JSON lines for programs that watch a run.

The library logs with Python's `logging`, under the name `jaxstyle`, and never prints. A command shows these records on
the error stream; standard output contains only results.
"""

import contextlib
import datetime
import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from jaxstyle.cli.option_names import with_option_names
from jaxstyle.cli.streams import escaped, safe_streams
from jaxstyle.errors import InputError

ROOT = logging.getLogger("jaxstyle")
log = logging.getLogger(__name__)

# Appends a line of JSON: called with the event and its fields.
EventLogger = Callable[..., None]


class _TerminalHandler(logging.Handler):
    """Print records on the error stream, above the progress bar, with the options' names."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        tqdm.write(f"jaxstyle: {level}{escaped(with_option_names(record.getMessage()))}", file=sys.stderr)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show log records and warnings; restore the previous settings at the end."""
    handler, level, propagate = _TerminalHandler(), ROOT.level, ROOT.propagate
    ROOT.addHandler(handler)
    ROOT.setLevel(logging.INFO)
    ROOT.propagate = False
    try:
        with warnings.catch_warnings(), safe_streams():
            # What Pillow says of odd metadata; of pixels it raises errors.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.showwarning = lambda message, *_, **__: log.warning("%s", message)
            yield
    finally:
        ROOT.removeHandler(handler)
        ROOT.setLevel(level)
        ROOT.propagate = propagate


def set_level(verbose: bool, quiet: bool) -> None:
    """Set which records are shown.

    Args:
        verbose: If True, details too.
        quiet: If True, only warnings and errors.
    """
    ROOT.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


@contextlib.contextmanager
def json_lines(path: Path | None) -> Iterator[EventLogger]:
    """Open a log of one JSON object per line, which other programs can read while it grows.

    Args:
        path: file to append to, or a pipe; `-` is standard output; None logs nothing.

    Yields:
        A function of an event, such as "chunk", and fields. Numbers that are not finite become null. If a line cannot
        be written, there is one warning, and the log ends.

    Raises:
        InputError: if the file cannot be opened.
    """
    if path is None:
        yield lambda event, **fields: None
        return
    try:
        if str(path) != "-" and path.is_file() and not _is_log(path):
            raise InputError(f"{path} exists and is not a log: expected lines of JSON, or a new file")
        # Without a buffer: a write that failed on a full disk must not fail again at the end.
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
                log.warning("cannot write the log %s: %s; the run continues without it", path, error.strerror)

        yield line


def memory_in_use() -> dict[str, int | None]:
    """Return the bytes that the process and the default device use, and their peaks; None if unknown."""
    current = peak = None
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        parts = [line.split() for line in lines if line.endswith("kB")]
        sizes = {name: 1024 * int(number) for name, number, _ in parts}
        current, peak = sizes.get("VmRSS:"), sizes.get("VmHWM:")
    stats = jax.local_devices()[0].memory_stats() or {}
    return {
        "memory": current,
        "memory_peak": peak,
        "device_memory": stats.get("bytes_in_use"),
        "device_memory_peak": stats.get("peak_bytes_in_use"),
    }


class ResultPrinter(NamedTuple):
    """Prints results: on standard output, or on the error stream if the log is there.

    Attributes:
        log: path of the log, as for `json_lines`.
        as_json: If True, a result is a line of JSON instead of a sentence.
    """

    log: Path | None
    as_json: bool = False

    def __call__(self, sentence: str, **fields: Any) -> None:
        """Print a result, as a sentence or as the fields."""
        text = json.dumps(_finite(fields), allow_nan=False) if self.as_json else escaped(sentence)
        if str(self.log) == "-":
            log.info("%s", text)
        else:
            tqdm.write(text)


def _write(file: Any, fields: dict[str, Any]) -> None:
    file.write(json.dumps(_finite(fields), allow_nan=False).encode() + b"\n")
    file.flush()


def _is_log(path: Path) -> bool:
    """Return True if a file is empty, or its first line can be of a log."""
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    try:
        return not line or "event" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
