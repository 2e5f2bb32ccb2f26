"""Standard streams that cannot fail: closed ones, pipes without a reader, terminals without a character."""

import contextlib
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any


class SafeStream:
    """A text stream that ignores errors, which must not end a run, and escapes characters that its encoding lacks."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """Encoding of the stream; streams of notebooks may have none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return True for a terminal."""
        return getattr(self._stream, "isatty", lambda: False)()

    def write(self, text: str) -> int:
        """Write what can be written."""
        shown = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._try(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        self._try(self._stream.flush)

    def _try(self, operation: Callable[[], Any]) -> None:
        try:
            operation()
        except OSError:
            # What is left in the buffer must not fail again when the process ends.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Make standard output and the error stream safe for the block."""
    occupy_closed_descriptors()
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(SafeStream(sys.stdout or nowhere)),
        contextlib.redirect_stderr(SafeStream(sys.stderr or nowhere)),
    ):
        yield


@contextlib.contextmanager
def without_library_output() -> Iterator[None]:
    """Discard what libraries in C print on the error stream, such as LibTIFF about damaged files; ours is shown.

    The descriptor is the whole process's. The block is for reading files, before anything is computed.
    """
    with open(os.dup(2), "w", 1, getattr(sys.stderr, "encoding", "utf-8")) as copy, open(os.devnull, "w") as nowhere:
        ours = SafeStream(copy) if _descriptor(sys.stderr) == 2 else sys.stderr
        sys.stderr.flush()
        os.dup2(nowhere.fileno(), 2)
        try:
            with contextlib.redirect_stderr(ours):
                yield
        finally:
            os.dup2(copy.fileno(), 2)


def _descriptor(stream: Any) -> int | None:
    """File descriptor of a stream; None for the streams of notebooks and tests, which have none."""
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def escaped(text: str) -> str:
    """Escape control characters, which a file's name can contain: they would start a line, or change the terminal."""
    return "".join(repr(char)[1:-1] if unicodedata.category(char) == "Cc" else char for char in text)


def occupy_closed_descriptors() -> None:
    """Open the null device for each standard stream that is closed (`2>&-`).

    Otherwise the next file would get its descriptor, and then what libraries print on it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor, which is this one.
            os.open(os.devnull, os.O_RDWR)
