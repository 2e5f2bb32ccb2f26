"""What every result carries (machine, versions, device, commit), and how it is written."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from jaxstyle import files

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")


def machine() -> dict[str, Any]:
    """Where and with what a benchmark runs."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result as JSON; an interrupted run leaves the earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    with files.replacing(path) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    return path


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    run = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return run.stdout.strip() or "unknown"
