"""Files of 16 bits, against tifffile and a decoder of PNG made here."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile

import jaxstyle as js
from jaxstyle.errors import InputError

IMAGE = np.random.default_rng(0).random((33, 40, 3)).astype(np.float32)
ALPHA = np.random.default_rng(1).random((33, 40)).astype(np.float32)
RECIPE = {"seed": 3, "name": "Straße \udcff"}


def png_samples(path):
    """Decode a PNG of 16 bits, one filter a row, with none of Pillow's code."""
    data, place, pixels, header = path.read_bytes(), 8, b"", ()
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length) == (zlib.crc32(kind + content),)
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", content)
        pixels += content if kind == b"IDAT" else b""
        place += 12 + length
    width, height, depth, color, *_ = header
    assert depth == 16
    channels = {2: 3, 6: 4}[color]
    rows = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(height, -1)
    assert set(rows[:, 0]) == {2}, "the filter of differences from the row above"
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).view(">u2").reshape(height, width, channels)


@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("extension", [".png", ".tif", ".tiff"])
def test_16_bits_are_exact(tmp_path, extension, alpha):
    path = tmp_path / f"out{extension}"
    js.save_image(path, IMAGE, alpha=alpha, bit_depth=16, recipe=RECIPE)
    samples = png_samples(path) if extension == ".png" else tifffile.imread(path)
    expected = IMAGE if alpha is None else np.dstack([IMAGE, alpha])
    # Rounded to the nearest, but for the rounding of the product in float32.
    np.testing.assert_allclose(samples, expected.astype(np.float64) * 65535, rtol=0, atol=0.505)
    # Pillow reads color with 8 bits.
    np.testing.assert_allclose(js.load_image(path)[ALPHA > 0.5], IMAGE[ALPHA > 0.5], atol=1.01 / 255)
    assert js.read_recipe(path) == RECIPE
    with PIL.Image.open(path) as file:
        assert len(file.info["icc_profile"]) > 300
        file.load()


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_equal_images_are_equal_files(tmp_path, extension):
    for name in "ab":
        js.save_image(tmp_path / f"{name}{extension}", IMAGE, bit_depth=16)
    assert (tmp_path / f"a{extension}").read_bytes() == (tmp_path / f"b{extension}").read_bytes()


def test_values_outside_are_clipped(tmp_path):
    image = np.zeros((40, 40, 3), np.float32)
    image[0, 0] = (-0.1, 1.1, 0.5)
    js.save_image(tmp_path / "out.png", image, bit_depth=16)
    assert png_samples(tmp_path / "out.png")[0, 0].tolist() == [0, 65535, 32768]


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_formats_of_8_bits(tmp_path, extension):
    with pytest.raises(InputError, match=r"holds 8 bits of each channel.*save a .png or .tif"):
        js.save_image(tmp_path / f"out{extension}", IMAGE, bit_depth=16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bits", [0, 1, 10, 32])
def test_other_depths(tmp_path, bits):
    with pytest.raises(InputError, match=r"bit_depth is .*expected"):
        js.save_image(tmp_path / "out.png", IMAGE, bit_depth=bits)
