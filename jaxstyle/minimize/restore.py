"""Resume a run from its checkpoint."""

import logging
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxstyle import files
from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.image.ops import fit
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint import Checkpoint, current_versions, on_all_hosts
from jaxstyle.minimize.checkpoint_file import PathLike, check_layout, layout_of, named_leaves, unflatten
from jaxstyle.minimize.checkpoint_shards import Shards, read_shards, shards_folder
from jaxstyle.minimize.loop import RunState
from jaxstyle.minimize.status import History
from jaxstyle.minimize.step import abstract_state
from jaxstyle.objective.base import Losses, LossWeights
from jaxstyle.objective.mesh import allreduce_max, mesh_of
from jaxstyle.typing import Image

log = logging.getLogger(__name__)


class StoredRun(NamedTuple):
    """A snapshot as read from a checkpoint. Attributes that `Snapshot` and `RunState` lack:

    Attributes:
        arrays: the state by name, or the shards that hold it.
        changed: arguments of the run that differ now, so that only the best image counts.
    """

    scale: int
    size: tuple[int, int]
    histories: list[History]
    windows: list[int | None]
    weights: LossWeights
    seconds: float
    arrays: MutableMapping[str, np.ndarray] | Shards
    history: History
    objective_start: int
    on_final_objective: bool
    changed: tuple[str, ...]


def load_snapshot(checkpoint: Checkpoint, run_fingerprint: Mapping[str, str], mesh: Any = None) -> StoredRun | None:
    """Read the checkpoint of a run.

    Args:
        checkpoint: settings; nothing is read unless they say to resume.
        run_fingerprint: `fingerprint` of the arguments of the present run.
        mesh: mesh of the run: if one of its hosts finds the file, all have to.

    Returns:
        The run to resume; None for a new one.

    Raises:
        InputError: for a file that is in the way, cannot be used, or cannot be written later.
    """
    path = checkpoint.path
    exists = bool(allreduce_max(int(os.path.lexists(path)), mesh))
    if exists and not checkpoint.resume:
        # Only a checkpoint is replaced by another one.
        checkpoint_file.read(path)
        if not checkpoint.force:
            raise InputError(
                f"the checkpoint {path} exists already, of a run that may not be finished: resume it (resume=True), "
                "replace it (force=True), or choose another path"
            )
    if not exists or not checkpoint.resume:
        try:
            if is_first():
                files.probe(Path(os.path.realpath(path)))
        except OSError as error:
            raise InputError(f"cannot write the checkpoint {path}: {error.strerror}; choose another path") from error
        return None
    tensors, metadata = on_all_hosts(lambda: checkpoint_file.read(path), mesh)
    try:
        run = _stored_run(path, tensors, metadata, run_fingerprint)
        differ = [
            f"{name} {metadata['versions'].get(name)}"
            for name, version in current_versions().items()
            if metadata["versions"].get(name) != version
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"the checkpoint {path} is damaged: it lacks {error}; use another one") from error
    if run.changed and not checkpoint.force:
        raise InputError(
            f"the checkpoint {path} is of a run with other {', '.join(run.changed)}: expected the same images and "
            "settings; force=True continues with these from its best image"
        )
    if differ:
        log.warning("the checkpoint was made with %s: the result can differ in its last digits", ", ".join(differ))
    log.info("resumed after %d evaluations, from %s", sum(map(len, run.histories)) + len(run.history), path)
    if run.changed:
        log.warning("other %s than before: from the best image, with a new optimizer", ", ".join(run.changed))
    return run


def restore_state(run: StoredRun, image: Image, optimizer: optax.GradientTransformation, steps: int) -> RunState:
    """Restore the progress at the present scale.

    Args:
        run: from `load_snapshot`; its arrays are removed.
        image: an image of the scale's size with the sharding of the run.
        optimizer: optimizer of the run.
        steps: evaluations of the scale.

    Returns:
        The progress, with the shardings of `image`.

    Raises:
        InputError: if the checkpoint is of another size or optimizer, or damaged.
    """
    if len(run.history) > steps or run.history.shape[1:] != (len(Losses._fields),):
        raise InputError(f"the checkpoint has {len(run.history)} evaluations of this scale, the run takes {steps}")
    like, stored = abstract_state(image, optimizer), run.arrays
    if isinstance(stored, Shards):
        leaves = named_leaves(like, "state")
        check_layout(layout_of(leaves), stored.layout)
        arrays = on_all_hosts(lambda: read_shards(stored, leaves), mesh_of(image))
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in leaves])
    else:
        state = unflatten(like, stored, "state")
    return RunState(state, run.history, run.objective_start, run.on_final_objective)


def best_image(run: StoredRun, height: int, width: int, mesh: Any = None) -> Image:
    """Return the best image of a run that is resumed with other images or settings.

    Args:
        run: from `load_snapshot`.
        height: height to resize it to, in pixels.
        width: width to resize it to, in pixels.
        mesh: mesh of the present run.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: if the checkpoint is damaged.
    """
    name, stored = "state.best_image", run.arrays
    if isinstance(stored, Shards):
        shape, dtype = stored.layout.get(name, ((), "float32"))
        like = {name: jax.ShapeDtypeStruct(tuple(shape), dtype)}
        image = on_all_hosts(lambda: read_shards(stored, like)[name], mesh)
    else:
        image = stored.get(name, np.zeros(()))
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"the checkpoint's best image is {image.shape}, expected (H, W, 3): start the run anew")
    # Without its canvas.
    return fit(jnp.asarray(image[: run.size[0], : run.size[1]]), height, width)


def _stored_run(
    path: PathLike, tensors: dict[str, np.ndarray], metadata: Mapping[str, Any], run_fingerprint: Mapping[str, str]
) -> StoredRun:
    run, stored, shards = metadata["run"], metadata["fingerprint"], metadata.get("shards")
    names = sorted({*stored, *run_fingerprint})
    height, width = run["size"]
    return StoredRun(
        scale=run["scale"],
        size=(height, width),
        histories=[tensors[f"history.{k}"] for k in range(run["scale"])],
        windows=list(run["windows"]),
        weights=LossWeights(*(jnp.asarray(tensors[f"weights.{name}"]) for name in LossWeights._fields)),
        seconds=run["seconds"],
        arrays=tensors
        if shards is None
        else Shards(shards_folder(path, shards["folder"]), shards["layout"], shards["sums"]),
        history=tensors["history"],
        objective_start=run["objective_start"],
        on_final_objective=run["on_final_objective"],
        changed=tuple(name for name in names if stored.get(name) != run_fingerprint.get(name)),
    )
