"""Files to arrays and back, against pictures made here with NumPy and Pillow."""

import errno
import io
import json
import os
import stat
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import D50, P3, SRGB, TEXT, chunk, curve, made_profile, raw_png, rgb_profile, s15
from tiff_files import DEFLATE, LAYOUTS, RGB, WHITE_IS_ZERO, Layout, tiff_file

from jaxstyle.errors import InputError
from jaxstyle.image import io as image_io
from jaxstyle.image.io import check_output, load_image, read_picture, read_recipe, save_image

CHINA = Path(__file__).parents[2] / "jaxstyle" / "data" / "china.jpg"
FORMATS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
rng = np.random.default_rng(0)
BYTES = rng.integers(0, 256, (33, 40, 3), dtype=np.uint8)


def smooth(height=48, width=64):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x / width, y / height, (x + y) / (width + height)], axis=-1)


def three(plane):
    return np.repeat(plane[..., None], 3, axis=-1)


def alpha_of(path):
    alpha = read_picture(path).alpha
    assert alpha is not None
    return np.asarray(alpha)


def stored(picture, tmp_path, extension=".png", **options):
    path = tmp_path / f"input{extension}"
    picture.save(path, **options)
    return path


def pixels_of(path, **options):
    return np.asarray(load_image(path, **options))


# --- sizes ---------------------------------------------------------------------------------------------------------


def test_reads_the_shipped_photo_as_pillow_does():
    picture = read_picture(CHINA)
    with PIL.Image.open(CHINA) as file:
        expected = np.asarray(file.convert("RGB"), np.float32) / 255
    assert picture.pixels.shape == (427, 640, 3)
    assert picture.pixels.dtype == jnp.float32
    assert picture.native_size == (640, 427)
    assert picture.alpha is None
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)


@pytest.mark.parametrize(("size", "shape"), [(64, (43, 64, 3)), (640, (427, 640, 3)), (700, (467, 700, 3))])
def test_size_is_the_long_side(size, shape):
    assert load_image(CHINA, size).shape == shape


def test_tall_pictures_too(tmp_path):
    assert load_image(stored(PIL.Image.new("RGB", (50, 100)), tmp_path), 80).shape == (80, 40, 3)


def test_enlarge_false_never_enlarges():
    assert load_image(CHINA, 700, enlarge=False).shape == (427, 640, 3)
    assert load_image(CHINA, 96, enlarge=False).shape == (64, 96, 3)


def test_shrinking_averages_and_stays_in_range(tmp_path):
    checkers = np.indices((512, 512)).sum(axis=0) % 2 * 255
    small = pixels_of(stored(PIL.Image.fromarray(checkers.astype(np.uint8)), tmp_path), size=64)
    np.testing.assert_allclose(small[4:-4, 4:-4], 0.5, atol=0.01)
    photo = pixels_of(CHINA, size=64)
    assert photo.min() >= 0
    assert photo.max() <= 1
    with PIL.Image.open(CHINA) as file:
        expected = np.asarray(file.resize((64, 43), PIL.Image.Resampling.LANCZOS), np.float32) / 255
    np.testing.assert_allclose(photo, expected, atol=2.5 / 255)  # Pillow's 8-bit way rounds after each pass.


@pytest.mark.parametrize("size", [0, -1, 65537])
def test_absurd_sizes(size):
    with pytest.raises(InputError, match=f"size is {size}, expected an integer from 1 to 65536"):
        load_image(CHINA, size)


def test_too_small_a_file(tmp_path):
    path = stored(PIL.Image.new("RGB", (31, 100)), tmp_path)
    with pytest.raises(InputError, match=r"is 31x100 pixels, at least 32 a side"):
        load_image(path, 512)
    assert load_image(path, min_side=16).shape == (100, 31, 3)


