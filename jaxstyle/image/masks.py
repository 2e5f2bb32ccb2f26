"""Mask images to regions: a gray mask, whose white gets the style; flat colors, one for each region; or labels.

A part of a mask has a name: a color such as `#ff0000`, or a label, such as `1`, the gray value that segmentation tools
write for one class.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer
from PIL import ImageColor

from jaxstyle.errors import InputError, check_choice, check_integer, check_number, check_sequence, quote
from jaxstyle.guards import permissive
from jaxstyle.image.ops import check_images, check_range
from jaxstyle.image.regions import Guidance, Regions, resize_mask
from jaxstyle.typing import AnyImage

# Names that differ from those of CSS, or are the most common ones.
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
    "orange": "#ffa500",
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
# A gray mask without brighter levels is a label map: as a gray mask it would hardly select anything. Pascal VOC has 20
# classes.
MAX_DARK_LABEL = 20
BACKGROUND = "0"
PART_FORMS = f"a color of {', '.join(NAMES)} (or another name of CSS), #rgb or #rrggbb, or a label of 0 to 255"
SPEC = re.compile(r"(#?[0-9a-z]+)=(keep|[0-9]{1,3})(?::([0-9]{1,30}(?:\.[0-9]*)?|\.[0-9]+))?")

# A mask as a picture, or the labels of its pixels.
Mask = AnyImage | Integer[Array | np.ndarray, "_ _"]


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
        words: such as `"red=2:0.5"` or `"#00ff00=keep"`; or with the label of a label map, such as `"1=2"`.
        paintings: number of style images.

    Returns:
        Color, as `#rrggbb`, or label, to the region's style.

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
        part = match and _part_name(match[1])
        if match is None or part is None:
            raise InputError(
                f"a region is {word!r}, expected COLOR=PAINTING[:STRENGTH] or COLOR=keep, such as white=1 or "
                f"#00ff00=keep, with {PART_FORMS}"
            )
        style = 0 if match[2] == "keep" else int(match[2])
        if match[2] != "keep" and not 1 <= style <= paintings:
            raise InputError(f"region {word!r} names painting {style}, expected 1 to {paintings}, one of those given")
        specs[part] = RegionSpec(style, float(match[3] or 1))
    return specs


@permissive()
def regions_of(
    content: AnyImage,
    mask: Mask,
    styles: Sequence[AnyImage],
    style_masks: Sequence[Mask | None] = (),
    wishes: Mapping[str, RegionSpec | int] | Mapping[int, RegionSpec | int] | None = None,
    guidance: Guidance = "simple",
) -> tuple[Regions, tuple[float, ...]]:
    """Make regions from mask images.

    Without `wishes`, a region gets the style of those parts of the style images that have its color in their masks.
    Without style masks either, white gets the first style, and black the second, or with only one style keeps the
    content image; grays between are soft edges.

    A gray mask is a label map if `wishes` names labels, or if no level is above 20: each level is a region. Then label
    1 stands for white and label 0 for black, and labels that `wishes` leaves out keep the content image.

    Args:
        content: `(H, W, 3)`.
        mask: mask of the content image, of the same aspect ratio and any size: a picture, or integer labels `(h, w)`.
        styles: list of `(h, w, 3)`.
        style_masks: one mask for each style, or none at all; None uses the whole style image.
        wishes: color, as a name or `#rrggbb`, or label, to the number of its style, from 1; 0 keeps the content image.
        guidance: see `Regions`.

    Returns:
        The regions, and the weight of each region's style.

    Raises:
        InputError: for a mask of another aspect ratio, colors that are missing or too many, or no region with a style.

    Example:
        >>> import numpy as np, jaxstyle as js
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> labels = np.zeros((32, 48), np.uint8)
        >>> labels[:16] = 1
        >>> regions, weights = regions_of(content, labels, [style])
        >>> regions.content.shape, weights
        ((32, 48, 1), (1.0,))
    """
    check_choice(guidance, "guidance", get_args(Guidance))
    check_sequence(styles, "styles", "images, such as [style]", least=1)
    check_images(content, styles)
    check_sequence(style_masks, "style_masks", "masks, one for each style")
    if style_masks and len(style_masks) != len(styles):
        raise InputError(f"{len(style_masks)} masks for {len(styles)} styles, expected one for each, or none at all")
    specs = _checked_specs({} if wishes is None else wishes, len(styles))
    levels = _levels(mask)
    _check_aspect("the content mask", levels, content)
    as_labels = levels.ndim == 2 or _is_label_map(levels, specs)
    style_parts = []
    for number, (style_mask, style) in enumerate(zip(style_masks or [None] * len(styles), styles, strict=True), 1):
        style_levels = None if style_mask is None else _levels(style_mask)
        if style_levels is not None:
            _check_aspect(f"the mask of style {number}", style_levels, style)
        style_parts.append(None if style_levels is None else _parts(style_levels, as_labels))
    palettes = [[] if parts is None else parts.names for parts in style_parts]

    # A gray mask, whose grays are soft edges.
    is_soft = not as_labels and _is_gray(levels) and not any(palettes) and set(specs) <= {BLACK, WHITE}
    parts = _Parts([WHITE, BLACK], levels) if is_soft else _parts(levels, as_labels, tuple(specs))
    missing = [name for name in specs if name not in parts.names]
    if missing:
        raise InputError(f"the content mask has no {missing[0]}, expected one of its {_listed(parts.names)}")
    choices = {name: specs.get(name) or _default(name, parts.names, palettes, bool(specs)) for name in parts.names}
    regions = {name: spec for name, spec in choices.items() if spec is None or spec.style > 0}
    if not regions:
        raise InputError("every region keeps the content image, expected one with the number of a style")
    if len(regions) > MAX_REGIONS:
        raise InputError(f"the content mask has {len(regions)} regions, expected 1 to {MAX_REGIONS}: merge some")
    if is_soft:
        white = np.mean(mask, axis=2)
        content_mask = np.stack([white if name == WHITE else 1 - white for name in regions], axis=2)
    else:
        content_mask = np.stack([parts.membership(name) for name in regions], axis=2)
    style_memberships = (
        _style_membership(number, regions, parts, style.shape)
        for number, (parts, style) in enumerate(zip(style_parts, styles, strict=True), 1)
    )
    strengths = tuple(1.0 if spec is None else spec.strength for spec in regions.values())
    return Regions(resize_mask(content_mask, *content.shape[:2]), tuple(style_memberships), guidance), strengths


def _checked_specs(wishes: Mapping[Any, Any], styles: int) -> dict[str, RegionSpec]:
    if not isinstance(wishes, Mapping):
        raise InputError(f"wishes is {quote(wishes)}, expected a dict such as {{'white': 1}}")
    specs = {}
    for color, wish in wishes.items():
        is_label = isinstance(color, int | np.integer) and not isinstance(color, bool)
        part = _part_name(str(color) if is_label else color)
        if part is None:
            raise InputError(f"a color of wishes is {quote(color)}, expected {PART_FORMS}")
        spec = wish if isinstance(wish, RegionSpec) else RegionSpec(wish)
        check_integer(spec.style, f"the style of {color}", 0, styles)
        check_number(spec.strength, f"the strength of {color}", 0)
        specs[part] = spec
    return specs


def _default(
    name: str, names: Sequence[str], palettes: Sequence[Sequence[str]], is_specified: bool
) -> RegionSpec | None:
    """Style of a region that `wishes` leaves out; None if the style masks have its color or label."""
    is_label = not name.startswith("#")
    if any(palettes):
        if any(_match(name, palette) for palette in palettes):
            return None
        if is_label:
            return RegionSpec(0)
        raise InputError(
            f"the content mask has {name}, which no style mask has: add it to one, or name the style of this "
            f"color, such as {name}=keep"
        )
    if is_label and is_specified:
        return RegionSpec(0)
    styles = len(palettes)
    if set(names) <= ({BACKGROUND, "1"} if is_label else {WHITE, BLACK}) and styles <= 2:
        return RegionSpec(1 if name in (WHITE, "1") else styles - 1 and 2)
    example = f"{'1' if is_label and '1' in names else names[0]}=1"
    raise InputError(
        f"the content mask has {_listed(names)} and there are {styles} styles: name the style of each "
        f"{'label' if is_label else 'color'}, such as {example}, or give style masks"
    )


def _style_membership(
    number: int, regions: Mapping[str, RegionSpec | None], parts: "_Parts | None", shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """Membership of a style's pixels in the model of each region."""
    is_specified = [spec is not None and spec.style == number for spec in regions.values()]
    if parts is None:
        return np.array(is_specified, np.float32)
    layers = []
    for (name, spec), whole in zip(regions.items(), is_specified, strict=True):
        part = _match(name, parts.names) if spec is None or whole else None
        # A specified style without the region's color is used as a whole.
        plane = np.full(parts.places.shape, whole, np.float32) if part is None else parts.membership(part)
        layers.append(plane)
    return np.asarray(resize_mask(np.stack(layers, axis=2), *shape[:2]))


