"""Frames of a GIF or WebP file."""

import numpy as np
import PIL.Image
import pytest

from jaxstyle.errors import InputError
from jaxstyle.image.animation import check_animation, frame_of, save_animation

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(("height", "width", "expected"), [(40, 60, (40, 60)), (2000, 1000, (512, 256))])
def test_a_frame_has_the_pictures_size_up_to_a_limit(height, width, expected):
    """From a coarser scale, too."""
    frame = frame_of(np.full((20, 30, 3), 0.2, np.float32), height, width)
    assert frame.shape == (*expected, 3)
    assert (frame == 51).all()


@pytest.mark.parametrize("name", ["a.gif", "a.WEBP"])
def test_frames_come_in_order_and_the_last_one_stays(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"old")
    levels = [0, 100, 200]
    save_animation(path, [np.full((32, 48, 3), level, np.uint8) for level in levels])
    with PIL.Image.open(path) as file:
        assert (file.n_frames, file.size) == (3, (48, 32))
        for k, level in enumerate(levels):
            file.seek(k)
            assert abs(np.asarray(file.convert("RGB"), int) - level).max() <= 2
            assert file.info["duration"] == (100, 100, 3000)[k] or name != "a.gif"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.gif").mkdir()
    for name, message in (("a.png", "no animation"), ("folder.gif", "no regular file"), ("none/a.gif", "cannot write")):
        with pytest.raises(InputError, match=message):
            check_animation(tmp_path / name)
