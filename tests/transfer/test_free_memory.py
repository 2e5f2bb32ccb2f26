"""Free memory: the machine's, and the limits of control groups of both versions, from trees in a folder."""

from types import SimpleNamespace

import psutil
import pytest

from jaxstyle.transfer.free_memory import free_host_memory, free_memory

AVAILABLE = 100_000
# What version 1 says of a group without a limit.
UNLIMITED = 2**63 - 4096


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Write the process's groups and their files; returns what is free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=AVAILABLE))

    def free(lines, files):
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        cgroups.mkdir()
        if lines is not None:
            (proc / "self" / "cgroup").write_text(lines)
        for name, text in files.items():
            (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
            (cgroups / name).write_text(f"{text}\n")
        return free_host_memory(proc, cgroups)

    return free


def v2(folder, limit, used, cached=None):
    files = {f"{folder}memory.max": limit, f"{folder}memory.current": used}
    stat = {} if cached is None else {f"{folder}memory.stat": f"anon 10\ninactive_file {cached}\nactive_file 5"}
    return files | stat


def v1(folder, limit, used, cached=None):
    files = {f"memory/{folder}memory.limit_in_bytes": limit, f"memory/{folder}memory.usage_in_bytes": used}
    stat = "inactive_file 7\ntotal_inactive_file {}"
    return files | ({} if cached is None else {f"memory/{folder}memory.stat": stat.format(cached)})


NESTED = "0::/system.slice/slurm/job_7\n"
JOB = "system.slice/slurm/job_7/"
V1 = "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        # Not Linux, or no groups.
        (None, {}, AVAILABLE),
        ("0::/\n", {}, AVAILABLE),
        # Version 2: a container sees its own group as the root.
        ("0::/\n", v2("", "max", 50), AVAILABLE),
        ("0::/\n", v2("", 1050, 50, 20), 1020),
        ("0::/\n", v2("", 1050, 50), 1000),
        # A group of a group: the process's own, and each one above.
        (NESTED, v2(JOB, 3000, 1000) | v2("system.slice/", "max", 5000), 2000),
        (NESTED, v2(JOB, "max", 1000) | v2("system.slice/slurm/", 2000, 1500, 100), 600),
        (NESTED, v2(JOB, 3000, 1000) | v2("system.slice/slurm/", 9000, 8500) | v2("", 10**9, 1), 500),
        (NESTED, v2("system.slice/other/", 100, 50), AVAILABLE),
        # A container in which the path of its host is not mounted.
        (NESTED, v2("", 1050, 50), 1000),
        ("0::/../../above\n", v2("", 1050, 50), 1000),
        # Version 1: the group of the memory controller alone.
        (V1, v1("docker/abc/", 4000, 1000, 50) | v1("", UNLIMITED, 10), 3050),
        (V1, v1("docker/", 2000, 1500) | v1("docker/abc/", UNLIMITED, 10), 500),
        (V1, v1("", 700, 200), 500),
        (V1, v1("other/", 100, 50), AVAILABLE),
        # Both: memory is in version 1, other controllers in version 2.
        (V1 + "0::/docker/abc\n", v1("docker/abc/", 4000, 1000), 3000),
        ("0::/a\n" + V1, v2("a/", 900, 300) | v1("", UNLIMITED, 10), 600),
        # More in use than a limit that was lowered.
        ("0::/\n", v2("", 100, 150), 0),
        # Files that say something else.
        ("0::/\n", v2("", "", 50), AVAILABLE),
        ("0::/\n", v2("", 1050, 50) | {"memory.stat": "no numbers"}, 1000),
    ],
)
def test_the_strictest_limit_counts(tree, lines, files, expected):
    assert tree(lines, files) == expected


def test_unreadable_files_limit_nothing(tree):
    """A folder instead of a file: permissions do not stop the superuser."""
    assert tree("0::/\n", {"memory.max/a": 1, "memory.current": 50}) == AVAILABLE


def test_this_machine_has_memory():
    assert 1e8 < free_memory() < 1e14
