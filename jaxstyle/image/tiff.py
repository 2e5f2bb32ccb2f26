"""TIFF files that Pillow decodes wrongly or not at all: set right before they are decoded, or refused.

Pillow's own reader of uncompressed pixels takes only the first letter of a mode for each plane, and ignores how YCbCr
is subsampled; LibTIFF, which Pillow uses for compressed pixels, reads both. Pillow expects samples of more than 16 bits
in the file's byte order, where LibTIFF returns the machine's.
"""

from io import BufferedReader, BytesIO
from typing import Any

from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    COMPRESSION_INFO,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from jaxstyle.errors import InputError

_BIG_ENDIAN_BIGTIFF = b"MM\0+"
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
_RAW, _DEFLATE, _WEBP = 1, 8, 50001
_WHITE_IS_ZERO, _YCBCR = 0, 6
_SIGNED = 2
_PLANES = 2
# Modes whose planes LibTIFF puts together; of RGBA with one extra channel.
_PLANAR_MODES = ("RGB", "RGBA", "CMYK")
# Raw modes of deep samples, and the same in the machine's byte order.
_NATIVE = {"F;32F": "F;32NF", "F;32BF": "F;32NF", "I;32S": "I;32NS", "I;32BS": "I;32NS"}
_PLAIN_GRAY = ((1.0, False), (65535.0, False))
_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_PHOTOMETRIC = {
    0: "gray, white is zero",
    1: "gray",
    2: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "color filter array",
    34892: "linear raw",
}
# Compressions that Pillow's names, of LibTIFF, do not have.
_COMPRESSIONS = {
    1: "no",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


class TiffFile(TiffImageFile):
    """A TIFF, read by LibTIFF where Pillow's own reader is wrong."""

    def _open(self) -> None:
        assert self.fp is not None
        if self.fp.read(4) == _BIG_ENDIAN_BIGTIFF:
            raise SyntaxError("BigTIFF with big-endian samples")  # Which Pillow takes for an ordinary one.
        self.fp.seek(0)
        super()._open()

    def _setup(self) -> None:
        tags = self.tag_v2
        compression = tags.get(COMPRESSION, _RAW)
        if _needs_libtiff(tags):
            # LibTIFF reads the file itself; Pillow's choice of the reader depends on this.
            tags[COMPRESSION] = _DEFLATE
        try:
            super()._setup()
        finally:
            tags[COMPRESSION] = compression
        if self.use_load_libtiff:
            (tile,) = self.tile
            assert isinstance(tile.args, tuple)
            self.tile = [tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))]

    def check(self, path: Any) -> None:
        """Raise InputError, with the name of the file, if its pixels would be decoded wrongly."""
        tags = self.tag_v2
        if _number(tags, _NEW_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in tags:
            raise InputError(
                f"{path} holds a preview of another image, as camera raw files do (DNG, NEF, ARW): develop it with a "
                "raw converter, and use the TIFF or JPEG that it writes"
            )
        # Signed gray has no standard black, and Pillow's result depends on the depth.
        signed = _number(tags, SAMPLEFORMAT, 1) == _SIGNED and _number(tags, BITSPERSAMPLE, 1) < 32
        scrambled = (
            _is_planar(tags)
            and _number(tags, SAMPLESPERPIXEL, 1) > 1
            and (self.mode not in _PLANAR_MODES or (self.mode == "RGBA" and len(tags.get(EXTRASAMPLES, ())) != 1))
        )
        if signed or scrambled or _number(tags, COMPRESSION, _RAW) == _WEBP:
            raise InputError(f"{path} is {_description(tags)}")


def is_misread(image: TiffImageFile) -> bool:
    """Return True for an image opened by Pillow alone that it decodes wrongly, or whose samples need `gray_scale`."""
    tags = image.tag_v2
    swapped = image.use_load_libtiff and tags.prefix == b"MM" and image.mode in ("F", "I")
    return _needs_libtiff(tags) or swapped or (image.mode[0] in "IF" and gray_scale(image) not in _PLAIN_GRAY)


def gray_scale(image: Any) -> tuple[float, bool]:
    """Return the largest sample of gray with more than 8 bits, and whether it is black, from the tags of a TIFF."""
    white = 1.0 if image.mode == "F" else 65535.0
    if not isinstance(image, TiffImageFile):
        return white, False
    if _number(image.tag_v2, BITSPERSAMPLE, 16) == 12:
        white = 4095.0
    return white, _number(image.tag_v2, PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO) == _WHITE_IS_ZERO


def description(stream: BufferedReader | BytesIO) -> str:
    """Describe a TIFF that Pillow does not open, and say what to do."""
    stream.seek(0)
    head = stream.read(8)
    if head.startswith(_BIG_ENDIAN_BIGTIFF):
        return "a BigTIFF with big-endian samples, which Pillow cannot read: save it as TIFF, PNG or JPEG"
    if head[2] == 43:
        head += stream.read(8)
    tags = ImageFileDirectory_v2(head)
    stream.seek(tags.next)
    tags.load(stream)
    return _description(tags)


def _description(tags: ImageFileDirectory_v2) -> str:
    bits = _number(tags, BITSPERSAMPLE, 1)
    format_ = _number(tags, SAMPLEFORMAT, 1)
    photometric = _number(tags, PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO)
    channels = _number(tags, SAMPLESPERPIXEL, 1)
    compression = _number(tags, COMPRESSION, _RAW)
    known = COMPRESSION_INFO.get(compression, f"number {compression}").removeprefix("tiff_")
    parts = (
        f"{bits}-bit {_SAMPLE_FORMATS.get(format_, 'unknown')} "
        + _PHOTOMETRIC.get(photometric, f"photometric interpretation {photometric}"),
        f"{channels} channel{'s' * (channels != 1)}" + (", each stored on its own" if _is_planar(tags) else ""),
        f"{_COMPRESSIONS.get(compression, known)} compression",
        "big-endian" if tags.prefix == b"MM" else "little-endian",
    )
    return (
        f"a TIFF of a kind that cannot be read ({', '.join(parts)}): save it as RGB or gray with 8 or 16 bits, with "
        "LZW or no compression, or as PNG"
    )


def _needs_libtiff(tags: ImageFileDirectory_v2) -> bool:
    ycbcr = _number(tags, PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO) == _YCBCR
    return _number(tags, COMPRESSION, _RAW) == _RAW and (ycbcr or _is_planar(tags))


def _is_planar(tags: ImageFileDirectory_v2) -> bool:
    return _number(tags, PLANAR_CONFIGURATION, 1) == _PLANES


def _number(tags: ImageFileDirectory_v2, tag: int, default: int) -> int:
    """First number of a tag; the default if there is none."""
    value = tags.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default
