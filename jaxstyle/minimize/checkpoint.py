"""Checkpoints: save a run between chunks of steps, and resume it bit-identically."""

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
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint_file import Contents, PathLike, layout_of, named_leaves
from jaxstyle.minimize.checkpoint_shards import (
    bit_sums,
    complete_shards,
    make_folder,
    new_name,
    remove_failed_save,
    remove_shards,
    shards_folder,
    write_shards,
)
from jaxstyle.minimize.loop import RunState
from jaxstyle.minimize.status import History
from jaxstyle.minimize.step import is_batched
from jaxstyle.objective.base import LossWeights
from jaxstyle.objective.mesh import allreduce_max, to_host
from jaxstyle.typing import AnyImage

log = logging.getLogger(__name__)

# Anything that can go wrong in a save, on this host or on another one.
SAVE_ERRORS = (OSError, MemoryError, jax.errors.JaxRuntimeError, checkpoint_file.SafetensorError, InputError)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Checkpoint:
    """Settings of a run's checkpoint: path, interval, and whether to resume from it.

    A resumed run is bit-identical to an uninterrupted one, on the same device with the same versions. It is saved
    between chunks of steps, and when Ctrl-C, SIGTERM or a callback ends it; a save replaces the last one atomically, so
    a complete one exists at any moment. A save that fails only logs a warning. The checkpoint stays when the run is
    done: remove it once the image is saved. It takes about 300 bytes a pixel with L-BFGS of 10 pairs.

    On a mesh the file names a folder beside it, `PATH.shards`, to which each host writes the shards of its devices:
    move and remove both together. With several hosts all must see the path.

    Attributes:
        path: path of the file.
        every: seconds between two saves; 0 saves after every chunk.
        resume: If True, resume from the file if it exists. Otherwise an existing file is refused, as it may be all that
            is left of a run.
        force: If True, resume even with other images or settings, from the best image of the scale that the run was at,
            resized, with a new optimizer; without `resume`, start anew and replace the file.
        restart: If True, `resume` does not refuse a checkpoint of other images or settings, but replaces it by a new
            run.
        note: JSON that is stored too, for the caller.

    Example:
        >>> import jax, tempfile, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> options = {"params": params, "steps": 4, "scales": 1, "finish": 0, "callback_every": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/run.ckpt"
        ...     stopped = js.stylize(content, style, checkpoint=path, callback=lambda progress: True, **options)
        ...     resumed = js.stylize(content, style, checkpoint=js.Checkpoint(path, resume=True), **options)
        >>> stopped.evaluations, resumed.evaluations
        (1, 4)
    """

    path: PathLike
    every: float = 60.0
    resume: bool = False
    force: bool = False
    restart: bool = False
    note: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise InputError(f"path is {self.path!r}, expected the path of a file for the checkpoint")
        try:
            json.dumps(dict(self.note))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"note is not valid JSON ({error}): use plain numbers, strings, lists and dicts"
            ) from error
        if not (isinstance(self.every, Real) and 0 <= self.every < math.inf):
            raise InputError(
                f"every is {self.every!r}, expected seconds between two checkpoints, from 0 on, such as 60"
            )


