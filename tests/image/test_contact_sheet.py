import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.errors import InputError
from jaxstyle.image.contact_sheet import contact_sheet

LONG = "/a/path/without/any/space_that_is_much_too_long_for_a_cell/of_this_width/0123456789.png"


def flat(height, width, red=0.25):
    """A picture of a color that no text has."""
    return np.tile(np.float32([red, 0.5, 0.75]), (height, width, 1))


def grid(rows, columns, height, width):
    return [[flat(height, width, (1 + row + 5 * column) / 32) for column in range(columns)] for row in range(rows)]


def cell(sheet, rows, columns, height, width, row, column, gap=8):
    """Labels are above and at the left, so cells are counted from the right and lower end."""
    bottom = sheet.shape[0] - gap - (rows - 1 - row) * (height + gap)
    right = sheet.shape[1] - gap - (columns - 1 - column) * (width + gap)
    return np.asarray(sheet)[bottom - height : bottom, right - width : right]


def ink(area):
    """How much text there is, in black pixels."""
    return float(np.sum(1 - np.asarray(area, np.float64).mean(axis=2)))


def one_line(text, size):
    picture = PIL.Image.new("RGB", (3000, 60), "white")
    PIL.ImageDraw.Draw(picture).text((10, 10), text, (32, 32, 32), PIL.ImageFont.load_default(size))
    return np.asarray(picture) / 255


def test_pictures_stand_unchanged_in_rows_and_columns(china, starry):
    pictures = [[china, starry, 1 - china], [starry[::-1], np.asarray(china)[:, ::-1], china[:20, :30]]]
    sheet = contact_sheet(pictures, ["a", "b"], ["one", "two", "three"], "title")
    assert sheet.dtype == jnp.float32
    for row, some in enumerate(pictures):
        for column, picture in enumerate(some):
            area = cell(sheet, 2, 3, 80, 96, row, column)
            top, left = (80 - picture.shape[0]) // 2, (96 - picture.shape[1]) // 2
            inside = np.zeros((80, 96), bool)
            inside[top : top + picture.shape[0], left : left + picture.shape[1]] = True
            np.testing.assert_array_equal(area[inside].reshape(picture.shape), picture)
            assert np.all(area[~inside] == 1)


@pytest.mark.parametrize("labels", [{}, {"row_labels": ["", " "], "column_labels": [""] * 3, "title": ""}])
@pytest.mark.parametrize("gap", [0, 5])
def test_without_labels_there_are_no_margins(labels, gap):
    sheet = np.asarray(contact_sheet(grid(2, 3, 20, 30), **labels, gap=gap))
    assert sheet.shape == (gap + 2 * (20 + gap), gap + 3 * (30 + gap), 3)
    if gap:
        expected = np.pad(flat(20, 30, 1 / 32), ((gap, gap), (gap, gap), (0, 0)), constant_values=1)
        np.testing.assert_array_equal(sheet[: 20 + 2 * gap, : 30 + 2 * gap], expected)


def test_labels_of_each_kind_add_their_margin():
    pictures, bare = grid(2, 3, 192, 192), (8 + 2 * 200, 8 + 3 * 200)
    title = contact_sheet(pictures, title="Ag")
    columns = contact_sheet(pictures, column_labels=["", "Ag", ""])
    rows = contact_sheet(pictures, row_labels=["", "Ag"])
    for sheet, margin in ((title, (35, 0)), (columns, (26, 0)), (rows, (0, 30))):  # 1.5 and 1 times 16 pixels, and 8.
        added = np.subtract(sheet.shape[:2], bare)
        np.testing.assert_allclose(added, margin, atol=8)
        assert (added > 0).tolist() == [side > 0 for side in margin]
        assert np.asarray(sheet).min(axis=2)[8:, 8:].min() < 0.2
    places = {
        "title": np.argwhere(np.asarray(title)[: -2 * 200].max(axis=2) < 0.5),
        "columns": np.argwhere(np.asarray(columns)[: -2 * 200].max(axis=2) < 0.5),
        "rows": np.argwhere(np.asarray(rows)[:, : -3 * 200].max(axis=2) < 0.5),
    }
    # In the middle of all columns, of the second column, of the second row.
    assert places["title"][:, 1].mean() == pytest.approx(8 + 1.5 * 200 - 4, abs=4)
    assert places["columns"][:, 1].mean() == pytest.approx(8 + 1.5 * 200 - 4, abs=4)
    assert places["rows"][:, 0].mean() == pytest.approx(8 + 1.5 * 200 - 4, abs=4)


def test_text_grows_with_the_cells():
    small, large = (contact_sheet(grid(1, 1, side, side), column_labels=["Ag"]) for side in (192, 768))
    added = [sheet.shape[0] - side - 2 * 8 for sheet, side in ((small, 192), (large, 768))]
    assert added[1] - 8 == pytest.approx(4 * (added[0] - 8), rel=0.1)


