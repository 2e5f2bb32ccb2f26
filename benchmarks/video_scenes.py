"""Clips whose motion is known exactly: pictures that move as rigid layers, one before the other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

Size = tuple[int, int]
CLIPS = ("pan and zoom", "moving object", "two objects, panning")


class Layer(NamedTuple):
    """A picture that moves.

    Attributes:
        picture: `(h, w, 3)`; the lowest layer has to cover every frame.
        place: function from the number of a frame to `(scale, x, y)`: the size of the picture's pixels in the frame,
            and the position of the first one.
    """

    picture: Float[np.ndarray, "_ _ 3"]
    place: Callable[[int], tuple[float, float, float]]


class Clip(NamedTuple):
    """Frames, and what moved where.

    Attributes:
        size: height and width.
        layers: from back to front.
    """

    size: Size
    layers: Sequence[Layer]

    def frame(self, number: int) -> Float[np.ndarray, "height width 3"]:
        """Return a frame, with bilinear interpolation."""
        image = np.zeros((*self.size, 3), np.float32)
        for layer in self.layers:
            rows, columns = self._coordinates(layer, number)
            inside = _inside(layer, rows, columns)
            image[inside] = _sample(layer.picture, rows[inside], columns[inside])
        return image

    def motion(
        self, source: int, target: int
    ) -> tuple[Float[np.ndarray, "height width 2"], Bool[np.ndarray, "height width"]]:
        """Return the flow from one frame to another, and which pixels of the one the other shows.

        A pixel is shown if all four pixels around its position belong to the same layer.
        """
        height, width = self.size
        rows, columns = np.mgrid[:height, :width].astype(float)
        flow, own, others = np.zeros((*self.size, 2), np.float32), self._front(source), self._front(target)
        for index, layer in enumerate(self.layers):
            (old_scale, old_x, old_y), (scale, x, y) = layer.place(source), layer.place(target)
            across = (columns - old_x) * scale / old_scale + x - columns
            down = (rows - old_y) * scale / old_scale + y - rows
            flow[own == index] = np.stack([across, down], axis=2)[own == index]
        top, left = rows + flow[:, :, 1], columns + flow[:, :, 0]
        shown = (top >= 0) & (top <= height - 1) & (left >= 0) & (left <= width - 1)
        for row in (np.floor(top), np.ceil(top)):
            for column in (np.floor(left), np.ceil(left)):
                near = others[np.clip(row, 0, height - 1).astype(int), np.clip(column, 0, width - 1).astype(int)]
                shown &= near == own
        return flow, shown

    def _front(self, number: int) -> np.ndarray:
        """Return the index of the layer that each pixel shows."""
        front = np.zeros(self.size, int)
        for index, layer in enumerate(self.layers):
            front[_inside(layer, *self._coordinates(layer, number))] = index
        return front

    def _coordinates(self, layer: Layer, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns of the layer's picture that the frame's pixels show."""
        scale, x, y = layer.place(number)
        rows, columns = np.mgrid[: self.size[0], : self.size[1]].astype(float)
        return (rows - y) / scale, (columns - x) / scale


def clips(photo: np.ndarray, object_: np.ndarray, size: Size) -> dict[str, Clip]:
    """Return the clips of the benchmark.

    Args:
        photo: picture of the background, at least 1.5 times as large as the frames.
        object_: picture of moving objects, about a third as large as the frames.
        size: height and width of the frames.
    """
    height, width = size
    still = Layer(photo, lambda t: (1.0, -0.2 * width, -0.2 * height))
    panning = Layer(photo, lambda t: (1.0, -0.1 * width - 1.5 * t, -0.2 * height))
    scenes = (
        [Layer(photo, lambda t: (1.02**t, -0.1 * width - 2 * t, -0.1 * height - t))],
        [still, Layer(object_, lambda t: (1.0, 0.1 * width + 4 * t, 0.3 * height + t))],
        [
            panning,
            Layer(object_, lambda t: (1.0, 0.1 * width + 4 * t, 0.1 * height)),
            Layer(object_[::-1], lambda t: (1.0, 0.5 * width - 3 * t, 0.4 * height + 2 * t)),
        ],
    )
    return {name: Clip(size, layers) for name, layers in zip(CLIPS, scenes, strict=True)}


def _inside(layer: Layer, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    height, width = layer.picture.shape[:2]
    return (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)


def _sample(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    bottom, right = np.minimum(top + 1, picture.shape[0] - 1), np.minimum(left + 1, picture.shape[1] - 1)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = picture[top, left] * (1 - across) + picture[top, right] * across
    lower = picture[bottom, left] * (1 - across) + picture[bottom, right] * across
    return upper * (1 - down) + lower * down
