"""Picture files to arrays and back, with Pillow.

Reading undoes what a file does to its pixels: EXIF orientation, color profile (to sRGB), palette, bit depth,
transparency. Writing stores 8-bit sRGB with its profile, and optionally the recipe that made the picture, in such a
way that a file that was there before survives any failure.
"""

import contextlib
import importlib.metadata
import io
import json
import math
import os
import stat
import struct
import warnings
from collections.abc import Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.image.decode import DAMAGE, color_and_alpha, resized_arrays, to_srgb, upright
from jaxstyle.typing import Image

PathLike = str | os.PathLike[str]

# Explicit, because Pillow's full list has decoders that start other programs (EPS runs Ghostscript).
_READABLE = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM")
_WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
_LONGEST_SIDE = {"PNG": 2**31 - 1, "TIFF": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}
_EXIF_DESCRIPTION, _EXIF_SOFTWARE = 0x010E, 0x0131
# EXIF shares a JPEG segment of 65,533 bytes with its own tables.
_LONGEST_RECIPE = 60_000


# More pixels in a file are refused before they are unpacked: Pillow's own limit. A few kilobytes can hold billions.
MAX_PIXELS = 2 * 89_478_485
# Where nothing is unpacked.
_ANY_PIXELS = 2**31 - 1


class Picture(NamedTuple):
    """A picture as read from a file.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1], not premultiplied. Where alpha is 0 the file's hidden color is
          replaced by the mean of the visible ones, so that nothing unseen draws edges.
        alpha: (H, W) float32 in [0, 1], or None if the picture is opaque.
        native_size: (width, height) of the file in pixels, after orientation and before resizing.
    """

    pixels: Image
    alpha: Float[Array, "height width"] | None
    native_size: tuple[int, int]


