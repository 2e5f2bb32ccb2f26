"""What a recipe says of a run: with what it was made, and how it ended."""

import importlib.metadata
import itertools
import platform
from typing import Any

import jax
import numpy as np

from jaxstyle.image import io
from jaxstyle.transfer.result import Result
from jaxstyle.vgg import weights

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")


def provenance(network: str) -> dict[str, Any]:
    """Return the part of a recipe about programs and device.

    Args:
        network: name or file of the weights of VGG-19.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "software": io.software(),
        "versions": versions | {"python": platform.python_version()},
        "weights_sha256": weights.weights_sha256(network),
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
    }


def final_loss(result: Result) -> float:
    """Return the least loss of the last scale with a finite one; losses of different scales cannot be compared."""
    ends = list(itertools.accumulate(scale.steps for scale in result.scales))
    for totals in reversed(np.split(np.asarray(result.losses.total), ends[:-1])):
        if np.isfinite(totals).any():
            return float(totals[np.isfinite(totals)].min())
    return float("inf")


def run_summary(result: Result) -> dict[str, Any]:
    """Return the part of a recipe that describes the run, as plain values."""
    weights = {name: np.asarray(values).tolist() for name, values in result.weights._asdict().items()}
    summary = {"evaluations": result.evaluations, "loss": final_loss(result), "status": str(result.status)}
    summary |= {"forced": list(result.changed)} if result.changed else {}
    return summary | {"window": result.window, "loss_weights": weights}
