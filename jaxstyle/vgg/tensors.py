"""VGG-19 weights as tensors in a safetensors file: two layouts read, one written, every mistake named at once.

Our own layout keeps params as they are: `input.scale`, `input.shift`, then for each layer `conv1_1.kernel` (HWIO) or
`conv1_1.codes` and `conv1_1.table` (kernel = table[codes]), and `conv1_1.bias`. The other layout is that of torchvision
and timm, `features.0.weight` (OIHW), whose pixels are scaled by ImageNet's mean and standard deviation.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstyle.errors import InputError
from jaxstyle.files import sha256
from jaxstyle.vgg import network

# The convolutions of VGG-19 and their output channels.
WIDTHS = {layer: network.WIDTHS[int(layer[4]) - 1] for layer in network.CONVOLUTIONS}
LAYERS = network.CONVOLUTIONS
FORMAT, VERSION = "jaxstyle-vgg19", "1"

# Where torchvision's `features` holds the convolutions, between ReLU and pooling layers.
_FEATURES = dict(zip(LAYERS, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34), strict=True))
_CLASSIFIERS = ("classifier.", "pre_logits.", "head.")
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
# Real weights stay below 10; the shift of a picture in 0..255 is at most 255.
_LIMIT = 1000.0
_MISTAKES_SHOWN = 8

Tensors = Mapping[str, np.ndarray]
NumpyParams = dict[str, dict[str, np.ndarray]]


class TensorInfo(NamedTuple):
    """What a safetensors header says about one tensor."""

    dtype: str
    """The format's name of the type: "F32", "U8", ..."""
    shape: tuple[int, ...]
    """The shape, as stored."""
    start: int = 0
    """The first byte in the file; only known for a file on the Hub."""
    end: int = 0
    """One past the last byte in the file."""


def is_wanted(name: str) -> bool:
    """Whether a tensor of this name is looked at; a classifier's are not."""
    return not name.startswith(_CLASSIFIERS)


def find_mistakes(
    infos: Mapping[str, TensorInfo], metadata: Mapping[str, str], widths: Mapping[str, int] | None = None
) -> list[str]:
    """What is wrong with the names, types and shapes of a file's tensors.

    Args:
        infos: The tensors, by name; a classifier's are ignored.
        metadata: The texts of the header; empty if there are none.
        widths: Output channels a layer, e.g. `WIDTHS`; None takes any widths that fit from layer to layer.

    Returns:
        One phrase a mistake; empty if the file can be read.
    """
    mistakes = []
    left = {name for name in infos if is_wanted(name)}

    def expect(name: str, dtype: str, *shape: int | None) -> tuple[int | None, ...]:
        """Note what is wrong with one tensor; returns its shape as far as it is known. None fits any size."""
        left.discard(name)
        info = infos.get(name)
        if info is None:
            mistakes.append(f"{name} is missing")
            return shape
        sizes_fit = len(info.shape) == len(shape) and all(
            size == want if want else size > 0 for size, want in zip(info.shape, shape, strict=True)
        )
        if info.dtype != dtype or not sizes_fit:
            wanted = ", ".join(str(size or "any") for size in shape)
            got = ", ".join(map(str, info.shape))
            mistakes.append(f"{name} is {info.dtype} ({got}), expected {dtype} ({wanted})")
        return info.shape if len(info.shape) == len(shape) else shape

    torch = _is_torchvision(infos)
    if not torch:
        mistakes += _metadata_mistakes(metadata)
        expect("input.scale", "F32", 3)
        expect("input.shift", "F32", 3)
    channels: int | None = 3
    for layer in LAYERS:
        width = widths[layer] if widths else None
        if torch:
            width = expect(f"features.{_FEATURES[layer]}.weight", "F32", width, channels, 3, 3)[0]
            expect(f"features.{_FEATURES[layer]}.bias", "F32", width)
        else:
            if f"{layer}.codes" in infos:
                width = expect(f"{layer}.codes", "U8", 3, 3, channels, width)[3]
                expect(f"{layer}.table", "F32", 256)
            else:
                width = expect(f"{layer}.kernel", "F32", 3, 3, channels, width)[3]
            expect(f"{layer}.bias", "F32", width)
        channels = width
    return mistakes + [f"{name} is not part of VGG-19" for name in sorted(left)]


