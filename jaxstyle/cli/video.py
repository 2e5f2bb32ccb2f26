"""`jaxstyle video`: a clip in the style of a painting, which goes on after any kill where it was."""

import dataclasses
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.inputs import read_paintings, read_start
from jaxstyle.cli.logs import EventLogger, ResultPrinter, json_lines, set_level
from jaxstyle.cli.options import STARTS
from jaxstyle.cli.outputs import check_free, check_not_input, check_sidecar_path
from jaxstyle.cli.pipes import is_pipe
from jaxstyle.cli.report import BAR, duration
from jaxstyle.cli.serialize import options_to_json
from jaxstyle.cli.validate import check_options
from jaxstyle.cli.video_options import VideoOptions
from jaxstyle.cli.work_folder import WorkFolder, begin_work, check_space, end_work, work_folder
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint import current_versions, different_versions
from jaxstyle.minimize.status import COMPLETED, INTERRUPTED, Status
from jaxstyle.transfer.result import Result
from jaxstyle.transfer.signals import EXIT_CODES
from jaxstyle.transfer.summary import final_loss
from jaxstyle.vgg import weights
from jaxstyle.video.clip import Clip, clip_checksum, clip_frames, open_clip, target_size
from jaxstyle.video.encode import FORMATS, check_video, is_video, side_multiple, write_video
from jaxstyle.video.parts import WHOLE, frames_of, parse_part, scene_starts
from jaxstyle.video.scene import LATER
from jaxstyle.video.sound import sound_that_is_lost
from jaxstyle.video.state import NOTHING, VideoState, load_video_state, save_video_state
from jaxstyle.video.stylize_video import stylize_video

log = logging.getLogger(__name__)

# Options with paths, whose files are compared instead.
PATHS = ("photo", "painting", "more", "output", "weights")


class Task(NamedTuple):
    """A video to make.

    Attributes:
        clip: to stylize.
        size: width and height of the frames.
        work: folder of the finished ones.
        numbers: of the frames of this process, from 0.
        state: after the last finished one of them.
        note: what the file of the state says of the command.
        results: of the other frames, one by one.
        states: the newest state, which a result has changed.
    """

    clip: Clip
    size: tuple[int, int]
    work: WorkFolder
    numbers: range
    state: VideoState
    note: dict[str, Any]
    results: Iterator[Result]
    states: list[VideoState]


