"""Mask images to regions: a gray mask, whose white gets the style, or flat colors, one for each region."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxstyle.errors import InputError, check_choice, check_integer, check_number, check_sequence, quote
from jaxstyle.image.ops import check_images, check_range
from jaxstyle.image.regions import Guidance, Regions, resize_mask
from jaxstyle.typing import AnyImage

NAMES = {
    "black": "#000000",
    "white": "#ffffff",
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "yellow": "#ffff00",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "gray": "#808080",
    "grey": "#808080",
}
BLACK, WHITE = NAMES["black"], NAMES["white"]
# Smallest fraction of a mask's pixels that makes a color a region; rarer colors come from soft edges or from JPEG.
MIN_SHARE = 0.005
MAX_REGIONS = 16
# Smallest fraction of a mask's pixels with the colors of its regions; a photo has fewer.
MIN_FLAT_SHARE = 0.75
# Largest difference in any channel, in 8-bit levels, at which two colors count as one: JPEG changes them.
MAX_COLOR_DISTANCE = 24
# Largest relative difference between the aspect ratios of a mask and its image.
MAX_ASPECT_ERROR = 0.02
COLOR = f"{'|'.join(NAMES)}|#[0-9a-f]{{6}}"
SPEC = re.compile(rf"({COLOR})=(keep|[0-9]{{1,3}})(?::([0-9]{{1,30}}(?:\.[0-9]*)?|\.[0-9]+))?")


class RegionSpec(NamedTuple):
    """The style of a region.

    Attributes:
        style: number of the style image, from 1; 0 keeps the content image.
        strength: weight of the region's style relative to the other regions.
    """

    style: int
    strength: float = 1.0


def parse_region_specs(words: Sequence[str], paintings: int) -> dict[str, RegionSpec]:
    """Parse `COLOR=PAINTING`, `COLOR=PAINTING:STRENGTH` or `COLOR=keep`, as on the command line.

    Args:
        words: such as `"red=2:0.5"` or `"#00ff00=keep"`.
        paintings: number of style images.

    Returns:
        Color, as `#rrggbb`, to the region's style.

    Raises:
        InputError: for a word of another form, or a number without a painting.

    Example:
        >>> parse_region_specs(["red=2:0.5", "black=keep"], 2)
        {'#ff0000': RegionSpec(style=2, strength=0.5), '#000000': RegionSpec(style=0, strength=1.0)}
    """
    check_sequence(words, "regions", "texts such as white=1")
    specs = {}
    for word in words:
        match = SPEC.fullmatch(str(word).lower())
        if match is None:
            raise InputError(
                f"a region is {word!r}, expected COLOR=PAINTING[:STRENGTH] or COLOR=keep, such as white=1 or "
                f"#00ff00=keep, with a color of {', '.join(NAMES)} or #rrggbb"
            )
        style = 0 if match[2] == "keep" else int(match[2])
        if match[2] != "keep" and not 1 <= style <= paintings:
            raise InputError(f"region {word!r} names painting {style}, expected 1 to {paintings}, one of those given")
        specs[NAMES.get(match[1], match[1])] = RegionSpec(style, float(match[3] or 1))
    return specs


def regions_of(
    content: AnyImage,
    mask: AnyImage,
    styles: Sequence[AnyImage],
    style_masks: Sequence[AnyImage | None] = (),
    wishes: Mapping[str, RegionSpec | int] | None = None,
    guidance: Guidance = "simple",
) -> tuple[Regions, tuple[float, ...]]:
    """Make regions from mask images.

    Without `wishes`, a region gets the style of those parts of the style images that have its color in their masks.
    Without style masks either, white gets the first style, and black the second, or with only one style keeps the
    content image; grays between are soft edges.

    Args:
        content: `(H, W, 3)`.
        mask: mask of the content image, of the same aspect ratio and any size.
        styles: list of `(h, w, 3)`.
        style_masks: one mask for each style, or none at all; None uses the whole style image.
        wishes: color, as a name or `#rrggbb`, to the number of its style, from 1; 0 keeps the content image.
        guidance: see `Regions`.

    Returns:
        The regions, and the weight of each region's style.

    Raises:
        InputError: for a mask of another aspect ratio, colors that are missing or too many, or no region with a style.
    """
    check_choice(guidance, "guidance", get_args(Guidance))
    check_sequence(styles, "styles", "images, such as [style]", least=1)
    check_images(content, styles)
    check_range(mask, "mask")
    check_sequence(style_masks, "style_masks", "masks, one for each style")
    if style_masks and len(style_masks) != len(styles):
        raise InputError(f"{len(style_masks)} masks for {len(styles)} styles, expected one for each, or none at all")
    masks = list(style_masks) or [None] * len(styles)
    _check_aspect("the content mask", mask, content)
    for number, (style_mask, style) in enumerate(zip(masks, styles, strict=True), 1):
        if style_mask is not None:
            check_range(style_mask, "mask")
            _check_aspect(f"the mask of style {number}", style_mask, style)
    specs = _checked_specs({} if wishes is None else wishes, len(styles))

    palettes = [[] if style_mask is None else _colors(style_mask) for style_mask in masks]
    # A gray mask, whose grays are soft edges.
    is_soft = np.max(np.ptp(mask, axis=2)) <= 2.5 / 255 and not any(palettes) and set(specs) <= {BLACK, WHITE}
    palette = [WHITE, BLACK] if is_soft else _colors(mask, tuple(specs))
    missing = [color for color in specs if color not in palette]
    if missing:
        raise InputError(f"the content mask has no {missing[0]}, expected one of its colors: {', '.join(palette)}")
    choices = {color: specs.get(color) or _default(color, palette, palettes) for color in palette}
    regions = {color: spec for color, spec in choices.items() if spec is None or spec.style > 0}
    if not regions:
        raise InputError("every region keeps the content image, expected one with the number of a style")
    if is_soft:
        white = np.mean(mask, axis=2)
        labels = np.stack([white, 1 - white], axis=2)
    else:
        labels = _labels(mask, palette)
    content_mask = labels[:, :, [palette.index(color) for color in regions]]
    style_memberships = (
        _style_membership(number, regions, style_mask, colors, style.shape)
        for number, (style_mask, colors, style) in enumerate(zip(masks, palettes, styles, strict=True), 1)
    )
    strengths = tuple(1.0 if spec is None else spec.strength for spec in regions.values())
    return Regions(resize_mask(content_mask, *content.shape[:2]), tuple(style_memberships), guidance), strengths


def _checked_specs(wishes: Mapping[Any, Any], styles: int) -> dict[str, RegionSpec]:
    if not isinstance(wishes, Mapping):
        raise InputError(f"wishes is {quote(wishes)}, expected a dict such as {{'white': 1}}")
    specs = {}
    for color, wish in wishes.items():
        if not isinstance(color, str) or not re.fullmatch(COLOR, color):
            raise InputError(f"a color of wishes is {quote(color)}, expected one of {', '.join(NAMES)} or #rrggbb")
        spec = wish if isinstance(wish, RegionSpec) else RegionSpec(wish)
        check_integer(spec.style, f"the style of {color}", 0, styles)
        check_number(spec.strength, f"the strength of {color}", 0)
        specs[NAMES.get(color, color)] = spec
    return specs


def _default(color: str, palette: Sequence[str], palettes: Sequence[Sequence[str]]) -> RegionSpec | None:
    """Style of a region that `wishes` leaves out; None if the style masks have its color."""
    if any(palettes):
        if any(_match(color, colors) for colors in palettes):
            return None
        raise InputError(
            f"the content mask has {color}, which no style mask has: add it to one, or name the style of this "
            f"color, such as {color}=keep"
        )
    styles = len(palettes)
    if set(palette) <= {WHITE, BLACK} and styles <= 2:
        return RegionSpec(1 if color == WHITE else styles - 1 and 2)
    raise InputError(
        f"the content mask has colors {', '.join(palette)} and there are {styles} styles: name the style of "
        f"each color, such as {palette[0]}=1, or give style masks"
    )


def _style_membership(
    number: int,
    regions: Mapping[str, RegionSpec | None],
    mask: AnyImage | None,
    colors: Sequence[str],
    shape: tuple[int, ...],
) -> Float[np.ndarray, "..."]:
    """Membership of a style's pixels in the model of each region."""
    is_specified = [spec is not None and spec.style == number for spec in regions.values()]
    if mask is None:
        return np.array(is_specified, np.float32)
    labels = _labels(mask, colors)
    layers = []
    for (color, spec), whole in zip(regions.items(), is_specified, strict=True):
        part = _match(color, colors) if spec is None or whole else None
        # A specified style without the region's color is used as a whole.
        layers.append(np.full(labels.shape[:2], whole) if part is None else labels[:, :, colors.index(part)])
    return np.asarray(resize_mask(np.stack(layers, axis=2).astype(np.float32), *shape[:2]))


