"""Free memory: an accelerator's own, otherwise the machine's within the limits of the process's control groups."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import psutil


class _Files(NamedTuple):
    """Where a version of Linux control groups is mounted, and its names for a group's memory."""

    mount: str
    limit: str
    usage: str
    # In `memory.stat`: cached file pages, which count as used but are reclaimed on demand.
    cache: str


_V1 = _Files("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("", "memory.max", "memory.current", "inactive_file")


def free_memory() -> int | None:
    """Bytes that a run may use on the default device; None if the device does not report its memory."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return free_host_memory()
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else limit - stats.get("bytes_in_use", 0)


def free_host_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Available bytes of the machine, or what the strictest of the process's control groups leaves, if less.

    Every group from the process's own up to the root counts: a limit of any of them makes the kernel end the process.
    """
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(proc, cgroups)]))


def _left_in_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Bytes that each control group with a limit leaves."""
    for folder, files in _groups(proc, cgroups):
        # A group without a limit says "max" or has no such file. In a container only its own groups are visible.
        with contextlib.suppress(OSError, ValueError):
            limit, used = (int((folder / name).read_text()) for name in (files.limit, files.usage))
            yield limit - used + _cached(folder, files)


def _cached(folder: Path, files: _Files) -> int:
    with contextlib.suppress(OSError, ValueError):
        counts = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
        return int(counts.get(files.cache, 0))
    return 0


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[Path, _Files]]:
    """Folders of the process's groups, each version's from its own group up to the root."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        # Not Linux.
        return
    for line in lines:
        # hierarchy:controllers:path, with no controllers in version 2.
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = _V1 if controllers else _V2
        root = cgroups / files.mount
        group = root / path.strip("/")
        while group != root:
            yield group, files
            group = group.parent
        yield root, files
