"""From an image opened by Pillow to float sRGB arrays: orientation, palette, bit depth, profile, alpha, size.

Known limits: Pillow reads 16-bit color as 8-bit (16-bit gray keeps its depth). A profile on 16-bit gray is applied in
8 bits. The primaries of a PNG without a profile (chunks cHRM and cICP) are ignored.
"""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from jaxstyle.errors import InputError
from jaxstyle.image.tiff import gray_scale

# Exceptions that Pillow's decoders raise for damaged files, from fuzzing and from their `raise` statements.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, RuntimeError),
    *(struct.error, zlib.error),
)
_DEEP_GRAY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# Exponent of a PNG whose values are those of sRGB, and the relative tolerance of libpng.
SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05


def upright(file: Image.Image) -> Image.Image:
    """Decode, and apply the EXIF orientation."""
    if isinstance(file, TiffImageFile):
        # Allocate the pixels, since Pillow would compare the size with its global limit when it does so.
        file.im = Image.core.new(file.mode, (file.tag_v2[IMAGEWIDTH], file.tag_v2[IMAGELENGTH]))
    file.load()
    # Good pixels are worth more than broken metadata. Pillow turns the pixels first, and then rewrites the metadata,
    # which raises AttributeError too.
    with contextlib.suppress(*DAMAGE, AttributeError):
        ImageOps.exif_transpose(file, in_place=True)
    return file


def upright_size(file: Image.Image) -> tuple[int, int]:
    """Return width and height of `upright(file)`, from the header."""
    width, height = file.size
    orientation = 1
    # Pillow applies the orientation of a TIFF to its size.
    if file.format != "TIFF":
        with contextlib.suppress(*DAMAGE, AttributeError):
            # The method of PNG files decodes the pixels, to read what comes after them.
            orientation = Image.Image.getexif(file).get(ExifTags.Base.Orientation, 1)
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def color_and_alpha(name: str, image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split into color (mode L, RGB, CMYK, LAB, or F on the scale of 0 to 255) and 8-bit alpha, if there is any."""
    if image.mode in _DEEP_GRAY:
        return _deep_gray(name, image)
    gray = image.mode in ("1", "L", "LA", "La")
    alpha, format_ = None, image.format
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        alpha = image.getchannel("A")
        # In a BMP that has no alpha these bytes are zero.
        alpha = None if format_ == "BMP" and alpha.getextrema() == (0, 0) else alpha
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if gray else "RGB")
    return image, alpha


def _deep_gray(name: str, image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    # Pillow's own conversion to 8 bits clips instead of scaling.
    values = np.asarray(image).astype(np.float32)
    white, is_inverted = gray_scale(image)
    if not (values.min() >= 0 and values.max() <= white):
        raise InputError(f"{name} has gray values outside [0, {white:g}]: save it with 8 or 16 bits")
    hidden = image.info.get("transparency")
    alpha = None if hidden is None else Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))
    return Image.fromarray((white - values if is_inverted else values) * np.float32(255 / white)), alpha


def to_srgb(name: str, color: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """Convert to sRGB by the profile or the gamma in Pillow's `info`: mode RGB, or L or F where gray needs neither."""
    profile = info.get("icc_profile")
    if profile:
        try:
            return _through_profile(color, profile)
        except (ImageCms.PyCMSError, OSError) as error:
            warnings.warn(f"{name}: its color profile cannot be used ({error}); read as sRGB", stacklevel=3)
    if color.mode == "LAB":
        return _through_profile(color, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    gamma = info.get("gamma", 0)
    # A file with a broken profile has a gamma for programs that know no profiles.
    if gamma > 0 and "srgb" not in info and abs(gamma / SRGB_GAMMA - 1) > GAMMA_TOLERANCE:
        return _from_gamma(color, gamma)
    return color.convert("RGB") if color.mode == "CMYK" else color


def _from_gamma(color: Image.Image, gamma: float) -> Image.Image:
    """Convert values that are light to the power of `gamma`, of a PNG without a profile, to those of sRGB."""

    def srgb(values: np.ndarray) -> np.ndarray:
        light = (values / 255) ** (1 / gamma)
        return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)

    if color.mode == "F":
        return Image.fromarray(srgb(np.asarray(color)).astype(np.float32))
    return color.point([round(value) for value in srgb(np.arange(256))] * len(color.getbands()))


def _through_profile(color: Image.Image, profile: bytes) -> Image.Image:
    if color.mode == "F":
        color = Image.fromarray(np.rint(np.asarray(color)).astype(np.uint8))
    if color.mode == "L" and profile[16:20] == b"RGB ":  # The header's color space: common for gray images.
        color = color.convert("RGB")
    converted = ImageCms.profileToProfile(
        color,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # None only for a conversion in place.
    return converted


def resized_arrays(
    color: Image.Image, alpha: Image.Image | None, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resize to arrays in [0, 1] in floating point, one channel at a time to save memory."""
    if alpha is None or alpha.getextrema() == (255, 255):
        return _stacked(_resized(band, size) for band in color.split()).clip(0, 1), None
    # Weighted by alpha, so that the colors of hidden pixels do not bleed into the edges of visible ones.
    opacity = np.asarray(alpha, np.float32) / 255
    weighted = _stacked(_resized(Image.fromarray(opacity * np.asarray(band)), size) for band in color.split())
    weight = _resized(alpha, size)
    visible = weight > 0.5 / 255
    mean = weighted[visible].mean(axis=0) / weight[visible].mean() if visible.any() else np.full(3, 0.5, np.float32)
    pixels = np.where(visible[..., None], weighted / np.where(visible, weight, 1)[..., None], mean)
    return pixels.clip(0, 1), weight.clip(0, 1)


def resized_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `(H, W, 3)` of 8 bits to a width and height, as `resized_arrays` does, on the scale of 0 to 1."""
    return resized_arrays(Image.fromarray(pixels), None, size)[0]


def _resized(band: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Resize one channel from the scale of 0 to 255 to an array on the scale of 0 to 1."""
    return np.asarray(band.convert("F").resize(size, Image.Resampling.LANCZOS)) / 255


def _stacked(channels: Iterable[np.ndarray]) -> np.ndarray:
    planes = list(channels)
    return np.stack(planes * (3 // len(planes)), axis=-1)
