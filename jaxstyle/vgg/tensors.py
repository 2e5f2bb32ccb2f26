"""VGG-19 weights as tensors of a safetensors file: reads two layouts, writes one, and lists all errors of a file.

jaxstyle's layout mirrors params: `input.scale`, `input.shift`, then for each layer `conv1_1.kernel` (HWIO), or
`conv1_1.codes` and `conv1_1.table` (kernel = table[codes]), and `conv1_1.bias`. The other layout is that of torchvision
and timm: `features.0.weight` (OIHW), for pixels normalized by ImageNet's mean and standard deviation.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstyle.errors import InputError, shape_fits
from jaxstyle.files import sha256
from jaxstyle.vgg import network

LAYERS = network.CONVOLUTIONS
# Output channels of each convolution.
WIDTHS = {layer: network.WIDTHS[int(layer[4]) - 1] for layer in LAYERS}
FORMAT, VERSION = "jaxstyle-vgg19", "1"
# Names of the types in the safetensors format.
DTYPE_NAMES = {np.dtype(np.float32): "F32", np.dtype(np.uint8): "U8"}

# Indices of the convolutions in torchvision's `features`, which counts ReLU and pooling layers too.
_TORCHVISION_INDICES = dict(zip(LAYERS, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34), strict=True))
# Tensors that VGG-19 does not have in that layout, and the networks that do.
_OTHER_NETWORKS = {
    "features.1.running_mean": "a VGG with batch normalization",
    "features.3.weight": "VGG-11",
    "features.15.weight": "VGG-13",
    "features.17.weight": "VGG-16",
}
_CLASSIFIER_PREFIXES = ("classifier.", "pre_logits.", "head.")
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
# Trained weights stay below 10; the shift of pixels in 0..255 is at most 255.
_MAX_MAGNITUDE = 1000.0
_MAX_ERRORS_SHOWN = 8

Tensors = Mapping[str, np.ndarray]
NumpyParams = dict[str, dict[str, np.ndarray]]
# A shape in which None is any positive size.
Sizes = Sequence[int | None]


class HubFile(NamedTuple):
    """A file in a repository on the Hugging Face Hub, at a fixed commit."""

    repo: str
    filename: str
    revision: str
    """Full commit hash; a branch could change during the download."""


class TensorInfo(NamedTuple):
    """Entry of one tensor in a safetensors header."""

    dtype: str
    """Name of the type in the format: "F32", "U8", ..."""
    shape: tuple[int, ...]
    start: int = 0
    """Offset of the first byte in the file; set only for a file on the Hub."""
    end: int = 0
    """Offset after the last byte in the file."""


def is_classifier(name: str) -> bool:
    """True for the tensors of a classifier, which are ignored."""
    return name.startswith(_CLASSIFIER_PREFIXES)


def find_structure_errors(
    infos: Mapping[str, TensorInfo], metadata: Mapping[str, str], widths: Mapping[str, int] | None = None
) -> list[str]:
    """Check the names, types and shapes of a file's tensors.

    Args:
        infos: the tensors by name; a classifier's are ignored.
        metadata: texts of the header; may be empty.
        widths: output channels of each layer; None allows any that agree between neighboring layers.

    Returns:
        One phrase per error; empty for a valid file.
    """
    is_torchvision = _is_torchvision(infos)
    for name, network_name in _OTHER_NETWORKS.items():
        if name in infos:
            return [f"it is {network_name}, expected VGG-19 without batch normalization"]
    errors = [] if is_torchvision else _find_metadata_errors(metadata)
    expected: dict[str, tuple[str, Sizes]] = {}
    if not is_torchvision:
        expected = {"input.scale": ("F32", (3,)), "input.shift": ("F32", (3,))}
    channels: int | None = 3
    for layer in LAYERS:
        prefix = f"features.{_TORCHVISION_INDICES[layer]}" if is_torchvision else layer
        bias = infos.get(f"{prefix}.bias", TensorInfo("", ())).shape
        width = widths[layer] if widths else next(iter(bias), 0) or None
        if is_torchvision:
            expected[f"{prefix}.weight"] = "F32", (width, channels, 3, 3)
        elif f"{layer}.codes" in infos:
            expected |= {f"{layer}.codes": ("U8", (3, 3, channels, width)), f"{layer}.table": ("F32", (256,))}
        else:
            expected[f"{layer}.kernel"] = "F32", (3, 3, channels, width)
        expected[f"{prefix}.bias"] = "F32", (width,)
        channels = width
    for name, (dtype, sizes) in expected.items():
        info = infos.get(name)
        if info is None:
            errors.append(f"{name} is missing")
        elif info.dtype != dtype or not shape_fits(info.shape, sizes):
            errors.append(f"{name} is {info.dtype} ({_listed(info.shape)}), expected {dtype} ({_listed(sizes)})")
    unexpected = sorted(name for name in infos if name not in expected and not is_classifier(name))
    return errors + [f"{name} is not part of VGG-19" for name in unexpected]


def _listed(sizes: Sizes) -> str:
    return ", ".join("any" if size is None else str(size) for size in sizes)


def find_value_errors(tensors: Tensors) -> list[str]:
    """Check the values of tensors; return one phrase for each that is not finite, too large or all zeros."""
    errors = []
    for name, array in tensors.items():
        if array.dtype != np.float32 or not array.size:
            continue
        low, high = array.min(), array.max()
        if not np.isfinite(low) or not np.isfinite(high):
            errors.append(f"{name} has values that are not finite")
        elif max(-low, high) > _MAX_MAGNITUDE:
            errors.append(f"{name} has values up to {max(-low, high):.3g}, expected at most {_MAX_MAGNITUDE:g}")
        elif name.endswith((".kernel", ".weight", ".table")) and low == high == 0:
            errors.append(f"{name} is all zeros")
        elif name == "input.scale" and low <= 0:
            errors.append(f"{name} has values down to {low:.3g}, expected above 0")
    return errors


def raise_errors(source: str, errors: list[str]) -> None:
    """Raise one `InputError` that lists the errors of a source, if there are any."""
    if not errors:
        return
    shown = "; ".join(errors[:_MAX_ERRORS_SHOWN])
    if len(errors) > _MAX_ERRORS_SHOWN:
        shown += f"; and {len(errors) - _MAX_ERRORS_SHOWN} more"
    raise InputError(
        f"{source} cannot be used as VGG-19 weights: {shown} (expected the 16 convolutions of VGG-19 in the layout of "
        "jaxstyle or torchvision; convert or download the file again)"
    )


def to_params(tensors: Tensors) -> NumpyParams:
    """Convert checked tensors of either layout to params: float32 arrays, HWIO kernels."""
    if _is_torchvision(tensors):
        params: NumpyParams = {"input": {"scale": 1 / _IMAGENET_STD, "shift": -_IMAGENET_MEAN / _IMAGENET_STD}}
        for layer, index in _TORCHVISION_INDICES.items():
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
    """Encode tensors as a safetensors file.

    The same input gives the same bytes, which the safetensors library does not promise for metadata.

    Args:
        tensors: float32 or uint8 arrays, by name.
        metadata: texts for the header. The format, its version, and `body_sha256`, the checksum of everything after
            the header, are added.

    Returns:
        The file: header length (8 bytes, little endian), JSON header padded with spaces, the arrays' bytes.

    Example:
        >>> file = encode({"input.scale": np.ones(3, np.float32)}, {"name": "example"})
        >>> int.from_bytes(file[:8], "little") + 8 + 3 * 4 == len(file)
        True
    """
    header: dict[str, object] = {}
    body = bytearray()
    # float32 before uint8, to align every array.
    for name, array in sorted(tensors.items(), key=lambda item: -item[1].itemsize):
        offsets = [len(body), len(body) + array.nbytes]
        body += array.tobytes()
        header[name] = {"dtype": DTYPE_NAMES[array.dtype], "shape": array.shape, "data_offsets": offsets}
    header["__metadata__"] = {"format": FORMAT, "version": VERSION, **metadata, "body_sha256": sha256(memoryview(body))}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def hash_body(path: Path) -> str:
    """SHA-256 of everything after the header of a safetensors file, as `encode` records it."""
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return sha256(file.read())


def _is_torchvision(names: Mapping[str, object]) -> bool:
    """True for the names of torchvision's layout."""
    return any(name.startswith("features.") for name in names)


def _find_metadata_errors(metadata: Mapping[str, str]) -> list[str]:
    """Check the format and version in the header; both are optional."""
    if metadata.get("format", FORMAT) != FORMAT:
        return [f"its format is {metadata['format'][:40]!r}, expected {FORMAT!r}"]
    if metadata.get("version", VERSION) != VERSION:
        return [f"its version is {metadata['version'][:40]!r}, this release reads {VERSION!r}, so upgrade jaxstyle"]
    return []