def read_picture(
    path: PathLike,
    size: int | None = None,
    *,
    enlarge: bool = True,
    min_side: int = 32,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Read a picture file, upright and in sRGB, with its transparency.

    Reads PNG, JPEG, TIFF, WebP, GIF, BMP and PPM with one frame; of a phone's multi-picture JPEG, the photo. 32-bit
    gray has no agreed scale: floats must lie in [0, 1] and integers in [0, 65535]. A broken color profile is a
    warning, and the picture is taken as sRGB.

    Args:
        path: the file.
        size: length of the long side after resizing in pixels, 1 to 65536; the other side keeps the aspect ratio. None
          keeps the file's size.
        enlarge: False leaves a picture that is smaller than `size` as it is.
        min_side: shortest side in pixels that is accepted, before and after resizing. The last convolutions of VGG-19
          see nothing in less than 32.
        max_pixels: of the file; one that unpacks to more is refused before it does.

    Returns:
        A `Picture`.

    Raises:
        InputError: the file cannot be read, is damaged or animated, or is or would become too small.
    """
    if size is not None and not (isinstance(size, Integral) and 1 <= size <= 65536):
        raise InputError(f"got size={size!r}, expected a long side of 1 to 65536 pixels: choose one in that range")
    with _opened(path, max_pixels) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":
            raise InputError(f"{path} has {frames} frames or pages, expected one still picture: take one frame out")
        picture = upright(file)
    native = picture.size
    target = _target_size(path, native, size, enlarge, min_side)
    color, alpha = color_and_alpha(str(path), picture)
    pixels, alpha = resized_arrays(to_srgb(str(path), color, picture.info.get("icc_profile")), alpha, target)
    return Picture(jnp.asarray(pixels), None if alpha is None else jnp.asarray(alpha), native)


def load_image(
    path: PathLike,
    size: int | None = None,
    *,
    enlarge: bool = True,
    min_side: int = 32,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """Read the pixels of a picture file: `read_picture` without its transparency.

    Args:
        path: the file.
        size: length of the long side after resizing in pixels, 1 to 65536; None keeps the file's size.
        enlarge: False leaves a picture that is smaller than `size` as it is.
        min_side: shortest side in pixels that is accepted, before and after resizing.
        max_pixels: of the file.

    Returns:
        (H, W, 3) float32 sRGB in [0, 1].

    Raises:
        InputError: as `read_picture`.

    Example:
        >>> from importlib.resources import files
        >>> load_image(files("jaxstyle") / "data/china.jpg", size=96).shape
        (64, 96, 3)
    """
    return read_picture(path, size, enlarge=enlarge, min_side=min_side, max_pixels=max_pixels).pixels


def save_image(
    path: PathLike,
    image: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    recipe: Mapping[str, Any] | None = None,
    quality: int = 95,
    replace: bool = True,
) -> None:
    """Write a picture as 8-bit sRGB with its color profile; the extension chooses the format.

    The file appears whole or not at all, under the permissions that new files get. JPEG has no transparency: `alpha`
    is dropped with a warning and the colors stay as they are.

    Args:
        path: the file, ending in .png, .jpg, .jpeg, .tif, .tiff or .webp. An existing one is replaced.
        image: (H, W, 3) floats in [0, 1], not premultiplied; values outside are clipped.
        alpha: (H, W) floats in [0, 1], or None for an opaque picture.
        recipe: how the picture was made, stored in the file as JSON; see `read_recipe`.
        quality: 1 to 100, for JPEG (color is never subsampled) and WebP (100 is lossless). PNG and TIFF are exact.
        replace: False refuses to take the place of a file that is there by then.

    Raises:
        InputError: an array of another shape or type, or not finite; a recipe that is no JSON or longer than 60,000
          characters; a path that cannot be written.
    """
    check_output(path)
    format_ = _WRITABLE[Path(path).suffix.lower()]
    if not 1 <= quality <= 100:
        raise InputError(f"got quality={quality}, expected 1 to 100: choose one in that range")
    pixels = _eight_bits("image", image, np.ndim(image) == 3 and np.shape(image)[-1] == 3, "(H, W, 3)")
    height, width, _ = pixels.shape
    if max(height, width) > _LONGEST_SIDE[format_]:
        raise InputError(
            f"{path}: {format_} holds at most {_LONGEST_SIDE[format_]} pixels a side, got {width}x{height}: save a .png"
        )
    if alpha is not None:
        opacity = _eight_bits("alpha", alpha, np.shape(alpha) == (height, width), f"({height}, {width})")
        if format_ != "JPEG":
            pixels = np.dstack([pixels, opacity])
        elif opacity.min() < 255:
            warnings.warn(f"{path}: JPEG has no transparency, alpha is dropped; save a .png to keep it", stacklevel=2)
    data = _encode(PIL.Image.fromarray(pixels), format_, recipe, quality)
    try:
        with files.replacing(path, replace) as file:
            file.write(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; free space or choose another place") from error


def read_recipe(path: PathLike) -> dict[str, Any] | None:
    """Read back the recipe that `save_image` stored in a file.

    Args:
        path: a picture file.

    Returns:
        The recipe, or None if the file holds none.

    Raises:
        InputError: the file cannot be read as a picture.
    """
    with _opened(path, _ANY_PIXELS) as file:
        text = file.info.get("jaxstyle")
        if file.format != "PNG":
            exif = file.getexif()
            ours = str(exif.get(_EXIF_SOFTWARE, "")).startswith("jaxstyle")
            text = exif.get(_EXIF_DESCRIPTION) if ours else None
    try:
        recipe = json.loads(str(text))
    except ValueError:
        return None
    return recipe if isinstance(recipe, dict) else None


def check_output(path: PathLike) -> None:
    """Refuse, before an hour of work, a path that `save_image` could not write.

    Args:
        path: the file to be written later.

    Raises:
        InputError: unknown extension; no such directory; not a regular file; or not writable.
    """
    _check_path(path)
    if Path(path).suffix.lower() not in _WRITABLE:
        raise InputError(f"cannot tell the format of {path}: use one of the extensions {', '.join(_WRITABLE)}")
    target = Path(os.path.realpath(path))
    if not os.path.isdir(target.parent):
        raise InputError(f"cannot write {path}: {target.parent} is not a directory; create it or choose another place")
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(target.stat().st_mode):
                raise InputError(f"cannot write {path}: it is there and no regular file; choose another name")
        files.probe(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


@contextlib.contextmanager
def _opened(path: PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[PIL.Image.Image]:
    """Open a picture file; whatever Pillow finds wrong with it inside the block becomes an `InputError`."""
    _check_path(path)
    if not 1 <= max_pixels < 2**31:
        raise InputError(f"max_pixels is {max_pixels}, expected 1 to {2**31 - 1}")
    try:
        with Path(path).open("rb") as stream, warnings.catch_warnings(), _limited_to(max_pixels):
            # Large is legal; only what is over the limit is refused.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(stream, formats=_READABLE) as file:
                yield file
    except InputError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has too many pixels to be opened safely, expected at most {max_pixels}: make it smaller first, or "
            "raise --max-pixels (max_pixels in Python) if you know where it comes from"
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise InputError(f"{path} is no picture in a known format: convert it to {', '.join(_READABLE)}") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.strerror:  # From the system; Pillow's own have no number.
            raise InputError(f"cannot read {path}: {error.strerror}; give the path of a picture file") from error
        raise InputError(f"{path} is damaged or incomplete ({error}): get a sound copy of it") from error


@contextlib.contextmanager
def _limited_to(max_pixels: int) -> Iterator[None]:
    """Pillow's limit, which is a global and half of what is refused, for a while."""
    before, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, max_pixels // 2
    try:
        yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = before


def _check_path(path: Any) -> None:
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"got {str(path)[:80]!r} for a file, expected its path")


