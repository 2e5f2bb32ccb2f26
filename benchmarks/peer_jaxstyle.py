"""jaxstyle as a worker of `peers`: `stylize` with its defaults, which use the notebook's objective."""

import queue
import threading
from pathlib import Path

import jax
import numpy as np

import jaxstyle as js
from benchmarks import painter

# More than any benchmark requests.
MAX_STEPS = 10_000


class JaxStyle:
    """A run of `stylize` in a thread that pauses after each evaluation until the next request."""

    def __init__(self, content: Path, style: Path):
        self._arguments = js.load_image(content), js.load_image(style)
        self._options = {"params": js.load_params(), "callback_every": 1, "steps": MAX_STEPS, "tolerance": 0.0}
        self._options["preset"] = "gram"
        # The first of two equal short runs compiles. Without a mosaic they start from the content.
        first, second = (js.stylize(*self._arguments, **self._options | {"steps": 1, "mosaic": 0.0}) for _ in range(2))
        self.compile_seconds = max(0.0, first.seconds - second.seconds)
        self.content_loss: float | None = float(second.losses.total[0])
        self._resume = threading.Semaphore(0)
        self._updates: queue.Queue[js.Progress | None] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        def callback(progress: js.Progress) -> None:
            self._updates.put(progress)
            self._resume.acquire()

        self._resume.acquire()
        try:
            js.stylize(*self._arguments, **self._options, callback=callback)
        finally:
            # Ends the wait in `evaluate`; the traceback of the thread gives the reason.
            self._updates.put(None)

    def evaluate(self) -> float:
        """Return the loss of the best picture so far, as reported by `stylize`."""
        self._resume.release()
        progress = self._updates.get()
        if progress is None:
            raise RuntimeError("stylize ended before the benchmark did")
        self._progress = progress
        return float(progress.losses.total)

    def picture(self) -> np.ndarray:
        return np.rint(np.clip(np.asarray(self._progress.image), 0, 1) * 255).astype(np.uint8)

    def peak_device_bytes(self) -> int | None:
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


if __name__ == "__main__":
    painter.serve(JaxStyle)