def test_long_labels_are_wrapped_whole():
    """As much ink as on one line: nothing is lost."""
    text = "a label of many short words, which cannot stand on one line above a picture of this width"
    for labels in ({"row_labels": [text]}, {"column_labels": [text]}, {"title": text}):
        sheet = contact_sheet(grid(1, 1, 192, 192), **labels)
        added = np.asarray(sheet)[
            : -200 if "row_labels" not in labels else None, : -200 if "row_labels" in labels else None
        ]
        assert ink(added) == pytest.approx(ink(one_line(text, 24 if "title" in labels else 16)), rel=0.02)


def test_a_label_with_a_long_word_is_shrunk_and_only_then_broken():
    shrunk, broken = "x" * 26, "x" * 80
    sizes = {
        text: ink(np.asarray(contact_sheet(grid(1, 1, 192, 192), column_labels=[text]))[:-200]) / len(text)
        for text in ("x", shrunk, broken)
    }
    assert sizes[shrunk] < 0.9 * sizes["x"]
    assert sizes[broken] == pytest.approx(sizes["x"], rel=0.02)


def test_labels_of_rows_are_shrunk_to_the_cells():
    """Three hundred letters would be some 15 lines of 19 pixels."""
    assert contact_sheet(grid(1, 1, 192, 192), row_labels=["letters " * 38]).shape[0] == 192 + 2 * 8


def test_column_labels_are_directly_above_the_images():
    sheet = contact_sheet(grid(1, 2, 192, 192), column_labels=["A", "A\nA\nA"])
    lowest = [
        np.flatnonzero(np.asarray(sheet)[:-200, half].min(axis=(1, 2)) < 0.5)[-1]
        for half in (slice(204), slice(204, None))
    ]
    assert lowest[0] == lowest[1]


def assert_clean(sheet, rows, columns, height, width):
    """No text in the white around the sheet, between its rows and between its columns, over its full length."""
    sheet, gap = np.asarray(sheet), 8
    for row in range(rows + 1):
        end = sheet.shape[0] - row * (height + gap)
        assert np.all(sheet[end - gap : end] == 1)
    for column in range(columns + 1):
        end = sheet.shape[1] - column * (width + gap)
        assert np.all(sheet[:, end - gap : end] == 1)
    assert np.all(sheet[:gap] == 1)
    assert np.all(sheet[:, :gap] == 1)


@pytest.mark.parametrize(
    "text", [LONG, f"{LONG} and words {LONG}", "W" * 150, "jÁ\n\n\nq", "日本語のラベル" * 9, "A\u0301" * 30]
)
def test_labels_overlap_nothing(text):
    pictures = grid(2, 3, 150, 200)
    sheet = contact_sheet(pictures, [text, text], [text, "a", text])
    assert_clean(sheet, 2, 3, 150, 200)
    for row, column in np.ndindex(2, 3):
        np.testing.assert_array_equal(cell(sheet, 2, 3, 150, 200, row, column), pictures[row][column])
    # A title stands above what the sheet is without it.
    titled = contact_sheet(pictures, [text, text], [text, "a", text], f"{text} {text}")
    above = titled.shape[0] - sheet.shape[0]
    np.testing.assert_array_equal(titled[above + 8 :], sheet[8:])
    assert ink(titled[:above]) > 100
    assert_clean(titled[: above + 8], 0, 0, 0, 0)


@given(text=st.text(st.characters(), max_size=40), height=st.integers(1, 40), width=st.sampled_from([1, 7, 60]))
def test_any_text_with_any_pictures(text, height, width):
    """Where a letter or the lines at the left need more than a picture's size, cells are larger."""
    sheet = np.asarray(contact_sheet([[flat(height, width)] * 2], [text], [text, "b"], text))
    assert np.isfinite(sheet).all()
    for edge in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
        assert np.all(edge == 1)
    assert np.all(sheet == flat(1, 1), axis=2).sum() == 2 * height * width


def test_names_of_files_that_are_no_unicode():
    assert contact_sheet(grid(1, 1, 40, 50), column_labels=["\udcff\x00.png"]).shape[0] > 40 + 2 * 8


def test_overshoot_is_clipped():
    sheet = contact_sheet([[jnp.full((4, 5, 3), 1.25), jnp.full((4, 5, 3), -0.25)]], gap=0)
    np.testing.assert_array_equal(sheet[0, :, 0], [1] * 5 + [0] * 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {}, r"pictures is \[\], expected a list of 1 or more rows, each a list of images"),
        ([[], []], {}, r"row 1 of pictures is \[\], expected a list of 1 or more images"),
        ([[flat(4, 5)] * 2, [flat(4, 5)]], {}, "got rows of 2, 1 images, expected as many in each"),
        (grid(2, 3, 4, 5), {"row_labels": ["a"]}, "got 1 row labels, expected 2 or none"),
        (grid(2, 3, 4, 5), {"column_labels": ["a"] * 2}, "got 2 column labels, expected 3 or none"),
        (grid(2, 3, 4, 5), {"gap": -1}, "gap is -1, expected an integer from 0 to 65536"),
        ([[flat(4, 5), 255 * flat(4, 5)]], {}, "image 2 of row 1 has values from"),
        ([[flat(4, 5)], [flat(4, 5)[0]]], {}, r"image 1 of row 2 has shape \(5, 3\)"),
    ],
)
def test_refusals(pictures, options, message):
    with pytest.raises(InputError, match=message):
        contact_sheet(pictures, **options)
