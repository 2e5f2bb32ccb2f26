"""Arrays to the bytes of an image file: sRGB of 8 or 16 bits, with its color profile and its recipe."""

import importlib.metadata
import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from jaxstyle.errors import InputError, quote, shape_fits
from jaxstyle.image.ops import scale_advice

EXIF_DESCRIPTION, EXIF_SOFTWARE = 0x010E, 0x0131
# In characters: EXIF shares a JPEG segment of 65,533 bytes with its own tables.
MAX_RECIPE_LENGTH = 60_000
# A value below which an optimizer brings few pixels, and the largest share of such pixels.
MAX_OVERSHOOT = -0.1, 0.05
# In bytes: some programs limit a chunk; TIFF has offsets of 32 bits, for the pixels, tags and profile.
PNG_CHUNK, MAX_TIFF_BYTES = 2**24, 2**32 - 2**20


def quantized(name: str, values: ArrayLike, shape: tuple[int | None, ...], expected: str, bits: int) -> np.ndarray:
    """Round floats of this shape, in which None is any length, to 8 or 16 bits."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        # A list of rows of different lengths.
        array = np.array(None)
    if not shape_fits(array.shape, shape) or not jnp.issubdtype(array.dtype, jnp.floating):
        got = f"of shape {array.shape} and dtype {array.dtype}" if array.ndim else quote(values)
        advice = "give its field image" if hasattr(values, "image") else "convert it"
        raise InputError(f"{name} is {got}, expected {expected} floats in [0, 1]: {advice}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name} has values that are not finite (NaN or infinity): lower the loss weights or the step")
    if name == "image":
        _check_scale(array)
    white = np.float32(2**bits - 1)
    return np.rint(array.clip(0, 1) * white).astype(np.uint8 if bits == 8 else np.uint16)


def _check_scale(image: np.ndarray) -> None:
    """Raise InputError for pixels on another scale than [0, 1]; a few values outside are an optimizer's."""
    low, high = float(image.min()), float(image.max())
    if max(-low, high) > 2 or (low < -0.5 and np.mean(image < MAX_OVERSHOOT[0]) > MAX_OVERSHOOT[1]):
        raise InputError(f"image has values from {low:g} to {high:g}, expected [0, 1]: {scale_advice(low, high)}")


def encode(pixels: np.ndarray, format_: str, recipe: Mapping[str, Any] | None, quality: int) -> bytes:
    """Encode pixels of 8 bits, or 16 for PNG and TIFF, as a file; equal arguments give equal bytes."""
    text = None if recipe is None else recipe_text(recipe)
    if pixels.dtype == np.uint16:
        return _deep_png(pixels, text) if format_ == "PNG" else _deep_tiff(pixels, text)
    exif = Image.Exif()
    exif[EXIF_SOFTWARE] = software()
    if text is not None:
        exif[EXIF_DESCRIPTION] = text
    options: dict[str, dict[str, Any]] = {
        "PNG": {"pnginfo": _png_texts(text)},
        "JPEG": {"exif": exif, "quality": quality, "subsampling": "4:4:4"},
        "TIFF": {"exif": exif, "compression": "tiff_adobe_deflate"},
        "WEBP": {"exif": exif, "quality": quality, "lossless": quality == 100},
    }
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_, icc_profile=_srgb_profile(), **options[format_])
    return stream.getvalue()


def _png_texts(recipe: str | None) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", software())
    if recipe is not None:
        chunks.add_itxt("jaxstyle", recipe)
    return chunks


def _deep_png(pixels: np.ndarray, recipe: str | None) -> bytes:
    """A PNG of 16-bit color, which Pillow cannot write."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    # Each row as the difference from the one above: filter 2.
    filtered = np.insert(np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8)), 0, 2, axis=1)
    data = zlib.compress(filtered.tobytes())
    header = struct.pack(">IIBBBBB", width, height, 16, 6 if channels == 4 else 2, 0, 0, 0)
    stream = io.BytesIO()
    stream.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(stream, b"IHDR", header)
    PngImagePlugin.putchunk(stream, b"iCCP", b"ICC Profile\0\0" + zlib.compress(_srgb_profile()))
    for kind, content, *_ in _png_texts(recipe).chunks:
        PngImagePlugin.putchunk(stream, kind, content)
    for start in range(0, len(data), PNG_CHUNK):
        PngImagePlugin.putchunk(stream, b"IDAT", data[start : start + PNG_CHUNK])
    PngImagePlugin.putchunk(stream, b"IEND")
    return stream.getvalue()


def _deep_tiff(pixels: np.ndarray, recipe: str | None) -> bytes:
    """A TIFF of 16-bit color, which Pillow cannot write: one strip, each pixel as the difference from its left."""
    height, width, channels = pixels.shape
    left = np.pad(pixels[:, :-1], ((0, 0), (1, 0), (0, 0)))
    data = zlib.compress((pixels - left).astype("<u2").tobytes())
    if len(data) > MAX_TIFF_BYTES:
        raise InputError(f"{width}x{height} pixels of 16 bits are too many for a TIFF: save a .png")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.IMAGEWIDTH] = width
    tags[TiffImagePlugin.IMAGELENGTH] = height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
    tags[TiffImagePlugin.COMPRESSION] = 8  # Deflate.
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2  # RGB.
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(data)
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # Pillow adds the end of the tags.
    tags[TiffImagePlugin.PREDICTOR] = 2
    tags[TiffImagePlugin.ICCPROFILE] = _srgb_profile()
    tags[EXIF_SOFTWARE] = software()
    if channels == 4:
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # Alpha, not premultiplied.
    if recipe is not None:
        tags[EXIF_DESCRIPTION] = recipe
    stream = io.BytesIO()
    tags.save(stream)
    return stream.getvalue() + data


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """Format a recipe as the JSON that `save_image` stores; called before a run, to find errors early.

    Args:
        recipe: plain numbers, strings, lists and dicts.

    Returns:
        ASCII JSON of at most 60,000 characters.

    Raises:
        InputError: the recipe is not JSON, or too long.
    """
    try:
        # Plain ASCII (\u escapes): EXIF text has no other encoding, and file names that are not Unicode survive too.
        text = json.dumps(dict(recipe), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the recipe is not JSON ({error}): use plain numbers, strings and lists") from error
    if len(text) > MAX_RECIPE_LENGTH:
        raise InputError(f"the recipe is {len(text)} characters of JSON, at most {MAX_RECIPE_LENGTH} fit: shorten it")
    return text


def software() -> str:
    """Name and version of this library, such as `jaxstyle 0.1.0`."""
    try:
        return f"jaxstyle {importlib.metadata.version('jaxstyle')}"
    except importlib.metadata.PackageNotFoundError:
        return "jaxstyle"  # Not installed: run from a source tree.


def _srgb_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Its header contains the time of creation; a fixed time makes equal images equal files.
    return profile[:24] + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + profile[36:]
