"""Resume a run from its checkpoint."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle import files
from jaxstyle.distributed import is_first
from jaxstyle.errors import InputError
from jaxstyle.image.ops import fit
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint import Checkpoint, Snapshot, different_versions, on_all_hosts
from jaxstyle.minimize.checkpoint_file import PathLike, check_layout, layout_of, named_leaves
from jaxstyle.minimize.checkpoint_shards import Shards, read_shards, shards_folder
from jaxstyle.minimize.loop import RunState
from jaxstyle.minimize.status import Status
from jaxstyle.minimize.step import abstract_state
from jaxstyle.objective.base import Losses, LossWeights
from jaxstyle.objective.mesh import allreduce_max, mesh_of, put
from jaxstyle.typing import AnyImage, Image, Images, Optimizer

log = logging.getLogger(__name__)


def load_snapshot(checkpoint: Checkpoint, run_fingerprint: Mapping[str, str], mesh: Any = None) -> Snapshot | None:
    """Read the checkpoint of a run.

    Args:
        checkpoint: settings; nothing is read unless they say to resume.
        run_fingerprint: `fingerprint` of the arguments of the current run.
        mesh: mesh of the run: if one of its hosts finds the file, all have to.

    Returns:
        The run to resume, whose state is that of the file: arrays by name, or `Shards`; None for a new one.

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
        differ = different_versions(metadata["versions"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"the checkpoint {path} is damaged: it lacks {error}; use another one") from error
    if run.changed and checkpoint.restart:
        log.info("the checkpoint %s is of a run with other %s: starting anew", path, ", ".join(run.changed))
        return None
    if run.changed and not checkpoint.force:
        raise InputError(
            f"the checkpoint {path} is of a run with other {', '.join(run.changed)}: expected the same images and "
            "settings; force=True continues with these from its best image"
        )
    if differ:
        log.warning("the checkpoint was made with %s: the result can differ in its last digits", ", ".join(differ))
    done = sum(max(map(len, stage)) for stage in run.histories) + run.run_state.done
    log.info("resumed after %d evaluations, from %s", done, path)
    if run.changed:
        log.warning("other %s than before: from the best image, with a new optimizer", ", ".join(run.changed))
    return run


def restore_state(run: Snapshot, image: Image | Images, optimizer: Optimizer, steps: int) -> RunState:
    """Restore the progress at the current stage.

    Args:
        run: from `load_snapshot`; its arrays in memory are released.
        image: an image of the stage's size with the sharding of the run, or a batch.
        optimizer: optimizer of the run.
        steps: evaluations of the stage.

    Returns:
        The progress, with the shardings of `image`.

    Raises:
        InputError: if the checkpoint is of another size or optimizer, or damaged.
    """
    done = run.run_state.done
    if done > steps or any(rows.shape[1:] != (len(Losses._fields),) for rows in run.run_state.histories):
        raise InputError(f"the checkpoint has {done} evaluations of this stage, the run takes {steps}")
    like = abstract_state(image, optimizer)
    leaves = named_leaves(like, "state")
    check_layout(layout_of(leaves), _layout_of_state(run))
    arrays = _read_state(run, leaves, mesh_of(image))
    state = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in leaves])
    return run.run_state._replace(state=state)


def best_images(run: Snapshot, sizes: Sequence[tuple[int, int]], mesh: Any = None) -> list[AnyImage]:
    """Return the best images of a run that is resumed with other images or settings.

    Args:
        run: from `load_snapshot`.
        sizes: height and width in pixels to resize each image to.
        mesh: mesh of the current run.

    Returns:
        One image of `(height, width, 3)` for each size.

    Raises:
        InputError: if the checkpoint is damaged, or has another number of images.
    """
    name = "state.best_image"
    shape, dtype = _layout_of_state(run).get(name, ((), "float32"))
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise InputError(f"the checkpoint's best image is {tuple(shape)}, expected (H, W, 3): start the run anew")
    images = _read_state(run, {name: jax.ShapeDtypeStruct(tuple(shape), dtype)}, mesh)[name]
    images = images[None] if images.ndim == 3 else images
    if len(images) != len(sizes) or len(run.sizes) != len(sizes):
        raise InputError(f"the checkpoint has {len(images)} images, expected {len(sizes)}: start the run anew")
    # Without their canvas.
    without = [jnp.asarray(image[:height, :width]) for image, (height, width) in zip(images, run.sizes, strict=True)]
    return [fit(image, *size) for image, size in zip(without, sizes, strict=True)]


def _layout_of_state(run: Snapshot) -> Mapping[str, Any]:
    stored: Any = run.run_state.state
    return stored.layout if isinstance(stored, Shards) else layout_of(stored)


def _read_state(run: Snapshot, like: Mapping[str, jax.ShapeDtypeStruct], mesh: Any) -> dict[str, Any]:
    """Read arrays of the state, with the shardings of `like`; those in memory are released one by one."""
    stored: Any = run.run_state.state
    if isinstance(stored, Shards):
        return on_all_hosts(lambda: read_shards(stored, like), mesh)
    arrays = ((name, stored.pop(name), leaf.sharding) for name, leaf in like.items())
    return {name: array if sharding is None else put(array, sharding) for name, array, sharding in arrays}


def _stored_run(
    path: PathLike, tensors: dict[str, np.ndarray], metadata: Mapping[str, Any], run_fingerprint: Mapping[str, str]
) -> Snapshot:
    run, stored, shards = metadata["run"], metadata["fingerprint"], metadata.get("shards")
    names, count = sorted({*stored, *run_fingerprint}), len(run["statuses"])
    *histories, last = [
        tuple(tensors[f"history.{k}.{image}"] for image in range(count)) for k in range(run["stage"] + 1)
    ]
    state: Any = {name: array for name, array in tensors.items() if name.startswith(("state.", "state["))}
    if shards is not None:
        state = Shards(shards_folder(path, shards["folder"]), shards["layout"], shards["sums"])
    return Snapshot(
        stage=run["stage"],
        starts=[tensors[f"start.{image}"] for image in range(count)],
        histories=histories,
        windows=list(run["windows"]),
        weights=LossWeights(*(jnp.asarray(tensors[f"weights.{name}"]) for name in LossWeights._fields)),
        run_state=RunState(
            state=state,
            histories=last,
            statuses=tuple(None if status is None else Status(status) for status in run["statuses"]),
            powers=tuple(map(float, run["powers"])),
            objective_starts=tuple(run["objective_starts"]),
            images=tuple(tensors.get(f"image.{image}") for image in range(count)),
        ),
        seconds=run["seconds"],
        changed=tuple(name for name in names if stored.get(name) != run_fingerprint.get(name)),
    )
