"""Few canvases for many sizes."""

import hypothesis
import hypothesis.strategies as st
import pytest

from jaxstyle.cli.buckets import canvases

SIZES = st.lists(st.tuples(st.integers(32, 600), st.integers(32, 600)), min_size=1, max_size=12)


@hypothesis.given(SIZES, st.integers(1, 4))
def test_every_picture_fits_and_canvases_are_few(sizes, most):
    found = canvases(sizes, most)
    assert set(found) == set(sizes)
    assert len(set(found.values())) <= most
    for (height, width), canvas in found.items():
        assert height <= canvas[0]
        assert width <= canvas[1]
    # None is larger than what it holds.
    for canvas in set(found.values()):
        members = [size for size, its in found.items() if its == canvas]
        assert canvas == (max(height for height, _ in members), max(width for _, width in members))


def test_one_size_is_its_own_canvas():
    assert canvases([(48, 64)] * 3) == {(48, 64): (48, 64)}


def test_nearly_equal_sizes_are_one_even_if_there_may_be_more():
    assert len(set(canvases([(384, 512), (383, 512), (512, 384)]).values())) == 2


def test_frequent_sizes_weigh_more():
    """Of three sizes for two canvases the rare one is enlarged."""
    found = canvases([(100, 100)] * 50 + [(200, 200)] * 50 + [(150, 150)], most=2)
    assert found[100, 100] == (100, 100)


@pytest.mark.parametrize("sizes", [[]])
def test_no_pictures_need_no_canvas(sizes):
    assert canvases(sizes) == {}
