"""What a run keeps of itself, so that it can be taken up where it was."""

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxstyle import files
from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint_file import Contents, PathLike
from jaxstyle.minimize.loop import RunState
from jaxstyle.minimize.status import History
from jaxstyle.minimize.step import state_like
from jaxstyle.objective.base import Losses, LossWeights
from jaxstyle.objective.mesh import allreduce_max, to_host
from jaxstyle.typing import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where, and how often, `stylize` saves all of a run, and whether it goes on from there.

    A run that goes on takes the steps that it would have taken: on the same device, with the same versions, its picture
    and losses are the same to the last bit. It is saved between chunks of steps, and when Ctrl-C, SIGTERM or a callback
    ends it; the file is replaced in one step, so that there is always a whole one. It stays when the run is done:
    remove it once the picture is saved. About 300 bytes a pixel with L-BFGS of 10 pairs. On several hosts all must see
    the file; the first one writes it.

    Attributes:
        path: the file.
        every: seconds between two saves; 0 saves after every chunk.
        resume: go on from the file if it is there. Otherwise a file that is there is refused, as it may be all that is
            left of a run.
        force: go on even with other pictures or settings, from the best picture of the size that the run was at, anew;
            or, without `resume`, begin anew and replace the file.
        note: JSON that is stored too, for the caller.
    """

    path: PathLike
    every: float = 60.0
    resume: bool = False
    force: bool = False
    note: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise InputError(f"path is {self.path!r}, expected the path of a file for the checkpoint")
        try:
            json.dumps(dict(self.note))
        except (TypeError, ValueError) as error:
            raise InputError(f"note is no JSON ({error}): use plain numbers, strings, lists and dicts") from error
        if not (isinstance(self.every, Real) and 0 <= self.every < math.inf):
            raise InputError(
                f"every is {self.every!r}, expected seconds between two checkpoints, from 0 on, such as 60"
            )


class Snapshot(NamedTuple):
    """A run between two chunks of steps.

    Attributes:
        scale: its place among the run's scales.
        histories: losses of the scales that are done.
        windows: side of the windows at every scale; None where there are none.
        weights: of the loss's terms at this scale.
        descent: how far this scale has come. Of a run that is taken up its `state` is still arrays by name.
        seconds: that the run has taken.
        changed: pictures and settings that are others now, so that only the best picture counts.
    """

    scale: int
    histories: list[History]
    windows: list[int | None]
    weights: LossWeights
    descent: RunState
    seconds: float
    changed: tuple[str, ...] = ()


def load_snapshot(kept: Checkpoint, asked: Mapping[str, str], mesh: Any = None) -> Snapshot | None:
    """What a checkpoint says of a run.

    Args:
        kept: where.
        asked: `fingerprint` of the pictures and settings of the run that wants to go on.
        mesh: of the run: if one of its hosts finds the file, all have to.

    Returns:
        Where to go on; None if the run has to begin.

    Raises:
        InputError: for a file that cannot be used, or is in the way.
    """
    there = bool(allreduce_max(int(os.path.lexists(kept.path)), mesh))
    if there and not kept.resume:
        # Only what is a checkpoint gives way to another one.
        checkpoint_file.read(kept.path)
        if not kept.force:
            raise InputError(
                f"the checkpoint {kept.path} is there already, of a run that may not be finished: go on from it "
                "(jaxstyle resume; in Python resume=True), replace it (--force; force=True), or use another name"
            )
    if not there or not kept.resume:
        try:
            if is_first():
                files.probe(Path(os.path.realpath(kept.path)))
        except OSError as error:
            raise InputError(
                f"cannot write the checkpoint {kept.path}: {error.strerror}; choose another place"
            ) from error
        return None
    tensors, words = checkpoint_file.read(kept.path)
    try:
        told, run = words["asked"], words["run"]
        changed = sorted(name for name in {*told, *asked} if told.get(name) != asked.get(name))
        if changed and not kept.force:
            raise InputError(
                f"the checkpoint {kept.path} is of a run with other {', '.join(changed)}: expected the same pictures "
                "and settings; force it (--force; force=True) to go on with these from its best picture"
            )
        versions = words["versions"]
        differ = [f"{name} {versions.get(name)}" for name, now in _versions().items() if versions.get(name) != now]
        if differ:
            log.warning("the checkpoint was made with %s: the result can differ in its last digits", ", ".join(differ))
        histories = [tensors[f"history.{k}"] for k in range(run["scale"])]
        weights = LossWeights(*(jnp.asarray(tensors[f"weights.{name}"]) for name in LossWeights._fields))
        descent = RunState(tensors, tensors["history"], run["since"], run["on_final_objective"])  # pyright: ignore[reportArgumentType]
        done = sum(map(len, histories)) + len(descent.history)
        log.info("goes on after %d evaluations, from %s", done, kept.path)
        if changed:
            log.warning("with other %s than before, so from the best picture, with a new optimizer", ", ".join(changed))
        windows = list(run["windows"])
        return Snapshot(run["scale"], histories, windows, weights, descent, run["seconds"], tuple(changed))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the checkpoint {kept.path} is damaged: it lacks {error}; use another one") from error


def restore_state(snapshot: Snapshot, image: Image, optimizer: optax.GradientTransformation, steps: int) -> RunState:
    """The descent of a run that is taken up.

    Args:
        snapshot: from `load_snapshot`; its arrays are taken out.
        image: of the scale's size, lying where the run's lay.
        optimizer: of the run.
        steps: of the scale.

    Returns:
        Where to go on.

    Raises:
        InputError: if the checkpoint is of another size or optimizer.
    """
    found, like = snapshot.descent, state_like(image, optimizer)
    if len(found.history) > steps or found.history.shape[1:] != (len(Losses._fields),):
        raise InputError(f"the checkpoint has {len(found.history)} evaluations of this scale, the run takes {steps}")
    return found._replace(state=checkpoint_file.unflatten(like, found.state, "state"))  # pyright: ignore[reportArgumentType]


def best_of(snapshot: Snapshot, height: int, width: int) -> Image:
    """The best picture of a run that is taken up with other pictures or settings.

    Args:
        snapshot: from `load_snapshot`.
        height: of the scale, in pixels.
        width: likewise.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: if the checkpoint is of another size.
    """
    best = snapshot.descent.state.get("state.best_image", np.zeros(3))  # pyright: ignore[reportAttributeAccessIssue]
    if best.ndim != 3 or best.shape[0] < height or best.shape[1] < width:
        raise InputError(f"the checkpoint's picture is {best.shape}, the run is at {(height, width)}: begin anew")
    return jnp.asarray(best[:height, :width])


def make_saver(
    kept: Checkpoint, asked: Mapping[str, str], mesh: Any = None
) -> Callable[[Callable[[], Snapshot], bool], None]:
    """A function that saves a run where it is time to.

    A save that fails is a warning: the run goes on, and the checkpoint before is still there.

    Args:
        kept: where and how often.
        asked: `fingerprint` of the pictures and settings.
        mesh: of the run; all of its hosts have to call together.

    Returns:
        A function of what makes the snapshot, and of whether it has to be saved now.
    """
    last = time.perf_counter()

    def keep(snapshot: Callable[[], Snapshot], now: bool) -> None:
        nonlocal last
        if not allreduce_max(int(now or time.perf_counter() - last >= kept.every), mesh):
            return
        begin = time.perf_counter()
        try:
            contents = _contents(snapshot(), asked, kept.note)
            if is_first():
                checkpoint_file.write(kept.path, contents)
        except (OSError, MemoryError, checkpoint_file.SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "out of memory"
            log.warning("cannot write the checkpoint %s: %s; the run goes on without it", kept.path, reason)
        # On every host: they have to come to the next one together.
        last = time.perf_counter()
        log.debug("checkpoint %s written in %.2f s", kept.path, last - begin)

    return keep


def _contents(snapshot: Snapshot, asked: Mapping[str, str], note: Mapping[str, Any]) -> Contents:
    descent, state = snapshot.descent, jax.tree.map(to_host, snapshot.descent.state)
    tensors = checkpoint_file.flatten(state, "state") | {"history": descent.history}
    tensors |= {f"history.{k}": rows for k, rows in enumerate(snapshot.histories)}
    tensors |= {f"weights.{name}": np.asarray(each) for name, each in snapshot.weights._asdict().items()}
    run = {"scale": snapshot.scale, "since": descent.since, "on_final_objective": descent.on_final_objective}
    run |= {"windows": snapshot.windows, "seconds": snapshot.seconds}
    words = {"asked": dict(asked), "run": run, "versions": _versions(), "note": dict(note)}
    return Contents({name: np.require(each, requirements="C") for name, each in tensors.items()}, words)


def _versions() -> dict[str, str]:
    device, told = jax.devices()[0], {"python": platform.python_version()}
    for name in ("jaxstyle", "jax", "jaxlib", "optax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            told[name] = importlib.metadata.version(name)
    return told | {"the device": f"{device.platform} {device.device_kind}"}