def _check_aspect(name: str, mask: AnyImage, image: AnyImage) -> None:
    (height, width), (high, wide) = mask.shape[:2], image.shape[:2]
    # One pixel of rounding is allowed.
    if abs(width / height * high / wide - 1) > MAX_ASPECT_ERROR + 1 / min(high, wide):
        raise InputError(
            f"{name} is {width}x{height} pixels for an image of {wide}x{high}, expected the same aspect ratio: crop or "
            "stretch it"
        )


def _levels(mask: AnyImage) -> Int[np.ndarray, "h w 3"]:
    return np.rint(np.asarray(mask) * 255).clip(0, 255).astype(np.int64)


def _colors(mask: AnyImage, wanted: Sequence[str] = ()) -> list[str]:
    """Colors of a mask: first those of `wanted` that it has, then the most frequent."""
    levels = _levels(mask).reshape(-1, 3)
    codes, counts = np.unique(levels @ np.array([65536, 256, 1]), return_counts=True)
    frequent = [k for k in np.argsort(-counts, kind="stable") if counts[k] >= MIN_SHARE * len(levels)]
    rgb = np.stack([codes // 65536, codes // 256 % 256, codes % 256], axis=1)

    def near(color: str) -> Bool[np.ndarray, " n"]:
        return np.abs(rgb - _parsed(color)).max(axis=1) <= MAX_COLOR_DISTANCE

    chosen = [color for color in wanted if near(color).any()]
    for color in (f"#{code:06x}" for code in codes[frequent]):
        if _match(color, chosen) is None:
            chosen.append(color)
    flat = np.any([near(color) for color in chosen], axis=0)
    if len(chosen) > MAX_REGIONS or counts[flat].sum() < MIN_FLAT_SHARE * len(levels):
        raise InputError(
            f"a mask has {len(codes)} colors, expected 1 to {MAX_REGIONS} flat ones, or grays: draw it without shades"
        )
    return chosen


def _labels(mask: AnyImage, palette: Sequence[str]) -> Float[np.ndarray, "h w colors"]:
    """One-hot maps of the palette color that is nearest to each pixel."""
    levels = _levels(mask)
    distance = np.stack([np.square(levels - _parsed(color)).sum(axis=2) for color in palette], axis=2)
    return np.equal(distance.argmin(axis=2)[:, :, None], np.arange(len(palette))).astype(np.float32)


def _match(color: str, colors: Sequence[str]) -> str | None:
    """First of `colors` that is close to `color`, or None."""
    near = (other for other in colors if np.abs(_parsed(other) - _parsed(color)).max() <= MAX_COLOR_DISTANCE)
    return next(near, None)


def _parsed(color: str) -> Int[np.ndarray, "3"]:
    return np.array(list(bytes.fromhex(color[1:])), np.int64)
