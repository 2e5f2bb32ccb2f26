"""The gallery: a folder of pictures with their recipes, and nothing else."""

import datetime
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxstyle.errors import InputError
from jaxstyle.files import probe
from jaxstyle.image import io
from jaxstyle.image.preview import levels, preview
from jaxstyle.serve.pictures import MAX_PIXELS, THUMB_SIDE, named
from jaxstyle.typing import AnyImage

NAME = re.compile(r"[\w-]{1,100}")


class Gallery:
    """A folder of pictures.

    Args:
        folder: is created if necessary.

    Raises:
        InputError: if it cannot be created or written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe(folder / "picture.png")
        except OSError as error:
            raise InputError(f"gallery is {folder}, which cannot be written: {error.strerror}") from error

    def add(self, image: AnyImage, recipe: Mapping[str, Any]) -> str:
        """Save a picture; return its name.

        Raises:
            InputError: if the folder cannot be written any more.
        """
        name = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        io.save_image(self.folder / f"{name}.png", image, recipe=recipe, replace=False)
        return name

    def list(self) -> list[dict[str, Any]]:
        """Describe the pictures, the newest first; a file that cannot be read is left out."""
        listed = []
        for name, path in self._paths().items():
            try:
                height, width = io.picture_size(path, min_side=1, max_pixels=MAX_PIXELS)
                time = path.stat().st_mtime
            except (InputError, OSError):
                continue
            listed.append({"id": name, "width": width, "height": height, "time": time})
        return sorted(listed, key=lambda picture: picture["time"], reverse=True)

    def read(self, name: str) -> bytes:
        """Return the file of a picture.

        Raises:
            InputError: if there is none of this name.
        """
        path = self._paths().get(name)
        if path is None:
            raise InputError("there is no such picture in the gallery")
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"the picture cannot be read: {error.strerror}") from error

    def recipe(self, name: str) -> dict[str, Any] | None:
        """Return the recipe of a picture."""
        return io.read_recipe(named(self.read(name), "picture"))

    def thumb(self, name: str) -> bytes:
        """Return a small JPEG of a picture."""
        options: dict[str, Any] = {"enlarge": False, "min_side": 1, "max_pixels": MAX_PIXELS}
        return preview(levels(io.load_image(named(self.read(name), "picture"), THUMB_SIDE, **options)), THUMB_SIDE)

    def _paths(self) -> dict[str, Path]:
        """The files by name: a name from outside is only looked up, never made a path."""
        if not self.folder.is_dir():
            # Removed while the server works.
            return {}
        paths = (path for path in self.folder.iterdir() if path.suffix == ".png" and NAME.fullmatch(path.stem))
        return {path.stem: path for path in paths if path.is_file() and not path.is_symlink()}
