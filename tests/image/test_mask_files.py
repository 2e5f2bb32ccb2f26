"""Masks in files: shapes in the alpha channel, labels, and numbers that no color profile changes."""

import numpy as np
import PIL.Image
import pytest
from image_files import D50, TEXT, curve, made_profile, rgb_profile, s15

import jaxstyle as js
from jaxstyle.errors import InputError

HEIGHT, WIDTH = 40, 48
LEFT = np.tile(np.arange(WIDTH) < WIDTH // 2, (HEIGHT, 1))
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GRAY_PROFILE = made_profile(b"GRAY", {**TEXT, b"wtpt": s15(*D50), b"kTRC": curve(1.0)})


def read(tmp_path, pixels, mode=None, **options):
    path = tmp_path / "mask.png"
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels, mode)
    image.save(path, **options)
    return np.asarray(js.load_mask(path))


def gray(values):
    return np.repeat(np.asarray(values, np.float32)[:, :, None], 3, axis=2)


def colored(color):
    return np.broadcast_to(np.uint8(color), (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (128, 128, 128)])
def test_a_shape_of_one_gray_in_the_alpha_channel(tmp_path, color):
    pixels = np.dstack([colored(color), np.where(LEFT, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(read(tmp_path, pixels), gray(LEFT))


def test_a_cutout_of_a_photo(tmp_path):
    ramp = np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
    np.testing.assert_allclose(read(tmp_path, np.dstack([NOISE, ramp])), gray(ramp / 255), atol=1e-6)


def test_flat_colors_with_a_transparent_background_are_on_black(tmp_path):
    upper = np.arange(HEIGHT)[:, None, None] < HEIGHT // 2
    colors = np.where(upper, np.uint8([255, 0, 0]), np.uint8([0, 0, 255])) * np.ones((1, WIDTH, 1), np.uint8)
    pixels = np.dstack([colors, np.where(LEFT, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(read(tmp_path, pixels), colors / np.float32(255) * LEFT[:, :, None])


def test_one_color_stays_a_color(tmp_path):
    pixels = np.dstack([colored((255, 0, 0)), np.where(LEFT, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(read(tmp_path, pixels), np.dstack([LEFT, 0 * LEFT, 0 * LEFT]).astype(np.float32))


def test_nothing_visible(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, PIL.Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))), 0)


def test_the_alpha_selects_the_style_in_a_run(tmp_path):
    path = tmp_path / "mask.png"
    PIL.Image.fromarray(np.dstack([0 * NOISE, np.where(LEFT, 255, 0).astype(np.uint8)])).save(path)
    photo = js.white_noise(0, HEIGHT, WIDTH)
    regions, _ = js.regions_of(photo, js.load_mask(path), [photo])
    np.testing.assert_array_equal(regions.content[:, :, 0], LEFT)


@pytest.mark.parametrize("options", [{}, {"icc_profile": GRAY_PROFILE}])
def test_a_profile_does_not_change_the_numbers_of_a_gray_mask(tmp_path, options):
    levels = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (HEIGHT, 1))
    np.testing.assert_allclose(read(tmp_path, levels, **options), gray(levels / 255), atol=1e-6)


def test_a_profile_does_not_change_colors(tmp_path):
    pixels = np.where(LEFT[..., None], np.uint8([128, 0, 0]), np.uint8([0, 128, 0]))
    np.testing.assert_allclose(read(tmp_path, pixels, icc_profile=rgb_profile()), pixels / 255, atol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_labels_of_every_depth(tmp_path, kind):
    labels = np.tile(np.arange(WIDTH) % 5, (HEIGHT, 1)).astype(kind)
    path = tmp_path / "labels.tif"
    PIL.Image.fromarray(labels).save(path)
    np.testing.assert_allclose(js.load_mask(path), gray(labels / 255), atol=1e-6)


def test_deep_gray_masks(tmp_path):
    levels = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))
    np.testing.assert_allclose(read(tmp_path, levels), gray(levels / 65535), atol=1e-6)


def test_masks_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        js.load_mask(tmp_path / "none.png")
    image = PIL.Image.new("L", (WIDTH, HEIGHT))
    with pytest.raises(InputError, match="too many pixels"):
        js.load_mask(image, max_pixels=10)
    image.save(tmp_path / "two.gif", save_all=True, append_images=[PIL.Image.new("L", (WIDTH, HEIGHT), 255)])
    with pytest.raises(InputError, match="2 frames"):
        js.load_mask(tmp_path / "two.gif")
