"""Cuts between pictures, and motion, light and fades that are none."""

import numpy as np
import pytest
from video.scenes import moving_square, pan, zoom

from jaxstyle.video.cuts import is_cut


def test_another_picture_is_a_cut(photograph):
    photo, painting = photograph("china.jpg", 128, 96), photograph("starry_night.jpg", 128, 96)
    assert is_cut(photo, painting)
    assert is_cut(painting, photo)
    assert is_cut(photo, photo[::-1])
    assert is_cut(np.zeros_like(photo), np.ones_like(photo))


@pytest.mark.parametrize("seed", range(5))
def test_motion_is_none(seed):
    for (first, second), *_ in (
        pan(seed, 96, 128, (8.0, 3.0)),
        zoom(seed, 96, 128, 1.05),
        moving_square(seed, 96, 128, (10, 5), side=40),
    ):
        assert not is_cut(first, second)


def test_motion_of_a_photo_is_none(photograph):
    photo = photograph("china.jpg", 320, 240)
    for shift in (4, 10, 20):
        assert not is_cut(photo[:200, : 320 - shift], photo[:200, shift:])


def test_light_and_fades_are_none(photograph):
    photo = np.asarray(photograph("china.jpg", 128, 96))
    for present in (0.6 * photo, np.clip(0.4 + photo, 0, 1), 0.5 + 0.5 * photo, photo):
        assert not is_cut(photo, present)
    for t in np.arange(0, 1, 0.1):
        assert not is_cut(t * photo, (t + 0.1) * photo)
    rng = np.random.default_rng(0)
    assert not is_cut(photo, np.clip(photo + rng.normal(0, 0.1, photo.shape), 0, 1).astype(np.float32))
