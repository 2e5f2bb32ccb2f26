"""`jaxstyle resume`: the rest of a run, from its checkpoint."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxstyle.cli.logs import set_level
from jaxstyle.cli.options import AnyOptions
from jaxstyle.cli.serialize import COMMAND_LINE_ONLY, options_from_json
from jaxstyle.cli.stylize import Stylize
from jaxstyle.cli.video import Video
from jaxstyle.cli.work_folder import WorkFolder, find_work
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resume:
    """Continue a run from its checkpoint, with the same pictures and settings, to the same picture or pictures.

    The checkpoint says which pictures are read, with which settings, and which file is written. Everything else comes
    from this command line, so that a checkpoint from elsewhere neither replaces a file nor contacts another host.
    """

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """The file that --checkpoint FILE wrote; for a video the output of its command."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """The file to write; None is the one in the checkpoint."""
    force: bool = False
    """Continue from the best picture even if photo, paintings or settings have changed, and replace an output that
    exists already."""
    distributed: str = "no"
    """Join other hosts, as for stylize."""
    log_json: Path | None = None
    """A log, as for stylize."""
    json: bool = False
    """Print the result as a line of JSON, as for stylize."""
    compile_cache: str = "auto"
    """Folder of compiled programs, as for stylize."""
    max_pixels: int = io.MAX_PIXELS
    """Refuse picture files that unpack to more pixels than this."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Show more details."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Show only warnings, errors and the result."""

    def run(self) -> int:
        """Continue the run and return the exit code."""
        set_level(self.verbose, self.quiet)
        work = find_work(self.file)
        if work is not None:
            return self._resume_video(work)
        note = checkpoint_file.read(self.file).metadata.get("note")
        if isinstance(note, dict) and note.get("command") == "sweep":
            raise InputError(f"{self.file} is of a sweep: the same command as before continues it")
        stored = note.get("options") if isinstance(note, dict) else None
        if stored is None:
            raise InputError(
                f"{self.file} was not written by jaxstyle stylize: resume it in Python with Checkpoint(resume=True)"
            )
        options = self._options(Stylize, stored, f"the checkpoint {self.file}")
        options = dataclasses.replace(
            options, output=self.output or options.output, checkpoint=self.file, distributed=self.distributed
        )
        log.info("the picture will be written to %s", options.output)
        return options.go(resume=True)

    def _resume_video(self, work: WorkFolder) -> int:
        if self.output is not None or self.distributed != "no":
            raise InputError(f"{self.file} is a video, which takes no --output and no --distributed: omit them")
        note = checkpoint_file.read(work.state).metadata.get("note")
        stored = note.get("options") if isinstance(note, dict) else None
        options = self._options(Video, stored, str(work.state))
        return dataclasses.replace(options, output=work.output).go(resume=True)

    def _options(self, kind: type[AnyOptions], stored: Any, source: str) -> AnyOptions:
        """Return the options that a file stores, with those of this command line."""
        return dataclasses.replace(
            options_from_json(kind, stored, source, ignored=COMMAND_LINE_ONLY),
            force=self.force,
            log_json=self.log_json,
            json=self.json,
            compile_cache=self.compile_cache,
            max_pixels=self.max_pixels,
            verbose=self.verbose,
            quiet=self.quiet,
        )