def _target_size(
    path: PathLike, native: tuple[int, int], size: int | None, enlarge: bool, min_side: int
) -> tuple[int, int]:
    if min(native) < min_side:
        width, height = native
        raise InputError(f"{path} is {width}x{height} pixels, at least {min_side} a side are needed: use a larger one")
    if size is None or (size > max(native) and not enlarge):
        return native
    width, height = (max(1, math.floor(side * size / max(native) + 0.5)) for side in native)
    if min(width, height) < min_side:
        enough = math.ceil(min_side * max(native) / min(native))
        raise InputError(
            f"{path} at size={size} is {width}x{height} pixels, at least {min_side} a side are needed: "
            f"use a size of {enough} or more"
        )
    return width, height


def _eight_bits(name: str, values: ArrayLike, fits: bool, expected: str) -> np.ndarray:
    array = np.asarray(values)
    if not fits or 0 in array.shape or not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(f"got {name} {array.shape} of {array.dtype}, expected {expected} floats in [0, 1]: convert it")
    array = array.astype(np.float32)
    if name == "image" and np.abs(array).max() > 2 and np.isfinite(array).all():
        raise InputError(f"image has values up to {array.max():g}, expected [0, 1]: divide 8-bit pixels by 255")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has values that are not finite (NaN or infinity): lower the loss weights or the step")
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)


def _encode(picture: PIL.Image.Image, format_: str, recipe: Mapping[str, Any] | None, quality: int) -> bytes:
    exif, chunks = PIL.Image.Exif(), PIL.PngImagePlugin.PngInfo()
    exif[_EXIF_SOFTWARE] = software()
    chunks.add_text("Software", software())
    if recipe is not None:
        text = recipe_text(recipe)
        exif[_EXIF_DESCRIPTION] = text
        chunks.add_itxt("jaxstyle", text)
    options: dict[str, dict[str, Any]] = {
        "PNG": {"pnginfo": chunks},
        "JPEG": {"exif": exif, "quality": quality, "subsampling": "4:4:4"},
        "TIFF": {"exif": exif, "compression": "tiff_adobe_deflate"},
        "WEBP": {"exif": exif, "quality": quality, "lossless": quality == 100},
    }
    stream = io.BytesIO()
    picture.save(stream, format_, icc_profile=_srgb_profile(), **options[format_])
    return stream.getvalue()


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """The JSON that `save_image` stores; called before a run, it refuses a recipe that could not be stored after it.

    Args:
        recipe: what is to be stored.

    Returns:
        ASCII JSON of at most 60,000 characters.

    Raises:
        InputError: the recipe is no JSON, or too long.
    """
    try:
        # Plain ASCII (\u escapes): EXIF text has no other encoding, and file names that are not Unicode survive too.
        text = json.dumps(dict(recipe), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the recipe is no JSON ({error}): use plain numbers, strings and lists") from error
    if len(text) > _LONGEST_RECIPE:
        raise InputError(f"the recipe is {len(text)} characters of JSON, at most {_LONGEST_RECIPE} fit: shorten it")
    return text


def software() -> str:
    """This library's name and version.

    Returns:
        Such as `jaxstyle 0.1.0`.
    """
    try:
        return f"jaxstyle {importlib.metadata.version('jaxstyle')}"
    except importlib.metadata.PackageNotFoundError:
        return "jaxstyle"  # Run from a source tree.


def _srgb_profile() -> bytes:
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    # Its header holds the time of creation; a fixed one makes equal pictures equal files.
    return profile[:24] + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + profile[36:]
