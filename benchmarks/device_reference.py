"""Write the float64 values with which `device` compares: `python -m benchmarks.device_reference`. Needs PyTorch."""

import numpy as np

import jaxstyle as js
from benchmarks import DATA
from benchmarks.device import REFERENCE
from benchmarks.step import GRADIENT_SIDE
from benchmarks.step_torch import Evaluation, torch


def main() -> None:
    side = GRADIENT_SIDE
    content, style = (
        np.asarray(js.load_image(DATA / file, size=256))[40 : 40 + side, 40 : 40 + side]
        for file in ("china.jpg", "starry_night.jpg")
    )
    noise = np.asarray(js.white_noise(0, side, side))
    arrays = {
        "content": content,
        "style": style,
        "noise": noise,
        "mixed": np.float32(0.7) * content + np.float32(0.3) * noise,
    }
    evaluation = Evaluation(content, style, torch.float64)
    for picture in ("noise", "mixed"):
        value, gradient = evaluation.value_and_gradient(arrays[picture])
        arrays |= {f"{picture}_value": np.float64(value), f"{picture}_gradient": gradient.astype(np.float32)}
    np.savez_compressed(REFERENCE, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