@dataclass(frozen=True)
class Video(VideoOptions):
    """Give a clip the style of one or more paintings, frame by frame and without flicker.

    Each finished frame is kept: after Ctrl-C, a crash or a power cut, jaxstyle resume FILE goes on where the run was.
    """

    def run(self) -> int:
        """Read, stylize and write; return the exit code."""
        return self.go(resume=False)

    def go(self, resume: bool) -> int:
        """Do what `run` does, from the state in the work folder on if `resume` is True; return the exit code."""
        set_level(self.verbose, self.quiet)
        enable_compilation_cache(self.compile_cache)
        check_backend()
        # Each frame has the size of the clip, which is known later.
        check_options(self if self.size != "original" else dataclasses.replace(self, size=io.MAX_SIDE))
        pipe = next((path for path in (*self.inputs(), self.output) if is_pipe(path)), None)
        if pipe is not None:
            raise InputError(
                f"{pipe} is standard input or output, or a pipe, which cannot be read again: expected a file"
            )
        work = work_folder(self.output, parse_part(self.part))
        check_sidecar_path("--log-json", self.log_json, [self.output, work.state], self.inputs())
        with json_lines(self.log_json) as log_event:
            task = self._prepare(work, resume)
            begin = time.perf_counter()
            status = self._make(task, log_event)
            code = self._finish(task, status, time.perf_counter() - begin)
            log_event("end", status=str(status), exit_code=code)
        return code

    def _prepare(self, work: WorkFolder, resume: bool) -> Task:
        """Check everything that can be checked before the first frame, and make the work folder."""
        min_side = self.settings().min_side
        clip = open_clip(self.photo, self.start, self.end, self.every, self.rate, self.max_pixels)
        size = target_size(clip, self.side(), min_side, side_multiple(self.output))
        self._check_output(work, size)
        sized = dataclasses.replace(self, size=max(size))
        styles = read_paintings(sized, min_side)
        states: list[VideoState] = []
        note = {
            "command": "video",
            "options": options_to_json(self),
            "inputs": [clip_checksum(clip), *map(checksum, self.inputs()[1:])],
            "weights": weights.weights_sha256(self.weights),
            "versions": current_versions(),
        }
        numbers = range(len(clip.times))
        if work.part != WHOLE:
            _check_others(work, note)
            numbers = frames_of(work.part, scene_starts(clip_frames(clip, size)), len(clip.times))
        state = _resumed(work, numbers, note) if resume else NOTHING
        results = stylize_video(
            clip_frames(clip, size, numbers),
            styles,
            self.settings(read_start(sized)),
            params=weights.load_params(self.weights),
            style_weights=self.blend,
            stability=self.stability,
            flow=self.flow,
            mesh=self.devices(),
            state=state if state.frames else None,
            callback=states.append,
        )
        if not resume:
            begin_work(work, self.force)
            # From now on the run can be resumed.
            save_video_state(work.state, state, note)
        check_space(work, len(numbers) - state.frames, size)
        return Task(clip, size, work, numbers, state, note, results, states)

    def _check_output(self, work: WorkFolder, size: tuple[int, int]) -> None:
        output = self.output
        check_not_input(output, self.inputs())
        if is_video(output) or (output.suffix and not output.is_dir()):
            if os.path.isdir(output):
                raise InputError(f"the output {output} is a folder, expected a file or a folder without extension")
            check_video(output, size)
            check_free(output, self.force)
        else:
            io.check_place(work.folder / "1.png") if output.is_dir() else io.check_place(output)

    def _make(self, task: Task, log_event: EventLogger) -> Status | None:
        """Stylize the frames that are missing; return how the last one ended, None if it could not be written."""
        count, done, status = len(task.numbers), task.state.frames, Status.STEP_LIMIT
        self._announce(task)
        log_event("begin", width=task.size[0], height=task.size[1], frames=count, done=done)
        # The bar shows cost: the first frame takes about as long as three others.
        first = 1 / LATER
        total, before = first + count - 1, first + done - 1 if done else 0.0
        disable = self.quiet or done == count
        with tqdm(
            total=total, initial=before, bar_format=BAR, dynamic_ncols=True, smoothing=0.1, disable=disable
        ) as bar:
            bar.set_postfix_str(f"{done}/{count} frames")
            for number, result in enumerate(task.results, done):
                status = result.status
                if status not in COMPLETED or final_loss(result) == float("inf"):
                    return Status.NOT_FINITE if status in COMPLETED else status
                if not _save_frame(task, task.numbers[number], result):
                    return None
                bar.set_postfix_str(f"{number + 1}/{count} frames", refresh=False)
                bar.update(1.0 if number else first)
                log_event(
                    "frame",
                    frame=task.numbers[number] + 1,
                    frames=count,
                    evaluations=result.evaluations,
                    loss=final_loss(result),
                    seconds=round(result.seconds, 3),
                    status=str(status),
                )
        return status

    def _announce(self, task: Task) -> None:
        count, device = len(task.clip.times), jax.devices()[0]
        if is_video(self.output):
            warn_of_lost_sound(task.clip, self.output)
        log.info(
            "%d frames of %dx%d pixels, %.3g seconds, on %s",
            *(count, *task.size, float(task.clip.end)),
            device.platform.upper() if device.platform == "cpu" else device.device_kind,
        )
        if task.work.part != WHOLE:
            log.info("part %d of %d: frames %d to %d", *task.work.part, task.numbers[0] + 1, task.numbers[-1] + 1)
        if task.state.frames:
            log.info("%d of %d frames are finished already", task.state.frames, len(task.numbers))
        log.info("finished frames are in %s", task.work.folder)

    def _finish(self, task: Task, status: Status | None, seconds: float) -> int:
        """Write the video, or say how to go on; return the exit code."""
        work, numbers = task.work, range(len(task.clip.times))
        if status is None:
            return 1
        if status not in COMPLETED:
            return self._stopped(task, status)
        try:
            missing = len(numbers) - _finished(work) if work.part != WHOLE else 0
            if missing:
                log.info("part %d of %d is finished; %d frames of others are missing", *work.part, missing)
                return 0
            if is_video(self.output):
                write_video(self.output, work.frames(numbers), task.clip, self.quality, replace=self.force)
        except InputError as error:
            if not work.state.exists():
                log.info("another part has written %s", self.output)
                return 0
            _log_failure(work, error)
            return 1
        end_work(work)
        width, height = task.size
        ResultPrinter(self.log_json, self.json)(
            f"{self.output}: {len(numbers)} frames of {width}x{height} in {duration(seconds)}",
            output=str(self.output),
            frames=len(numbers),
            width=width,
            height=height,
            seconds=round(seconds, 3),
            status=str(status),
        )
        return 0

    def _stopped(self, task: Task, status: Status) -> int:
        work = task.work
        done = load_video_state(work.state).frames
        if status is Status.NOT_FINITE:
            log.error(
                "frame %d: the loss or its gradient was not finite: lower the weights or use --precision highest; the "
                "frames before are in %s",
                *(task.numbers[done] + 1, work.folder),
            )
            return 1
        if done and is_video(self.output) and work.part == WHOLE:
            try:
                write_video(work.so_far(), work.frames(task.numbers[:done]), task.clip, self.quality)
            except InputError as error:
                log.warning("%s", error)
        log.info(
            "%s after %d of %d frames, which are in %s; to continue: jaxstyle resume %s",
            *(status, done, len(task.numbers), work.folder, work.to_resume),
        )
        return EXIT_CODES[status] if status in INTERRUPTED else 1


