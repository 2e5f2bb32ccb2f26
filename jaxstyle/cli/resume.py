"""`jaxstyle resume`: the rest of a run, from its checkpoint."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxstyle.cli.serialize import options_from_json
from jaxstyle.cli.stylize import Stylize
from jaxstyle.errors import InputError
from jaxstyle.minimize import checkpoint_file


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its checkpoint, with the same pictures and settings, to the same picture."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """What --checkpoint FILE wrote."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Where the picture goes; None is what the run was told."""
    force: bool = False
    """Go on from the best picture although others have changed since, and replace an output that is there already."""
    distributed: str | None = None
    """Where the run has several hosts: as for stylize; None is what the run was told."""
    log_json: Path | None = None
    """As for stylize."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Tell more."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Tell nothing but warnings and errors, and the result."""

    def run(self) -> int:
        """Go on; returns the exit code."""
        note = checkpoint_file.read(self.file).metadata.get("note")
        told = note.get("options") if isinstance(note, dict) else None
        if told is None:
            raise InputError(f"{self.file} was not written by jaxstyle stylize: go on with Checkpoint(resume=True)")
        options = options_from_json(Stylize, told, f"the checkpoint {self.file}")
        # What the run was told of its output still holds.
        changes: dict[str, Any] = {"force": self.force or options.force, "verbose": self.verbose, "quiet": self.quiet}
        changes |= {"checkpoint": self.file, "log_json": self.log_json or options.log_json}
        changes |= {"output": self.output or options.output}
        changes |= {"distributed": self.distributed or options.distributed}
        return dataclasses.replace(options, **changes).go(resume=True, force=self.force)
