"""The work folder of a video: its finished frames, and the state from which it goes on, whenever it was killed.

Processes with a part of the clip each have a state of their own, beside the frames of all.
"""

import contextlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from jaxstyle.errors import InputError
from jaxstyle.video.encode import is_video
from jaxstyle.video.parts import WHOLE, Part

log = logging.getLogger(__name__)

STATE, SUFFIX = "video.state", ".frames"
PART_STATE = re.compile(r"video-(\d+)of(\d+)\.state")
# What a killed process may have left in a folder, and what else there is in one beside the output.
LEFTOVER = re.compile(r"\.jaxstyle-\w+\.tmp")
OWN = re.compile(r"\d{5,}\.png|so_far\.\w+")


class WorkFolder(NamedTuple):
    """Where the frames of a video are until it is written: beside it, or in the output if that is a folder.

    Attributes:
        output: file or folder of the video.
        folder: of its frames.
        part: of the process.
    """

    output: Path
    folder: Path
    part: Part = WHOLE

    @property
    def state(self) -> Path:
        """File of the state after the last finished frame of the part."""
        return self.folder / (STATE if self.part == WHOLE else "video-{}of{}.state".format(*self.part))

    @property
    def to_resume(self) -> Path:
        """What `jaxstyle resume` takes."""
        return self.output if self.part == WHOLE else self.state

    def other_states(self) -> list[Path]:
        """States of other parts; none in a folder that does not exist."""
        try:
            names = sorted(os.listdir(self.folder))
        except (OSError, ValueError):
            return []
        return [self.folder / name for name in names if PART_STATE.fullmatch(name) and name != self.state.name]

    def frame(self, number: int) -> Path:
        """File of a frame, numbered from 0."""
        return self.folder / f"{number + 1:05d}.png"

    def frames(self, numbers: range) -> list[Path]:
        """Files of finished frames.

        Raises:
            InputError: if one is missing.
        """
        paths = [self.frame(number) for number in numbers]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            raise InputError(f"{missing} is missing, but {self.state} counts it: start the video again with force=True")
        return paths

    def so_far(self) -> Path:
        """Video file of the frames of a run that was interrupted."""
        return self.folder / f"so_far{self.output.suffix.lower()}"


def work_folder(output: Path, part: Part = WHOLE) -> WorkFolder:
    """Return the work folder of an output."""
    return WorkFolder(output, Path(f"{output}{SUFFIX}") if is_video(output) else output, part)


def find_work(path: Path) -> WorkFolder | None:
    """Return the work folder of an unfinished video by its output, the folder or a state in it; None if there is none.

    Raises:
        InputError: for the output of several parts.
    """
    match = PART_STATE.fullmatch(path.name)
    part = (int(match[1]), int(match[2])) if match else WHOLE
    work = work_folder(Path(str(path.parent if match else path).removesuffix(SUFFIX)), part)
    if os.path.isfile(work.state):
        return work
    states = work.other_states()
    if states:
        raise InputError(f"{path} is of several parts, expected the state of one of them, such as {states[0]}")
    return None


def begin_work(work: WorkFolder, force: bool) -> None:
    """Make the work folder of a new video.

    Raises:
        InputError: if there are files that it would replace, or it cannot be made.
    """
    if work.state.exists() and not force:
        raise InputError(
            f"{work.folder} is of a video that is not finished: continue it with jaxstyle resume {work.to_resume}, or "
            "start it again with force=True"
        )
    try:
        joins_others = work.part != WHOLE and work.other_states()
        if not joins_others and work.folder.is_dir() and any(work.folder.iterdir()) and not force:
            raise InputError(
                f"the folder {work.folder} is not empty: choose another name, or force=True to write to it"
            )
        work.folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {work.folder}: {error.strerror}; choose another place") from error


def check_space(work: WorkFolder, frames: int, size: tuple[int, int]) -> None:
    """Refuse a video whose frames would not fit on the disk.

    Args:
        work: its folder.
        frames: number of frames that are still to be made.
        size: width and height.

    Raises:
        InputError: saying how much is needed.
    """
    # A PNG takes up to 3 bytes a pixel, and the video file less than the frames.
    copies = 1 if work.output == work.folder else 2
    needed, free = copies * frames * 3 * size[0] * size[1], shutil.disk_usage(work.folder).free
    if needed > free:
        raise InputError(
            f"{frames} frames of {size[0]}x{size[1]} pixels need up to {needed / 1e9:.2g} GB in {work.folder}, but "
            f"{free / 1e9:.2g} GB are free: free some, or choose another place or a smaller size"
        )


def end_work(work: WorkFolder) -> None:
    """Remove what is not needed any more, once the video is written; files of others stay."""
    is_output = work.output == work.folder
    try:
        for path in list(work.folder.iterdir()):
            if LEFTOVER.fullmatch(path.name) or (OWN.fullmatch(path.name) and not is_output):
                path.unlink(missing_ok=True)
        # Last: until then the run can be resumed.
        for path in (work.state, *work.other_states()):
            path.unlink(missing_ok=True)
        if not is_output:
            with contextlib.suppress(OSError):
                work.folder.rmdir()
    except OSError as error:
        log.warning("cannot remove %s, whose video is finished: %s", work.folder, error.strerror)