def test_too_small_a_request(tmp_path):
    path = stored(PIL.Image.new("RGB", (400, 40)), tmp_path)
    with pytest.raises(InputError, match=r"200x20 pixels.*use a size of 320"):
        load_image(path, 200)
    assert load_image(path, 320).shape == (32, 320, 3)
    assert load_image(path, 10, min_side=1).shape == (1, 10, 3)
    assert load_image(stored(PIL.Image.new("RGB", (400, 1)), tmp_path), 40, min_side=1).shape == (1, 40, 3)


# --- orientation ---------------------------------------------------------------------------------------------------

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("extension", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path, orientation, extension):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if extension == ".webp" else {}
    path = stored(PIL.Image.fromarray(BYTES), tmp_path, extension, exif=exif, **options)
    expected = UPRIGHT[orientation](BYTES)
    picture = read_picture(path)
    np.testing.assert_allclose(picture.pixels, expected / 255.0, atol=1e-6)
    assert picture.native_size == (expected.shape[1], expected.shape[0])


def test_exif_orientation_of_jpeg(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    photo = np.uint8(smooth() * 255)
    path = stored(PIL.Image.fromarray(photo), tmp_path, ".jpg", exif=exif, quality=100, subsampling=0)
    np.testing.assert_allclose(pixels_of(path), np.rot90(photo, -1) / 255.0, atol=4 / 255)
    assert load_image(path, 96).shape == (96, 72, 3)


@pytest.mark.parametrize("junk", [b"", b"junk", b"MM\0*\0\0\xff\xff", b"II*\0\x08\0\0\0\xff\xff"])
def test_broken_exif_does_not_lose_the_picture(tmp_path, junk):
    path = stored(PIL.Image.fromarray(BYTES), tmp_path, ".jpg")
    data = path.read_bytes()
    segment = b"Exif\0\0" + junk
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_image(path).shape == (33, 40, 3)


# --- color profiles -----------------------------------------------------------------------------------------------


def srgb_curve(linear):
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_wide_gamut_profile_is_converted_to_srgb(tmp_path):
    muted = np.uint8(60 + smooth() * 120)
    path = stored(PIL.Image.fromarray(muted), tmp_path, icc_profile=rgb_profile(P3, 1.8))
    expected = srgb_curve((muted / 255.0) ** 1.8 @ P3.T @ np.linalg.inv(SRGB).T)
    assert np.abs(expected - muted / 255.0).max() > 0.05
    np.testing.assert_allclose(pixels_of(path), expected, atol=2 / 255)


@pytest.mark.parametrize("kind", ["L", "LA", "I;16"])
def test_gray_profile(tmp_path, kind):
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (33, 1))
    profile = made_profile(b"GRAY", {**TEXT, b"wtpt": s15(*D50), b"kTRC": curve(1.5)})
    picture = {
        "L": PIL.Image.fromarray(ramp),
        "LA": PIL.Image.merge("LA", [PIL.Image.fromarray(ramp), PIL.Image.new("L", (40, 33), 200)]),
        "I;16": PIL.Image.fromarray(ramp.astype(np.uint16) * 257),
    }[kind]
    expected = three(srgb_curve((ramp / 255.0) ** 1.5))
    assert np.abs(expected - three(ramp / 255.0)).max() > 0.05
    path = stored(picture, tmp_path, icc_profile=profile)
    np.testing.assert_allclose(pixels_of(path), expected, atol=3 / 255)


def test_rgb_profile_on_a_gray_picture(tmp_path):
    gray = PIL.Image.fromarray(BYTES[..., 0])
    path = stored(gray, tmp_path, icc_profile=rgb_profile(SRGB, 1.0))
    expected = three(srgb_curve(BYTES[..., 0] / 255.0))
    np.testing.assert_allclose(pixels_of(path), expected, atol=2 / 255)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("profile", [b"junk", rgb_profile(SRGB, 1.0)[:200], made_profile(b"CMYK", TEXT)])
def test_unusable_profile_is_a_warning(tmp_path, mode, profile):
    picture = PIL.Image.fromarray(BYTES).convert(mode)
    path = stored(picture, tmp_path, ".tif", icc_profile=profile)
    with pytest.warns(UserWarning, match="color profile cannot be used"):
        pixels = pixels_of(path)
    np.testing.assert_allclose(pixels, np.asarray(picture.convert("RGB")) / 255.0, atol=1e-6)


