"""Pictures side by side in labeled rows and columns: a contact sheet, as one picture."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import Float

from jaxstyle.errors import InputError
from jaxstyle.image.ops import check_image, check_range
from jaxstyle.typing import AnyImage, Image

# Text: its height as a part of the cells' shorter side, in pixels at least, and how dark it is, 0 to 255.
SIZE, LEAST, INK = 1 / 12, 10, 32
# A title is larger, and what would not fit is made smaller, down to these parts of the size.
TITLE, SHRUNK = 1.5, 0.6
# Labels of rows may be so many times as wide as high, if that is more than a cell.
ROW = 12

# Gray; 1 is white.
Label = Float[np.ndarray, "_ _"]
Font = PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont


def contact_sheet(
    pictures: Sequence[Sequence[AnyImage]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    gap: int = 8,
) -> Image:
    """Lay out rows of pictures on white, with labels above the columns and at the left of the rows.

    All cells are as wide and as high as the widest and the highest picture, unless these are too small for a letter;
    smaller pictures stand in the middle. Labels are wrapped, and shrunk where a word would be broken, so that none is
    cut off or reaches into another. Pillow's own font knows little beyond ASCII, and draws boxes for the rest.

    Args:
        pictures: rows of as many `(h, w, 3)` in [0, 1], each of its own size; they are not resized.
        row_labels: one a row, or none.
        column_labels: one a column, or none.
        title: on top of all.
        gap: white between the cells and around the sheet, in pixels.

    Returns:
        `(H, W, 3)` in [0, 1].

    Raises:
        InputError: without pictures, for rows of different length, another number of labels, a negative gap, or what
            is no picture.

    Example:
        >>> import jax.numpy as jnp
        >>> contact_sheet([[jnp.zeros((64, 96, 3))] * 3] * 2, gap=10).shape
        (158, 328, 3)
    """
    _check(pictures, row_labels, column_labels, gap)
    rows, columns = len(pictures), len(pictures[0])
    shapes = [np.shape(picture) for row in pictures for picture in row]
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    size = max(LEAST, SIZE * min(height, width))
    letters = {*title, *"".join(column_labels)}
    width = max([width, *(_box(letter, _font(TITLE * size))[2] for letter in letters)])

    left = _labels(row_labels, size, max(width, round(ROW * size)), height)
    top = _labels(column_labels, size, width)
    height = max([height, *(label.shape[0] for label in left)])
    side = max((label.shape[1] + gap for label in left if label.size), default=0)
    above = max((label.shape[0] + gap for label in top if label.size), default=0)
    across = side + columns * (width + gap) - gap
    (heading,) = _labels([title], TITLE * size, across)
    head = heading.shape[0] + gap if heading.size else 0

    sheet = np.ones((gap + head + above + rows * (height + gap), gap + across + gap, 3), np.float32)
    down = [gap + head + above + row * (height + gap) for row in range(rows)]
    right = [gap + side + column * (width + gap) for column in range(columns)]
    _place(sheet, heading, gap, gap, head - gap, across)
    for column, label in enumerate(top):  # Next to their pictures, where some have more lines than others.
        _place(sheet, label, down[0] - gap - label.shape[0], right[column], label.shape[0], width)
    for row, label in enumerate(left):
        _place(sheet, label, down[row], gap, height, side - gap)
    for row, some in enumerate(pictures):
        for column, picture in enumerate(some):
            _place(sheet, picture, down[row], right[column], height, width)
    return jnp.asarray(sheet.clip(0, 1))


def _check(
    pictures: Sequence[Sequence[AnyImage]], row_labels: Sequence[str], column_labels: Sequence[str], gap: int
) -> None:
    lengths = [len(row) for row in pictures]
    if not lengths or not max(lengths):
        raise InputError("got no pictures for a sheet, expected one row or more of them")
    if len(set(lengths)) > 1:
        raise InputError(f"got rows of {', '.join(map(str, lengths))} pictures, expected as many in each: fill them up")
    for name, labels, expected in (("row", row_labels, len(lengths)), ("column", column_labels, lengths[0])):
        if len(labels) not in (0, expected):
            raise InputError(f"got {len(labels)} {name} labels, expected {expected} or none")
    if gap < 0:
        raise InputError(f"got gap={gap}, expected pixels, 0 or more")
    for row, some in enumerate(pictures, 1):
        for column, picture in enumerate(some, 1):
            check_image(picture, f"picture {column} of row {row}")
            check_range(picture, f"picture {column} of row {row}")


def _place(sheet: np.ndarray, picture: AnyImage | Label, top: int, left: int, height: int, width: int) -> None:
    """Put a picture or a label into the middle of a box of the sheet."""
    if picture.size:
        rows, columns = picture.shape[:2]
        top, left = top + (height - rows) // 2, left + (width - columns) // 2
        pixels = np.asarray(picture)
        sheet[top : top + rows, left : left + columns] = pixels if pixels.ndim == 3 else pixels[:, :, None]


def _labels(texts: Sequence[str], size: float, width: int, height: float = np.inf) -> list[Label]:
    """Labels, all in one size: the largest at which they fit, with no word broken if that can be.

    What has no such size is higher than `height`, and never wider than `width`.
    """
    labels = []
    for broken in (False, True):
        for smaller in range(round(size), max(LEAST, round(SHRUNK * size)) - 1, -1):
            font = _font(smaller)
            lines = [_wrapped(text, font, width, broken) for text in texts]
            labels = [_drawn(some, font) for some in lines if some is not None]
            if len(labels) == len(texts) and all(label.shape[0] <= height for label in labels):
                return labels
    return labels


def _font(size: float) -> Font:
    return PIL.ImageFont.load_default(round(size))


def _box(line: str, font: Font) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a line covers, its origin included."""
    left, top, right, bottom = font.getbbox(line)
    return min(0, math.floor(left)), min(0, math.floor(top)), math.ceil(right), math.ceil(bottom)


def _wrapped(text: str, font: Font, width: int, broken: bool) -> list[str] | None:
    """Lines that are at most so wide; None if words must not be broken and one is too long."""

    def fits(line: str) -> bool:
        left, _, right, _ = _box(line, font)
        return right - left <= width

    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            if fits(f"{line} {word}".strip()):
                line = f"{line} {word}".strip()
                continue
            if not (broken or fits(word)):
                return None
            lines.append(line)
            line = word
            while not fits(line) and len(line) > 1:
                end = next(end for end in range(1, len(line)) if not fits(line[: end + 1]))
                lines.append(line[:end])
                line = line[end:]
        lines.append(line)
    return [line for line in lines if line]


def _drawn(lines: Sequence[str], font: Font) -> Label:
    """Lines below each other, each in the middle."""
    if not lines:
        return np.ones((0, 0), np.float32)
    step = _box("Áj", font)[3]
    boxes = [_box(line, font) for line in lines]
    width = max(right - left for left, _, right, _ in boxes)
    top = min(index * step + box[1] for index, box in enumerate(boxes))
    bottom = max(index * step + max(step, box[3]) for index, box in enumerate(boxes))
    picture = PIL.Image.new("L", (width, bottom - top), 255)
    draw = PIL.ImageDraw.Draw(picture)
    for index, (line, (left, _, right, _)) in enumerate(zip(lines, boxes, strict=True)):
        draw.text(((width - right + left) // 2 - left, index * step - top), line, INK, font)
    return np.asarray(picture, np.float32) / 255
