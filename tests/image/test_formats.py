"""Formats besides TIFF: what Pillow drops or misreads without a word, and AVIF, JPEG 2000 and HEIC."""

import io
import struct

import numpy as np
import PIL.Image
import pillow_heif
import pytest
from image_files import chunk, raw_png, rgb_profile

from jaxstyle.errors import InputError
from jaxstyle.image.io import load_image, picture_size, read_picture

BYTES = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
RAMP = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (40, 1))
SMOOTH = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


def written(tmp_path, data, name="photo"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def encoded(image, format_, **options):
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


# --- BMP -----------------------------------------------------------------------------------------------------------


def bmp_32(pixels):
    """An uncompressed bitmap, of blue, green, red and a fourth byte, from the lowest row up."""
    height, width, _ = pixels.shape
    data = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + len(data), 0, 54, 40, width, height, 1, 32, 0, *(0,) * 5) + data


def test_the_alpha_of_a_bitmap_is_read(tmp_path):
    pixels = np.dstack([BYTES, RAMP])
    picture = read_picture(written(tmp_path, bmp_32(pixels)))
    np.testing.assert_allclose(picture.alpha, RAMP / 255, atol=1e-6)
    np.testing.assert_allclose(np.asarray(picture.pixels)[RAMP > 0], BYTES[RAMP > 0] / 255, atol=1e-5)


@pytest.mark.parametrize("fourth", [0, 255])
def test_a_bitmap_without_alpha_is_opaque(tmp_path, fourth):
    picture = read_picture(written(tmp_path, bmp_32(np.dstack([BYTES, np.full_like(RAMP, fourth)]))))
    assert picture.alpha is None
    np.testing.assert_allclose(picture.pixels, BYTES / 255, atol=1e-6)


# --- PNG -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_every_depth(tmp_path, depth):
    values = np.arange(40 * 48).reshape(40, 48) % min(2**depth, 256)
    if depth == 16:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    else:
        bits = (values[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits.reshape(40, -1).astype(np.uint8))
    data = raw_png(48, 40, depth, 0, rows, chunk(b"tRNS", struct.pack(">H", 1)))
    np.testing.assert_array_equal(read_picture(written(tmp_path, data)).alpha, values != 1)


def test_the_transparent_color_of_16_bits(tmp_path):
    deep = np.full((40, 48, 3), 65535, ">u2")
    deep[:, :20] = (1000, 2000, 3000)
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    data = raw_png(48, 40, 16, 2, rows, chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000)))
    np.testing.assert_array_equal(read_picture(written(tmp_path, data)).alpha, deep[..., 0] == 65535)


def with_chunks(png, *chunks):
    """Add chunks behind the header, of 33 bytes."""
    return png[:33] + b"".join(chunks) + png[33:]


def gamma_chunk(gamma):
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def srgb_of(light):
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("gamma", [1.0, 0.7, 0.55])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_the_gamma_of_a_png_without_a_profile(tmp_path, mode, gamma):
    if mode == "I;16":
        image = PIL.Image.fromarray(RAMP.astype(np.uint16) * 257)
        values = np.repeat(RAMP[..., None], 3, axis=2) / 255
    else:
        image = PIL.Image.fromarray(SMOOTH).convert(mode)
        values = np.asarray(image.convert("RGB")) / 255
    path = written(tmp_path, with_chunks(encoded(image, "PNG"), gamma_chunk(gamma)))
    np.testing.assert_allclose(load_image(path), srgb_of(values ** (1 / gamma)), atol=0.51 / 255)


@pytest.mark.parametrize("gamma", [0.45455, 0.0])
def test_the_usual_gamma_changes_nothing(tmp_path, gamma):
    data = with_chunks(encoded(PIL.Image.fromarray(BYTES), "PNG"), gamma_chunk(gamma))
    np.testing.assert_allclose(load_image(written(tmp_path, data)), BYTES / 255, atol=1e-6)


def test_a_profile_or_srgb_chunk_is_stronger_than_a_gamma(tmp_path):
    image = PIL.Image.fromarray(SMOOTH)
    marked = with_chunks(encoded(image, "PNG"), gamma_chunk(1.0), chunk(b"sRGB", b"\0"))
    np.testing.assert_allclose(load_image(written(tmp_path, marked)), SMOOTH / 255, atol=1e-6)
    profiled = encoded(image, "PNG", icc_profile=rgb_profile(gamma=1.8))
    expected = load_image(written(tmp_path, profiled))
    np.testing.assert_array_equal(load_image(written(tmp_path, with_chunks(profiled, gamma_chunk(1.0)))), expected)


# --- AVIF, JPEG 2000 and HEIC --------------------------------------------------------------------------------------


def heic(image, icc_profile=None, exif=None, **options):
    """The orientation is stored as a property of the file, as phones do."""
    file = pillow_heif.from_pillow(image)
    if exif is not None:
        file.info.update(icc_profile=icc_profile, exif=exif.tobytes())
    stream = io.BytesIO()
    file.save(stream, **options)
    return stream.getvalue()


LOSSLESS = {
    "AVIF": lambda image, **options: encoded(image, "AVIF", quality=100, subsampling="4:4:4", **options),
    "JPEG2000": lambda image, **options: encoded(image, "JPEG2000", **options),
    "HEIC": lambda image, **options: heic(image, quality=-1, chroma=444, **options),
}


