"""The checkpoint of a command with many pictures: it holds the batch in progress, which the same command continues."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxstyle.errors import InputError
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint import Checkpoint


def make_checkpoint(path: str | os.PathLike[str], every: float, force: bool, command: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint of a command, and refuse a file that is not of this command.

    Args:
        path: of the file.
        every: seconds between two saves.
        force: If True, a checkpoint of another command is replaced.
        command: JSON that is equal for the same command.

    Raises:
        InputError: for a file that is no checkpoint, or that of another command.
    """
    if os.path.lexists(path):
        note = checkpoint_file.read(path).metadata.get("note")
        # As JSON stores it, a tuple is a list.
        if not force and not (isinstance(note, dict) and all(note.get(name) == command[name] for name in command)):
            raise InputError(
                f"the checkpoint {path} exists already, of another command: continue that one, replace the file with "
                "force=True, or choose another path"
            )
    # It may be of another batch of this command, and is replaced then.
    return Checkpoint(path, every, resume=True, restart=True, note=dict(command))


def for_batch(checkpoint: Checkpoint | None, batch: Sequence[Any]) -> Checkpoint | None:
    """Return the checkpoint with the names of the pictures in the batch."""
    if checkpoint is None:
        return None
    return dataclasses.replace(checkpoint, note={**checkpoint.note, "batch": list(batch)})


def interrupted_batch(checkpoint: Checkpoint | None, pending: Iterable[Any]) -> list[Any]:
    """Return the names of the pictures in an interrupted batch; none if some are not pending any more."""
    if checkpoint is None or not os.path.lexists(checkpoint.path):
        return []
    batch = checkpoint_file.read(checkpoint.path).metadata["note"].get("batch")
    return batch if isinstance(batch, list) and set(batch) <= set(pending) else []


def interrupted_sizes(checkpoint: Checkpoint | None) -> list[int] | None:
    """Return the sizes of the batches of an interrupted sweep: other ones would be other programs."""
    if checkpoint is None or not os.path.lexists(checkpoint.path):
        return None
    return checkpoint_file.read(checkpoint.path).metadata["note"].get("batch_sizes")
