"""Files that are no picture, or of a kind that cannot be read: the message says what they are."""

import io
import struct
import sys

import numpy as np
import PIL.Image
import pytest

from jaxstyle.errors import InputError
from jaxstyle.image.io import load_image, picture_size, read_recipe

FILES = {
    "an empty file": b"",
    "a file of zeros": bytes(1000),
    "an HTML page": b"\r\n<!DOCTYPE html>\n<html><body>404: \xc3\xa9 not found" + b"\xc3\xa9" * 500,
    "a pointer of Git LFS.*git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a text": b"hello, world\n" * 100,
    "an SVG drawing": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3",
    "a PostScript file": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
    "a Photoshop document": b"8BPS\0\1" + bytes(20),
    "a document of GIMP": b"gimp xcf v011\0",
    "a JPEG XL picture": b"\xff\x0a\xfa\x7f\x01",
    "a JPEG XL picture.*save or export": b"\0\0\0\x0cJXL \r\n\x87\n",
    "a camera raw file": b"\0\0\0\x18ftypcrx \0\0\0\1",
    "a video": b"\0\0\0\x20ftypisom\0\0\2\0",
    "a video.*extract a frame": b"\x1aE\xdf\xa3\x93B",
    "an archive": b"PK\x03\x04\x14\0",
    "a NumPy array": b"\x93NUMPY\1\0v\0",
    "a Windows icon": b"\0\0\1\0\1\0\x10\x10",
    "no image in a known format": b"\x9a\x02\x81" * 100,
}


@pytest.mark.parametrize("description", FILES)
def test_what_it_is(tmp_path, description):
    path = tmp_path / "photo.jpg"
    path.write_bytes(FILES[description])
    for read in (load_image, picture_size, read_recipe):
        with pytest.raises(InputError, match=f"photo.jpg is {description}"):
            read(path)


def bmp(bits, compression, header=40):
    return (
        b"BM" + struct.pack("<IIIIiiHHII", 0, 0, 54, header, 40, 40, 1, bits, compression, 0) + bytes(20 + 40 * 40 * 4)
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bmp(24, 4), r"Unsupported BMP compression \(4\)"),
        (bmp(64, 0), r"Unsupported BMP pixel depth \(64\)"),
        (bmp(24, 0, 70), r"Unsupported BMP header type \(70\)"),
    ],
)
def test_sound_files_of_a_kind_that_cannot_be_read_are_not_called_damaged(tmp_path, data, reason):
    path = tmp_path / "photo.bmp"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"photo.bmp .*{reason}.*save it as PNG") as caught:
        load_image(path)
    assert "damaged" not in str(caught.value)


def test_a_jpeg_with_12_bits(tmp_path):
    stream = io.BytesIO()
    PIL.Image.new("L", (40, 40)).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    data[data.index(b"\xff\xc0") + 4] = 12
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"JPEG.*12-bit"):
        load_image(path)


def test_a_heic_picture_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(InputError, match=r"HEIC picture.*pip install 'jaxstyle\[heif\]'"):
        load_image(path)


def test_a_text_that_is_cut_in_a_character(tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(("x" * 511 + "é" * 100).encode())
    with pytest.raises(InputError, match=r"page.png is a text"):
        load_image(path)


def test_noise_is_no_text(tmp_path):
    path = tmp_path / "noise.png"
    path.write_bytes(b"\x80" + np.random.default_rng(0).bytes(600))
    with pytest.raises(InputError, match="no image in a known format: convert it to PNG, JPEG"):
        load_image(path)
