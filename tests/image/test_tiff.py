"""TIFF files written by hand: bit depths, layouts and photometric interpretations, against tifffile."""

import numpy as np
import pytest
import tifffile
from tiff_files import (
    BLACK_IS_ZERO,
    BYTE,
    CMYK,
    DEFLATE,
    LAB,
    LAYOUTS,
    LONG,
    PALETTE,
    RATIONAL,
    RAW,
    RGB,
    SHORT,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
    tiff_file,
)

from jaxstyle.errors import InputError
from jaxstyle.image.io import load_image, picture_size, read_picture

HEIGHT, WIDTH = 40, 37
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2
TYPES = {8: np.uint8, 12: np.uint16, 16: np.uint16, 32: np.uint32}
ORDERS = "<>"


def noise(channels, bits):
    """Samples of this depth; the first two rows are black and white."""
    samples = (
        np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, WIDTH, channels)).astype(TYPES.get(bits, np.uint8))
    )
    samples[0], samples[1] = 0, 2**bits - 1
    return samples


def gray_floats():
    return np.random.default_rng(0).random((HEIGHT, WIDTH, 1)).astype(np.float32)


def stored(tmp_path, data):
    path = tmp_path / "scan.tif"
    path.write_bytes(data)
    return path


def values(path, bits, channels):
    """The samples of a file in float64, as tifffile reads them, on the scale of 0 to 1: (height, width, channels)."""
    samples = tifffile.imread(path)
    if samples.ndim == 3 and samples.shape[0] == channels != samples.shape[2]:
        samples = np.moveaxis(samples, 0, -1)
    scale = 1 if samples.dtype.kind == "f" else 2**bits - 1
    return samples.reshape(HEIGHT, WIDTH, channels).astype(np.float64) / scale


