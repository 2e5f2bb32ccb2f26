"""TIFF files of any bit depth, layout and photometric interpretation, written byte by byte."""

import struct
import zlib
from typing import NamedTuple

import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
INTEGER, SIGNED, FLOAT = 1, 2, 3
RAW, DEFLATE = 1, 8
BYTE, SHORT, LONG, RATIONAL = 1, 3, 4, 5


class Layout(NamedTuple):
    """How a file stores its samples.

    Attributes:
        order: "<" or ">", byte order.
        planar: If True, each channel on its own.
        tile: side of square tiles in pixels, or 0 for strips of 7 rows.
        compression: RAW or DEFLATE.
    """

    order: str = "<"
    planar: bool = False
    tile: int = 0
    compression: int = RAW


LAYOUTS = [
    Layout(order, planar, tile, compression)
    for order in "<>"
    for planar in (False, True)
    for tile in (0, 16)
    for compression in (RAW, DEFLATE)
]


def packed(samples: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of samples, each padded to whole bytes; depths below a byte and 12 bits start at the highest bit."""
    if bits % 8 == 0 and bits != 24:
        return samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    rows = samples.reshape(len(samples), -1).astype(np.uint32)
    planes = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def tiff_file(
    samples: np.ndarray, bits: int, photometric: int, layout: Layout, extra: tuple[int, ...] = (), **tags: tuple
) -> bytes:
    """A file of `(height, width, channels)` samples; `tags` are more entries, named `t` and the number of the tag."""
    height, width, channels = samples.shape
    rows, columns = (layout.tile, layout.tile) if layout.tile else (7, width)
    blocks = []
    for plane in np.split(samples, channels, axis=2) if layout.planar else [samples]:
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = plane[top : top + rows, left : left + columns]
                if layout.tile:
                    block = np.pad(block, ((0, rows - block.shape[0]), (0, columns - block.shape[1]), (0, 0)))
                data = packed(block, bits, layout.order)
                blocks.append(zlib.compress(data) if layout.compression == DEFLATE else data)
    format_ = FLOAT if samples.dtype.kind == "f" else SIGNED if samples.dtype.kind == "i" else INTEGER
    starts = 8 + np.cumsum([0, *map(len, blocks)])
    entries = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, *[bits] * channels),
        259: (SHORT, layout.compression),
        262: (SHORT, photometric),
        277: (SHORT, channels),
        284: (SHORT, 2 if layout.planar else 1),
        339: (SHORT, *[format_] * channels),
    }
    if layout.tile:
        entries |= {322: (LONG, columns), 323: (LONG, rows)}
    else:
        entries[278] = (LONG, rows)
    entries[324 if layout.tile else 273] = (LONG, *starts[:-1].tolist())
    entries[325 if layout.tile else 279] = (LONG, *map(len, blocks))
    if extra:
        entries[338] = (SHORT, *extra)
    entries |= {int(name[1:]): value for name, value in tags.items()}
    return _assembled(b"".join(blocks), entries, layout.order)


def _assembled(pixels: bytes, entries: dict[int, tuple], order: str) -> bytes:
    pixels += bytes(len(pixels) % 2)
    place = 8 + len(pixels)
    table, values = struct.pack(order + "H", len(entries)), b""
    after = place + 2 + 12 * len(entries) + 4
    for tag, (kind, *numbers) in sorted(entries.items()):
        if kind == RATIONAL:
            value = struct.pack(f"{order}{2 * len(numbers)}I", *(part for number in numbers for part in (number, 1)))
        else:
            value = struct.pack(
                f"{order}{len(numbers)}{'H' if kind == SHORT else 'B' if kind == BYTE else 'I'}", *numbers
            )
        if len(value) > 4:
            value, values = struct.pack(order + "I", after + len(values)), values + value
        table += struct.pack(order + "HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", place)
    return header + pixels + table + bytes(4) + values
