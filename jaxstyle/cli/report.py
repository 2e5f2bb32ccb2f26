"""What the commands say about a run: before it, beside the progress bar, and at its end."""

import itertools
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxstyle.cli.logs import memory_in_use
from jaxstyle.objective.base import Objective
from jaxstyle.transfer.memory import Memory
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.transfer.result import BatchProgress, Progress, Result

# A run that takes longer than this on a CPU gets a hint.
LONG_SECONDS = 300.0
# Of tqdm: its own counts would be fractions of the run's cost.
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"


def announcement(scales: Sequence[Scale], objective: Objective, needs: Memory) -> str:
    """Return the sentence before a run: size, scales, windows, evaluations, device, and memory.

    Args:
        scales: of the run.
        objective: with the window of the full size.
        needs: of the full size, on each device.
    """
    device, first, full = jax.devices()[0], scales[0], scales[-1]
    text = f"{full.width}x{full.height} pixels, "
    if len(scales) > 1:
        text += f"in {len(scales)} scales from {first.width}x{first.height}, "
    if objective.window is not None and objective.window < max(full.width, full.height):
        text += f"in windows of {objective.window}, "
    text += f"at most {sum(scale.steps for scale in scales)} evaluations, on {device.platform.upper()}"
    text += f" ({os.cpu_count()} cores)" if device.platform == "cpu" else f" ({device.device_kind})"
    text += f", about {needs.peak / 1e9:.1f} GB of memory"
    count = math.prod(objective.shards)
    return text + (f" on each of {count} devices" if count > 1 else "")


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
    """What the progress bar says beside the bar."""
    size = f"{progress.scale.width}x{progress.scale.height}"
    return f"{size}, {progress.evaluations}/{progress.steps} evaluations, loss {float(progress.losses.total):.4g}"


def final_loss(result: Result) -> float:
    """The least loss at the last scale that has a finite one, as losses of different scales do not compare."""
    ends = list(itertools.accumulate(scale.steps for scale in result.scales))
    for totals in reversed(np.split(np.asarray(result.losses.total), ends[:-1])):
        if np.isfinite(totals).any():
            return float(totals[np.isfinite(totals)].min())
    return float("inf")


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds.

    Example:
        >>> duration(59.7), duration(125)
        ('1 min 0 s', '2 min 5 s')
    """
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def run_summary(result: Result) -> dict[str, Any]:
    """What a recipe says of the run itself.

    Args:
        result: of the run.

    Returns:
        Plain numbers and words.
    """
    weights = {name: np.asarray(each).tolist() for name, each in result.weights._asdict().items()}
    told = {"evaluations": result.evaluations, "loss": final_loss(result), "status": str(result.status)}
    told |= {"forced": list(result.changed)} if result.changed else {}
    return told | {"window": result.window, "loss_weights": weights}


def progress_line(progress: Progress) -> dict[str, Any]:
    """What a log's line says of a run: plain numbers."""
    losses = {name: float(value) for name, value in progress.losses._asdict().items()}
    size = {"width": progress.scale.width, "height": progress.scale.height}
    told = {"evaluations": progress.evaluations, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
    return size | told | {"fraction": progress.fraction, "losses": losses} | memory_in_use()


def batch_line(progress: BatchProgress) -> dict[str, Any]:
    """What a log's line says of pictures that are made together."""
    told = {"evaluations": list(progress.evaluations), "seconds": round(progress.seconds, 3)}
    losses = {"total": list(progress.losses)}
    return told | {"running": progress.running, "fraction": progress.fraction, "losses": losses} | memory_in_use()