def cmyk_profile():
    """A CMYK profile whose table maps ink to Lab lightness: L = 100 (1 - c) (1 - k), neutral."""
    corners = np.indices((2, 2, 2, 2)).reshape(4, -1).T
    lightness = (1 - corners[:, 0]) * (1 - corners[:, 3])
    table = b"".join(struct.pack(">BBB", round(255 * v), 128, 128) for v in lightness)
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + table + identity * 3
    profile = bytearray(made_profile(b"CMYK", {**TEXT, b"wtpt": s15(*D50), b"A2B0": lut}))
    profile[12:16], profile[20:24] = b"prtr", b"Lab "
    return bytes(profile)


@pytest.mark.parametrize("extension", [".jpg", ".tif"])
def test_cmyk(tmp_path, extension):
    inks = np.zeros((40, 40, 4), np.uint8)
    inks[:20, :, 0] = 255  # cyan above, paper below
    picture = PIL.Image.frombytes("CMYK", (40, 40), inks.tobytes())
    plain = pixels_of(stored(picture, tmp_path, extension))
    np.testing.assert_allclose(plain[5, 5], (0, 1, 1), atol=3 / 255)
    np.testing.assert_allclose(plain[35, 5], (1, 1, 1), atol=3 / 255)
    profiled = pixels_of(stored(picture, tmp_path, extension, icc_profile=cmyk_profile()))
    np.testing.assert_allclose(profiled[5, 5], (0, 0, 0), atol=3 / 255)
    np.testing.assert_allclose(profiled[35, 5], (1, 1, 1), atol=3 / 255)


@pytest.mark.parametrize("profiled", [True, False])
def test_lab(tmp_path, profiled):
    muted = PIL.Image.fromarray(np.uint8(60 + smooth() * 120))
    lab = PIL.ImageCms.profileToProfile(
        muted, PIL.ImageCms.createProfile("sRGB"), PIL.ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    if not profiled:
        del lab.info["icc_profile"]
    error = np.abs(pixels_of(stored(lab, tmp_path, ".tif")) - np.asarray(muted) / 255.0)
    assert error.mean() < 1 / 255
    assert error.max() < 10 / 255  # 8-bit Lab is coarse in dark colors.


# --- modes and depths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "YCbCr", "HSV"])
def test_opaque_modes_equal_pillows_rgb(tmp_path, mode):
    picture = PIL.Image.fromarray(BYTES).convert(mode)
    extension = ".tif" if mode in ("RGBX", "YCbCr") else ".png"
    if mode == "HSV":
        picture = picture.convert("RGB")
    result = read_picture(stored(picture, tmp_path, extension))
    assert result.alpha is None
    # Of a YCbCr TIFF, LibTIFF rounds otherwise than Pillow.
    tolerance = 1.01 / 255 if mode == "YCbCr" else 1e-6
    np.testing.assert_allclose(result.pixels, np.asarray(picture.convert("RGB")) / 255.0, atol=tolerance)


DEEP = rng.integers(0, 65536, (33, 40), dtype=np.uint16)


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_16_bit_gray_keeps_its_depth(tmp_path, extension):
    path = stored(PIL.Image.fromarray(DEEP), tmp_path, extension)
    np.testing.assert_allclose(pixels_of(path), three(DEEP / 65535.0), atol=1e-6)


def test_16_bit_gray_big_endian(tmp_path):
    picture = PIL.Image.frombytes("I;16B", (40, 33), DEEP.astype(">u2").tobytes())
    np.testing.assert_allclose(pixels_of(stored(picture, tmp_path, ".tif")), three(DEEP / 65535.0), atol=1e-6)


def test_16_bit_pgm(tmp_path):
    path = tmp_path / "deep.pgm"
    path.write_bytes(b"P5 40 33 65535\n" + DEEP.astype(">u2").tobytes())
    np.testing.assert_allclose(pixels_of(path), three(DEEP / 65535.0), atol=1e-6)


def test_float_gray(tmp_path):
    ramp = smooth()[..., 0]
    np.testing.assert_allclose(pixels_of(stored(PIL.Image.fromarray(ramp), tmp_path, ".tif")), three(ramp), atol=1e-6)


@pytest.mark.parametrize("value", [np.float32(1.5), np.float32(np.nan), np.int32(-1), np.int32(65536)])
def test_32_bit_gray_without_a_scale(tmp_path, value):
    with pytest.raises(InputError, match="gray values outside"):
        load_image(stored(PIL.Image.fromarray(np.full((40, 40), value)), tmp_path, ".tif"))


def test_16_bit_color_is_read_with_8(tmp_path):
    deep = rng.integers(0, 65536, (32, 32, 3), dtype=np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(raw_png(32, 32, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)))
    np.testing.assert_allclose(pixels_of(path), deep / 65535.0, atol=1.01 / 255)


# --- transparency --------------------------------------------------------------------------------------------------

ALPHA = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (33, 1))


