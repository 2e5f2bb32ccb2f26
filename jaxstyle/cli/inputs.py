"""Read the pictures that the command line's options name."""

import dataclasses
import logging
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxstyle.cli.options import STARTS, AnyOptions, Options
from jaxstyle.cli.streams import without_library_output
from jaxstyle.cli.validate import MAX_SIDE, check_spelling
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.mask_files import load_mask
from jaxstyle.image.masks import parse_region_specs, regions_of
from jaxstyle.image.regions import Regions
from jaxstyle.image.source import readable_extensions
from jaxstyle.typing import AnyImage, Image

log = logging.getLogger(__name__)

# Regions of a photo, and the style weight of each; None and one weight without a mask.
Controls = tuple[Regions | None, tuple[float, ...]]


def with_native_size(options: AnyOptions) -> AnyOptions:
    """Replace the size `original` by that of the photo; each photo of a folder has its own."""
    if options.size != "original" or os.path.isdir(options.photo):
        return options
    check_spelling(options.photo)
    return dataclasses.replace(
        options, size=max(io.picture_size(options.photo, min_side=1, max_pixels=options.max_pixels))
    )


@without_library_output()
def read_photo(options: Options, path: Path, min_side: int) -> io.Picture:
    """Read a photo at the size that the options say."""
    side = options.side()
    photo = io.read_picture(path, side, min_side=min_side, max_pixels=options.max_pixels)
    native = max(photo.native_size)
    if side is not None and native < side:
        log.info("%s has %d pixels on its long side and is enlarged: --size original keeps its size", path, native)
    return photo


def photo_size(options: Options, path: Path, min_side: int) -> tuple[int, int]:
    """Return height and width of what `read_photo` returns, from the header of the file."""
    return io.picture_size(path, options.side(), min_side=min_side, max_pixels=options.max_pixels)


@without_library_output()
def read_paintings(options: Options, min_side: int) -> list[AnyImage]:
    """Read the paintings at the sizes that the options say.

    Raises:
        InputError: for a file that cannot be read, or would be too small or too large.
    """
    paths = options.paintings()
    scales = options.style_scale * len(paths) if len(options.style_scale) == 1 else options.style_scale
    size = options.style_size or options.side()
    assert size is not None
    limits: dict[str, Any] = {"min_side": min_side, "max_pixels": options.max_pixels}
    return [_read_painting(path, size, scale, limits) for path, scale in zip(paths, scales, strict=True)]


class Listing(NamedTuple):
    """What a folder contains.

    Attributes:
        pictures: files with the extension of a picture, in the order of their names.
        others: names of other files, and of subfolders that are not searched.
    """

    pictures: list[Path]
    others: list[str]


def pictures_in(folder: Path, recursive: bool = False, without: Path | None = None) -> Listing:
    """List a folder; hidden files and folders do not count.

    Args:
        folder: to list.
        recursive: If True, subfolders are searched too; links to folders are not followed.
        without: a subfolder to ignore.

    Raises:
        InputError: for a folder that cannot be read.
    """
    extensions, pictures, others = readable_extensions(), [], []
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in entries:
            if path.is_dir():
                if without is not None and os.path.exists(without) and path.samefile(without):
                    continue
                if recursive and not path.is_symlink():
                    below = pictures_in(path, recursive, without)
                    pictures += below.pictures
                    others += [os.path.join(path.name, name) for name in below.others]
                else:
                    others.append(f"{path.name}{os.sep}")
            # A link that leads nowhere is a picture that cannot be read.
            elif path.suffix.lower() in extensions and (path.is_file() or not path.exists()):
                pictures.append(path)
            else:
                others.append(path.name)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}; expected one with pictures") from error
    return Listing(pictures, others)


@without_library_output()
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


@without_library_output()
def read_start(options: Options) -> str | Image:
    """Return the value of `--init`: a name, or the picture that it names."""
    if options.init in STARTS:
        return options.init
    return io.load_image(options.init, options.side(), max_pixels=options.max_pixels)


def _read_painting(path: Path, size: int, scale: float, limits: dict[str, Any]) -> AnyImage:
    min_side = limits["min_side"]
    side = round(size * scale)
    if scale != 1 and not min_side <= side <= MAX_SIDE:
        raise InputError(
            f"--style-scale is {scale}, which makes the long side of {path} {side} pixels, expected "
            f"{min_side} to {MAX_SIDE}"
        )
    height, width = io.picture_size(path, **limits)
    enough = math.ceil(min_side * max(height, width) / min(height, width) / scale)
    if round(min(height, width) * side / max(height, width)) < min_side:
        raise InputError(
            f"{path} is {width}x{height} pixels, which makes its short side less than {min_side} pixels at a long side "
            f"of {side}: use --style-size {enough} or more"
        )
    picture = io.read_picture(path, side, **limits)
    if side > max(size, *picture.native_size):
        warnings.warn(
            f"{path} has {max(picture.native_size)} pixels on its long side and is enlarged to {side}: that makes "
            "larger strokes, but no finer ones",
            stacklevel=2,
        )
    return picture.pixels
