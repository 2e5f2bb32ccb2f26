"""Image files to arrays and back, with Pillow.

Reading undoes the encoding of the pixels: EXIF orientation, color profile (to sRGB), palette, bit depth, transparency.
Writing stores sRGB with its profile, and optionally the recipe of the image. An existing file survives any
failure.
"""

import contextlib
import json
import math
import os
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxstyle import files
from jaxstyle.errors import InputError, check_integer
from jaxstyle.guards import permissive
from jaxstyle.image.decode import color_and_alpha, resized_arrays, to_srgb, upright, upright_size
from jaxstyle.image.encode import EXIF_DESCRIPTION, EXIF_SOFTWARE, encode, quantized
from jaxstyle.image.encode import recipe_text as recipe_text
from jaxstyle.image.encode import software as software
from jaxstyle.image.ops import MAX_SIDE
from jaxstyle.image.source import PathLike, Source, check_one_frame, check_path, name_of, opened
from jaxstyle.typing import Image

_WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
_MAX_SIDE = {"PNG": 2**31 - 1, "TIFF": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}
_SIXTEEN_BITS = ("PNG", "TIFF")
# Default limit of the pixels in a file, as in Pillow: a few kilobytes can decode to billions of pixels.
MAX_PIXELS = 2 * 89_478_485


class Picture(NamedTuple):
    """An image as read from a file.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1], not premultiplied. Where alpha is 0 the file's hidden color is
          replaced by the mean of the visible colors, so that hidden pixels make no edges.
        alpha: (H, W) float32 in [0, 1], or None if the image is opaque.
        native_size: (width, height) of the file in pixels, after orientation and before resizing.
    """

    pixels: Image
    alpha: Float[Array, "height width"] | None
    native_size: tuple[int, int]


