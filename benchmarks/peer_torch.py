"""The method in plain PyTorch as a worker of `peers`, written as in the authors' notebook.

The objective, start, units (0..255 minus the mean color) and optimizer are the notebook's: `torch.optim.LBFGS`,
learning rate 1, history 100, no line search. The notebook runs 20 evaluations per call; here it is one, which produces
the same iterates and allows a pause after each. The network ends at relu5_1, the last layer of the loss. The weights
are read from jaxstyle's file; neither jaxstyle nor JAX is imported.
"""

from pathlib import Path

import numpy as np
import PIL.Image
import torch  # pyright: ignore[reportMissingImports]
from safetensors import safe_open
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks import painter

WEIGHTS = Path(__file__).parent.parent / "weights" / "vgg19_oxford.safetensors"
BLOCKS = (2, 2, 4, 4, 1)  # Convolutions per block, up to conv5_1.
CONTENT, STYLE = "relu4_2", ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


class Network:
    """VGG-19 with frozen weights."""

    def __init__(self, device: str, dtype: torch.dtype = torch.float32):
        with safe_open(WEIGHTS, "pt", device=device) as file:
            self.scale, self.shift = (
                file.get_tensor(f"input.{name}")[:, None, None].to(dtype) for name in ("scale", "shift")
            )
            self._layers = {
                f"conv{block}_{n}": (
                    # Indices into the layer's table, (height, width, in, out), to values, (out, in, height, width).
                    file.get_tensor(f"conv{block}_{n}.table")[file.get_tensor(f"conv{block}_{n}.codes").long()]
                    .permute(3, 2, 0, 1)
                    .contiguous()
                    .to(dtype),
                    file.get_tensor(f"conv{block}_{n}.bias").to(dtype),
                )
                for block, count in enumerate(BLOCKS, 1)
                for n in range(1, count + 1)
            }

    def use_channels_last(self) -> None:
        """Store the kernels channels last, so that all maps are."""
        self._layers = {
            layer: (kernel.contiguous(memory_format=torch.channels_last), bias)
            for layer, (kernel, bias) in self._layers.items()
        }

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the features of the loss by layer."""
        taps = {}
        for block, count in enumerate(BLOCKS, 1):
            if block > 1:
                x = functional.max_pool2d(x, 2)
            for n in range(1, count + 1):
                kernel, bias = self._layers[f"conv{block}_{n}"]
                x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
                if f"relu{block}_{n}" in (CONTENT, *STYLE):
                    taps[f"relu{block}_{n}"] = x
        return taps


class Torch:
    """The image, its targets and its optimizer."""

    compile_seconds = 0.0
    content_loss: float | None = None

    def __init__(self, content: Path, style: Path):
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network = Network(self._device)
        start = self._read(content)
        with torch.no_grad():
            self._content = self._network(start)[CONTENT]
            taps = self._network(self._read(style))
            self._grams = {layer: gram(taps[layer]) for layer in STYLE}
        self._image = start.requires_grad_()
        self._optimizer = torch.optim.LBFGS([self._image], lr=1, history_size=100, max_iter=1)

    def evaluate(self) -> float:
        loss = float(self._optimizer.step(self._loss_and_gradient))
        if self._device == "cuda":
            torch.cuda.synchronize()
        return loss

    def picture(self) -> np.ndarray:
        with torch.no_grad():
            pixels = (self._image[0] - self._network.shift).round().clamp(0, 255)
        return pixels.permute(1, 2, 0).to("cpu", torch.uint8).numpy()

    def peak_device_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._device == "cuda" else None

    def _loss_and_gradient(self) -> torch.Tensor:
        self._optimizer.zero_grad()
        taps = self._network(self._image)
        loss = functional.mse_loss(taps[CONTENT], self._content)
        for layer, target in self._grams.items():
            weight = 1e3 / target.shape[0] ** 2
            loss = loss + weight * functional.mse_loss(gram(taps[layer]), target)
        loss.backward()
        return loss.detach()

    def _read(self, path: Path) -> torch.Tensor:
        with PIL.Image.open(path) as file:
            pixels = torch.tensor(np.asarray(file.convert("RGB"), np.float32) / np.float32(255), device=self._device)
        return (pixels.permute(2, 0, 1) * self._network.scale + self._network.shift)[None].contiguous()


def gram(features: torch.Tensor) -> torch.Tensor:
    """Compute the Gram matrix of (1, c, h, w), divided by the number of positions."""
    flat = features.flatten(2)[0]
    return flat @ flat.T / flat.shape[1]


if __name__ == "__main__":
    painter.serve(Torch)
