"""Files that appear whole or not at all."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxstyle.errors import InputError


def cache_folder() -> Path:
    """Where jaxstyle keeps what it can get again: `JAXSTYLE_CACHE`, or `jaxstyle` in the user's cache."""
    home = os.environ.get("JAXSTYLE_CACHE")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "jaxstyle"


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
    with contextlib.suppress(FileNotFoundError):
        # Of a name that is too long.
        path.lstat()
    beside = temporary_beside(path)
    beside.open("xb").close()
    beside.unlink()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` in one step when the block ends, and vanishes if it fails.

    Whatever was there before survives any failure. It gets the permissions of a new file, and a symbolic link is
    written through, not replaced.

    Args:
        path: the file to write.
        replace: False raises `FileExistsError` at the end if there is a file by then.

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
        if replace:
            os.replace(temporary, target)
        else:
            _publish(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path) -> None:
    """Give a file its name, unless another one has it."""
    try:
        # Unlike a rename it never replaces.
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # No file system has to know links.
        if os.path.lexists(target):
            raise
        os.replace(temporary, target)


def checksum(path: Path) -> str:
    """SHA-256 of a file: the same name can hold another picture tomorrow."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
