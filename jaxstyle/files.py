"""Files that appear whole or not at all, and checksums."""

import contextlib
import hashlib
import os
import pwd
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxstyle.errors import InputError

Buffer = bytes | memoryview
# The mounts of the process, on Linux.
MOUNTS = Path("/proc/self/mountinfo")


def cache_folder() -> Path | None:
    """Folder for files that can be made or downloaded again: `JAXSTYLE_CACHE`, or `jaxstyle` in the user's cache.

    None for a user without a home, such as a number that a container gives.
    """
    if os.environ.get("JAXSTYLE_CACHE"):
        return Path(os.environ["JAXSTYLE_CACHE"])
    # Its specification says to ignore a relative path.
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(caches):
        return Path(caches, "jaxstyle")
    home = _home()
    return None if home is None else home / ".cache" / "jaxstyle"


def _home() -> Path | None:
    """The user's home; a relative or empty `HOME` counts as unset."""
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(home) if os.path.isabs(home) else None


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`; short, since the file system limits the length of names."""
    return path.with_name(f".jaxstyle-{secrets.token_hex(8)}.tmp")


def probe(path: Path) -> None:
    """Test if `path` can be written, by creating an empty file beside it: permission bits are not reliable.

    Raises:
        OSError: from the file system.
    """
    with contextlib.suppress(FileNotFoundError):
        # Raises an error for a name that is too long.
        path.lstat()
    temporary = temporary_beside(path)
    temporary.open("xb").close()
    temporary.unlink()
    if is_mount(path):
        path.open("r+b").close()


def is_mount(path: Path) -> bool:
    """Return True for a file that is a mount of its own, as `docker run -v FILE:FILE` makes: nothing can replace it."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        # Not Linux.
        return False
    mounts = {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4]) for line in lines}
    return os.path.realpath(path) in mounts


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], replace: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file that atomically becomes `path` when the block ends, and is removed if the block fails.

    An existing file survives any failure. The new file has the permissions of new files. A symbolic link is followed,
    not replaced. A file that is a mount of its own is written in place, since no other file can take its place.

    Args:
        path: the file to write.
        replace: False raises `FileExistsError` at the end if `path` exists by then, and never replaces it.

    Yields:
        The open temporary file. The block may close it.

    Raises:
        OSError: from the file system.
    """
    target = Path(os.path.realpath(path))
    temporary = temporary_beside(target)
    try:
        with temporary.open("xb") as file:
            yield file
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        if replace and is_mount(target):
            shutil.copyfile(temporary, target)
        elif replace:
            os.replace(temporary, target)
        else:
            _rename_to_new(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Give a file its final name; raises `FileExistsError` if that name exists."""
    try:
        # Unlike a rename, a link never replaces a file.
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: create the name, which fails if it exists, and replace only that file.
        target.open("xb").close()
        try:
            os.replace(temporary, target)
        except BaseException:
            target.unlink()
            raise


def sha256(*parts: Buffer) -> str:
    """SHA-256 of the concatenated parts, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def checksum(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits: a name alone does not identify the contents."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; expected the path of a file") from error
