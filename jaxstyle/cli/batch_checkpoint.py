"""The checkpoint of a command with many pictures: it holds the batch in progress, which the same command continues."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxstyle.errors import InputError
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint import Checkpoint


class BatchCheckpoint(NamedTuple):
    """The checkpoint of a command.

    Attributes:
        checkpoint: its settings; the note is the command.
        interrupted: note of the interrupted batch of the same command; empty if there is none.
    """

    checkpoint: Checkpoint
    interrupted: Mapping[str, Any]

    def interrupted_batch(self, pending: Iterable[Any]) -> set[Any]:
        """Return the names of the pictures in the interrupted batch; none if some are not pending any more."""
        batch = set(self.interrupted.get("batch", ()))
        return batch if batch <= set(pending) else set()


def open_checkpoint(
    path: str | os.PathLike[str], every: float, force: bool, command: Mapping[str, Any]
) -> BatchCheckpoint:
    """Return the checkpoint of a command, and refuse a file that is not of this command.

    Args:
        path: of the file.
        every: seconds between two saves.
        force: If True, a checkpoint of another command is replaced.
        command: values that JSON can store, equal for the same command.

    Raises:
        InputError: for a file that is no checkpoint, or that of another command.
    """
    # As the file returns it: a list where a tuple was.
    command, stored = json.loads(json.dumps(command)), {}
    if os.path.lexists(path):
        note = checkpoint_file.read(path).metadata.get("note")
        if isinstance(note, dict) and all(note.get(name) == value for name, value in command.items()):
            stored = note
        elif not force:
            raise InputError(
                f"the checkpoint {path} exists already, of another command: continue that one, replace the file with "
                "force=True, or choose another path"
            )
    # It may be of another batch of this command, and is replaced then.
    return BatchCheckpoint(Checkpoint(path, every, resume=True, restart=True, note=command), stored)


def with_note(checkpoint: BatchCheckpoint | None, **note: Sequence[Any]) -> Checkpoint | None:
    """Return the checkpoint of a batch, whose note says more than the command; None if there is no checkpoint."""
    if checkpoint is None:
        return None
    return dataclasses.replace(checkpoint.checkpoint, note={**checkpoint.checkpoint.note, **note})
