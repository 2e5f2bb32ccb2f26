"""The pictures of the golden values, for the script that makes them and the test that compares with them."""

from pathlib import Path

import numpy as np
import PIL.Image

DATA = Path(__file__).parent / "data"
HEIGHT, WIDTH = 48, 64


def pattern(kind):
    """A picture by formula: waves and a hash of the position, the same on every machine to the last float32 bit."""
    row, column, color = np.meshgrid(*map(np.arange, (HEIGHT, WIDTH, 3)), indexing="ij")
    waves = 0.5 + 0.25 * np.sin(0.31 * row + 0.17 * column * (kind + 1) + 2 * color) * np.cos(
        0.05 * row * column + kind
    )
    number = ((row * WIDTH + column) * 3 + color + 7919 * kind).astype(np.uint64)
    noise = (number * np.uint64(2654435761) % np.uint64(2**32)).astype(np.float64) / 2**32
    return np.round(0.8 * waves + 0.2 * noise, 4).astype(np.float32)


def picture():
    """The stored crop, 8 bits."""
    with PIL.Image.open(DATA / "picture.png") as file:
        return np.asarray(file.convert("RGB")).astype(np.float32) / 255
