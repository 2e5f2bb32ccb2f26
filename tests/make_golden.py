"""Golden values of the network and the losses from PyTorch: `python tests/make_golden.py`, run by hand.

Needs torch, numpy, safetensors and Pillow, not jaxstyle: the network is written here once more, with PyTorch's own
convolution and pooling. Writes data/golden.json; data/picture.png (a crop of the painting in jaxstyle/data) stays once
it is there, because it must not depend on anyone's JPEG decoder.
"""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from golden_pictures import DATA, HEIGHT, WIDTH, pattern, picture
from safetensors.numpy import load_file
from torch.nn import functional

ROOT = Path(__file__).parent.parent
BLOCKS = (2, 2, 4, 4, 4)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
# So that neither term hides the other in the gradient.
STYLE_WEIGHT = 0.01
LAYERS = (
    *(f"relu{b}_{i}" for b, n in enumerate(BLOCKS, 1) for i in range(1, n + 1)),
    *("conv1_1", "conv2_2", "conv4_2", "conv5_4"),
    *(f"pool{b}" for b in range(1, 6)),
)
SAMPLES = 8


def load_weights():
    """Kernels as PyTorch wants them (OIHW), biases, and the input's scale and shift."""
    tensors = load_file(ROOT / "weights" / "vgg19_oxford.safetensors")
    weights = {}
    for block, convolutions in enumerate(BLOCKS, 1):
        for i in range(1, convolutions + 1):
            name = f"conv{block}_{i}"
            kernel = tensors[f"{name}.table"][tensors[f"{name}.codes"]]
            weights[name] = (
                torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))),
                torch.from_numpy(tensors[f"{name}.bias"]),
            )
    return weights, *(torch.from_numpy(tensors[f"input.{part}"]) for part in ("scale", "shift"))


def forward(image, pooling):
    """Every layer's map, `(c, h, w)`, of an `(H, W, 3)` tensor."""
    weights, scale, shift = load_weights()
    x = (image * scale + shift).permute(2, 0, 1)[None]
    taps = {}
    for block, convolutions in enumerate(BLOCKS, 1):
        for i in range(1, convolutions + 1):
            x = taps[f"conv{block}_{i}"] = functional.conv2d(x, *weights[f"conv{block}_{i}"], padding=1)
            x = taps[f"relu{block}_{i}"] = functional.relu(x)
        x = taps[f"pool{block}"] = functional.max_pool2d(x, 2) if pooling == "max" else functional.avg_pool2d(x, 2)
    return {name: tap[0] for name, tap in taps.items()}


def gram(tap):
    """Divided by positions."""
    flat = tap.flatten(1)
    return flat @ flat.T / flat.shape[1]


def summary(array):
    """What is stored of an array: mean, norm, and values at even spacing; in (h, w, c) order."""
    flat = np.asarray(array, np.float64).ravel()
    places = np.linspace(0, flat.size - 1, SAMPLES).astype(int)
    return {
        "shape": list(array.shape),
        "mean": flat.mean(),
        "norm": np.linalg.norm(flat),
        "samples": flat[places].tolist(),
    }


def losses(image, content, style, pooling, normalization):
    """The content's and the style's term, weighted 1 and `STYLE_WEIGHT`."""
    taps = forward(image, pooling)
    with torch.no_grad():
        target = forward(content, pooling)[CONTENT_LAYER]
        grams = {layer: gram(tap) for layer, tap in forward(style, pooling).items() if layer in STYLE_LAYERS}
    if normalization == "paper":
        content_loss = 0.5 * (taps[CONTENT_LAYER] - target).square().sum()
        terms = [
            (gram(taps[layer]) - grams[layer]).square().sum() / (4 * len(grams[layer]) ** 2) / len(STYLE_LAYERS)
            for layer in STYLE_LAYERS
        ]
    else:
        content_loss = functional.mse_loss(taps[CONTENT_LAYER], target)
        terms = [
            functional.mse_loss(gram(taps[layer]), grams[layer]) / len(grams[layer]) ** 2 for layer in STYLE_LAYERS
        ]
    return content_loss, STYLE_WEIGHT * sum(terms)


def main():
    """Write golden.json."""
    if not (DATA / "picture.png").exists():
        with PIL.Image.open(ROOT / "jaxstyle" / "data" / "starry_night.jpg") as file:
            side = min(file.width // 4, file.height // 3)
            crop = file.convert("RGB").crop((0, 0, 4 * side, 3 * side))
            crop.resize((WIDTH, HEIGHT), PIL.Image.Resampling.LANCZOS).save(DATA / "picture.png", optimize=True)
    golden = {"torch": torch.__version__, "style_weight": STYLE_WEIGHT, "features": {}, "grams": {}, "objectives": {}}
    inputs = {"pattern": torch.from_numpy(pattern(0)), "picture": torch.from_numpy(picture())}
    for name, image in inputs.items():
        for pooling in ("max", "avg"):
            with torch.no_grad():
                taps = forward(image, pooling)
            golden["features"][f"{name}-{pooling}"] = {layer: summary(taps[layer].permute(1, 2, 0)) for layer in LAYERS}
            golden["grams"][f"{name}-{pooling}"] = {layer: summary(gram(taps[layer])) for layer in STYLE_LAYERS}
    for pooling, normalization in (("max", "notebook"), ("avg", "paper")):
        image = torch.from_numpy(pattern(1)).requires_grad_()
        content_loss, style_loss = losses(image, inputs["pattern"], inputs["picture"], pooling, normalization)
        (content_loss + style_loss).backward()
        golden["objectives"][f"{pooling}-{normalization}"] = {
            "content": content_loss.item(),
            "style": style_loss.item(),
            "gradient": summary(image.grad),
        }
    text = json.dumps(golden, indent=1)
    (DATA / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
