"""PyTorch's part of `layers` and `step`. Imports neither jaxstyle nor JAX.

`python -m benchmarks.step_torch SIZE PRECISION` prints the peak bytes of a process that evaluates an image.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

# Waiting OpenMP threads that spin would take processor time from the next contestant.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks.peer_torch import CONTENT, STYLE, Network, gram
from benchmarks.worker import peak_resident_bytes

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Evaluation:
    """The notebook's loss and its gradient, equal to `value_and_grad` with the default objective."""

    def __init__(self, content: np.ndarray, style: np.ndarray, dtype: torch.dtype = torch.float32):
        self._network = Network(DEVICE, dtype)
        self._dtype = dtype
        with torch.no_grad():
            self._content = self._network(self.tensor(content))[CONTENT]
            taps = self._network(self.tensor(style))
            self._grams = {layer: gram(taps[layer]) for layer in STYLE}

    def tensor(self, pixels: np.ndarray) -> torch.Tensor:
        """Convert `(H, W, 3)` in [0, 1] to the network's input."""
        channels = torch.tensor(pixels, dtype=self._dtype, device=DEVICE).permute(2, 0, 1)
        return (channels * self._network.scale + self._network.shift)[None].contiguous()

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the loss of a network input."""
        taps = {layer: features.to(self._dtype) for layer, features in self._network(x).items()}
        with torch.autocast(DEVICE, enabled=False):
            terms = [
                1e3 / target.shape[0] ** 2 * functional.mse_loss(gram(taps[layer]), target)
                for layer, target in self._grams.items()
            ]
            return functional.mse_loss(taps[CONTENT], self._content) + sum(terms)

    def gradient(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the gradient with respect to pixels in [0, 1], `(H, W, 3)`."""
        return self.value_and_gradient(pixels)[1]

    def value_and_gradient(self, pixels: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute the loss, and its gradient with respect to pixels in [0, 1], `(H, W, 3)`."""
        x = self.tensor(pixels).requires_grad_()
        loss = self.loss(x)
        loss.backward()
        assert x.grad is not None
        return loss.item(), (x.grad * self._network.scale)[0].permute(1, 2, 0).cpu().numpy()

    def timed(self, pixels: np.ndarray, precision: str, compiled: bool) -> Callable[[], Any]:
        """Return a function that runs one evaluation, for timing."""
        evaluate, _ = self.form(pixels, precision, compile_mode="default" if compiled else None)

        def run() -> None:
            evaluate()
            wait()

        return run

    def form(
        self, pixels: np.ndarray, precision: str, channels_last: bool = False, compile_mode: str | None = None
    ) -> tuple[Callable[[], None], int | None]:
        """Return a function that begins one evaluation, and the peak bytes of a GPU; it has been warmed up.

        Args:
            pixels: image in [0, 1], `(H, W, 3)`.
            precision: see `_precision`.
            channels_last: memory layout of maps and kernels, with cuDNN's search for the fastest algorithm.
            compile_mode: mode of `torch.compile`; None for eager.
        """
        x = self.tensor(pixels)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
            self._network.use_channels_last()
        x.requires_grad_()
        loss = self.loss if compile_mode is None else torch.compile(self.loss, mode=compile_mode)

        def evaluate() -> None:
            x.grad = None
            torch.backends.cudnn.benchmark = channels_last
            with _precision(precision):
                loss(x).backward()

        if DEVICE == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            evaluate()
        wait()
        return evaluate, torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


def layer(
    x: np.ndarray, cotangent: np.ndarray, kernel: np.ndarray, bias: np.ndarray, precision: str
) -> Callable[[], Any]:
    """Return a function that runs a convolution with bias and ReLU and its input gradient; channels last, as in JAX."""
    image, output_gradient = (
        torch.tensor(array, device=DEVICE).permute(2, 0, 1)[None].contiguous() for array in (x, cotangent)
    )
    weights = torch.tensor(kernel, device=DEVICE).permute(3, 2, 0, 1).contiguous()
    shift = torch.tensor(bias, device=DEVICE)
    image.requires_grad_()

    def work() -> None:
        image.grad = None
        with _precision(precision):
            y = functional.relu(functional.conv2d(image, weights, shift, padding=1))
        y.backward(output_gradient.to(y.dtype))
        wait()

    return work


@contextlib.contextmanager
def _precision(precision: str):
    """Set the precision of convolutions as in jaxstyle; everything else is float32."""
    torch.backends.cudnn.allow_tf32 = precision == "default"
    torch.backends.cuda.matmul.allow_tf32 = False
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def wait() -> None:
    """Wait for the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main(size: int, precision: str) -> None:
    random = np.random.default_rng(0)
    content, style, image = (random.random((size, size, 3), np.float32) for _ in range(3))
    evaluate = Evaluation(content, style).timed(image, precision, compiled=False)
    for _ in range(3):
        evaluate()
    print(peak_resident_bytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