def find_bad_values(tensors: Tensors) -> list[str]:
    """What is wrong with the values of tensors: one phrase each for those not finite, too large or blank."""
    mistakes = []
    for name, array in tensors.items():
        if array.dtype != np.float32 or not array.size:
            continue
        low, high = array.min(), array.max()
        if not np.isfinite(low) or not np.isfinite(high):
            mistakes.append(f"{name} has values that are not finite")
        elif max(-low, high) > _LIMIT:
            mistakes.append(f"{name} has values up to {max(-low, high):.3g}, expected at most {_LIMIT:g}")
        elif name.endswith((".kernel", ".weight", ".table")) and low == high == 0:
            mistakes.append(f"{name} is all zeros")
        elif name == "input.scale" and low <= 0:
            mistakes.append(f"{name} has values down to {low:.3g}, expected above 0")
    return mistakes


def refuse(where: str, mistakes: list[str]) -> None:
    """Raise one `InputError` that names the mistakes, if there are any."""
    if not mistakes:
        return
    shown = "; ".join(mistakes[:_MISTAKES_SHOWN])
    if len(mistakes) > _MISTAKES_SHOWN:
        shown += f"; and {len(mistakes) - _MISTAKES_SHOWN} more"
    raise InputError(
        f"{where} cannot be used as VGG-19 weights: {shown} (expected the 16 convolutions of VGG-19 in the layout of "
        "jaxstyle or torchvision; convert or download the file again)"
    )


def to_params(tensors: Tensors) -> NumpyParams:
    """Params in NumPy, HWIO and float32, from checked tensors of either layout."""
    if _is_torchvision(tensors):
        params: NumpyParams = {"input": {"scale": 1 / _IMAGENET_STD, "shift": -_IMAGENET_MEAN / _IMAGENET_STD}}
        for layer, index in _FEATURES.items():
            kernel = tensors[f"features.{index}.weight"].transpose(2, 3, 1, 0)
            params[layer] = {"kernel": np.ascontiguousarray(kernel), "bias": tensors[f"features.{index}.bias"]}
        return params
    params = {"input": {part: tensors[f"input.{part}"] for part in ("scale", "shift")}}
    for layer in LAYERS:
        codes = tensors.get(f"{layer}.codes")
        kernel = tensors[f"{layer}.kernel"] if codes is None else tensors[f"{layer}.table"][codes]
        params[layer] = {"kernel": kernel, "bias": tensors[f"{layer}.bias"]}
    return params


def encode(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; the same bytes on every run, which the safetensors library does not promise for metadata.

    Args:
        tensors: Contiguous float32 or uint8 arrays, by name.
        metadata: Texts for the header; `body_sha256`, the checksum of everything after the header, is added.

    Returns:
        The file: header length (8 bytes, little endian), JSON header padded with spaces, the arrays' bytes.

    Example:
        >>> file = encode({"input.scale": np.ones(3, np.float32)}, {"format": "jaxstyle-vgg19"})
        >>> int.from_bytes(file[:8], "little") + 8 + 3 * 4 == len(file)
        True
    """
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.uint8): "U8"}
    header: dict[str, object] = {}
    body = io.BytesIO()
    # float32 before uint8, so that every array is aligned.
    for name, array in sorted(tensors.items(), key=lambda item: -item[1].itemsize):
        start = body.tell()
        body.write(array.tobytes())
        header[name] = {"dtype": kinds[array.dtype], "shape": list(array.shape), "data_offsets": [start, body.tell()]}
    header["__metadata__"] = {**metadata, "body_sha256": sha256(body.getbuffer())}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body.getvalue()


def hash_body(path: Path) -> str:
    """The SHA-256 of everything after a safetensors file's header, as `encode` notes it."""
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return sha256(file.read())


def _is_torchvision(names: Mapping[str, object]) -> bool:
    """Whether these are the names of torchvision's layout."""
    return any(name.startswith("features.") for name in names)


def _metadata_mistakes(metadata: Mapping[str, str]) -> list[str]:
    """What is wrong with the header's texts; a file without any is taken at its tensors' word."""
    if metadata.get("format", FORMAT) != FORMAT:
        return [f"its format is {metadata['format'][:40]!r}, expected {FORMAT!r}"]
    if metadata.get("version", VERSION) != VERSION:
        return [f"its version is {metadata['version'][:40]!r}, this release reads {VERSION!r}, so upgrade jaxstyle"]
    return []
