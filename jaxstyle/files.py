"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def temporary_beside(path: Path) -> Path:
    """A name in the same directory that nothing else has; short, since names have a limit.

    Args:
        path: the file that the temporary one will become.

    Returns:
        The temporary name.
    """
    return path.with_name(f".jaxstyle-{secrets.token_hex(8)}.tmp")


def probe(path: Path) -> None:
    """Ask the file system whether `path` could be written, by an empty file beside it; permission bits do not tell.

    Args:
        path: the file to be written later.

    Raises:
        OSError: as the file system says.
    """
    beside = temporary_beside(path)
    beside.open("xb").close()
    beside.unlink()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` in one step when the block ends, and vanishes if it fails.

    Whatever was there before survives any failure. It gets the permissions of a new file, and a symbolic link is
    written through, not replaced.

    Args:
        path: the file to write.

    Yields:
        The open temporary file.

    Raises:
        OSError: as the file system says.
    """
    target = Path(os.path.realpath(path))
    temporary = temporary_beside(target)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
