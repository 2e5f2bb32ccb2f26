"""Uploaded pictures: limited before they are decoded, kept in memory, and known by random names alone."""

import secrets
import threading
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from typing import Any, Literal

from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.mask_files import load_mask
from jaxstyle.image.preview import levels, preview
from jaxstyle.typing import AnyImage, Image

Kind = Literal["photo", "painting", "mask"]

KINDS = ("photo", "painting", "mask")
# Of one file; and of all that are kept.
MAX_BYTES, MAX_TOTAL_BYTES = 64 * 2**20, 512 * 2**20
MAX_PIXELS = 64_000_000
THUMB_SIDE = 640
MIN_SIDE = 32
BUNDLED: dict[Kind, str] = {"photo": "china.jpg", "painting": "starry_night.jpg"}


@dataclass(frozen=True)
class Picture:
    """A picture file.

    Attributes:
        id: random name.
        kind: what it is for.
        data: bytes of the file.
        width: in pixels, upright.
        height: in pixels.
        recipe: how it was made, if it is one of ours.
        thumb: a small JPEG.
    """

    id: str
    kind: Kind
    data: bytes
    width: int
    height: int
    recipe: dict[str, Any] | None
    thumb: bytes

    def load(self, size: int, min_side: int) -> Image:
        """Decode at a long side in pixels."""
        return io.load_image(self._file(), size, min_side=min_side, max_pixels=MAX_PIXELS)

    def size_at(self, size: int, min_side: int) -> tuple[int, int]:
        """Return height and width at a long side in pixels."""
        return io.picture_size(self._file(), size, min_side=min_side, max_pixels=MAX_PIXELS)

    def load_mask(self) -> AnyImage:
        """Decode as a mask."""
        return load_mask(self._file(), max_pixels=MAX_PIXELS)

    def to_json(self) -> dict[str, Any]:
        """Describe the picture for the page."""
        return {name: getattr(self, name) for name in ("id", "kind", "width", "height", "recipe")}

    def _file(self) -> BytesIO:
        return named(self.data, self.kind)


class Pictures:
    """All pictures that were uploaded, and the bundled ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        data = resources.files("jaxstyle") / "data"
        self.bundled = {kind: self._keep(kind, (data / name).read_bytes(), kind) for kind, name in BUNDLED.items()}

    def add(self, kind: Any, data: bytes) -> Picture:
        """Check and keep a picture.

        Raises:
            InputError: for a file that cannot be read, or is too large.
        """
        if kind not in KINDS:
            raise InputError(f"kind is {str(kind)[:40]!r}, expected one of {', '.join(KINDS)}")
        return self._keep(kind, data, secrets.token_urlsafe(12))

    def get(self, id: Any) -> Picture:
        """Return a picture by its name.

        Raises:
            InputError: if there is none.
        """
        with self._lock:
            picture = self._pictures.get(id) if isinstance(id, str) else None
        if picture is None:
            raise InputError("there is no such picture on the server: choose it again")
        return picture

    def _keep(self, kind: Kind, data: bytes, id: str) -> Picture:
        if len(data) > MAX_BYTES:
            raise InputError(f"the file has {len(data)} bytes, expected at most {MAX_BYTES}: make it smaller")
        options: dict[str, Any] = {"min_side": 1, "max_pixels": MAX_PIXELS}
        height, width = io.picture_size(named(data, kind), **options)
        if kind != "mask" and min(height, width) < MIN_SIDE:
            raise InputError(f"the {kind} is {width}x{height} pixels, expected at least {MIN_SIDE} a side")
        if kind == "mask":
            pixels = load_mask(named(data, kind), max_pixels=MAX_PIXELS)
        else:
            pixels = io.load_image(named(data, kind), THUMB_SIDE, enlarge=False, **options)
        recipe = io.read_recipe(named(data, kind))
        picture = Picture(id, kind, data, width, height, recipe, preview(levels(pixels), THUMB_SIDE))
        with self._lock:
            if sum(len(other.data) for other in self._pictures.values()) + len(data) > MAX_TOTAL_BYTES:
                raise InputError("the server holds too many pictures, expected fewer: start it anew")
            self._pictures[id] = picture
        return picture


def named(data: bytes, name: str) -> BytesIO:
    """Return a file in memory, with the name that messages show."""
    file = BytesIO(data)
    file.name = f"the {name}"
    return file
