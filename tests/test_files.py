"""A file appears whole or not at all."""

import os
from pathlib import Path

import pytest

from jaxstyle import files


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