def _check_aspect(name: str, mask: Int[np.ndarray, "..."], image: AnyImage) -> None:
    (height, width), (high, wide) = mask.shape[:2], image.shape[:2]
    # One pixel of rounding is allowed.
    if abs(width / height * high / wide - 1) > MAX_ASPECT_ERROR + 1 / min(high, wide):
        raise InputError(
            f"{name} is {width}x{height} pixels for an image of {wide}x{high}, expected the same aspect ratio: crop or "
            "stretch it"
        )


class _Parts(NamedTuple):
    """The parts of a mask.

    Attributes:
        names: colors or labels.
        places: of the name of each pixel's part in `names`.
    """

    names: list[str]
    places: np.ndarray

    def membership(self, name: str) -> Float[np.ndarray, "h w"]:
        return np.equal(self.places, self.names.index(name)).astype(np.float32)


def _levels(mask: Any) -> Int[np.ndarray, "h w *channels"]:
    """8-bit levels of a mask that is a picture, or its labels; raises InputError for anything else."""
    is_array = isinstance(mask, np.ndarray | jax.Array) and not isinstance(mask, np.ma.MaskedArray)
    if is_array and mask.ndim == 2 and np.issubdtype(mask.dtype, np.integer):
        labels = np.asarray(mask)
        if labels.size == 0 or labels.min() < 0 or labels.max() > 255:
            raise InputError(f"mask is {quote(mask)}, expected labels from 0 to 255 for each pixel")
        return labels.astype(np.int64)
    check_range(mask, "mask")
    return np.rint(np.asarray(mask) * 255).clip(0, 255).astype(np.int64)


