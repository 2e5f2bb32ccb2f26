"""jaxstyle as a worker of `peers`: `stylize`, every setting its default, which is the notebook's objective."""

import queue
import threading
from pathlib import Path

import jax
import numpy as np

import jaxstyle as js
from benchmarks import painter

# More than a benchmark asks for.
STEPS = 10_000


class JaxStyle:
    """A run of `stylize` in a thread that waits after each evaluation until the next one is asked for."""

    def __init__(self, content: Path, style: Path):
        self._arguments = js.load_image(content), js.load_image(style)
        self._options = {"params": js.load_params(), "callback_every": 1, "steps": STEPS, "tolerance": 0.0}
        # Two short runs of the same programs: the first compiles them. Without a mosaic they start from the content.
        first, second = (js.stylize(*self._arguments, **self._options | {"steps": 1, "mosaic": 0.0}) for _ in range(2))
        self.compile_seconds = max(0.0, first.seconds - second.seconds)
        self.content_loss: float | None = float(second.losses.total[0])
        self._turn = threading.Semaphore(0)
        self._seen: queue.Queue[js.Progress | None] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        def callback(progress: js.Progress) -> None:
            self._seen.put(progress)
            self._turn.acquire()

        self._turn.acquire()
        try:
            js.stylize(*self._arguments, **self._options, callback=callback)
        finally:
            # Whoever waits must not wait for ever; the thread's own traceback says why.
            self._seen.put(None)

    def evaluate(self) -> float:
        """The loss of the best picture so far, which is what `stylize` tells."""
        self._turn.release()
        seen = self._seen.get()
        if seen is None:
            raise RuntimeError("stylize ended before the benchmark did")
        self._progress = seen
        return float(seen.losses.total)

    def picture(self) -> np.ndarray:
        return np.rint(np.clip(np.asarray(self._progress.image), 0, 1) * 255).astype(np.uint8)

    def peak_device_bytes(self) -> int | None:
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


if __name__ == "__main__":
    painter.serve(JaxStyle)