@permissive()
def read_picture(
    path: Source, size: int | None = None, *, enlarge: bool = True, min_side: int = 32, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Read an image file, upright and in sRGB, with its transparency.

    Reads PNG, JPEG, TIFF, WebP, AVIF, JPEG 2000, GIF, BMP and PPM with one frame, and HEIC if `pillow-heif` is
    installed; of a phone's multi-picture JPEG or HEIC, the photo. 32-bit gray has no standard scale: floats must be in
    [0, 1] and integers in [0, 65535]. A broken color profile is a warning, and the image is read as sRGB.

    Args:
        path: the file, or a file that is opened in binary mode, or an image of Pillow (its present frame).
        size: long side after resizing in pixels, 1 to 65536; the other side keeps the aspect ratio. None keeps the
          file's size.
        enlarge: If False, an image smaller than `size` keeps its size.
        min_side: smallest height and width in pixels, before and after resizing, 1 to 65536. VGG-19 needs 32 for its
          last convolutions.
        max_pixels: largest number of pixels in the file, 1 to 2^31 - 1; checked in its header, before decoding.

    Returns:
        A `Picture`.

    Raises:
        InputError: the file cannot be read, is damaged or animated, or is or would become too small.
    """
    _check_limits(size, min_side, max_pixels)
    name = name_of(path)
    with opened(path, max_pixels) as file:
        check_one_frame(name, file)
        image = upright(file)
    native = image.size
    target = target_size(name, native, size, enlarge, min_side)
    color, alpha = color_and_alpha(name, image)
    pixels, alpha = resized_arrays(to_srgb(name, color, image.info), alpha, target)
    return Picture(jnp.asarray(pixels), None if alpha is None else jnp.asarray(alpha), native)


def picture_size(
    path: Source, size: int | None = None, *, min_side: int = 32, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Return height and width of the pixels that `read_picture` returns, from the file's header, without decoding.

    The orientation of a PNG is ignored if it comes after the pixels.

    Args:
        path: see `read_picture`.
        size: length of the long side after resizing in pixels, 1 to 65536; None keeps the file's size.
        min_side: smallest height and width in pixels, before and after resizing, 1 to 65536.
        max_pixels: largest number of pixels in the file, 1 to 2^31 - 1.

    Raises:
        InputError: the file cannot be read, or is or would become too small.
    """
    _check_limits(size, min_side, max_pixels)
    with opened(path, max_pixels) as file:
        native = upright_size(file)
    width, height = target_size(name_of(path), native, size, enlarge=True, min_side=min_side)
    return height, width


def load_image(
    path: Source, size: int | None = None, *, enlarge: bool = True, min_side: int = 32, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read the pixels of an image file: `read_picture` without its transparency.

    Args:
        path: the file, or a file that is opened in binary mode, or an image of Pillow.
        size: long side after resizing in pixels, 1 to 65536; None keeps the file's size.
        enlarge: If False, an image smaller than `size` keeps its size.
        min_side: smallest height and width in pixels, before and after resizing, 1 to 65536.
        max_pixels: largest number of pixels in the file, 1 to 2^31 - 1; checked in its header, before decoding.

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


@permissive()
def save_image(
    path: PathLike,
    image: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    recipe: Mapping[str, Any] | None = None,
    quality: int = 95,
    bit_depth: int = 8,
    replace: bool = True,
) -> None:
    """Write an image as sRGB with its color profile; the extension determines the format.

    The file appears whole or not at all, with the permissions of new files. JPEG has no transparency: `alpha` is
    dropped with a warning and the colors stay unchanged.

    Args:
        path: the file, ending in .png, .jpg, .jpeg, .tif, .tiff or .webp.
        image: (H, W, 3) floats in [0, 1], not premultiplied; values outside are clipped.
        alpha: (H, W) floats in [0, 1], or None for an opaque image.
        recipe: how the image was made, stored in the file as JSON; see `read_recipe`.
        quality: 1 to 100, for JPEG (color is never subsampled) and WebP (100 is lossless). PNG and TIFF are exact.
        bit_depth: bits of each channel, 8, or 16 in PNG and TIFF.
        replace: If True, an existing file is replaced. If False, an existing file is an error, even if it appeared
          during the call.

    Raises:
        InputError: an array of another shape or type, or not finite; a recipe that is not JSON or longer than 60,000
          characters; a path that cannot be written.

    Example:
        >>> import tempfile, jaxstyle as js
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_image(f"{folder}/a.png", js.white_noise(1, 32, 48))
        ...     shape = js.load_image(f"{folder}/a.png").shape
        >>> shape
        (32, 48, 3)
    """
    check_output(path)
    format_ = _format_of(path)
    check_integer(quality, "quality", 1, 100)
    check_integer(bit_depth, "bit_depth", 8, 16)
    if bit_depth not in (8, 16):
        raise InputError(f"bit_depth is {bit_depth}, expected 8 or 16")
    if bit_depth == 16 and format_ not in _SIXTEEN_BITS:
        raise InputError(f"{path}: {format_} holds 8 bits of each channel, and bit_depth is 16: save a .png or .tif")
    pixels = quantized("image", image, (None, None, 3), "(H, W, 3)", bit_depth)
    height, width, _ = pixels.shape
    check_sides(path, height, width)
    if alpha is not None:
        opacity = quantized("alpha", alpha, (height, width), f"({height}, {width})", bit_depth)
        if format_ != "JPEG":
            pixels = np.dstack([pixels, opacity])
        elif opacity.min() < 255:
            warnings.warn(f"{path}: JPEG has no transparency, alpha is dropped; save a .png to keep it", stacklevel=2)
    data = encode(pixels, format_, recipe, quality)
    try:
        with files.replacing(path, replace) as file:
            file.write(data)
    except FileExistsError as error:
        raise InputError(f"cannot write {path}: the file exists; choose another name, or replace=True") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; free space or choose another place") from error


def read_recipe(path: Source) -> dict[str, Any] | None:
    """Read the recipe that `save_image` stored in a file.

    Args:
        path: an image file, or one that is opened in binary mode.

    Returns:
        The recipe, or None if the file holds none.

    Raises:
        InputError: the file cannot be read as an image.

    Example:
        >>> import tempfile, jaxstyle as js
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     js.save_image(f"{folder}/a.png", js.white_noise(1, 4, 6), recipe={"seed": 1})
        ...     recipe = read_recipe(f"{folder}/a.png")
        >>> recipe
        {'seed': 1}
    """
    with opened(path) as file:
        text = file.info.get("jaxstyle")
        if file.format != "PNG":
            exif = file.getexif()
            ours = str(exif.get(EXIF_SOFTWARE, "")).startswith("jaxstyle")
            text = exif.get(EXIF_DESCRIPTION) if ours else None
    try:
        recipe = json.loads(str(text))
    except (ValueError, RecursionError):
        return None
    return recipe if isinstance(recipe, dict) else None


def check_output(path: PathLike) -> None:
    """Raise InputError, before a long run, for a path that `save_image` could not write.

    Args:
        path: the file to be written later.

    Raises:
        InputError: unknown extension; no such directory; not a regular file; or not writable.
    """
    check_path(path)
    _format_of(path)
    check_place(path)


def check_place(path: PathLike) -> None:
    """Raise InputError, before a long run, where no file could be written: no folder, no regular file, or no right."""
    target = Path(os.path.realpath(path))
    if not os.path.isdir(target.parent):
        raise InputError(f"cannot write {path}: {target.parent} is not a directory; create it or choose another place")
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(target.stat().st_mode):
                raise InputError(f"cannot write {path}: it exists and is no regular file; choose another name")
        files.probe(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


def check_sides(path: PathLike, height: int, width: int) -> None:
    """Raise InputError if the format of `path` cannot hold an image of this size: WebP ends at 16383 pixels a side.

    Unknown extensions are for `check_output`.
    """
    format_ = _WRITABLE.get(Path(path).suffix.lower())
    if format_ is not None and max(height, width) > _MAX_SIDE[format_]:
        raise InputError(
            f"{path}: {format_} holds at most {_MAX_SIDE[format_]} pixels a side, got {width}x{height}: save a .png"
        )


def _format_of(path: PathLike) -> str:
    """Return the format that the extension of a path stands for."""
    extension = Path(path).suffix.lower()
    if extension not in _WRITABLE:
        raise InputError(f"{path} has no known extension, expected one of {', '.join(_WRITABLE)}")
    return _WRITABLE[extension]


def _check_limits(size: Any, min_side: Any, max_pixels: Any) -> None:
    if size is not None:
        check_integer(size, "size", 1, MAX_SIDE)
    check_integer(min_side, "min_side", 1, MAX_SIDE)
    check_integer(max_pixels, "max_pixels", 1, 2**31 - 1)


def target_size(path: str, native: tuple[int, int], size: int | None, enlarge: bool, min_side: int) -> tuple[int, int]:
    """Return the width and height of a picture at a size: see `read_picture`.

    Raises:
        InputError: for one that is, or would become, too small.
    """
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