def with_alpha(mode):
    return PIL.Image.fromarray(np.dstack([BYTES, ALPHA])).convert(mode)


@pytest.mark.parametrize(("mode", "extension"), [("RGBA", ".png"), ("RGBA", ".tif"), ("RGBA", ".webp"), ("LA", ".png")])
def test_alpha_is_read(tmp_path, mode, extension):
    picture = with_alpha(mode)
    options = {"lossless": True, "exact": True} if extension == ".webp" else {}
    result = read_picture(stored(picture, tmp_path, extension, **options))
    assert result.alpha is not None
    np.testing.assert_allclose(result.alpha, ALPHA / 255.0, atol=1e-6)
    shown = ALPHA > 0
    expected = np.asarray(with_alpha(mode).convert("RGBA"))[..., :3] / 255.0
    np.testing.assert_allclose(np.asarray(result.pixels)[shown], expected[shown], atol=1e-5)


def test_opaque_alpha_is_no_alpha(tmp_path):
    picture = PIL.Image.fromarray(np.dstack([BYTES, np.full_like(ALPHA, 255)]))
    assert read_picture(stored(picture, tmp_path)).alpha is None


def test_hidden_pixels_take_the_mean_visible_color(tmp_path):
    array = np.zeros((40, 40, 4), np.uint8)
    array[:, :20] = (255, 0, 255, 0)  # hidden magenta
    array[:, 20:] = (50, 100, 150, 255)
    path = stored(PIL.Image.fromarray(array), tmp_path)
    for size in (None, 32, 80):
        pixels = pixels_of(path, size=size)
        np.testing.assert_allclose(pixels, np.broadcast_to(np.array([50, 100, 150]) / 255, pixels.shape), atol=1e-3)


def test_nothing_visible(tmp_path):
    result = read_picture(stored(PIL.Image.new("RGBA", (40, 40)), tmp_path), 64)
    assert result.alpha is not None
    np.testing.assert_array_equal(result.alpha, 0)
    np.testing.assert_array_equal(result.pixels, 0.5)


def test_palette_transparency(tmp_path):
    array = np.zeros((40, 40), np.uint8)
    array[:, 20:] = 1
    picture = PIL.Image.frombytes("P", (40, 40), array.tobytes())
    picture.putpalette([255, 0, 0, 0, 0, 255])
    for extension in (".png", ".gif"):
        result = read_picture(stored(picture, tmp_path, extension, transparency=0))
        np.testing.assert_array_equal(result.alpha, array)
    path = stored(picture, tmp_path, ".png", transparency=bytes([51, 255]))
    np.testing.assert_allclose(alpha_of(path), np.where(array, 1, 0.2), atol=1e-6)
    np.testing.assert_allclose(pixels_of(path)[0, 0], (1, 0, 0), atol=1e-5)


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("1", 255), ("RGB", (1, 2, 3))])
def test_one_transparent_color_in_png(tmp_path, mode, key):
    picture = PIL.Image.new(mode, (40, 40), 0)
    picture.paste(key, (0, 0, 20, 40))
    result = read_picture(stored(picture, tmp_path, transparency=1 if mode == "1" else key))
    expected = np.ones((40, 40))
    expected[:, :20] = 0
    np.testing.assert_array_equal(result.alpha, expected)


