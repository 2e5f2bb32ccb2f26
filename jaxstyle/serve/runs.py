"""The queue: one run at a time, each in a thread of its own, the others with their places."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import jax

from jaxstyle.errors import InputError
from jaxstyle.serve.execute import execute
from jaxstyle.serve.gallery import Gallery
from jaxstyle.serve.recipe import recipe_of
from jaxstyle.serve.run import Run
from jaxstyle.serve.saved import SavedRuns
from jaxstyle.transfer.memory import OUT_OF_MEMORY
from jaxstyle.transfer.result import Result
from jaxstyle.typing import Params
from jaxstyle.vgg.weights import load_params

log = logging.getLogger(__name__)

MAX_RUNS = 500
COMPILED = "backend_compile_duration"


class Runs:
    """All runs of this server.

    Args:
        gallery: where finished pictures go.
        saved: where runs that do not finish are.
        notify: called after every change, from any thread.
        network: weights of VGG-19: a name, or a file.
    """

    def __init__(self, gallery: Gallery, saved: SavedRuns, notify: Callable[[], None], network: str = "oxford"):
        self.gallery, self.saved, self.notify, self.network = gallery, saved, notify, network
        # Of the list, for the page: changed when a run comes, goes, or ends.
        self.revision = 0
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._runs: dict[str, Run] = {}
        self._queue: list[Run] = []
        self._active: Run | None = None
        self._threads: dict[int, Run] = {}
        self._params: Params | None = None
        self._closed = False
        jax.monitoring.register_event_duration_secs_listener(self._count_program)

    def submit(self, run: Run) -> None:
        """Put a run at the end of the queue; one that goes further comes again.

        Raises:
            InputError: if there are too many.
        """
        run.notify = self.notify
        with self._lock:
            if self._closed:
                raise InputError("the server ends, so it starts no run")
            if len(self._runs) >= MAX_RUNS:
                raise InputError(f"there are {MAX_RUNS} runs, expected fewer: remove some, or start the server anew")
            self._runs[run.id] = run
            if run not in self._queue:
                self._queue.append(run)
        self._changed()
        self._advance()

    def get(self, id: Any) -> Run:
        """Return a run by its name.

        Raises:
            InputError: if there is none.
        """
        with self._lock:
            run = self._runs.get(id) if isinstance(id, str) else None
        if run is None:
            raise InputError("there is no such run on the server")
        return run

    def all(self) -> list[Run]:
        """Return all runs, the newest first."""
        with self._lock:
            return list(reversed(self._runs.values()))

    def remove(self, id: Any) -> None:
        """Remove a run that waits, or has ended.

        Raises:
            InputError: for a run that works.
        """
        run = self.get(id)
        with self._lock:
            if run is self._active:
                raise InputError("the run works, expected one that waits or has ended: stop it first")
            if not run.ended:
                run.stop()
            self._queue = [other for other in self._queue if other is not run]
            del self._runs[run.id]
            self._number()
        self.saved.remove(run.id)
        self._changed()

    def close(self, timeout: float | None = None) -> bool:
        """Interrupt the runs, whose checkpoints stay; return True once the present one has ended."""
        with self._lock:
            if not self._closed:
                jax.monitoring.unregister_event_duration_listener(self._count_program)
            self._closed = True
            waiting, self._queue = self._queue, []
            for run in (*waiting, *([] if self._active is None else [self._active])):
                run.interrupt()
            ended = self._idle.wait_for(lambda: self._active is None, timeout)
        for run in waiting:
            self.saved.save(run)
        if ended:
            self.saved.close()
        return ended

    def _advance(self) -> None:
        """Start the next run, if none works."""
        with self._lock:
            while self._active is None and self._queue and not self._closed:
                run = self._queue.pop(0)
                if run.begin():
                    self._active = run
                    threading.Thread(target=self._work, args=(run,), name=f"run {run.id}", daemon=True).start()
            self._number()
        self._changed()

    def _number(self) -> None:
        """Tell the waiting runs their places."""
        for place, run in enumerate(self._queue, 1):
            run.position = place
            run.revision += 1

    def _work(self, run: Run) -> None:
        self._threads[threading.get_ident()] = run
        try:
            again = True
            while again:
                again = self._segment(run) and run.begin()
        except InputError as error:
            run.fail(str(error))
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and not OUT_OF_MEMORY.search(str(error)):
                raise
            run.fail("out of memory: choose a smaller size")
        finally:
            if not run.ended:
                run.fail("a defect of jaxstyle ended the run: the terminal has the details")
            if run.state not in ("interrupted",):
                self.saved.remove(run.id)
            del self._threads[threading.get_ident()]
            with self._lock:
                self._active = None
                self._idle.notify_all()
            self._advance()

    def _segment(self, run: Run) -> bool:
        """Make a segment; return True if another one follows."""
        if self._params is None:
            self._params = load_params(self.network)
        # A cell of a sheet is soon made again.
        checkpoint = None if run.sweep is not None else self.saved.begin(run)
        result = execute(run, self._params, checkpoint)
        # Who sees that a run has ended finds its picture.
        if run.ends and run.sweep is None:
            self._add_to_gallery(run, result)
        again = run.end(result)
        if run.state == "interrupted":
            self.saved.save(run)
        self._changed()
        return again

    def _add_to_gallery(self, run: Run, result: Result) -> None:
        try:
            self.gallery.add(result.image, recipe_of(run, result, self.network))
        except InputError as error:
            log.warning("the picture is not in the gallery: %s", error)

    def _count_program(self, event: str, duration_secs: float, **details: Any) -> None:
        run = self._threads.get(threading.get_ident())
        if run is not None and event.endswith(COMPILED):
            run.programs += 1

    def _changed(self) -> None:
        self.revision += 1
        self.notify()
