import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.errors import InputError
from jaxstyle.image.mosaic import PIECE, _nearest, _reflect_indices, initial_image, style_mosaic
from jaxstyle.image.ops import resize, white_noise


@pytest.fixture
def content():
    return white_noise(1, 33, 48)


@pytest.fixture
def style():
    return white_noise(2, 40, 37)


def places(style):
    """An image whose colors are the positions of the pixels."""
    rows, columns = np.indices(style)
    return jnp.asarray(np.stack([rows, columns, 0 * rows], -1) / 256, jnp.float32)


def test_the_mosaic_is_made_of_pieces_of_the_style():
    """Neighbors in the mosaic are neighbors in the style, except where two pieces meet; and there are many pieces."""
    source = np.rint(256 * np.asarray(style_mosaic(0, [places((200, 250))], 130, 150))).astype(int)
    assert source.shape == (130, 150, 3)
    down, right = np.diff(source[..., 0], axis=0), np.diff(source[..., 1], axis=1)
    together = np.mean(np.abs(down) == 1), np.mean(np.abs(right) == 1)
    assert min(together) > 0.85
    assert max(together) < 1.0
    offsets = (source[..., :2] - np.moveaxis(np.indices((130, 150)), 0, -1)).reshape(-1, 2)
    assert len(np.unique(offsets, axis=0)) > 0.8 * (130 / PIECE) * (150 / PIECE)


def test_pieces_have_no_straight_edges_along_rows_or_columns():
    """The part of the pixels of a row that lie on a piece's edge to the next row: nowhere a line across the picture."""
    source = np.rint(256 * np.asarray(style_mosaic(0, [places((200, 250))], 130, 150)))
    edges = np.abs(np.diff(source[..., 0], axis=0)) != 1, np.abs(np.diff(source[..., 1], axis=1)) != 1
    assert edges[0].mean(axis=1).max() < 0.4
    assert edges[1].mean(axis=0).max() < 0.4


def test_each_pixel_belongs_to_the_nearest_point_around_it():
    points = (np.stack(np.indices((4, 5)), axis=-1) - 1 + np.random.default_rng(3).random((4, 5, 2))) * 8
    row, column = _nearest(points, 13, 22, 8)
    for y in range(13):
        for x in range(22):
            around = [(y // 8 + 1 + i, x // 8 + 1 + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            distances = {place: np.sum((points[place] - (y, x)) ** 2) for place in around}
            assert (row[y, x], column[y, x]) == min(distances, key=distances.__getitem__)


def test_a_style_smaller_than_a_piece_is_continued_by_reflection():
    np.testing.assert_array_equal(_reflect_indices(np.arange(-3, 7), 3), [2, 1, 0, 0, 1, 2, 2, 1, 0, 0])
    source = np.rint(256 * np.asarray(style_mosaic(0, [places((5, 90))], 64, 64))).astype(int)
    assert set(np.unique(source[..., 0])) == set(range(5))
    assert np.mean(np.isin(np.diff(source[..., 0], axis=0), (-1, 0, 1))) > 0.85


def test_pieces_are_shared_between_the_styles(style):
    styles = [jnp.zeros((40, 40, 3)), jnp.ones((20, 60, 3))]
    assert np.mean(style_mosaic(0, styles, 640, 640)) == pytest.approx(0.5, abs=0.05)
    assert np.mean(style_mosaic(0, styles, 640, 640, shares=[0.25, 0.75])) == pytest.approx(0.75, abs=0.05)
    assert np.all(np.asarray(style_mosaic(0, styles, 64, 64, shares=[1.0, 0.0])) == 0)


def test_the_seed_determines_the_mosaic(style):
    np.testing.assert_array_equal(style_mosaic(4, [style], 40, 50), style_mosaic(4, [style], 40, 50))
    assert not np.array_equal(style_mosaic(4, [style], 40, 50), style_mosaic(5, [style], 40, 50))
    with pytest.raises(InputError, match="seed is -1"):
        style_mosaic(-1, [style], 40, 50)


def test_starts(content, style):
    def first(init, **options):
        return np.asarray(initial_image(init, content, [style], **options))

    np.testing.assert_array_equal(first("content"), content)
    np.testing.assert_array_equal(first("content", mosaic=1.0, seed=3), style_mosaic(3, [style], 33, 48))
    quarter = 0.75 * np.asarray(content) + 0.25 * np.asarray(style_mosaic(0, [style], 33, 48))
    np.testing.assert_allclose(first("content", mosaic=0.25), quarter, atol=1e-6)
    np.testing.assert_array_equal(first("noise", mosaic=0.25, seed=3), white_noise(3, 33, 48))
    np.testing.assert_array_equal(first(style, mosaic=0.25), resize(style, 33, 48))


@pytest.mark.parametrize(("factor", "piece"), [(1.0, 16), (0.5, 8), (1 / 64, 4)])
def test_pieces_shrink_with_the_scale(content, style, factor, piece):
    start = initial_image("content", content, [style], mosaic=1.0, factor=factor)
    np.testing.assert_array_equal(start, style_mosaic(0, [style], 33, 48, piece=piece))
