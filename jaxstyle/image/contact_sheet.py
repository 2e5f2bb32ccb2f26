"""Images side by side in labeled rows and columns: a contact sheet, as one image."""

import bisect
import itertools
import math
import textwrap
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from jaxstyle.errors import InputError, check_integer, check_sequence, quote
from jaxstyle.guards import permissive
from jaxstyle.image.ops import MAX_SIDE, check_range
from jaxstyle.typing import AnyImage, Image

# Height of the text relative to the cells' shorter side, and its minimum in pixels.
TEXT_SIZE, MIN_TEXT_PIXELS = 1 / 12, 10
INK = (32, 32, 32)
Font = PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont
# Size of the title relative to the labels, and of shrunk text relative to its full size, at least.
TITLE_SCALE, MIN_SHRINK = 1.5, 0.6
# Row labels are at most this many text heights wide, or as wide as a cell.
MAX_ROW_LABEL_WIDTH = 12


@permissive()
def contact_sheet(
    pictures: Sequence[Sequence[AnyImage]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    gap: int = 8,
) -> Image:
    """Arrange rows of images on white, with labels above the columns and left of the rows.

    All cells have the width of the widest and the height of the highest image, or more if that is too small for a
    letter; smaller images are centered. Labels are wrapped, and shrunk if a word would be broken otherwise, so that no
    label is cut off or overlaps another. Pillow's own font has few characters beyond ASCII, and draws boxes for others.

    Args:
        pictures: list of rows, each a list of as many `(h, w, 3)` in [0, 1]; the images may differ in size and are not
            resized.
        row_labels: one label for each row, or none.
        column_labels: one label for each column, or none.
        title: text above all.
        gap: white space between the cells and around the sheet in pixels, 0 to 65536.

    Returns:
        `(H, W, 3)` in [0, 1].

    Raises:
        InputError: without images, for rows of different length, another number of labels, or arguments of another
            type or range.

    Example:
        >>> import jax.numpy as jnp
        >>> contact_sheet([[jnp.zeros((64, 96, 3))] * 3] * 2, gap=10).shape
        (158, 328, 3)
    """
    check_integer(gap, "gap", 0, MAX_SIDE)
    _check(pictures, row_labels, column_labels, title)
    rows, columns = len(pictures), len(pictures[0])
    height, width = np.max([image.shape[:2] for row in pictures for image in row], axis=0).tolist()
    size = max(MIN_TEXT_PIXELS, TEXT_SIZE * min(height, width))
    # At least as wide as any letter.
    font = PIL.ImageFont.load_default(round(TITLE_SCALE * size))
    width = max([width, *(_box(letter, font)[2] for letter in {*title, *"".join(column_labels)})])

    left = _labels(row_labels or [""] * rows, size, max(width, round(MAX_ROW_LABEL_WIDTH * size)), height)
    top = _labels(column_labels or [""] * columns, size, width)
    widths = [max(label.shape[1] for label in left), *[width] * columns]
    heights = [max(map(len, top)), *[max(height, *map(len, left))] * rows]
    # Directly above the images, also if other labels have more lines.
    top = [np.pad(label, ((heights[0] - len(label), 0), (0, 0), (0, 0)), constant_values=1) for label in top]

    cells = [
        [np.ones((0, 0, 3), np.float32), *top],
        *([label, *images] for label, images in zip(left, pictures, strict=True)),
    ]
    lines = [
        np.hstack([_centered(cell, high, wide, gap) for cell, wide in zip(line, widths, strict=True)])
        for line, high in zip(cells, heights, strict=True)
    ]
    across = lines[0].shape[1] - gap
    (heading,) = _labels([title], TITLE_SCALE * size, across)
    sheet = np.vstack([_centered(heading, len(heading), across, gap), *lines])
    return jnp.asarray(np.pad(sheet, ((gap, 0), (gap, 0), (0, 0)), constant_values=1).clip(0, 1))


def _check(
    pictures: Sequence[Sequence[AnyImage]], row_labels: Sequence[str], column_labels: Sequence[str], title: str
) -> None:
    check_sequence(pictures, "pictures", "rows, each a list of images", least=1)
    for number, images in enumerate(pictures, 1):
        check_sequence(images, f"row {number} of pictures", "images", least=1)
    lengths = [len(images) for images in pictures]
    if len(set(lengths)) > 1:
        raise InputError(f"got rows of {', '.join(map(str, lengths))} images, expected as many in each: fill them up")
    for name, labels, expected in (("row", row_labels, len(lengths)), ("column", column_labels, lengths[0])):
        check_sequence(labels, f"{name}_labels", "texts")
        if len(labels) not in (0, expected):
            raise InputError(f"got {len(labels)} {name} labels, expected {expected} or none")
    for text in (*row_labels, *column_labels, title):
        if not isinstance(text, str):
            raise InputError(f"a label or title is {quote(text)}, expected a text")
    for row, column in np.ndindex(len(lengths), lengths[0]):
        check_range(pictures[row][column], f"image {column + 1} of row {row + 1}")


def _centered(image: AnyImage, height: int, width: int, gap: int) -> AnyImage:
    """Place an image in the middle of a white box, with a gap below and right of it, unless the box is empty."""
    box = np.ones((height + gap * (height > 0), width + gap * (width > 0), 3), np.float32)
    rows, columns = image.shape[:2]
    top, left = (height - rows) // 2, (width - columns) // 2
    box[top : top + rows, left : left + columns] = image
    return box


def _labels(texts: Sequence[str], size: float, width: int, height: float = np.inf) -> list[AnyImage]:
    """Draw labels in one common size: the largest at which they fit, if possible without breaking words.

    If no size fits, the labels are higher than `height`, but never wider than `width`.
    """
    labels = []
    for break_words in (False, True):
        for pixels in range(round(size), max(MIN_TEXT_PIXELS, round(MIN_SHRINK * size)) - 1, -1):
            font = PIL.ImageFont.load_default(pixels)
            wrapped = [_wrap(text, font, width, break_words) for text in texts]
            labels = [_draw(text, font) for text in wrapped if text is not None]
            if len(labels) == len(texts) and all(len(label) <= height for label in labels):
                return labels
    return labels


def _wrap(text: str, font: Font, width: int, break_words: bool) -> str | None:
    """Split a text into lines of at most `width` pixels; None if that would break a word and `break_words` is False."""

    def wrapped(length: int) -> str:
        lines = (textwrap.wrap(part, length, break_on_hyphens=False) for part in text.splitlines())
        return "\n".join(itertools.chain.from_iterable(lines))

    def is_too_wide(length: int) -> bool:
        left, _, right, _ = _box(wrapped(length), font)
        return right - left > width

    shortest = 1 if break_words else max(map(len, text.split()), default=1)
    lengths = range(shortest, max(len(text), shortest) + 1)
    count = bisect.bisect_left(lengths, True, key=is_too_wide)
    return wrapped(lengths[count - 1]) if count else None


def _box(text: str, font: Font) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of centered lines and their origin."""
    draw = PIL.ImageDraw.Draw(PIL.Image.new("1", (1, 1)))
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font, align="center")
    return min(0, math.floor(left)), min(0, math.floor(top)), math.ceil(right), math.ceil(bottom)


def _draw(text: str, font: Font) -> AnyImage:
    """Draw centered lines."""
    left, top, right, bottom = _box(text, font)
    # As high as if the last line had letters below the base line, so that labels side by side have a common one.
    bottom = max(bottom, _box(f"{text}j", font)[3]) if text else 0
    image = PIL.Image.new("RGB", (right - left, bottom - top), "white")
    PIL.ImageDraw.Draw(image).multiline_text((-left, -top), text, INK, font, align="center")
    return np.asarray(image, np.float32) / 255
