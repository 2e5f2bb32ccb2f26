"""Pictures of regions to masks: a gray picture, whose white gets the style, or flat colors, one for each region."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.ops import check_image, check_range
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
# A color of so much of a picture is a region; what is rarer comes from soft edges or from JPEG.
MIN_SHARE = 0.005
MAX_REGIONS = 16
# At least so much of a mask has the colors of its regions; a photo does not.
FLAT_SHARE = 0.75
# Colors this near, in levels of 8 bits, are one: JPEG moves them.
NEAR = 24
# How far the sides of a mask may be from its picture's, in proportion.
ASPECT = 0.02


class RegionSpec(NamedTuple):
    """What a region should get.

    Attributes:
        painting: which one, from 1; 0 keeps the photo.
        strength: of its style, beside the other regions'.
    """

    painting: int
    strength: float = 1.0


def parse_region_specs(words: Sequence[str], paintings: int) -> dict[str, RegionSpec]:
    """`COLOR=PAINTING`, `COLOR=PAINTING:STRENGTH` or `COLOR=keep`, as on the command line.

    Args:
        words: such as `"red=2:0.5"` or `"#00ff00=keep"`.
        paintings: how many there are.

    Returns:
        Color, as `#rrggbb`, to what is wanted there.

    Raises:
        InputError: for a word of another form, or a painting that is not there.

    Example:
        >>> parse_wishes(["red=2:0.5", "black=keep"], 2)
        {'#ff0000': Wish(painting=2, strength=0.5), '#000000': Wish(painting=0, strength=1.0)}
    """
    wishes = {}
    for word in words:
        match = re.fullmatch(r"([a-z]+|#[0-9a-f]{6})=(keep|\d{1,3})(?::(\d+\.?\d*|\.\d+))?", word.lower())
        color = None if match is None else NAMES.get(match[1], match[1])
        if match is None or color is None or not color.startswith("#"):
            raise InputError(
                f"a region is {word!r}, expected COLOR=PAINTING[:STRENGTH] or COLOR=keep, such as white=1 or "
                f"#00ff00=keep, with a color of {', '.join(NAMES)} or #rrggbb"
            )
        painting = 0 if match[2] == "keep" else int(match[2])
        if match[2] != "keep" and not 1 <= painting <= paintings:
            raise InputError(
                f"region {word!r} names painting {painting}, expected 1 to {paintings}, as many as there are"
            )
        wishes[color] = RegionSpec(painting, float(match[3] or 1))
    return wishes


def regions_of(
    content: AnyImage,
    mask: AnyImage,
    styles: Sequence[AnyImage],
    style_masks: Sequence[AnyImage | None] = (),
    wishes: Mapping[str, RegionSpec | int] | None = None,
    guidance: Guidance = "simple",
) -> tuple[Regions, tuple[float, ...]]:
    """Regions from pictures of them.

    Without wishes a region gets the style of the parts of the paintings that have its color in their masks. Without
    masks of the paintings either, white gets the first painting, and black the second, or if there is only one keeps
    the photo; grays between are soft edges.

    Args:
        content: the photo.
        mask: of its shape, any size.
        styles: the paintings.
        style_masks: one for each, likewise, None for all of a painting; or none at all.
        wishes: color, a name or `#rrggbb`, to the number of its painting, from 1; 0 keeps the photo.
        guidance: see `Regions`.

    Returns:
        The regions, and the weight of each one's style.

    Raises:
        InputError: for a mask of another shape, colors that are missing or too many, or no region with a style.
    """
    for each in (mask, *(each for each in style_masks if each is not None)):
        check_image(each, "mask")
        check_range(each, "mask")
    wishes = {
        NAMES.get(color, color): wish if isinstance(wish, RegionSpec) else RegionSpec(int(wish))
        for color, wish in ({} if wishes is None else wishes).items()
    }
    if style_masks and len(style_masks) != len(styles):
        raise InputError(f"{len(style_masks)} masks for {len(styles)} paintings, expected one for each, or none at all")
    masks = [None] * len(styles) if not style_masks else list(style_masks)
    _check_aspect("the photo's mask", mask, content)
    for k, (each, style) in enumerate(zip(masks, styles, strict=True), 1):
        if each is not None:
            _check_aspect(f"the mask of painting {k}", each, style)
    drawn = any(each is not None for each in masks)
    soft = _is_gray(mask) and not drawn and set(wishes) <= {BLACK, WHITE}
    palette = [WHITE, BLACK] if soft else _colors(mask, tuple(wishes))
    missing = [color for color in wishes if color not in palette]
    if missing:
        raise InputError(f"the photo's mask has no {missing[0]}, expected one of its colors: {', '.join(palette)}")
    labels = _soft(mask) if soft else _labels(mask, palette)
    found = [_colors(each, ()) if each is not None else [] for each in masks]
    content_masks, style_parts, strengths = [], [], []
    for index, color in enumerate(palette):
        wish = wishes.get(color) or _default(color, palette, found, len(styles))
        if wish is not None and wish.painting == 0:
            continue
        content_masks.append(labels[:, :, index])
        strengths.append(1.0 if wish is None else wish.strength)
        parts = [_match(color, colors) for colors in found]
        if wish is not None:
            # The painting that was named: its part of this color, or all of it.
            parts = [part if k == wish.painting else None for k, part in enumerate(parts, 1)]
        style_parts.append((wish, parts))
    if not content_masks:
        raise InputError("every region keeps the photo, expected one that gets a style: name its painting")
    height, width = content.shape[:2]
    return Regions(
        resize_mask(np.stack(content_masks, axis=2), height, width),
        tuple(
            _of_style(k, style, each, [(wish, parts[k]) for wish, parts in style_parts], found[k])
            for k, (style, each) in enumerate(zip(styles, masks, strict=True))
        ),
        guidance,
    ), tuple(strengths)


def _default(color: str, palette: Sequence[str], found: Sequence[Sequence[str]], paintings: int) -> RegionSpec | None:
    """What a region gets without a wish; None is what has its color in the paintings' masks."""
    if any(found):
        if not any(_match(color, colors) for colors in found):
            raise InputError(
                f"the photo's mask has {color}, which no mask of a painting has, expected it in one: or say what it "
                f"gets, such as {color}=keep"
            )
        return None
    if set(palette) <= {WHITE, BLACK} and paintings <= 2:
        return RegionSpec(1 if color == WHITE else paintings - 1 and 2)
    raise InputError(
        f"the photo's mask has colors {', '.join(palette)} and there are {paintings} paintings, expected to be told "
        f"what each gets, such as {palette[0]}=1, or masks of the paintings"
    )