def test_one_transparent_gray_of_16_bits(tmp_path):
    deep = np.full((40, 40), 700, ">u2")
    deep[:, 20:] = 701  # The same in 8 bits.
    path = tmp_path / "deep.png"
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    path.write_bytes(raw_png(40, 40, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 700))))
    np.testing.assert_array_equal(alpha_of(path), deep == 701)


# --- files that must be refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".gif", ".png", ".webp", ".tif"])
def test_animations_and_pages(tmp_path, extension):
    frames = [PIL.Image.new("RGB", (40, 40), color) for color in ("red", "green", "blue")]
    path = stored(frames[0], tmp_path, extension, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="3 frames or pages"):
        load_image(path)


def test_a_phones_multi_picture_jpeg_is_its_photo(tmp_path):
    photo, preview = PIL.Image.new("RGB", (80, 60), "red"), PIL.Image.new("RGB", (40, 32), "blue")
    path = tmp_path / "phone.jpg"
    photo.save(path, "MPO", save_all=True, append_images=[preview])
    pixels = pixels_of(path)
    assert pixels.shape == (60, 80, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to((1.0, 0, 0), pixels.shape), atol=2 / 255)


def test_missing_and_directory(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot read"):
        load_image(tmp_path)
    with pytest.raises(InputError, match="null"):
        load_image("a\0b.png")


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".ppm"])
def test_truncated(tmp_path, extension):
    path = stored(PIL.Image.fromarray(BYTES), tmp_path, extension)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(InputError, match=r"damaged|no image in a known format"):
        load_image(path)


def test_decompression_bomb(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(raw_png(20000, 20000, 8, 2, b"\0"))
    with pytest.raises(InputError, match="too many pixels"):
        load_image(path)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".ppm"])
def test_max_pixels_is_the_limit_of_every_format(tmp_path, extension):
    path = stored(PIL.Image.fromarray(BYTES), tmp_path, extension)
    assert load_image(path, max_pixels=1320).shape == (33, 40, 3)
    with pytest.raises(InputError, match="40x33 pixels, too many pixels to be opened safely, expected at most 1319"):
        load_image(path, max_pixels=1319)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp", ".ppm"])
