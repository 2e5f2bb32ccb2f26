"""Common interface of the programs of `peers`, so that all are timed and their pictures stored in the same way."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks import worker


class Painter(Protocol):
    """A program with its images and weights loaded, ready for the first evaluation."""

    compile_seconds: float
    """Compilation time during start-up, reported separately from it."""
    content_loss: float | None
    """Loss of the content image; None if the first evaluation returns it."""

    def evaluate(self) -> float:
        """Run one evaluation and the following update to completion and return the loss."""
        ...

    def picture(self) -> np.ndarray:
        """Return the picture that the program would save now: (H, W, 3) uint8."""
        ...

    def peak_device_bytes(self) -> int | None:
        """Return the peak memory of the accelerator, or None if there is none or it is unknown."""
        ...


def serve(make_painter: Callable[[Path, Path], Painter]) -> None:
    """Serve a program as a worker; `make_painter` receives the paths of the content and the style."""

    def prepare(options: worker.Message) -> tuple[worker.Message, Callable[[worker.Message], worker.Message]]:
        painter = make_painter(Path(options["content"]), Path(options["style"]))
        folder, done = Path(options["folder"]), 0

        def handle(request: worker.Message) -> worker.Message:
            """Run `count` evaluations; store every picture, or only the last one."""
            nonlocal done, cpu_at_last_reply
            idle_cpu_seconds = time.process_time() - cpu_at_last_reply
            seconds, losses, cpu_seconds = [], [], 0.0
            for remaining in reversed(range(request["count"])):
                start, cpu_start = time.perf_counter(), time.process_time()
                losses.append(painter.evaluate())
                seconds.append(time.perf_counter() - start)
                cpu_seconds += time.process_time() - cpu_start
                done += 1
                if request["keep_all"] or remaining == 0:
                    np.save(folder / f"{done}.npy", painter.picture())
            cpu_at_last_reply = time.process_time()
            return {
                "seconds": seconds,
                "losses": losses,
                "cpu_seconds": cpu_seconds,
                "idle_cpu_seconds": idle_cpu_seconds,
                "process_cpu_seconds": cpu_at_last_reply,
                "peak_resident_bytes": worker.peak_resident_bytes(),
                "peak_device_bytes": painter.peak_device_bytes(),
            }

        cpu_at_last_reply = time.process_time()
        return {
            "compile_seconds": painter.compile_seconds,
            "content_loss": painter.content_loss,
            "process_cpu_seconds": cpu_at_last_reply,
        }, handle

    worker.serve(prepare)
