"""Texts about a run: its announcement, the progress bar, log lines and the summary in a recipe."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxstyle.cli.logs import memory_in_use
from jaxstyle.objective.base import Objective
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.transfer.result import BatchProgress, Progress, Result
from jaxstyle.transfer.summary import final_loss

# A run that takes longer than this on a CPU gets a hint.
LONG_SECONDS = 300.0
# A format of tqdm without its counts, which would be fractions of the run's cost.
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"


def announcement(scales: Sequence[Scale], finish: int, objective: Objective, size: float) -> str:
    """Return the sentence before a run: size, scales, windows, evaluations, device, and memory.

    Args:
        scales: of the run.
        finish: evaluations of the finish of each scale.
        objective: with the window of the full size.
        size: bytes of memory; left out if they are unknown.
    """
    device, first, full = jax.devices()[0], scales[0], scales[-1]
    text = f"{full.width}x{full.height} pixels, "
    if len(scales) > 1:
        text += f"in {len(scales)} scales from {first.width}x{first.height}, "
    if objective.window is not None and objective.window < max(full.width, full.height):
        text += f"in windows of {objective.window}, "
    finishes = finish * len(scales)
    text += f"at most {finishes + sum(scale.steps for scale in scales)} evaluations, "
    text += f"{finishes} of them for the finish, " if finish else ""
    text += f"on {device.platform.upper()}"
    text += f" ({os.cpu_count()} cores)" if device.platform == "cpu" else f" ({device.device_kind})"
    if math.isfinite(size):
        text += f", about {size / 1e9:.1f} GB of memory"
        # CPU devices share it.
        if device.platform != "cpu" and objective.shards != (1, 1):
            text += f" on each of {math.prod(objective.shards)} devices"
    return text


def long_run_hint(earlier: Progress, later: Progress) -> str | None:
    """Return a sentence about a long run on a CPU, timed between two chunks of steps; None for other runs."""
    if jax.devices()[0].platform != "cpu" or later.fraction <= earlier.fraction:
        return None
    rate = (later.seconds - earlier.seconds) / (later.fraction - earlier.fraction)
    seconds = (1 - later.fraction) * rate
    if seconds <= LONG_SECONDS:
        return None
    return (
        f"about {duration(seconds)} left; a smaller --size or fewer --steps takes less, and so does a GPU "
        "(pip install 'jaxstyle[cuda]')"
    )


def bar_text(progress: Progress) -> str:
    """Return the text beside the progress bar."""
    size = f"{progress.scale.width}x{progress.scale.height}"
    return f"{size}, {progress.evaluations}/{progress.steps} evaluations, loss {float(progress.losses.total):.4g}"


def duration(seconds: float) -> str:
    """Return seconds as text.

    Example:
        >>> duration(59.7), duration(125)
        ('1 min 0 s', '2 min 5 s')
    """
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def picture_fields(path: Path, result: Result) -> dict[str, Any]:
    """Return the fields of a result as JSON: the file that was written, and how the run ended."""
    height, width = result.image.shape[:2]
    return {
        "output": str(path),
        "width": width,
        "height": height,
        "loss": final_loss(result),
        "evaluations": result.evaluations,
        "seconds": round(result.seconds, 3),
        "status": str(result.status),
    }


def progress_line(progress: Progress) -> dict[str, Any]:
    """Return the fields of a log line about a run, as plain numbers."""
    return {
        "width": progress.scale.width,
        "height": progress.scale.height,
        "evaluations": progress.evaluations,
        "steps": progress.steps,
        "seconds": round(progress.seconds, 3),
        "fraction": progress.fraction,
        "losses": {name: float(value) for name, value in progress.losses._asdict().items()},
    } | memory_in_use()


def batch_line(progress: BatchProgress) -> dict[str, Any]:
    """Return the fields of a log line about a batch, as plain numbers."""
    return {
        "evaluations": list(progress.evaluations),
        "seconds": round(progress.seconds, 3),
        "running": progress.running,
        "fraction": progress.fraction,
        "losses": {"total": list(progress.losses)},
    } | memory_in_use()
