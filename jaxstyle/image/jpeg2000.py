"""JPEG 2000 files: the color profile that Pillow does not read, and kinds that it decodes wrongly.

Pillow rounds color of more than 8 bits up past the largest value, so that white becomes black, and does not scale
fewer bits. 16-bit gray is right.
"""

import struct
from collections.abc import Iterator
from typing import Any

from PIL.ImageFile import ImageFile

from jaxstyle.errors import InputError

_CODESTREAM = b"\xff\x4f\xff\x51"
# Methods of the box `colr`: a number for the color space, and two kinds of ICC profile.
_ENUMERATED, _PROFILES = 1, (2, 3)
# Numbers of color spaces that Pillow converts: bilevel, CMYK, sRGB, gray and sYCC.
_COLOR_SPACES = (0, 12, 15, 16, 17, 18)


def prepare(path: Any, file: ImageFile) -> None:
    """Add the profile of the opened file to its `info`; raise InputError if Pillow cannot decode it correctly."""
    assert file.fp is not None
    file.fp.seek(0)
    data = file.fp.read()
    start = data.find(_CODESTREAM)
    bits = {(depth & 0x7F) + 1 if depth < 0x80 else 0 for depth in _depths(data[start:])}
    if bits != {8} and not (file.mode == "I;16" and len(bits) == 1 and 8 < min(bits) <= 16):
        kind = "signed" if 0 in bits else "/".join(map(str, sorted(bits))) + "-bit"
        raise InputError(
            f"{path} is {kind} JPEG 2000 of mode {file.mode}, expected 8 bits, or gray of 9 to 16: save it with 8 bits"
        )
    for content in _color_boxes(data[:start]):
        method = content[0] if content else 0
        if method in _PROFILES:
            file.info["icc_profile"] = content[3:]
        elif method == _ENUMERATED and int.from_bytes(content[3:7]) not in _COLOR_SPACES:
            raise InputError(f"{path} is JPEG 2000 in a color space that cannot be read, expected sRGB, gray or CMYK")
        else:
            continue
        return


def _depths(codestream: bytes) -> list[int]:
    """Bits of each channel, less one, plus 128 for signed samples: from the segment SIZ."""
    (channels,) = struct.unpack_from(">H", codestream, 40)
    return list(codestream[42 : 42 + 3 * channels : 3])


def _color_boxes(data: bytes) -> Iterator[bytes]:
    for kind, header in _boxes(data):
        if kind == b"jp2h":
            yield from (content for kind, content in _boxes(header) if kind == b"colr")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if length < 8:
            return
        yield kind, data[place + 8 : place + length]
        place += length