def gray(path, samples, bits, photometric):
    """What a gray file shows; tifffile unpacks depths between whole bytes only with its large companion."""
    plane = samples / (2**bits - 1) if bits in (1, 2, 4, 12) else values(path, bits, 1)
    return np.repeat(1 - plane if photometric == WHITE_IS_ZERO else plane, 3, axis=2)


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_gray(tmp_path, bits, photometric):
    """Depths below 8 bits, 12 and 16 bits, and floats of 32; big-endian files that Pillow does not know are refused."""
    samples = gray_floats() if bits == 32 else noise(1, bits)
    read = 0
    for layout in LAYOUTS:
        if layout.planar:
            continue
        path = stored(tmp_path, tiff_file(samples, bits, photometric, layout))
        if layout.order == ">" and ((bits, photometric) == (16, WHITE_IS_ZERO) or bits == 12):
            with pytest.raises(InputError, match=rf"{bits}-bit unsigned gray.*big-endian"):
                load_image(path)
        elif (bits, photometric) == (12, WHITE_IS_ZERO):
            with pytest.raises(InputError, match="12-bit unsigned gray, white is zero"):
                load_image(path)
        else:
            read += 1
            np.testing.assert_allclose(load_image(path), gray(path, samples, bits, photometric), atol=1e-6)
    assert read == {(12, 0): 0, (12, 1): 4, (16, 0): 4}.get((bits, photometric), 8)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_rgb(tmp_path, bits, layout):
    path = stored(tmp_path, tiff_file(noise(3, bits), bits, RGB, layout))
    picture = read_picture(path)
    np.testing.assert_allclose(picture.pixels, values(path, bits, 3), atol=1.01 / 255)
    assert picture.alpha is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_with_alpha(tmp_path, bits, layout):
    path = stored(tmp_path, tiff_file(noise(4, bits), bits, RGB, layout, (ALPHA,)))
    expected, picture = values(path, bits, 4), read_picture(path)
    np.testing.assert_allclose(picture.alpha, expected[..., 3], atol=1.01 / 255)
    shown = np.asarray(picture.alpha) > 0
    np.testing.assert_allclose(np.asarray(picture.pixels)[shown], expected[..., :3][shown], atol=1.01 / 255)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_with_premultiplied_alpha(tmp_path, bits, layout):
    samples = noise(4, bits)
    samples[..., :3] = np.minimum(samples[..., :3], samples[..., 3:])
    path = stored(tmp_path, tiff_file(samples, bits, RGB, layout, (PREMULTIPLIED,)))
    expected, picture = values(path, bits, 4), read_picture(path)
    np.testing.assert_allclose(picture.alpha, expected[..., 3], atol=1.01 / 255)
    shown = expected[..., 3] > 0.5  # Where rounding to 8 bits is small after the division.
    color = expected[..., :3] / expected[..., 3:].clip(1e-9)
    np.testing.assert_allclose(np.asarray(picture.pixels)[shown], color[shown], atol=4 / 255)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_fourth_channel_without_a_meaning_is_dropped(tmp_path, bits, layout):
    path = stored(tmp_path, tiff_file(noise(4, bits), bits, RGB, layout, (UNSPECIFIED,)))
    picture = read_picture(path)
    np.testing.assert_allclose(picture.pixels, values(path, bits, 4)[..., :3], atol=1.01 / 255)
    assert picture.alpha is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_fourth_channel_without_a_tag_is_alpha(tmp_path, layout):
    path = stored(tmp_path, tiff_file(noise(4, 8), 8, RGB, layout))
    if layout.planar:
        with pytest.raises(InputError, match="4 channels, each stored on its own"):
            load_image(path)
        return
    np.testing.assert_allclose(read_picture(path).alpha, values(path, 8, 4)[..., 3], atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk(tmp_path, bits, layout):
    path = stored(tmp_path, tiff_file(noise(4, bits), bits, CMYK, layout))
    inks = values(path, bits, 4)
    np.testing.assert_allclose(load_image(path), (1 - inks[..., :3]) * (1 - inks[..., 3:]), atol=2.5 / 255)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_gray_with_alpha(tmp_path, layout):
    path = stored(tmp_path, tiff_file(noise(2, 8), 8, BLACK_IS_ZERO, layout, (ALPHA,)))
    if layout.planar:
        with pytest.raises(InputError, match="2 channels, each stored on its own"):
            load_image(path)
        return
    expected, picture = values(path, 8, 2), read_picture(path)
    np.testing.assert_allclose(picture.alpha, expected[..., 1], atol=1e-6)
    shown = expected[..., 1] > 0
    np.testing.assert_allclose(np.asarray(picture.pixels)[..., 0][shown], expected[..., 0][shown], atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(tmp_path, bits, order):
    table = np.random.default_rng(1).integers(0, 256, (3, 2**bits)) * 257
    samples = noise(1, bits)
    data = tiff_file(samples, bits, PALETTE, Layout(order), t320=(SHORT, *table.ravel().tolist()))
    expected = np.moveaxis(table, 0, -1)[samples[..., 0]] / 65535
    np.testing.assert_allclose(load_image(stored(tmp_path, data)), expected, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_lab(tmp_path, layout):
    """Muted colors, whose sRGB values are inside of [0, 1]."""
    rng = np.random.default_rng(2)
    lightness, a, b = rng.uniform(45, 65, (HEIGHT, WIDTH)), *rng.integers(-12, 13, (2, HEIGHT, WIDTH))
    samples = np.stack([np.rint(lightness * 2.55), a, b], axis=2).astype(np.int64).astype(np.uint8)
    path = stored(tmp_path, tiff_file(samples, 8, LAB, layout))
    if layout.planar:
        with pytest.raises(InputError, match="3 channels, each stored on its own"):
            load_image(path)
        return
    y = (samples[..., 0] / 2.55 + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], axis=2)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1.0, 0.8249)
    primaries = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    linear = xyz @ np.linalg.inv(primaries).T
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(load_image(path), expected, atol=2 / 255)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("studio", [False, True])
def test_luminance_and_chrominance(tmp_path, order, studio):
    """With the reference black and white of computers (0 to 255) and of television (16 to 235)."""
    rng = np.random.default_rng(3)
    luma, blue, red = rng.integers(90, 160, (HEIGHT, WIDTH)), *rng.integers(108, 149, (2, HEIGHT, WIDTH))
    samples = np.stack([luma, blue, red], axis=2).astype(np.uint8)
    black, white, low, high = (16, 235, 128, 240) if studio else (0, 255, 128, 255)
    limits = [number for low_high in ((black, white), (low, high), (low, high)) for number in low_high]
    path = stored(tmp_path, tiff_file(samples, 8, YCBCR, Layout(order), t530=(SHORT, 1, 1), t532=(RATIONAL, *limits)))
    y = (luma - black) / (white - black)
    cb, cr = (((each - 128) * 127 / (high - 128)) / 255 for each in (blue, red))
    expected = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    # LibTIFF rounds before and after the conversion.
    np.testing.assert_allclose(load_image(path), expected, atol=3.2 / 255)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compression", [RAW, DEFLATE])
def test_32_bit_integers_up_to_65535(tmp_path, order, compression):
    samples = noise(1, 16).astype(np.int32)
    path = stored(tmp_path, tiff_file(samples, 32, BLACK_IS_ZERO, Layout(order, compression=compression)))
    np.testing.assert_allclose(load_image(path), np.repeat(samples, 3, axis=2) / 65535, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("bits", "kind"), [(8, np.int8), (16, np.int16)])
def test_signed_integers_have_no_scale(tmp_path, bits, kind, order):
    samples = (noise(1, 8) // 2).astype(kind)
    with pytest.raises(InputError, match=f"{bits}-bit signed gray"):
        load_image(stored(tmp_path, tiff_file(samples, bits, BLACK_IS_ZERO, Layout(order))))


# What Pillow cannot decode: what it is, and what to do.
UNSUPPORTED = {
    "32-bit unsigned RGB": (noise(3, 32), 32, RGB, ()),
    "32-bit floating-point RGB": (np.zeros((40, 40, 3), np.float32), 32, RGB, ()),
    "16-bit floating-point gray": (np.zeros((40, 40, 1), np.float16), 16, BLACK_IS_ZERO, ()),
    "64-bit floating-point gray": (np.zeros((40, 40, 1), np.float64), 64, BLACK_IS_ZERO, ()),
    "16-bit unsigned gray.*2 channels": (noise(2, 16), 16, BLACK_IS_ZERO, (ALPHA,)),
    "16-bit unsigned RGB.*5 channels": (noise(5, 16), 16, RGB, (ALPHA, UNSPECIFIED)),
    "8-bit unsigned RGB.*7 channels": (noise(7, 8), 8, RGB, (UNSPECIFIED,) * 4),
    "10-bit unsigned gray": (noise(1, 12) // 4, 10, BLACK_IS_ZERO, ()),
    "8-bit unsigned ICC Lab": (noise(3, 8), 8, 9, ()),
    "16-bit unsigned color filter array": (noise(1, 16), 16, 32803, ()),
    "8-bit unsigned photometric interpretation 99": (noise(1, 8), 8, 99, ()),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("description", UNSUPPORTED)
def test_what_pillow_cannot_decode_is_described(tmp_path, description, order):
    samples, bits, photometric, extra = UNSUPPORTED[description]
    path = stored(tmp_path, tiff_file(samples, bits, photometric, Layout(order), extra))
    for read in (load_image, picture_size):
        with pytest.raises(
            InputError, match=rf"scan.tif is a TIFF of a kind that cannot be read \({description}.*8 or"
        ):
            read(path)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (34712, "JPEG 2000"),
        (33003, "JPEG 2000"),
        (50002, "JPEG XL"),
        (34887, "LERC"),
        (50001, "WebP"),
        (999, "number 999"),
    ],
)
def test_compressions_that_pillow_cannot_decode(tmp_path, capfd, number, name):
    path = stored(tmp_path, tiff_file(noise(3, 8), 8, RGB, Layout(compression=number)))
    with pytest.raises(InputError, match=f"8-bit unsigned RGB, 3 channels, {name} compression"):
        load_image(path)
    assert capfd.readouterr() == ("", ""), "lines of LibTIFF"


def test_camera_raw_files_are_not_their_previews(tmp_path):
    preview = tiff_file(noise(3, 8), 8, RGB, Layout(), t254=(LONG, 1))
    raw = tiff_file(noise(3, 8), 8, RGB, Layout(), t50706=(BYTE, 1, 4, 0, 0))
    for data in (preview, raw):
        with pytest.raises(InputError, match="camera raw"):
            load_image(stored(tmp_path, data))


def test_big_tiff(tmp_path):
    samples = noise(3, 8)
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, samples, photometric="rgb", bigtiff=True)
    np.testing.assert_allclose(load_image(path), samples / 255, atol=1e-6)
    tifffile.imwrite(path, samples, photometric="rgb", bigtiff=True, byteorder=">")
    with pytest.raises(InputError, match="BigTIFF with big-endian"):
        load_image(path)
