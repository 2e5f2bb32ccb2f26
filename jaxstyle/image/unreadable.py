"""What a file that is no picture is, from its first bytes: usual mistakes, and formats that Pillow cannot decode."""

_RAW = "a camera raw file", "develop it with a raw converter, and use the TIFF or JPEG that it writes"
_VIDEO = "a video", "extract a frame as PNG"
_ARCHIVE = "an archive", "unpack it"
_TEXT = "a text", "check the path, or download the picture again"
_EXPORT = "save or export it as PNG"

# First bytes, at an offset; what it is; what to do.
_SIGNATURES = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the picture itself", "run git lfs pull"),
    (0, b"%PDF", "a PDF document", "save the page as PNG"),
    (0, b"%!PS", "a PostScript file", _EXPORT),
    (0, b"8BPS", "a Photoshop document", _EXPORT),
    (0, b"gimp xcf", "a document of GIMP", _EXPORT),
    (0, b"\xff\x0a", "a JPEG XL picture", _EXPORT),
    (4, b"JXL ", "a JPEG XL picture", _EXPORT),
    (0, b"v/1\x01", "an OpenEXR picture", _EXPORT),
    (0, b"#?RADIANCE", "a Radiance HDR picture", _EXPORT),
    (0, b"qoif", "a QOI picture", _EXPORT),
    (0, b"DDS ", "a DDS texture", _EXPORT),
    (0, b"\0\0\1\0", "a Windows icon", _EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", "read it with numpy.load"),
    (0, b"PK\x03\x04", *_ARCHIVE),
    (0, b"\x1f\x8b", *_ARCHIVE),
    (0, b"Rar!", *_ARCHIVE),
    (0, b"7z\xbc\xaf", *_ARCHIVE),
    (0, b"FUJIFILMCCD-RAW", *_RAW),
    (0, b"IIRO", *_RAW),
    (0, b"IIU\0", *_RAW),
    (4, b"ftypcrx", *_RAW),
    (4, b"ftyp", *_VIDEO),
    (0, b"\x1aE\xdf\xa3", *_VIDEO),
    (8, b"AVI ", *_VIDEO),
)


def is_heif(head: bytes) -> bool:
    """Return True for the first bytes of a HEIC or HEIF picture."""
    return head[4:8] == b"ftyp" and head[8:12] in (
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
        b"mif1",
        b"msf1",
    )


def description(head: bytes) -> tuple[str, str] | None:
    """Return what a file with these first bytes is and what to do, or None if that is unknown."""
    if not head.strip(b"\0"):
        return ("a file of zeros" if head else "an empty file", "copy or download it again")
    for offset, signature, what, advice in _SIGNATURES:
        if head.startswith(signature, offset):
            return what, advice
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
        # The last character is cut.
        head = head[: error.start]
    text = head.decode().lstrip("\ufeff \r\n\t").lower()
    if any(character < " " and character not in "\r\n\t\f" for character in text):
        return None
    if text.startswith(("<!doctype html", "<html")):
        return "an HTML page, not a picture", "open its address in a browser and save the picture itself"
    if "<svg" in text:
        return "an SVG drawing", _EXPORT
    return _TEXT