class Snapshot(NamedTuple):
    """A run between two chunks of steps.

    Attributes:
        stage: index of the current stage.
        starts: initial image of each job at this stage, or at the draft that it continues, without a canvas.
        histories: losses of the stages before, of each image.
        windows: side of the windows at every stage; None where the image is evaluated whole.
        weights: weights of the loss terms at this stage, with a leading axis for several images.
        run_state: progress at this stage.
        seconds: duration of the run so far.
        changed: arguments of a restored run that differ now, so that only its best images count.
    """

    stage: int
    starts: list[AnyImage]
    histories: list[tuple[History, ...]]
    windows: list[int | None]
    weights: LossWeights
    run_state: RunState
    seconds: float
    changed: tuple[str, ...] = ()

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image at this stage, without a canvas."""
        return [(image.shape[0], image.shape[1]) for image in self.starts]


def make_saver(
    checkpoint: Checkpoint, run_fingerprint: Mapping[str, str], mesh: Any = None
) -> Callable[[Snapshot, bool], None]:
    """Return a function that saves a run when it is due.

    A save that fails is a warning, on all hosts alike: the run continues, and the last checkpoint is still there.

    Args:
        checkpoint: path and interval.
        run_fingerprint: `fingerprint` of the arguments of the run.
        mesh: mesh of the run; all of its hosts have to call the function together.

    Returns:
        A function of a snapshot, and of True if the save is due now.
    """
    last = time.perf_counter()

    def save(snapshot: Snapshot, due: bool) -> None:
        nonlocal last
        if not allreduce_max(int(due or time.perf_counter() - last >= checkpoint.every), mesh):
            return
        start = time.perf_counter()
        try:
            _save(checkpoint, snapshot, run_fingerprint, mesh)
            log.debug("checkpoint %s written in %.2f s", checkpoint.path, time.perf_counter() - start)
        except SAVE_ERRORS as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0] or "out of memory"
            log.warning(
                "cannot write the checkpoint %s: %s; the run continues, and an earlier checkpoint stays",
                checkpoint.path,
                reason,
            )
        # On every host: they have to come to the next save together.
        last = time.perf_counter()

    return save


def remove_checkpoint(path: PathLike) -> None:
    """Remove a checkpoint, with its shards, if there is one; log a warning if the file system refuses."""
    try:
        Path(path).unlink(missing_ok=True)
        remove_shards(path)
    except OSError as error:
        log.warning("cannot remove the checkpoint %s, whose run is complete: %s", path, error.strerror)


def _save(checkpoint: Checkpoint, snapshot: Snapshot, run_fingerprint: Mapping[str, str], mesh: Any) -> None:
    path, state = checkpoint.path, snapshot.run_state.state
    arrays = named_leaves(state, "state")
    if is_batched(state):
        # Here, where all hosts are; those of a single image are on each of them.
        snapshot = snapshot._replace(weights=jax.tree.map(to_host, snapshot.weights))
    if mesh is None:
        tensors = {name: to_host(leaf) for name, leaf in arrays.items()}
        contents = _contents(snapshot, run_fingerprint, checkpoint.note)
        if is_first():
            checkpoint_file.write(path, contents._replace(tensors=contents.tensors | tensors))
            remove_shards(path)
        return
    save = new_name()
    folder = shards_folder(path, save)
    stored = {"folder": save, "layout": layout_of(arrays), "sums": bit_sums(arrays)}

    def commit() -> None:
        complete_shards(folder)
        contents = _contents(snapshot, run_fingerprint, checkpoint.note)
        checkpoint_file.write(path, contents._replace(metadata=contents.metadata | {"shards": stored}))
        remove_shards(path, keep=save)

    try:
        on_all_hosts(lambda: make_folder(folder, arrays) if is_first() else None, mesh)
        on_all_hosts(lambda: write_shards(folder, arrays), mesh)
        on_all_hosts(lambda: commit() if is_first() else None, mesh)
    except SAVE_ERRORS:
        if is_first():
            remove_failed_save(folder)
        raise


def on_all_hosts(action: Callable[[], Value], mesh: Any) -> Value:
    """Return the result of an action that every host runs. If it fails on one, raise on all, which stay together."""
    result, failure = None, None
    try:
        result = action()
    except SAVE_ERRORS as error:
        failure = error
    if allreduce_max(int(failure is not None), mesh):
        raise failure or InputError("it failed on another host, whose message says why")
    return result  # pyright: ignore[reportReturnType]


def _contents(snapshot: Snapshot, run_fingerprint: Mapping[str, str], note: Mapping[str, Any]) -> Contents:
    """Return the checkpoint file of a run, but for the state."""
    state = snapshot.run_state
    stages = [*snapshot.histories, state.histories]
    tensors = {f"history.{k}.{image}": rows for k, stage in enumerate(stages) for image, rows in enumerate(stage)}
    tensors |= {f"image.{k}": np.asarray(image) for k, image in enumerate(state.images) if image is not None}
    tensors |= {f"start.{k}": np.asarray(image) for k, image in enumerate(snapshot.starts)}
    tensors |= {f"weights.{name}": np.asarray(weight) for name, weight in snapshot.weights._asdict().items()}
    run = {name: getattr(snapshot, name) for name in ("stage", "windows", "seconds")}
    run |= {name: getattr(state, name) for name in ("statuses", "powers", "objective_starts")}
    metadata = {"fingerprint": dict(run_fingerprint), "run": run, "versions": current_versions(), "note": dict(note)}
    return Contents(tensors, metadata)


def current_versions() -> dict[str, str]:
    """Return the versions and the device that decide the last digits of a run."""
    device, versions = jax.devices()[0], {"python": platform.python_version()}
    for name in ("jaxstyle", "jax", "jaxlib", "optax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions | {"the device": f"{device.platform} {device.device_kind}"}


def different_versions(stored: Mapping[str, str]) -> list[str]:
    """Return which of a run's versions are not the current ones, each with its stored version."""
    return [f"{name} {stored.get(name)}" for name, version in current_versions().items() if stored.get(name) != version]
