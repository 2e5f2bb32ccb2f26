"""Open pictures: paths, binary files and Pillow's images, with every failure as one `InputError`.

Nothing here changes the state of the process: Pillow's limit of pixels and the filters of warnings are the host's.
"""

import contextlib
import math
import os
import re
import struct
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import PIL.Image
import PIL.ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from jaxstyle.errors import InputError, quote
from jaxstyle.image import tiff, unreadable
from jaxstyle.image.corrections import prepare
from jaxstyle.image.decode import DAMAGE

PathLike = str | os.PathLike[str]


@runtime_checkable
class BinaryFile(Protocol):
    """A file opened in binary mode, or `io.BytesIO`."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, or all."""
        ...


# What can be read: a path, a file opened in binary mode, or an image of Pillow.
Source = PathLike | BinaryFile | PIL.Image.Image

# Pillow's full list has decoders that start other programs (EPS starts Ghostscript).
READABLE = ("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "PPM")
_HEAD_BYTES = 512
# Pillow's words for sound files of a kind that it cannot decode.
_NOT_SUPPORTED = re.compile("unsupported|not (yet )?supported|cannot handle", re.IGNORECASE)


def name_of(source: Any) -> str:
    """Return the name of a source for messages."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    name = getattr(source, "filename" if isinstance(source, PIL.Image.Image) else "name", None)
    return str(name) if isinstance(name, str) and name else "the image"


def one_line(error: Exception) -> str:
    """Return the words of an error, which may have several lines."""
    return " ".join(str(error).split())


def check_path(path: Any) -> None:
    """Raise InputError unless `path` can be the path of a file."""
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise InputError(f"path is {quote(path)}, expected the path of a file, without null characters")


def check_one_frame(name: str, image: PIL.Image.Image) -> None:
    """Raise InputError for an animation or pages; of a phone's JPEG or HEIC with several pictures, the first counts."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in ("MPO", "HEIF"):
        raise InputError(f"{name} has {frames} frames or pages, expected one still image: extract one frame")


def readable_extensions() -> frozenset[str]:
    """Return the extensions of pictures that can be opened, such as `.jpg`, in lower case."""
    PIL.Image.init()
    known = {name for name, format_ in PIL.Image.EXTENSION.items() if format_ in (*READABLE, "MPO")}
    return frozenset(known | {".heic", ".heif"})


@contextlib.contextmanager
def opened(source: Any, max_pixels: float = math.inf) -> Iterator[PIL.Image.Image]:
    """Open an image, ready to be decoded; any error of Pillow inside the block becomes an `InputError`.

    Args:
        source: see `Source`; a file is read from its position, and set back to it.
        max_pixels: largest number of pixels, checked before decoding.
    """
    name = name_of(source)
    try:
        with _source_image(source) as image:
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"{name} has {image.width}x{image.height} pixels, too many pixels to be opened safely, expected at "
                    f"most {max_pixels}: make it smaller, or raise max_pixels if you trust its source"
                )
            if isinstance(image, PIL.ImageFile.ImageFile):
                prepare(name, image)
            yield image
    except InputError:
        raise
    except PIL.Image.DecompressionBombError as error:
        # Pillow itself checks WebP files, and GIF files with frames larger than the picture.
        raise InputError(f"{name} is too large for Pillow ({error}): raise PIL.Image.MAX_IMAGE_PIXELS") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.strerror:  # From the system; Pillow's own have no number.
            raise InputError(f"cannot read {name}: {error.strerror}; expected the path of an image file") from error
        reason = one_line(error)
        if _NOT_SUPPORTED.search(reason):
            raise InputError(f"{name} is of a kind that cannot be read ({reason}): save it as PNG") from error
        raise InputError(f"{name} is damaged or incomplete ({reason}): get an intact copy of it") from error


@contextlib.contextmanager
def _source_image(source: Any) -> Iterator[PIL.Image.Image]:
    name = name_of(source)
    if isinstance(source, PIL.Image.Image):
        if isinstance(source, TiffImageFile) and tiff.is_misread(source):
            raise InputError(f"{name} is a TIFF that Pillow decodes wrongly: give the path of the file instead")
        yield source.copy()
    elif hasattr(source, "read"):
        with _opened_file(name, _in_memory(source)) as file:
            yield file
    else:
        check_path(source)
        with Path(source).open("rb") as stream, _opened_file(name, stream) as file:
            yield file


def _in_memory(stream: Any) -> BytesIO:
    place = stream.tell() if stream.seekable() else None
    data = stream.read()
    if place is not None:
        stream.seek(place)
    if not isinstance(data, bytes):
        raise InputError(f"the file {quote(stream)} is opened as text, expected binary mode: open(path, 'rb')")
    return BytesIO(data)


def _opened_file(name: str, stream: BufferedReader | BytesIO) -> PIL.ImageFile.ImageFile:
    """Do what `PIL.Image.open` does, without its limit of pixels: that is a global variable of the whole process."""
    PIL.Image.init()
    head = stream.read(_HEAD_BYTES)
    reasons = []
    for format_ in READABLE:
        reader, accept = PIL.Image.OPEN[format_]
        reader = tiff.TiffFile if format_ == "TIFF" else reader
        if accept is None or accept(head[:16]) is True:
            stream.seek(0)
            try:
                return reader(stream, "")
            except (SyntaxError, LookupError, TypeError, RuntimeError, struct.error) as error:
                reasons.append((format_, error))
    stream.seek(0)
    if unreadable.is_heif(head):
        return _opened_heif(name, stream)
    raise InputError(_refusal(name, stream, head, reasons))


def _opened_heif(name: str, stream: BufferedReader | BytesIO) -> PIL.ImageFile.ImageFile:
    try:
        # Not `register_heif_opener`, which changes Pillow for the whole process.
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise InputError(
            f"{name} is a HEIC picture, as phones write them: pip install 'jaxstyle[heif]', or save it as JPEG"
        ) from error
    return HeifImageFile(stream, "")


def _refusal(name: str, stream: BufferedReader | BytesIO, head: bytes, reasons: list[tuple[str, Exception]]) -> str:
    """The sentence for a file that no reader takes."""
    for format_, error in reasons:
        if format_ == "TIFF":
            with contextlib.suppress(*DAMAGE):
                return f"{name} is {tiff.description(stream)}"
        reason = one_line(error)
        return f"{name} has a header of {format_} that cannot be read ({reason}): get an intact copy, or save it as PNG"
    description = unreadable.description(head)
    if description is None:
        return f"{name} is no image in a known format: convert it to {', '.join(READABLE)}"
    what, advice = description
    return f"{name} is {what}, expected a picture ({', '.join(READABLE)}): {advice}"
