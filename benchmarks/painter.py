"""What the programs of `peers` have in common: each evaluation is timed and each picture kept in one way for all."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks import worker


class Painter(Protocol):
    """One program with its pictures and weights loaded, ready for the first evaluation."""

    compile_seconds: float
    """Spent on compiling while it got ready; reported apart from the start-up."""
    content_loss: float | None
    """Of the content picture itself; None where the first evaluation tells."""

    def evaluate(self) -> float:
        """One evaluation of loss and gradient and the update that follows, finished on return; its loss."""
        ...

    def picture(self) -> np.ndarray:
        """What the program would save now: (H, W, 3) uint8."""
        ...

    def peak_device_bytes(self) -> int | None:
        """The most memory ever used on an accelerator, None where there is none or nobody counts."""
        ...


def serve(make: Callable[[Path, Path], Painter]) -> None:
    """Be the worker of a program; `make` gets the paths of the content and the style."""

    def prepare(options: worker.Message) -> tuple[worker.Message, Callable[[worker.Message], worker.Message]]:
        painter = make(Path(options["content"]), Path(options["style"]))
        folder, done = Path(options["folder"]), 0

        def handle(request: worker.Message) -> worker.Message:
            """Do `count` evaluations; keep every picture, or only the last one."""
            nonlocal done, slept
            idle = time.process_time() - slept
            seconds, losses, cpu_seconds = [], [], 0.0
            for left in reversed(range(request["count"])):
                begin, cpu_begin = time.perf_counter(), time.process_time()
                losses.append(painter.evaluate())
                seconds.append(time.perf_counter() - begin)
                cpu_seconds += time.process_time() - cpu_begin
                done += 1
                if request["keep_all"] or left == 0:
                    np.save(folder / f"{done}.npy", painter.picture())
            slept = time.process_time()
            return {
                "seconds": seconds,
                "losses": losses,
                "cpu_seconds": cpu_seconds,
                "idle_cpu_seconds": idle,
                "process_cpu_seconds": slept,
                "peak_resident_bytes": worker.peak_resident_bytes(),
                "peak_device_bytes": painter.peak_device_bytes(),
            }

        slept = time.process_time()
        return {
            "compile_seconds": painter.compile_seconds,
            "content_loss": painter.content_loss,
            "process_cpu_seconds": slept,
        }, handle

    worker.serve(prepare)
