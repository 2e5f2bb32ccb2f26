"""Sizes of picture files from their headers."""

import numpy as np
import PIL.Image
import pytest

from jaxstyle.errors import InputError
from jaxstyle.image.io import picture_size, read_picture


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_the_size_is_that_of_the_decoded_picture(tmp_path, extension, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{extension}"
    PIL.Image.fromarray(np.zeros((40, 61, 3), np.uint8)).save(path, exif=exif)
    for size in (None, 57):
        assert picture_size(path, size) == read_picture(path, size).pixels.shape[:2]


def test_no_pixel_is_decoded(tmp_path):
    """Half of the file is missing."""
    path = tmp_path / "photo.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    assert picture_size(path) == (40, 60)
    with pytest.raises(InputError, match="damaged"):
        read_picture(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 40}, "at least 32 a side"), ({"max_pixels": 100}, "too many pixels"), ({"min_side": 64}, "at least 64")],
)
def test_unusable_files_are_refused(tmp_path, options, message):
    path = tmp_path / "photo.png"
    PIL.Image.new("RGB", (60, 40)).save(path)
    with pytest.raises(InputError, match=message):
        picture_size(path, **options)
