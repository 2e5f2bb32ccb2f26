"""Arrays to the bytes of an image file: 8-bit sRGB with its color profile and its recipe."""

import importlib.metadata
import io
import json
import struct
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from PIL import Image, ImageCms, PngImagePlugin

from jaxstyle.errors import InputError, quote, shape_fits

EXIF_DESCRIPTION, EXIF_SOFTWARE = 0x010E, 0x0131
# In characters: EXIF shares a JPEG segment of 65,533 bytes with its own tables.
MAX_RECIPE_LENGTH = 60_000


def eight_bits(name: str, values: ArrayLike, shape: tuple[int | None, ...], expected: str) -> np.ndarray:
    """Convert floats of this shape, in which None is any length, to 8 bits."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        # A list of rows of different lengths.
        array = np.array(None)
    if not shape_fits(array.shape, shape) or not jnp.issubdtype(array.dtype, jnp.floating):
        got = f"of shape {array.shape} and dtype {array.dtype}" if array.ndim else quote(values)
        raise InputError(f"{name} is {got}, expected {expected} floats in [0, 1]: convert it")
    array = array.astype(np.float32)
    if name == "image" and np.abs(array).max() > 2 and np.isfinite(array).all():
        raise InputError(f"image has values up to {array.max():g}, expected [0, 1]: divide 8-bit pixels by 255")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has values that are not finite (NaN or infinity): lower the loss weights or the step")
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)


def encode(image: Image.Image, format_: str, recipe: Mapping[str, Any] | None, quality: int) -> bytes:
    """Encode 8-bit pixels as a file; equal arguments give equal bytes."""
    exif, chunks = Image.Exif(), PngImagePlugin.PngInfo()
    exif[EXIF_SOFTWARE] = software()
    chunks.add_text("Software", software())
    if recipe is not None:
        text = recipe_text(recipe)
        exif[EXIF_DESCRIPTION] = text
        chunks.add_itxt("jaxstyle", text)
    options: dict[str, dict[str, Any]] = {
        "PNG": {"pnginfo": chunks},
        "JPEG": {"exif": exif, "quality": quality, "subsampling": "4:4:4"},
        "TIFF": {"exif": exif, "compression": "tiff_adobe_deflate"},
        "WEBP": {"exif": exif, "quality": quality, "lossless": quality == 100},
    }
    stream = io.BytesIO()
    image.save(stream, format_, icc_profile=_srgb_profile(), **options[format_])
    return stream.getvalue()


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
