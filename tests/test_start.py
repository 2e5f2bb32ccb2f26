import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.errors import InputError
from jaxstyle.image import resize, white_noise
from jaxstyle.start import PIECE, first_image, style_mosaic


@pytest.fixture
def content():
    return white_noise(1, 33, 48)


@pytest.fixture
def style():
    return white_noise(2, 40, 37)


def found_in(piece, style):
    """Whether a picture contains this piece."""
    height, width = piece.shape[:2]
    places = np.lib.stride_tricks.sliding_window_view(np.asarray(style), (height, width, 3))
    return bool(np.any(np.all(places[:, :, 0] == np.asarray(piece), axis=(-3, -2, -1))))


def test_each_piece_of_the_mosaic_is_of_the_style(style):
    mosaic = style_mosaic(0, [style], 33, 50)
    assert mosaic.shape == (33, 50, 3)
    for top in range(0, 33, PIECE):
        for left in range(0, 50, PIECE):
            piece = mosaic[top : top + PIECE, left : left + PIECE]
            assert found_in(piece, style)
            assert found_in(piece[:1], style)
            assert not found_in(1 - piece, style)


def test_pieces_are_shared_between_the_styles(style):
    styles = [jnp.zeros((40, 40, 3)), jnp.ones((20, 60, 3))]
    assert np.mean(style_mosaic(0, styles, 640, 640)) == pytest.approx(0.5, abs=0.05)
    assert np.mean(style_mosaic(0, styles, 640, 640, [0.25, 0.75])) == pytest.approx(0.75, abs=0.05)
    assert np.all(np.asarray(style_mosaic(0, styles, 64, 64, [1.0, 0.0])) == 0)


def test_a_style_smaller_than_a_piece_will_do():
    small = white_noise(3, 5, 90)
    mosaic = style_mosaic(0, [small], 20, 20)
    assert found_in(mosaic[5:10, 5:10], small)


def test_the_seed_decides(style):
    np.testing.assert_array_equal(style_mosaic(4, [style], 40, 50), style_mosaic(4, [style], 40, 50))
    assert not np.array_equal(style_mosaic(4, [style], 40, 50), style_mosaic(5, [style], 40, 50))
    with pytest.raises(InputError, match="seed is -1"):
        style_mosaic(-1, [style], 40, 50)


def test_starts(content, style):
    def first(init, **options):
        return np.asarray(first_image(init, content, [style], 33, 48, **options))

    np.testing.assert_array_equal(first("content"), content)
    np.testing.assert_array_equal(first("content", mosaic=1.0, seed=3), style_mosaic(3, [style], 33, 48))
    quarter = 0.75 * np.asarray(content) + 0.25 * np.asarray(style_mosaic(0, [style], 33, 48))
    np.testing.assert_allclose(first("content", mosaic=0.25), quarter, atol=1e-6)
    np.testing.assert_array_equal(first("noise", mosaic=0.25, seed=3), white_noise(3, 33, 48))
    np.testing.assert_array_equal(first(style, mosaic=0.25), resize(style, 33, 48))
    np.testing.assert_array_equal(first_image("content", content, [style], 16, 24), resize(content, 16, 24))


@pytest.mark.parametrize(("factor", "piece"), [(1.0, 16), (0.5, 8), (1 / 64, 4)])
def test_pieces_shrink_with_the_scale(content, style, factor, piece):
    start = first_image("content", content, [style], 33, 48, mosaic=1.0, factor=factor)
    np.testing.assert_array_equal(start, style_mosaic(0, [style], 33, 48, piece=piece))


def test_unknown_starts_are_refused(content, style):
    with pytest.raises(InputError, match="unknown init 'painting', expected 'content', 'noise' or a picture"):
        first_image("painting", content, [style], 33, 48)
    with pytest.raises(InputError, match="init has values from"):
        first_image(255 * style, content, [style], 33, 48)
