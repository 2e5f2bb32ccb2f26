"""Pictures from memory: binary files and images of Pillow; and no change of the process that reads them."""

import io
import os
import threading
import warnings

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from tiff_files import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, Layout, tiff_file

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.image.io import picture_size, read_picture

BYTES = np.random.default_rng(0).integers(0, 256, (33, 40, 3), dtype=np.uint8)
FORMATS = ("PNG", "TIFF", "BMP", "PPM", "WEBP", "GIF", "JPEG", "AVIF", "JPEG2000")


def encoded(format_="PNG", image=None, **options):
    stream = io.BytesIO()
    lossless = {"lossless": True} if format_ == "WEBP" else {}
    (image or PIL.Image.fromarray(BYTES)).save(stream, format_, **lossless, **options)
    return stream.getvalue()


@pytest.mark.parametrize("format_", FORMATS)
def test_memory_equals_the_file(tmp_path, format_):
    data = encoded(format_)
    path = tmp_path / "photo"
    path.write_bytes(data)
    expected = js.load_image(path)
    stream = io.BytesIO(data)
    for _ in range(2):
        np.testing.assert_array_equal(js.load_image(stream), expected)
        assert stream.tell() == 0, "the position changes nothing"
    assert picture_size(stream) == (33, 40)
    with path.open("rb") as file:
        np.testing.assert_array_equal(js.load_image(file), expected)
        assert not file.closed
    with PIL.Image.open(path) as image:
        np.testing.assert_array_equal(js.load_image(image), expected)
        assert picture_size(image) == (33, 40)


def test_a_picture_inside_of_a_file():
    stream = io.BytesIO(b"header" + encoded())
    stream.seek(6)
    np.testing.assert_allclose(js.load_image(stream), BYTES / 255, atol=1e-6)
    assert stream.tell() == 6


def test_a_pipe():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        with os.fdopen(writer, "wb") as file:
            file.write(encoded())
        np.testing.assert_allclose(js.load_image(stream), BYTES / 255, atol=1e-6)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_modes_of_pillows_images(mode):
    rgba = PIL.Image.fromarray(np.dstack([BYTES, np.full((33, 40), 255, np.uint8)]))
    if mode == "LAB":
        image = PIL.Image.merge("LAB", rgba.split()[:3])
    else:
        image = rgba.convert("RGBA" if mode == "RGBa" else "LA" if mode == "La" else "RGB").convert(mode)
    before = image.copy()
    assert js.load_image(image).shape == (33, 40, 3)
    assert image == before


def test_an_image_with_an_orientation_is_not_changed():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image = PIL.Image.open(io.BytesIO(encoded(exif=exif)))
    np.testing.assert_allclose(js.load_image(image), np.rot90(BYTES, -1) / 255, atol=1e-6)
    assert image.size == (40, 33)
    assert image.getexif()[0x0112] == 6


def test_the_present_frame_of_an_animation():
    frames = [PIL.Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    image = PIL.Image.open(io.BytesIO(encoded("PNG", frames[0], save_all=True, append_images=frames[1:])))
    image.seek(1)
    np.testing.assert_allclose(js.load_image(image)[0, 0], (0, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        tiff_file(BYTES[..., :1].astype(np.uint16), 16, WHITE_IS_ZERO, Layout()),
        tiff_file(BYTES.astype(np.uint16), 16, RGB, Layout(planar=True)),
        tiff_file(BYTES[..., :1].astype(np.float32), 32, BLACK_IS_ZERO, Layout(">", compression=8)),
        tiff_file(BYTES[..., :1].astype(np.uint16), 12, BLACK_IS_ZERO, Layout()),
    ],
)
def test_a_tiff_that_pillow_decodes_wrongly_is_refused_as_an_image(data):
    with pytest.raises(InputError, match="Pillow decodes wrongly: give the path"):
        js.load_image(PIL.Image.open(io.BytesIO(data)))


def test_messages_name_the_source(tmp_path):
    for source in (io.BytesIO(b"hello"), io.BytesIO(encoded("PNG", PIL.Image.new("L", (8, 8))))):
        with pytest.raises(InputError, match=r"^the image is "):
            js.load_image(source)
    path = tmp_path / "small.png"
    path.write_bytes(encoded("PNG", PIL.Image.new("L", (8, 8))))
    with path.open("rb") as file, PIL.Image.open(path) as image:
        for source in (file, image):
            with pytest.raises(InputError, match=r"small.png is 8x8 pixels"):
                js.load_image(source)


@pytest.mark.usefixtures("unchecked")
def test_a_file_in_text_mode(tmp_path):
    path = tmp_path / "photo.txt"
    path.write_text("hello")
    with path.open() as file, pytest.raises(InputError, match="opened as text, expected binary mode"):
        js.load_image(file)


def test_the_recipe_of_a_file_in_memory(tmp_path):
    js.save_image(tmp_path / "out.png", BYTES / np.float32(255), recipe={"seed": 1})
    assert js.read_recipe(io.BytesIO((tmp_path / "out.png").read_bytes())) == {"seed": 1}


@pytest.mark.parametrize("format_", FORMATS)
def test_the_process_is_not_changed(tmp_path, format_):
    """Neither Pillow's limits and formats nor the filters of warnings, at any moment, as another thread sees them."""
    path = tmp_path / "photo"
    path.write_bytes(encoded(format_))
    PIL.Image.init()

    def state():
        settings = (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, warnings.showwarning)
        return (*settings, tuple(warnings.filters), tuple(PIL.Image.OPEN), tuple(PIL.Image.EXTENSION))

    before, seen, done = state(), set(), threading.Event()

    def watch():
        while not done.is_set():
            seen.add(state() == before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            js.load_image(path)
            picture_size(path, max_pixels=2000)
            js.load_mask(path)
            with pytest.raises(InputError, match="too many pixels"):
                read_picture(path, max_pixels=1000)
    finally:
        done.set()
        watcher.join()
    assert seen == {True}
    assert state() == before
