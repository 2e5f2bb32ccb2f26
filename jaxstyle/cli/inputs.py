"""Read the pictures that the command line's options name."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxstyle.cli.options import STARTS, Options
from jaxstyle.cli.validate import MAX_SIDE
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.mask_files import load_mask
from jaxstyle.image.masks import parse_region_specs, regions_of
from jaxstyle.image.regions import Regions
from jaxstyle.typing import AnyImage, Image

# Extensions of photo files, and their masks.
PHOTO_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".ppm")
# Regions of a photo, and the style weight of each; None and one weight without a mask.
Controls = tuple[Regions | None, tuple[float, ...]]


def read_photo(options: Options, path: Path, min_side: int) -> io.Picture:
    """Read a photo at the size that the options say."""
    return io.read_picture(path, options.size, min_side=min_side, max_pixels=options.max_pixels)


def photo_size(options: Options, path: Path, min_side: int) -> tuple[int, int]:
    """Return height and width of what `read_photo` returns, from the header of the file."""
    return io.picture_size(path, options.size, min_side=min_side, max_pixels=options.max_pixels)


def read_paintings(options: Options, min_side: int) -> list[AnyImage]:
    """Read the paintings at the sizes that the options say.

    Raises:
        InputError: for a file that cannot be read, or would be too small or too large.
    """
    paths = options.paintings()
    scales = options.style_scale * len(paths) if len(options.style_scale) == 1 else options.style_scale
    size = options.style_size or options.size
    limits: dict[str, Any] = {"min_side": min_side, "max_pixels": options.max_pixels}
    return [_read_painting(path, size, scale, limits) for path, scale in zip(paths, scales, strict=True)]


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files in a folder, in the order of their names.

    Raises:
        InputError: for a folder that cannot be read.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in PHOTO_EXTENSIONS and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}; expected one with pictures") from error


def read_regions(options: Options, photo: AnyImage, styles: Sequence[AnyImage], mask: Path | None) -> Controls:
    """Read the masks; return the regions and the style weight of each.

    Args:
        options: the masks of the paintings, and the region specifications.
        photo: at the size of the run.
        styles: paintings at the sizes of the run.
        mask: of the photo; None if there is none.

    Returns:
        Regions and weights; None and one weight if there is no mask.

    Raises:
        InputError: see `regions_of`.
    """
    if mask is None:
        return None, (1.0,)
    limit = options.max_pixels
    style_masks = [None if path == "none" else load_mask(path, max_pixels=limit) for path in options.style_mask]
    specs = parse_region_specs(options.region, len(styles))
    return regions_of(photo, load_mask(mask, max_pixels=limit), styles, style_masks, specs, options.guidance)


def read_start(options: Options) -> str | Image:
    """Return the value of `--init`: a name, or the picture that it names."""
    if options.init in STARTS:
        return options.init
    return io.load_image(options.init, options.size, max_pixels=options.max_pixels)


def _read_painting(path: Path, size: int, scale: float, limits: dict[str, Any]) -> AnyImage:
    min_side = limits["min_side"]
    side = round(size * scale)
    if scale != 1 and not min_side <= side <= MAX_SIDE:
        raise InputError(
            f"--style-scale is {scale}, which makes the long side of {path} {side} pixels, expected "
            f"{min_side} to {MAX_SIDE}"
        )
    picture = io.read_picture(path, side, **limits)
    if side > max(size, *picture.native_size):
        warnings.warn(
            f"{path} has {max(picture.native_size)} pixels on its long side and is enlarged to {side}: that makes "
            "larger strokes, but no finer ones",
            stacklevel=2,
        )
    return picture.pixels
