"""Runs on disk, while they work: their pictures, settings and checkpoint, from which the next server goes on.

Each has a folder with a lock that its server holds as long as it lives.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.image.preview import levels, preview
from jaxstyle.minimize.checkpoint import Checkpoint
from jaxstyle.serve.options import parse
from jaxstyle.serve.pictures import THUMB_SIDE, Picture, Pictures
from jaxstyle.serve.run import Run
from jaxstyle.serve.segment import Inputs, Segment

log = logging.getLogger(__name__)

NAME = re.compile(r"[\w-]{1,100}")
# Seconds between two saves.
EVERY = 60.0
# Values of a run that its file stores.
STORED = ("evaluations", "steps")


class SavedRuns:
    """A folder with a folder for each run.

    Args:
        folder: is created with the first run; None saves nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._locks: dict[str, int] = {}

    def begin(self, run: Run) -> Checkpoint | None:
        """Save the inputs of a run that begins; return its checkpoint, or None if that cannot be written."""
        if self.folder is None:
            return None
        try:
            folder = self._folder(run.id)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock(run.id)
            if not run.resumed:
                (folder / "checkpoint").unlink(missing_ok=True)
            for name, picture in _pictures(run.inputs).items():
                _write(folder / name, picture.data)
            (folder / "start").unlink(missing_ok=True)
            if run.segment.start is not None:
                stream = BytesIO()
                np.save(stream, run.segment.start)
                _write(folder / "start", stream.getvalue())
            self.save(run)
        except OSError as error:
            log.warning("the run is not saved, so it ends with the server: %s", error.strerror)
            return None
        # Forced: after a change the checkpoint may be older than the settings, and is still the best picture.
        return Checkpoint(folder / "checkpoint", every=EVERY, resume=True, force=True)

    def save(self, run: Run) -> None:
        """Save the settings of a run, and a small picture."""
        if self.folder is None:
            return
        folder = self._folder(run.id)
        height, width = run.size
        described = {"settings": run.wanted.to_json(), "base": run.base, "width": width, "height": height}
        described |= {name: getattr(run, name) for name in STORED} | {"paintings": len(run.inputs.paintings)}
        described |= {"mask": run.inputs.mask is not None, "changed": sorted(run.changed)}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock(run.id)
            if not (folder / "photo").exists():
                for name, picture in _pictures(run.inputs).items():
                    _write(folder / name, picture.data)
            present = run.picture()
            if present is not None:
                _write(folder / "thumb", preview(levels(present[1]), THUMB_SIDE))
            _write(folder / "run.json", json.dumps(described).encode())
        except OSError as error:
            log.warning("the run is not saved: %s", error.strerror)

    def remove(self, id: str) -> None:
        """Forget a run."""
        if self.folder is not None and NAME.fullmatch(id):
            shutil.rmtree(self._folder(id), ignore_errors=True)
            lock = self._locks.pop(id, None)
            if lock is not None:
                os.close(lock)

    def interrupted(self) -> list[dict[str, Any]]:
        """Describe the runs that an earlier server has left, the newest first."""
        listed = []
        for id in self._free():
            with contextlib.suppress(InputError):
                stored = self._read(id)
                described = {"id": id, "evaluation": stored["evaluations"], "steps": stored["steps"]}
                described |= {"width": stored["width"], "height": stored["height"], "time": stored["time"]}
                listed.append(described | {"settings": stored["settings"]})
        return sorted(listed, key=lambda run: run["time"], reverse=True)

    def thumb(self, id: str) -> bytes:
        """Return a small JPEG of an interrupted run.

        Raises:
            InputError: if there is no such run, or it had no picture yet.
        """
        if id not in self._free():
            raise InputError("there is no such interrupted run")
        try:
            return (self._folder(id) / "thumb").read_bytes()
        except OSError as error:
            raise InputError("the interrupted run has no picture yet") from error

    def resume(self, id: str, pictures: Pictures) -> Run:
        """Return an interrupted run, to go on.

        Args:
            id: its name.
            pictures: to which its inputs are added.

        Raises:
            InputError: if there is none, or its files are damaged.
        """
        if id not in self._free():
            raise InputError("there is no such interrupted run: is it going on already?")
        stored, folder = self._read(id), self._folder(id)
        try:
            photo = pictures.add("photo", (folder / "photo").read_bytes())
            paintings = [
                pictures.add("painting", (folder / f"painting{k}").read_bytes()) for k in range(stored["paintings"])
            ]
            mask = pictures.add("mask", (folder / "mask").read_bytes()) if stored["mask"] else None
            start = folder / "start"
            pixels = np.load(BytesIO(start.read_bytes())) if start.exists() else None
            segment = Segment(parse(stored["settings"]), pixels)
            run = Run(Inputs(photo, tuple(paintings), mask), segment, id=id)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the interrupted run is damaged ({error}): start it anew") from error
        run.resumed, run.evaluations, run.changed = True, stored["base"], set(stored["changed"])
        self._lock(id)
        return run

    def close(self) -> None:
        """Let go of the runs, which the next server then offers."""
        while self._locks:
            _, lock = self._locks.popitem()
            os.close(lock)

    def _free(self) -> list[str]:
        """Names of the runs that no living server holds."""
        return [id for id in self._names() if id not in self._locks and not _is_locked(self._folder(id) / "lock")]

    def _names(self) -> Iterator[str]:
        if self.folder is not None and self.folder.is_dir():
            yield from (path.name for path in self.folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name))

    def _read(self, id: str) -> Mapping[str, Any]:
        path = self._folder(id) / "run.json"
        try:
            stored = json.loads(path.read_bytes())
            return {**stored, "time": path.stat().st_mtime, "settings": dict(stored["settings"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError("the interrupted run is damaged: remove it") from error

    def _folder(self, id: str) -> Path:
        assert self.folder is not None
        return self.folder / id

    def _lock(self, id: str) -> None:
        if id not in self._locks:
            lock = os.open(self._folder(id) / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locks[id] = lock


def _is_locked(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


def _pictures(inputs: Inputs) -> dict[str, Picture]:
    """The pictures of a run, by the names of their files."""
    named = {"photo": inputs.photo} | {f"painting{k}": painting for k, painting in enumerate(inputs.paintings)}
    return named if inputs.mask is None else named | {"mask": inputs.mask}


def _write(path: Path, data: bytes) -> None:
    with files.replacing(path) as file:
        file.write(data)