@pytest.mark.parametrize("limit", [10, 700, 1000])
def test_pillows_global_limit_does_not_matter(tmp_path, monkeypatch, extension, limit):
    """Limits at which Pillow raises an error, and at which it warns."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
    options = {"compression": "tiff_lzw"} if extension == ".tif" else {}
    assert load_image(stored(PIL.Image.fromarray(BYTES), tmp_path, extension, **options)).shape == (33, 40, 3)
    assert load_image(stored(PIL.Image.fromarray(BYTES), tmp_path, extension)).shape == (33, 40, 3)
    assert limit == PIL.Image.MAX_IMAGE_PIXELS


def test_reading_in_threads_changes_no_global_setting(tmp_path, monkeypatch):
    """One thread begins to read while another one reads, and ends later."""
    path = stored(PIL.Image.fromarray(BYTES), tmp_path)
    before, filters = PIL.Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    started, second_started, finished = (threading.Event() for _ in range(3))
    upright = image_io.upright

    def slow_upright(file):
        """Decode, while the other thread is at a chosen point."""
        if started.is_set():
            second_started.set()
            assert finished.wait(60)
        else:
            started.set()
            assert second_started.wait(60)
        return upright(file)

    monkeypatch.setattr(image_io, "upright", slow_upright)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load_image, path, max_pixels=10**9)
        first.add_done_callback(lambda _: finished.set())
        assert started.wait(60)
        second = pool.submit(load_image, path, max_pixels=2000)
        np.testing.assert_array_equal(first.result(), second.result())
    assert before == PIL.Image.MAX_IMAGE_PIXELS
    assert filters == list(warnings.filters)


def small_files():
    picture = PIL.Image.fromarray(BYTES)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    for format_, source, options in [
        ("PNG", picture, {"exif": exif, "icc_profile": profile}),
        ("PNG", picture.quantize(16), {"transparency": 3}),
        ("JPEG", picture, {"exif": exif, "icc_profile": profile}),
        ("JPEG", picture.convert("CMYK"), {}),
        ("TIFF", picture, {"exif": exif, "icc_profile": profile}),
        ("TIFF", picture, {"compression": "tiff_lzw"}),
        ("WEBP", picture, {"exif": exif, "icc_profile": profile}),
        ("GIF", picture.quantize(16), {}),
        ("AVIF", picture, {"exif": exif, "icc_profile": profile}),
        ("JPEG2000", picture, {}),
        ("BMP", picture.convert("RGBA"), {}),
    ]:
        stream = io.BytesIO()
        source.save(stream, format_, **options)
        yield stream.getvalue()
    yield from (tiff_file(BYTES.astype(np.uint16), 16, RGB, layout) for layout in LAYOUTS[4:8])
    yield tiff_file(BYTES[..., :1].astype(np.float32) / 255, 32, WHITE_IS_ZERO, Layout(">", compression=DEFLATE))
    stream = io.BytesIO()
    pillow_heif.from_pillow(picture).save(stream)
    yield stream.getvalue()


FILES = list(small_files())


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_end_in_a_picture_or_an_input_error(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(FILES)))
    # Most of what can go wrong sits near the start.
    places = st.integers(0, 250) | st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=5)):
        content[min(place, len(content) - 1)] = value
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = pixels_of(path, size=40, min_side=1)
        except InputError:
            return
    assert np.isfinite(pixels).all()
    assert pixels.shape[2] == 3


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".png", ".tif", ".tiff", ".PNG"])
def test_exact_round_trip(tmp_path, extension):
    path = tmp_path / f"out{extension}"
    save_image(path, jnp.asarray(BYTES / np.float32(255)), alpha=ALPHA / np.float32(255))
    result = read_picture(path)
    assert result.alpha is not None
    shown = ALPHA > 0
    np.testing.assert_array_equal(np.rint(np.asarray(result.alpha) * 255), ALPHA)
    np.testing.assert_array_equal(np.rint(np.asarray(result.pixels) * 255)[shown], BYTES[shown])
    save_image(path, BYTES / np.float64(255))
    np.testing.assert_array_equal(np.rint(pixels_of(path) * 255), BYTES)


@pytest.mark.parametrize(("extension", "tolerance"), [(".jpg", 4), (".jpeg", 4), (".webp", 8)])
def test_lossy_round_trip(tmp_path, extension, tolerance):
    path = tmp_path / f"out{extension}"
    save_image(path, smooth())
    np.testing.assert_allclose(pixels_of(path), smooth(), atol=tolerance / 255)


def test_webp_is_lossless_at_full_quality(tmp_path):
    path = tmp_path / "out.webp"
    save_image(path, BYTES / np.float32(255), quality=100)
    np.testing.assert_array_equal(np.rint(pixels_of(path) * 255), BYTES)


def test_webp_keeps_alpha(tmp_path):
    path = tmp_path / "out.webp"
    save_image(path, smooth(33, 40), alpha=ALPHA / np.float32(255))
    np.testing.assert_allclose(alpha_of(path), ALPHA / 255.0, atol=1e-6)


def test_rounds_to_nearest_and_clips(tmp_path):
    image = np.zeros((2, 2, 3), np.float32)
    image[0, 0] = (-0.5, 1.5, 0.5)
    image[1, 1] = np.array([10.49, 10.51, 254.6]) / 255
    path = tmp_path / "out.png"
    save_image(path, image)
    with PIL.Image.open(path) as file:
        array = np.asarray(file)
    assert array[0, 0].tolist() == [0, 255, 128]
    assert array[1, 1].tolist() == [10, 11, 255]


@pytest.mark.parametrize("extension", FORMATS)
def test_profile_format_and_determinism(tmp_path, extension):
    first, second = tmp_path / f"a{extension}", tmp_path / f"b{extension}"
    for path in (first, second):
        save_image(path, smooth(), recipe={"seed": 1})
    assert first.read_bytes() == second.read_bytes()
    with PIL.Image.open(first) as file:
        assert file.mode == "RGB"
        profile = PIL.ImageCms.ImageCmsProfile(io.BytesIO(file.info["icc_profile"]))
    assert "sRGB" in PIL.ImageCms.getProfileDescription(profile)


def test_jpeg_does_not_subsample_color(tmp_path):
    save_image(tmp_path / "out.jpg", smooth())
    with PIL.Image.open(tmp_path / "out.jpg") as file:
        assert isinstance(file, PIL.JpegImagePlugin.JpegImageFile)
        assert PIL.JpegImagePlugin.get_sampling(file) == 0  # 4:4:4


def test_quality_matters_and_is_checked(tmp_path):
    image = BYTES / np.float32(255)
    save_image(tmp_path / "a.jpg", image, quality=20)
    save_image(tmp_path / "b.jpg", image, quality=95)
    assert (tmp_path / "a.jpg").stat().st_size < (tmp_path / "b.jpg").stat().st_size
    with pytest.raises(InputError, match="quality is 0, expected an integer from 1 to 100"):
        save_image(tmp_path / "a.jpg", image, quality=0)


def test_jpeg_drops_alpha_with_a_warning(tmp_path):
    path = tmp_path / "out.jpg"
    with pytest.warns(UserWarning, match="alpha is dropped"):
        save_image(path, smooth(), alpha=np.zeros((48, 64), np.float32))
    np.testing.assert_allclose(pixels_of(path), smooth(), atol=4 / 255)
    save_image(path, smooth(), alpha=np.ones((48, 64), np.float32))  # nothing lost, no warning


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.float32),
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
    ],
)
def test_wrong_images(tmp_path, image):
    with pytest.raises(InputError, match="expected \\(H, W, 3\\) floats"):
        save_image(tmp_path / "out.png", image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    image = smooth()
    image[3, 4, 1] = value
    with pytest.raises(InputError, match="not finite"):
        save_image(tmp_path / "out.png", image)
    assert list(tmp_path.iterdir()) == []


def test_wrong_alpha(tmp_path):
    with pytest.raises(InputError, match="expected \\(48, 64\\) floats"):
        save_image(tmp_path / "out.png", smooth(), alpha=np.zeros((64, 48), np.float32))


def test_bfloat16_is_a_float(tmp_path):
    save_image(tmp_path / "out.png", jnp.full((4, 4, 3), 0.5, jnp.bfloat16))


def test_too_long_for_webp(tmp_path):
    with pytest.raises(InputError, match="at most 16383 pixels a side, got 16384x1"):
        save_image(tmp_path / "out.webp", np.zeros((1, 16384, 3), np.float32))


# --- recipe --------------------------------------------------------------------------------------------------------

RECIPE = {
    "content": "fotos/Straße 北京 🎨.jpg",
    "odd": "\udcff",
    "weights": [1.0, 1e-5],
    "seed": None,
    "quote": '"\\\n',
}


@pytest.mark.parametrize("extension", FORMATS)
def test_recipe_round_trip(tmp_path, extension):
    path = tmp_path / f"out{extension}"
    save_image(path, smooth(), alpha=None, recipe=RECIPE)
    assert read_recipe(path) == RECIPE
    big = {"words": "ü" * 8000}
    save_image(path, smooth(), recipe=big)
    assert read_recipe(path) == big


@pytest.mark.parametrize("extension", FORMATS)
def test_no_recipe(tmp_path, extension):
    save_image(tmp_path / f"out{extension}", smooth())
    assert read_recipe(tmp_path / f"out{extension}") is None


def test_a_recipe_nested_too_deeply_is_none(tmp_path):
    info = PIL.PngImagePlugin.PngInfo()
    info.add_itxt("jaxstyle", 100_000 * "[")
    assert read_recipe(stored(PIL.Image.new("RGB", (4, 4)), tmp_path, pnginfo=info)) is None


def test_foreign_descriptions_are_no_recipe(tmp_path):
    assert read_recipe(CHINA) is None
    exif = PIL.Image.Exif()
    exif[0x010E] = json.dumps({"a": 1})
    assert read_recipe(stored(PIL.Image.new("RGB", (4, 4)), tmp_path, ".jpg", exif=exif)) is None


@pytest.mark.parametrize("recipe", [{"a": object()}, {"a": float("nan")}, {"a": "x" * 60_000}])
@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_recipes_that_cannot_be_stored(tmp_path, recipe, extension):
    with pytest.raises(InputError, match="recipe"):
        save_image(tmp_path / f"out{extension}", smooth(), recipe=recipe)
    assert list(tmp_path.iterdir()) == []


# --- the file system -----------------------------------------------------------------------------------------------


def test_check_output_accepts_and_leaves_nothing(tmp_path, monkeypatch):
    for extension in FORMATS:
        check_output(tmp_path / f"out{extension}")
    check_output(str(tmp_path / "out.JPG"))
    monkeypatch.chdir(tmp_path)
    check_output("out.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.png").write_bytes(b"old")
    check_output("out.png")
    assert (tmp_path / "out.png").read_bytes() == b"old"


@pytest.mark.parametrize("save", [check_output, lambda path: save_image(path, smooth())])
def test_unwritable_outputs(tmp_path, save):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name, message in {
        "out": "has no known extension",
        "out.bmp": ".png, .jpg, .jpeg, .tif, .tiff, .webp",
        "none/out.png": "not a directory",
        "file/out.png": "not a directory",
        "folder.png": "no regular file",
        "x" * 300 + ".png": "too long",
    }.items():
        with pytest.raises(InputError, match=message):
            save(tmp_path / name)


def test_a_directory_that_refuses_new_files(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        check_output(tmp_path / "out.png")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_failure_in_the_middle_keeps_the_old_file(tmp_path, monkeypatch, call, failure):
    def fail(*_):
        raise failure

    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(InputError if isinstance(failure, OSError) else KeyboardInterrupt):
        save_image(path, smooth())
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    """It appears after the last check before the final name is given."""
    path = tmp_path / "out.png"
    sync = os.fsync

    def appear(descriptor):
        path.write_bytes(b"other")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", appear)
    with pytest.raises(InputError, match=r"out.png: the file exists; choose another name, or replace=True"):
        save_image(path, smooth(), replace=False)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("out.png", b"other")]


def test_without_replacing_a_new_file_is_written_and_an_old_one_kept(tmp_path):
    path, link = tmp_path / "out.png", tmp_path / "link.png"
    link.symlink_to(path)
    save_image(path, smooth(), replace=False)
    before = path.read_bytes()
    for name in (path, link):
        with pytest.raises(InputError, match="the file exists"):
            save_image(name, 1 - smooth(), replace=False)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_permissions_follow_the_umask(tmp_path):
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            save_image(tmp_path / "out.png", smooth())
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == mode


def test_writes_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.png", tmp_path / "link.png"
    link.symlink_to(target)
    save_image(link, smooth())
    assert link.is_symlink()
    assert load_image(target).shape == (48, 64, 3)
    assert len(list(tmp_path.iterdir())) == 2


def test_no_open_handles(tmp_path):
    """Under strict warnings a leaked handle fails the test run; here they are counted, too."""
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    path = tmp_path / "out.tif"
    for _ in range(3):
        save_image(path, smooth())
        load_image(path)
        read_recipe(path)
        with pytest.raises(InputError):
            load_image(path, 40, min_side=50)
    assert len(list(descriptors.iterdir())) == before
