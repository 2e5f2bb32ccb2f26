"""Images side by side in labeled rows and columns: a contact sheet, as one image."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import Float

from jaxstyle.errors import InputError, check_integer, check_sequence, quote
from jaxstyle.image.ops import MAX_SIDE, check_image, check_range
from jaxstyle.typing import AnyImage, Image

# Height of the text relative to the cells' shorter side, and its minimum in pixels.
TEXT_SIZE, MIN_TEXT_PIXELS = 1 / 12, 10
# Gray level of the text, 0 to 255.
INK = 32
# Size of the title relative to the labels, and of shrunk text relative to its full size, at least.
TITLE_SCALE, MIN_SHRINK = 1.5, 0.6
# Row labels are at most this many text heights wide, or as wide as a cell.
MAX_ROW_LABEL_WIDTH = 12

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
    _check(pictures, row_labels, column_labels, title, gap)
    rows, columns = len(pictures), len(pictures[0])
    shapes = [np.shape(image) for row in pictures for image in row]
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    size = max(MIN_TEXT_PIXELS, TEXT_SIZE * min(height, width))
    letters = {*title, *"".join(column_labels)}
    width = max([width, *(_box(letter, _font(TITLE_SCALE * size))[2] for letter in letters)])

    left = _labels(row_labels, size, max(width, round(MAX_ROW_LABEL_WIDTH * size)), height)
    top = _labels(column_labels, size, width)
    height = max([height, *(label.shape[0] for label in left)])
    left_margin = max((label.shape[1] + gap for label in left if label.size), default=0)
    top_margin = max((label.shape[0] + gap for label in top if label.size), default=0)
    across = left_margin + columns * (width + gap) - gap
    (heading,) = _labels([title], TITLE_SCALE * size, across)
    head = heading.shape[0] + gap if heading.size else 0

    sheet = np.ones((gap + head + top_margin + rows * (height + gap), gap + across + gap, 3), np.float32)
    row_tops = [gap + head + top_margin + row * (height + gap) for row in range(rows)]
    column_lefts = [gap + left_margin + column * (width + gap) for column in range(columns)]
    _paste(sheet, heading, gap, gap, head - gap, across)
    for column, label in enumerate(top):  # Directly above the images, also if other labels have more lines.
        _paste(sheet, label, row_tops[0] - gap - label.shape[0], column_lefts[column], label.shape[0], width)
    for row, label in enumerate(left):
        _paste(sheet, label, row_tops[row], gap, height, left_margin - gap)
    for row, images in enumerate(pictures):
        for column, image in enumerate(images):
            _paste(sheet, image, row_tops[row], column_lefts[column], height, width)
    return jnp.asarray(sheet.clip(0, 1))


def _check(
    pictures: Sequence[Sequence[AnyImage]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    gap: int,
) -> None:
    check_sequence(pictures, "pictures", "rows, each a list of images")
    for number, images in enumerate(pictures, 1):
        check_sequence(images, f"row {number} of pictures", "images")
    lengths = [len(images) for images in pictures]
    if not lengths or not max(lengths):
        raise InputError("got no images for a sheet, expected one row or more of them")
    if len(set(lengths)) > 1:
        raise InputError(f"got rows of {', '.join(map(str, lengths))} images, expected as many in each: fill them up")
    for name, labels, expected in (("row", row_labels, len(lengths)), ("column", column_labels, lengths[0])):
        check_sequence(labels, f"{name}_labels", "texts")
        if len(labels) not in (0, expected):
            raise InputError(f"got {len(labels)} {name} labels, expected {expected} or none")
    for text in (*row_labels, *column_labels, title):
        if not isinstance(text, str):
            raise InputError(f"a label or title is {quote(text)}, expected a text")
    check_integer(gap, "gap", 0, MAX_SIDE)
    for row, images in enumerate(pictures, 1):
        for column, image in enumerate(images, 1):
            check_image(image, f"image {column} of row {row}")
            check_range(image, f"image {column} of row {row}")


def _paste(sheet: np.ndarray, image: AnyImage | Label, top: int, left: int, height: int, width: int) -> None:
    """Copy an image or a label into the middle of a box of the sheet."""
    if image.size:
        rows, columns = image.shape[:2]
        top, left = top + (height - rows) // 2, left + (width - columns) // 2
        pixels = np.asarray(image)
        sheet[top : top + rows, left : left + columns] = pixels if pixels.ndim == 3 else pixels[:, :, None]


def _labels(texts: Sequence[str], size: float, width: int, height: float = np.inf) -> list[Label]:
    """Render labels in one common size: the largest at which they fit, if possible without breaking words.

    If no size fits, the labels are higher than `height`, but never wider than `width`.
    """
    labels = []
    for break_words in (False, True):
        for pixels in range(round(size), max(MIN_TEXT_PIXELS, round(MIN_SHRINK * size)) - 1, -1):
            font = _font(pixels)
            wrapped = [_wrap(text, font, width, break_words) for text in texts]
            labels = [_render(lines, font) for lines in wrapped if lines is not None]
            if len(labels) == len(texts) and all(label.shape[0] <= height for label in labels):
                return labels
    return labels


def _font(size: float) -> Font:
    return PIL.ImageFont.load_default(round(size))


def _box(line: str, font: Font) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of a line and its origin."""
    left, top, right, bottom = font.getbbox(line)
    return min(0, math.floor(left)), min(0, math.floor(top)), math.ceil(right), math.ceil(bottom)


def _wrap(text: str, font: Font, width: int, break_words: bool) -> list[str] | None:
    """Split a text into lines of at most `width` pixels; None if that would break a word and `break_words` is False."""

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
            if not (break_words or fits(word)):
                return None
            lines.append(line)
            line = word
            while not fits(line) and len(line) > 1:
                end = next(end for end in range(1, len(line)) if not fits(line[: end + 1]))
                lines.append(line[:end])
                line = line[end:]
        lines.append(line)
    return [line for line in lines if line]


def _render(lines: Sequence[str], font: Font) -> Label:
    """Draw centered lines below each other."""
    if not lines:
        return np.ones((0, 0), np.float32)
    step = _box("Áj", font)[3]
    boxes = [_box(line, font) for line in lines]
    width = max(right - left for left, _, right, _ in boxes)
    top = min(index * step + box[1] for index, box in enumerate(boxes))
    bottom = max(index * step + max(step, box[3]) for index, box in enumerate(boxes))
    image = PIL.Image.new("L", (width, bottom - top), 255)
    draw = PIL.ImageDraw.Draw(image)
    for index, (line, (left, _, right, _)) in enumerate(zip(lines, boxes, strict=True)):
        draw.text(((width - right + left) // 2 - left, index * step - top), line, INK, font)
    return np.asarray(image, np.float32) / 255