def _is_gray(levels: Int[np.ndarray, "h w 3"]) -> bool:
    # JPEG changes the colors a little.
    return bool(np.max(np.ptp(levels, axis=2)) <= 2)


def _is_label_map(levels: Int[np.ndarray, "h w 3"], specs: Mapping[str, Any]) -> bool:
    named = any(not name.startswith("#") for name in specs)
    return _is_gray(levels) and (named or (not specs and 0 < int(levels.max()) <= MAX_DARK_LABEL))


def _parts(levels: Int[np.ndarray, "h w *channels"], as_labels: bool, wanted: Sequence[str] = ()) -> _Parts:
    """Find the parts of a mask: first those of `wanted` that it has.

    Raises:
        InputError: for a mask that is not made of flat colors, or labels where colors are expected.
    """
    if as_labels and (levels.ndim == 2 or _is_gray(levels)):
        labels = levels if levels.ndim == 2 else levels[:, :, 1]
        values, index = np.unique(labels, return_inverse=True)
        return _Parts([str(value) for value in values], index.reshape(labels.shape))
    if levels.ndim == 2:
        raise InputError("the mask of a style has labels and the content mask colors, expected the same kind for all")
    flat = levels.reshape(-1, 3)
    palette = flat_colors(flat, [name for name in wanted if name.startswith("#")])
    if palette is None:
        count = len(np.unique(flat, axis=0))
        raise InputError(
            f"a mask has {count} colors, expected 1 to {MAX_REGIONS} flat ones, or grays: draw it without shades"
        )
    distance = np.stack([np.square(levels - _parsed(color)).sum(axis=2) for color in palette], axis=2)
    return _Parts(palette, distance.argmin(axis=2))


def flat_colors(levels: Int[np.ndarray, "n 3"], wanted: Sequence[str] = ()) -> list[str] | None:
    """Return the colors of pixels: first those of `wanted` that they have, then the most frequent; None for shades.

    Args:
        levels: 8-bit pixels, one a row.
        wanted: colors as `#rrggbb`.
    """
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
    return None if len(chosen) > MAX_REGIONS or counts[flat].sum() < MIN_FLAT_SHARE * len(levels) else chosen


def _match(name: str, names: Sequence[str]) -> str | None:
    """First of `names` that is the same label, or a color close to this one; None if there is none."""
    if not name.startswith("#"):
        return name if name in names else None
    colors = (other for other in names if other.startswith("#"))
    near = (other for other in colors if np.abs(_parsed(other) - _parsed(name)).max() <= MAX_COLOR_DISTANCE)
    return next(near, None)


def _part_name(text: Any) -> str | None:
    """Return the color of a name or a code as `#rrggbb`, or the label; None if it is neither."""
    if not isinstance(text, str):
        return None
    if text.isascii() and text.isdigit():
        return str(int(text)) if len(text) <= 3 and int(text) <= 255 else None
    if text in NAMES:
        return NAMES[text]
    if not re.fullmatch("[a-z]+|#[0-9a-f]{3}|#[0-9a-f]{6}", text):
        return None
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        return None
    return f"#{red:02x}{green:02x}{blue:02x}"


def _listed(names: Sequence[str]) -> str:
    kind = "colors" if names[0].startswith("#") else "labels"
    return f"{kind}: {', '.join(names)}"


def _parsed(color: str) -> Int[np.ndarray, "3"]:
    return np.array(list(bytes.fromhex(color[1:])), np.int64)