def warn_of_lost_sound(clip: Clip, output: Path) -> None:
    """Log a warning if a video file cannot hold the sound of a clip."""
    extension = output.suffix.lower()
    sound = sound_that_is_lost(clip, FORMATS[extension].container if extension in FORMATS else None)
    if sound is not None:
        log.warning("%s files hold no %s sound: the video will have none; .mkv holds any", extension, sound)


def _save_frame(task: Task, number: int, result: Result) -> bool:
    """Write a frame, and then the state after it; return False if that failed."""
    try:
        io.save_image(task.work.frame(number), result.image)
        save_video_state(task.work.state, task.states.pop(), task.note)
    except (InputError, OSError, checkpoint_file.SafetensorError) as error:
        _log_failure(task.work, error)
        return False
    return True


def _log_failure(work: WorkFolder, error: Exception) -> None:
    log.error("%s; the finished frames are in %s; to continue: jaxstyle resume %s", error, work.folder, work.to_resume)


def _finished(work: WorkFolder) -> int:
    """Return the number of finished frames of all parts."""
    return sum(load_video_state(path).frames for path in (work.state, *work.other_states()))


def _check_others(work: WorkFolder, note: dict[str, Any]) -> None:
    """Refuse a part of another video than the parts that have begun.

    Raises:
        InputError: for other files or options, or another number of parts.
    """
    for path in work.other_states():
        other = checkpoint_file.read(path).metadata.get("note")
        if not isinstance(other, dict) or _of_all_parts(other) != _of_all_parts(note):
            raise InputError(
                f"{path} is of another command: expected the same files, options and number of parts, or another output"
            )


def _of_all_parts(note: dict[str, Any]) -> Any:
    """Return what the notes of all parts of a video have in common; the same files may have other paths elsewhere."""
    options = {name: value for name, value in note.get("options", {}).items() if name not in PATHS}
    init = options.get("init") if options.get("init") in STARTS else "a file"
    parts = str(options.get("part")).partition("/")[2]
    return note.get("inputs"), note.get("weights"), options | {"init": init, "part": parts}


def _resumed(work: WorkFolder, numbers: range, note: dict[str, Any]) -> VideoState:
    """Return the state of a video that goes on with the same files.

    Raises:
        InputError: if one has changed, or a frame is missing.
    """
    state, stored = load_video_state(work.state), checkpoint_file.read(work.state).metadata["note"]
    changed = [name for name in ("inputs", "weights") if stored.get(name) != note[name]]
    if changed:
        raise InputError(
            f"{work.state} is of a video with other {' and '.join(changed)}: expected the same clip, paintings and "
            "weights; start again with the command and force=True"
        )
    versions = stored.get("versions")
    differ = different_versions(versions if isinstance(versions, dict) else {})
    if differ:
        log.warning(
            "the frames before were made with %s: the others can differ in their last digits", ", ".join(differ)
        )
    work.frames(numbers[: state.frames])
    return state
