"""A file appears whole or not at all."""

import errno
import os
import pwd
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.vgg import weights


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), files.replacing(path) as file:
        file.writelines([b"half", "not bytes"])
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"before")]
    with files.replacing(path) as file:
        file.write(b"after")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"after")]


def test_a_new_file_gets_ordinary_permissions(tmp_path: Path) -> None:
    path, before = tmp_path / "file", os.umask(0o022)
    try:
        with files.replacing(path) as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with files.replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_file_that_appeared_meanwhile_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems with and without hard links; without them even in the moment after the link has failed."""
    path = tmp_path / "file"

    def write(before_the_end: Callable[[], object]) -> None:
        with files.replacing(path, replace=False) as file:
            file.write(b"new")
            before_the_end()

    def link(*_: object) -> None:
        path.write_bytes(b"second")
        no_links()

    with pytest.raises(FileExistsError):
        write(lambda: path.write_bytes(b"first"))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"first")]
    path.unlink()
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(FileExistsError):
        write(lambda: None)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"second")]


def test_without_hard_links_a_new_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    with files.replacing(tmp_path / "file", replace=False) as file:
        file.write(b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"new")]
    monkeypatch.setattr(os, "replace", no_links)
    with pytest.raises(OSError, match="not permitted"), files.replacing(tmp_path / "other", replace=False) as file:
        file.write(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_of_two_writers_one_wins(tmp_path: Path) -> None:
    path, barrier = tmp_path / "file", threading.Barrier(8)

    def write(k: int) -> bool:
        try:
            with files.replacing(path, replace=False) as file:
                file.write(bytes([k]))
                barrier.wait()
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(write, range(8)))
    assert sum(written) == 1
    assert path.read_bytes() == bytes([written.index(True)])


def test_checksums(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.checksum(path) == files.sha256(b"abc") == files.sha256(b"a", memoryview(b"bc")) == digest
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match=f"cannot read {missing}"):
            files.checksum(missing)


def test_a_file_that_is_a_mount_gets_the_new_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker run -v FILE:FILE` makes it; the kernel refuses to rename over it."""
    path, mounts = tmp_path / "a file", tmp_path / "mountinfo"
    path.write_bytes(b"much longer before")
    escaped = str(path).replace(" ", "\\040")
    mounts.write_text(f"22 27 0:21 / /proc rw shared:1 - proc proc rw\n30 27 0:5 / {escaped} rw - ext4 /dev/vda rw\n")
    monkeypatch.setattr(files, "MOUNTS", mounts)

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "replace", busy)
    inode = path.stat().st_ino
    files.probe(path)
    with files.replacing(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"
    assert path.stat().st_ino == inode
    assert {p.name for p in tmp_path.iterdir()} == {"a file", "mountinfo"}
    assert not files.is_mount(tmp_path / "other")


def test_the_folder_of_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG's rule: a relative path is ignored. Without a home there is no cache, rather than a folder named `~`."""
    for name in ("JAXSTYLE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for value in ("", "relative"):
        monkeypatch.setenv("HOME", value)
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert files.cache_folder() == home / ".cache" / "jaxstyle"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "jaxstyle"
    # A user by number, without an entry.
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert files.cache_folder() == tmp_path / ".cache" / "jaxstyle"
    monkeypatch.delenv("HOME")
    assert files.cache_folder() is None
    assert [record.path for record in weights.list_weights()][1] is None
    with pytest.raises(InputError, match="this user has no home: set JAXSTYLE_CACHE"):
        weights.fetch_weights("torchvision")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "jaxstyle"