def _of_style(
    k: int,
    style: AnyImage,
    mask: AnyImage | None,
    parts: Sequence[tuple[RegionSpec | None, str | None]],
    colors: Sequence[str],
) -> Float[np.ndarray, "..."]:
    """Which of a painting's pixels are the model of each region."""
    if mask is None:
        return np.array([wish is not None and wish.painting == k + 1 for wish, _ in parts], np.float32)
    labels, (height, width) = _labels(mask, colors), style.shape[:2]
    layers = []
    for wish, part in parts:
        if part is not None:
            layers.append(labels[:, :, colors.index(part)])
        else:
            # Named without having the color: all of it.
            layers.append(np.full(labels.shape[:2], wish is not None and wish.painting == k + 1, np.float32))
    return np.asarray(resize_mask(np.stack(layers, axis=2), height, width))


def _check_aspect(name: str, mask: AnyImage, picture: AnyImage) -> None:
    (height, width), (high, wide) = mask.shape[:2], picture.shape[:2]
    # A pixel of rounding is no other shape.
    if abs(width / height * high / wide - 1) > ASPECT + 1 / min(high, wide):
        raise InputError(
            f"{name} is {width}x{height} pixels for a picture of {wide}x{high}, expected the same shape: crop or "
            "stretch it"
        )


def _is_gray(mask: AnyImage) -> bool:
    pixels = np.asarray(mask)
    return bool(np.max(np.ptp(pixels, axis=2)) <= 2.5 / 255)


def _soft(mask: AnyImage) -> Float[np.ndarray, "h w 2"]:
    white = np.asarray(mask).mean(axis=2)
    return np.stack([white, 1 - white], axis=2).astype(np.float32)


def _levels(mask: AnyImage) -> Int[np.ndarray, "h w 3"]:
    return np.rint(np.asarray(mask) * 255).clip(0, 255).astype(np.int64)


def _colors(mask: AnyImage, wanted: Sequence[str]) -> list[str]:
    """The colors of a mask, those wanted first where it has them, then the most frequent."""
    levels = _levels(mask).reshape(-1, 3)
    codes, counts = np.unique(levels @ np.array([65536, 256, 1]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rgb = _rgb(codes)

    def near(color: str) -> Bool[np.ndarray, " n"]:
        return np.abs(rgb - _parsed(color)).max(axis=1) <= NEAR

    chosen = [color for color in wanted if near(color).any()]
    for code, count in zip(codes[order], counts[order], strict=True):
        color = f"#{code:06x}"
        if count < MIN_SHARE * len(levels):
            break
        if _match(color, chosen) is None:
            chosen.append(color)
    flat = np.any([near(color) for color in chosen], axis=0)
    if len(chosen) > MAX_REGIONS or counts[flat].sum() < FLAT_SHARE * len(levels):
        raise InputError(
            f"a mask has {len(codes)} colors, expected 1 to {MAX_REGIONS} flat ones, or grays: draw it without shades"
        )
    return chosen


def _labels(mask: AnyImage, palette: Sequence[str]) -> Float[np.ndarray, "h w colors"]:
    """One where a pixel's color is the nearest of the palette."""
    levels = _levels(mask)
    distance = np.stack([np.square(levels - _parsed(color)).sum(axis=2) for color in palette], axis=2)
    nearest: Bool[np.ndarray, "h w colors"] = distance.argmin(axis=2)[:, :, None] == np.arange(len(palette))
    return nearest.astype(np.float32)


def _match(color: str, colors: Sequence[str]) -> str | None:
    """The one of these colors that is nearly this one."""
    near = (each for each in colors if np.abs(_parsed(each) - _parsed(color)).max() <= NEAR)
    return next(near, None)


def _parsed(color: str) -> Int[np.ndarray, "3"]:
    return np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)], np.int64)


def _rgb(codes: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
    return np.stack([codes // 65536, codes // 256 % 256, codes % 256], axis=1)
