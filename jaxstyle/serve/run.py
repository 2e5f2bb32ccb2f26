"""One run: what it makes, how far it is, and how the page controls it. Its thread only reads flags and leaves images.

A run has one or more segments: the first one, and one for each time that it goes further, or back to an earlier
picture. Each is a call of `stylize` from a picture.
"""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxstyle.errors import InputError, check_integer
from jaxstyle.image.ops import fit
from jaxstyle.image.preview import levels
from jaxstyle.serve.options import LIVE, MAX_SIZE, MIN_SIZE, Wanted
from jaxstyle.serve.segment import Clock, Inputs, Segment, Snapshot
from jaxstyle.transfer.change import Change
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.transfer.result import Progress, Result
from jaxstyle.transfer.validate import MAX_STEPS
from jaxstyle.typing import AnyImage

# Earlier pictures of a segment that are kept, about.
SNAPSHOTS = 12
MAX_SNAPSHOTS = 60
# Evaluations of a segment that only goes on.
MIN_STEPS = 20
# States from which a run does nothing any more by itself.
ENDED = ("finished", "stopped", "failed", "interrupted")


@dataclass(eq=False)
class Run:
    """A run, its state, and its control. All methods may be called from any thread.

    Attributes:
        inputs: pictures.
        segment: the present segment, or the one that begins next.
        notify: called, without arguments, after every change of what `to_json` returns.
        sweep: name of the sheet that this is a cell of.
        id: random name.
    """

    inputs: Inputs
    segment: Segment
    notify: Callable[[], None] = lambda: None
    sweep: str | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: str = "queued"
    position: int = 0
    revision: int = 0
    version: int = 0
    programs: int = 0
    evaluations: int = 0
    steps: int = 0
    fraction: float = 0.0
    seconds_left: float | None = None
    stage: str = ""
    error: str | None = None
    status: str = ""
    changed: set[str] = field(default_factory=set)
    losses: list[list[float]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    result: Result | None = None
    resumed: bool = False
    # Evaluations of the segments before.
    base: int = 0

    def __post_init__(self) -> None:
        self._condition = threading.Condition()
        self._clock = Clock()
        self._picture: AnyImage | None = None
        self._pending: Change | None = None
        self._next: Segment | None = None
        self._paused = self._stopping = self._interrupting = False
        self._timed: tuple[float, float] | None = None
        # The present size and loss, and the evaluations of the segment before it.
        self._scale: tuple[Scale | None, int] = None, 0
        self._segment_evaluations = 0
        height, width = self.size = self.inputs.photo.size_at(self.wanted.size, self.wanted.settings.min_side)
        self.stage = f"waiting: {width}x{height}"
        self.steps = self.wanted.settings.steps

    @property
    def wanted(self) -> Wanted:
        """Present settings."""
        return self.segment.wanted

    @property
    def ended(self) -> bool:
        """True if nothing happens any more by itself."""
        return self.state in ENDED

    def to_json(self, history: bool = False) -> dict[str, Any]:
        """Describe the run for the page.

        Args:
            history: If True, with the losses of all evaluations so far, otherwise with the last ones.
        """
        with self._condition:
            height, width = self.size
            names = ("id", "state", "position", "evaluations", "steps", "fraction", "seconds_left", "stage", "error")
            described = {name: getattr(self, name) for name in (*names, "programs", "status", "sweep", "revision")}
            settings = self.wanted.to_json()
            described |= {"width": width, "height": height, "picture": self.version, "settings": settings}
            described |= {"seconds": round(self._clock.seconds, 2), "live": {name: settings[name] for name in LIVE}}
            described |= {"snapshots": [snapshot.to_json() for snapshot in self.snapshots]}
            described |= {"photo": self.inputs.photo.id, "paintings": [each.id for each in self.inputs.paintings]}
            described |= {"mask": None if self.inputs.mask is None else self.inputs.mask.id}
            losses = list(self.losses)
        return described | ({"losses": losses} if history else {"loss": losses[-1] if losses else None})

    def picture(self) -> tuple[int, AnyImage] | None:
        """Return the number and the pixels of the present picture; None before the first one."""
        with self._condition:
            return None if self._picture is None else (self.version, self._picture)

    def snapshot(self, id: Any) -> Snapshot:
        """Return an earlier picture.

        Raises:
            InputError: if there is none of this name.
        """
        with self._condition:
            for snapshot in self.snapshots:
                if snapshot.id == id:
                    return snapshot
        raise InputError("there is no such earlier picture, expected one of this run")

    # Control, from the page.

    def change(self, values: Mapping[str, Any]) -> None:
        """Change settings for the rest of the run.

        Raises:
            InputError: for a wrong value, or a run that has ended.
        """
        wanted = self.wanted.change(values)
        style = None
        if wanted.style_scale != self.wanted.style_scale:
            style = self.inputs.load_styles(wanted)
        with self._condition:
            self._refuse_if(self.ended, "has ended, so nothing changes any more: go further, or start a new one")
            self.segment = self.segment._replace(wanted=wanted)
            if self.state != "queued":
                self.changed |= set(values)
                before = self._pending or Change()
                names = set(values) - {"style_scale"}
                given = {name: getattr(wanted.settings, name) for name in names}
                self._pending = replace(before, **given, **({} if style is None else {"style": style}))
        self._changed()

    def pause(self) -> None:
        """Wait, between two chunks of steps, until `resume`."""
        with self._condition:
            self._refuse_if(self.state not in ("starting", "running"), "is not running, so it cannot pause")
            self._paused, self.status = True, "pausing after the running steps"
        self._changed()

    def resume(self) -> None:
        """End a pause."""
        with self._condition:
            self._refuse_if(not self._paused, "is not paused")
            self._paused, self.status = False, ""
            self._condition.notify_all()
        self._changed()

    def stop(self) -> None:
        """End the run, and keep its picture."""
        with self._condition:
            self._refuse_if(self.ended, "has ended already")
            self._stopping, self._next, self.status = True, None, "stopping after the running steps"
            if self.state == "queued":
                self.state, self.status = "stopped", "stopped before it began"
            self._condition.notify_all()
        self._changed()

    def interrupt(self) -> None:
        """End the run for now: its checkpoint stays."""
        with self._condition:
            self._interrupting = True
            if self.state == "queued":
                self.state = "interrupted"
            self._condition.notify_all()

    def further(self, evaluations: Any = None, size: Any = None) -> None:
        """Go on from the picture of a run that has ended: with more evaluations, or at another size.

        Raises:
            InputError: for a run that has not ended, or a wrong number.
        """
        wanted = self.wanted
        if size is not None:
            check_integer(size, "size", MIN_SIZE, MAX_SIZE)
        if evaluations is None:
            evaluations = max(MIN_STEPS, round(wanted.settings.share * wanted.settings.steps))
        check_integer(evaluations, "evaluations", 1, MAX_STEPS)
        with self._condition:
            self._refuse_if(self.state not in ("finished", "stopped"), "has not ended: stop it before it goes further")
            self._refuse_if(self._picture is None, "has no picture to go on from")
            assert self._picture is not None
            settings = replace(wanted.settings, steps=evaluations, scales=1)
            wanted = wanted._replace(settings=settings, size=wanted.size if size is None else size)
            self.size = self.inputs.photo.size_at(wanted.size, settings.min_side)
            self._queue(Segment(wanted, levels(self._picture)))
        self._changed()

    def back(self, id: Any) -> None:
        """Go on from an earlier picture, with the present settings.

        Raises:
            InputError: if there is no such picture, or the run waits.
        """
        snapshot = self.snapshot(id)
        settings = replace(self.wanted.settings, steps=max(MIN_STEPS, snapshot.steps), scales=snapshot.scales)
        segment = Segment(self.wanted._replace(settings=settings), snapshot.pixels)
        with self._condition:
            self._refuse_if(self.state in ("queued", "failed", "interrupted"), "cannot go back now")
            self._paused = self._stopping = False
            if self.ended:
                self._queue(segment)
            else:
                self._next, self.status = segment, "going back after the running steps"
            self._condition.notify_all()
        self._changed()

    # The thread of the run.

    def begin(self) -> bool:
        """Return True if the run starts now, False if it was stopped while it waited."""
        with self._condition:
            if self.state != "queued":
                return False
            self.state, self.position, self._stopping = "starting", 0, False
            self.stage, self.error = "preparing", None
            self.base, self._timed, self._pending = self.evaluations, None, None
            self._scale, self._segment_evaluations = (None, 0), 0
            self.steps = self.base + self.wanted.settings.steps
            self._clock.start()
        self._changed()
        return True

    def show(self, image: AnyImage) -> None:
        """Show a picture before the first steps."""
        with self._condition:
            self._picture, self.version = image, self.version + 1
        self._changed()

    def on_progress(self, progress: Progress, scales: Sequence[float]) -> bool | Change | None:
        """Store the progress, wait while paused, and answer as the callback of `stylize` does.

        Args:
            progress: of the present segment.
            scales: factors of all sizes of the segment, from coarse to fine.
        """
        with self._condition:
            self._store(progress, scales)
        self._changed()
        with self._condition:
            if self._paused and not self._leaving:
                self.state, self.status = "paused", ""
                self._clock.stop()
                self.revision += 1
                self.notify()
                self._condition.wait_for(lambda: not self._paused or self._leaving)
                self._clock.start()
                self._timed = None
                self.state = "running"
                self.revision += 1
            change, self._pending = self._pending, None
            return True if self._leaving else change

    def end(self, result: Result) -> bool:
        """Store the result of a segment; return True if another one begins."""
        with self._condition:
            self._clock.stop()
            if self._interrupting:
                self.state, self.status = "interrupted", "interrupted: the next start of the server offers to go on"
            elif self._next is not None:
                self._queue(self._next)
                self._next = None
            else:
                self._picture, self.version = result.image, self.version + 1
                self.result, self.status = result, str(result.status)
                self.state = "stopped" if self._stopping else "finished"
                self.fraction = self.fraction if self._stopping else 1.0
                self.stage, self.seconds_left = "", None
                if self._stopping:
                    self.status = "stopped"
            again = self.state == "queued"
        self._changed()
        return again

    def fail(self, error: str) -> None:
        """End the run with a sentence."""
        with self._condition:
            self._clock.stop()
            self.state, self.error, self.status, self.stage = "failed", error, "failed", ""
        self._changed()

    @property
    def ends(self) -> bool:
        """True if the run ends with its present segment."""
        with self._condition:
            return not self._interrupting and self._next is None

    @property
    def interrupted(self) -> bool:
        """True once the server ends."""
        return self._interrupting

    @property
    def _leaving(self) -> bool:
        return self._stopping or self._interrupting or self._next is not None

    def _queue(self, segment: Segment) -> None:
        self.segment, self.state, self.status, self.error = segment, "queued", "", None
        self._stopping = self.resumed = False
        self.changed.add("start")

    def _store(self, progress: Progress, scales: Sequence[float]) -> None:
        self.state = "running"
        self.evaluations, self.steps = self.base + progress.evaluations, self.base + progress.steps
        self.fraction = progress.fraction
        self._picture, self.version = progress.image, self.version + 1
        scale = progress.scale
        number = scales.index(scale.factor) + 1
        of = f", size {number} of {len(scales)}" if len(scales) > 1 else ""
        if scale != self._scale[0]:
            self._scale = scale, self._segment_evaluations
        self._segment_evaluations = progress.evaluations
        at_end = progress.evaluations - self._scale[1] >= scale.steps and progress.fraction < 1
        self.stage = f"{scale.width}x{scale.height}{of}" + (", preparing what comes next" if at_end else "")
        losses = progress.losses
        self.losses.append([self.evaluations, *(float(each) for each in (losses.total, losses.content, losses.style))])
        now, fraction = self._clock.seconds, progress.fraction
        # The first chunk compiles.
        if self._timed is None:
            self._timed = now, fraction
        elif fraction > self._timed[1]:
            rate = (now - self._timed[0]) / (fraction - self._timed[1])
            self.seconds_left = round((1 - fraction) * rate, 1)
        self._take_snapshot(progress, len(scales) - number + 1)

    def _take_snapshot(self, progress: Progress, scales: int) -> None:
        every = max(1, progress.steps // SNAPSHOTS)
        last = self.snapshots[-1].evaluation if self.snapshots else -every
        if 0 <= self.evaluations - last < every:
            return
        left = max(1, progress.steps - progress.evaluations)
        snapshot = Snapshot(secrets.token_urlsafe(6), self.evaluations, levels(progress.image), scales, left)
        # Of many the older ones are thinned out.
        older = self.snapshots if len(self.snapshots) < MAX_SNAPSHOTS else self.snapshots[::2]
        self.snapshots = [*older, snapshot]

    def _refuse_if(self, condition: bool, reason: str) -> None:
        if condition:
            raise InputError(f"the run {reason}")

    def _changed(self) -> None:
        self.revision += 1
        self.notify()


def photo_at(run: Run) -> AnyImage:
    """Return the photo at the size of the run."""
    return fit(run.inputs.photo.load(run.wanted.size, run.wanted.settings.min_side), *run.size)
