"""The pictures that the command line's options name, read as the options say."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxstyle.cli.options import STARTS, Options
from jaxstyle.cli.validate import MAX_SIDE
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.masks import parse_region_specs, regions_of
from jaxstyle.image.regions import Regions
from jaxstyle.typing import AnyImage, Image


def read_paintings(options: Options, min_side: int) -> list[AnyImage]:
    """The paintings, each at its size.

    Args:
        options: say the sizes and scales.
        min_side: the least pixels a side.

    Returns:
        Pictures.

    Raises:
        InputError: for what cannot be read, or would be too small or too large.
    """
    paths = options.paintings()
    scales = options.style_scale * len(paths) if len(options.style_scale) == 1 else options.style_scale
    size = options.style_size or options.size
    limits: dict[str, Any] = {"min_side": min_side, "max_pixels": options.max_pixels}
    return [_painting(path, size, scale, limits) for path, scale in zip(paths, scales, strict=True)]


def read_regions(
    options: Options, photo: AnyImage, styles: Sequence[AnyImage]
) -> tuple[Regions | None, tuple[float, ...]]:
    """The regions that the masks show, and the weight of each one's style.

    Args:
        options: say the masks.
        photo: of the size that it will have.
        styles: likewise.

    Returns:
        Regions and weights; None without a mask.

    Raises:
        InputError: see `regions_of`.
    """
    if options.content_mask is None:
        return None, (1.0,)
    limits: dict[str, Any] = {"min_side": 1, "max_pixels": options.max_pixels}
    mask = io.load_image(options.content_mask, **limits)
    style_masks = [None if path == "none" else io.load_image(path, **limits) for path in options.style_mask]
    wishes = parse_region_specs(options.region, len(styles))
    return regions_of(photo, mask, styles, style_masks, wishes, options.guidance)


def read_start(options: Options) -> str | Image:
    """What `--init` says: a name, or a picture."""
    if options.init in STARTS:
        return options.init
    return io.load_image(options.init, options.size, max_pixels=options.max_pixels)


def read_photo(options: Options, path: Path, min_side: int) -> io.Picture:
    """A photo, at the size that the options say."""
    return io.read_picture(path, options.size, min_side=min_side, max_pixels=options.max_pixels)


def _painting(path: Path, size: int, scale: float, limits: dict[str, Any]) -> AnyImage:
    min_side = limits["min_side"]
    painting = io.load_image(path, size, enlarge=False, **limits)
    if scale == 1:
        return painting
    side = round(max(painting.shape) * scale)
    if not min_side <= side <= MAX_SIDE:
        raise InputError(
            f"--style-scale is {scale}, which makes the long side of {path} {side} pixels, expected "
            f"{min_side} to {MAX_SIDE}"
        )
    # From the file again: it may have the pixels that the smaller copy has lost.
    picture = io.read_picture(path, side, **limits)
    if side > max(picture.native_size):
        warnings.warn(
            f"{path} has {max(picture.native_size)} pixels on its long side and is enlarged to {side}: that makes "
            "larger strokes, but no finer ones",
            stacklevel=2,
        )
    return picture.pixels
