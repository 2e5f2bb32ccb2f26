"""What Pillow reads wrongly without a word, set right between the header and the pixels, or refused."""

from typing import Any

from PIL.ImageFile import ImageFile

from jaxstyle.image import jpeg2000
from jaxstyle.image.tiff import TiffFile

# Largest value of gray with few bits, to that of 8 bits.
_TO_EIGHT_BITS = {"L;2": 85, "L;4": 17}
_UNCOMPRESSED = 0


def prepare(path: Any, file: ImageFile) -> None:
    """Make an opened file decode correctly; raise InputError if it cannot.

    Args:
        path: name of the file in the message.
        file: before its pixels are decoded; changed in place.
    """
    if isinstance(file, TiffFile):
        file.check(path)
    elif file.format == "JPEG2000":
        jpeg2000.prepare(path, file)
    elif file.format == "BMP":
        _take_alpha_of_bmp(file)
    elif file.format == "PNG":
        _scale_transparent_color(file)


def _take_alpha_of_bmp(file: ImageFile) -> None:
    """Read the fourth byte of 32-bit pixels as alpha, as other programs do."""
    (tile,) = file.tile
    if not (isinstance(tile.args, tuple) and tile.args[0] == "BGRX" and file.info["compression"] == _UNCOMPRESSED):
        return
    file.tile = [tile._replace(args=("BGRA", *tile.args[1:]))]
    file._mode = "RGBA"


def _scale_transparent_color(file: ImageFile) -> None:
    """Scale the transparent color of a PNG to 8 bits, as Pillow does with the pixels."""
    color = file.info.get("transparency")
    rawmode = file.tile[0].args if file.tile else None
    if rawmode in _TO_EIGHT_BITS and isinstance(color, int):
        file.info["transparency"] = color * _TO_EIGHT_BITS[rawmode]
    elif rawmode == "RGB;16B" and isinstance(color, tuple):
        file.info["transparency"] = tuple(channel >> 8 for channel in color)