@pytest.mark.parametrize("format_", LOSSLESS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_new_formats(tmp_path, format_, mode):
    image = PIL.Image.fromarray(np.dstack([SMOOTH, RAMP + 10])).convert(mode)
    path = written(tmp_path, LOSSLESS[format_](image))
    picture = read_picture(path)
    np.testing.assert_allclose(picture.pixels, np.asarray(image.convert("RGB")) / 255, atol=2.5 / 255)
    assert picture_size(path) == (40, 48)
    if mode == "RGBA":
        np.testing.assert_allclose(picture.alpha, (RAMP + 10) / 255, atol=1.01 / 255)
    else:
        assert picture.alpha is None
    with pytest.raises(InputError, match=r"48x40 pixels, too many"):
        load_image(path, max_pixels=48 * 40 - 1)


@pytest.mark.parametrize("format_", ["AVIF", "HEIC"])
def test_orientation_and_profile_of_new_formats(tmp_path, format_):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = LOSSLESS[format_](PIL.Image.fromarray(SMOOTH), icc_profile=rgb_profile(gamma=1.8), exif=exif)
    path = written(tmp_path, data)
    expected = np.rot90(srgb_of((SMOOTH / 255) ** 1.8), -1)
    np.testing.assert_allclose(load_image(path), expected, atol=4 / 255)
    assert picture_size(path) == (48, 40)


def with_profile(jp2, profile):
    """Replace the color space of a JPEG 2000 file by a profile."""
    old = struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 16)
    new = struct.pack(">I4sBBB", 11 + len(profile), b"colr", 2, 0, 0) + profile
    place = jp2.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", jp2, place)
    assert old in jp2
    longer = struct.pack(">I", length + len(new) - len(old))
    return (jp2[:place] + longer + jp2[place + 4 :]).replace(old, new)


def test_the_profile_of_jpeg_2000(tmp_path):
    jp2 = encoded(PIL.Image.fromarray(SMOOTH), "JPEG2000")
    path = written(tmp_path, with_profile(jp2, rgb_profile(gamma=1.8)))
    np.testing.assert_allclose(load_image(path), srgb_of((SMOOTH / 255) ** 1.8), atol=2 / 255)


def test_16_bit_gray_of_jpeg_2000(tmp_path):
    deep = np.random.default_rng(1).integers(0, 65536, (40, 48), dtype=np.uint16)
    path = written(tmp_path, encoded(PIL.Image.fromarray(deep), "JPEG2000"))
    np.testing.assert_allclose(np.asarray(load_image(path))[..., 0], deep / 65535, atol=1e-6)


@pytest.mark.parametrize(("stored", "kind"), [(11, "12-bit"), (3, "4-bit"), (0x87, "signed")])
def test_depths_of_jpeg_2000_that_pillow_misreads(tmp_path, stored, kind):
    """In 12 bits white becomes black, and 4 bits are not scaled."""
    data = bytearray(encoded(PIL.Image.fromarray(SMOOTH), "JPEG2000"))
    place = data.index(b"\xff\x4f\xff\x51") + 42
    data[place : place + 9 : 3] = bytes([stored] * 3)
    with pytest.raises(InputError, match=f"is {kind} JPEG 2000.*save it with 8 bits"):
        load_image(written(tmp_path, bytes(data)))


def test_a_color_space_of_jpeg_2000_that_cannot_be_read(tmp_path):
    data = encoded(PIL.Image.fromarray(SMOOTH), "JPEG2000")
    lab = data.replace(struct.pack(">BBBI", 1, 0, 0, 16), struct.pack(">BBBI", 1, 0, 0, 14))
    with pytest.raises(InputError, match="JPEG 2000 in a color space"):
        load_image(written(tmp_path, lab))


def test_the_main_picture_of_a_heic_file_with_several(tmp_path):
    file = pillow_heif.from_pillow(PIL.Image.fromarray(SMOOTH))
    file.add_from_pillow(PIL.Image.fromarray(255 - SMOOTH))
    stream = io.BytesIO()
    file.save(stream, quality=-1, chroma=444, primary_index=0)
    np.testing.assert_allclose(load_image(written(tmp_path, stream.getvalue())), SMOOTH / 255, atol=2.5 / 255)


def test_an_animated_avif(tmp_path):
    frames = [PIL.Image.fromarray(BYTES), PIL.Image.fromarray(255 - BYTES)]
    data = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 frames"):
        load_image(written(tmp_path, data))


@pytest.mark.parametrize("format_", LOSSLESS)
def test_damaged_new_formats(tmp_path, format_):
    data = LOSSLESS[format_](PIL.Image.fromarray(BYTES))
    for length in (20, 60, len(data) // 2):
        with pytest.raises(InputError) as caught:
            load_image(written(tmp_path, data[:length]))
        assert len(str(caught.value).splitlines()) == 1


def test_an_avif_without_its_picture(tmp_path):
    """Its decoder raises RuntimeError."""
    data = LOSSLESS["AVIF"](PIL.Image.fromarray(BYTES))
    with pytest.raises(InputError, match="photo has a header of AVIF that cannot be read"):
        load_image(written(tmp_path, data.replace(b"iloc", b"free")))


def test_reading_heic_leaves_pillow_alone(tmp_path):
    before = dict(PIL.Image.OPEN), dict(PIL.Image.EXTENSION)
    load_image(written(tmp_path, heic(PIL.Image.fromarray(SMOOTH))))
    assert before == (dict(PIL.Image.OPEN), dict(PIL.Image.EXTENSION))
