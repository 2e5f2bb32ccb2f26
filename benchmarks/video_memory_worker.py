"""Worker of `video_memory`: one video, and the peak memory after some of its frames."""

from collections.abc import Callable, Iterator

import numpy as np

import jaxstyle as js
from benchmarks import DATA, record, worker
from benchmarks.video_scenes import SYNTHETIC, clips


def prepare(options: worker.Message) -> tuple[worker.Message, Callable[[worker.Message], worker.Message]]:
    """Stylize as many frames as the greatest length; the first answer contains everything."""
    width, lengths = options["size"], options["lengths"]
    photo = np.asarray(js.load_image(DATA / "china.jpg", size=2 * width))
    painting = js.load_image(DATA / "starry_night.jpg", size=width)
    camera = clips(photo, photo, (width * 3 // 4, width))[SYNTHETIC[0]]

    def frames() -> Iterator[np.ndarray]:
        # There and back, so that the clip may have any length.
        for number in range(max(lengths)):
            yield camera.frame(abs(number % 16 - 8))

    peaks = []
    results = js.stylize_video(frames(), painting, steps=options["steps"], finish=options["steps"] // 2)
    for number, _ in enumerate(results, 1):
        if number in lengths:
            peaks.append({"frames": number, "peak_bytes": worker.peak_resident_bytes()})
    return {"measured": peaks, "machine": record.machine()}, lambda _: {}


if __name__ == "__main__":
    worker.serve(prepare)
