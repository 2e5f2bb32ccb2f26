"""jaxstyle as a worker of `peers`: the preset `gatys-notebook`, every setting its default."""

import time
from pathlib import Path

import jax
import numpy as np

import jaxstyle as js
from benchmarks import painter


class JaxStyle:
    """One compiled step and its state."""

    def __init__(self, content: Path, style: Path):
        settings = js.preset("gatys-notebook")
        params, photo = js.load_params(), js.load_image(content)
        targets = js.whiten(js.make_targets(params, photo, [js.load_image(style)], settings.objective))
        static = settings.objective, settings.optimizer
        self._arguments = params, targets, settings.weights
        self._state = jax.block_until_ready(js.init(photo, *self._arguments, *static))
        begin = time.perf_counter()
        self._step = js.step.lower(self._state, *self._arguments, *static).compile()
        self.compile_seconds = time.perf_counter() - begin

    def evaluate(self) -> float:
        self._state = jax.block_until_ready(self._step(self._state, *self._arguments))
        return float(self._state.losses.total)

    def picture(self) -> np.ndarray:
        return np.rint(np.clip(np.asarray(self._state.best_image), 0, 1) * 255).astype(np.uint8)

    def peak_device_bytes(self) -> int | None:
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


if __name__ == "__main__":
    painter.serve(JaxStyle)
