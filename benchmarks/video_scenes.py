"""Clips: pictures that move as rigid layers, a stereo pair, and films, of which the motion is estimated."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

import jaxstyle as js
from benchmarks.quality.pairs import package_file
from jaxstyle.image.ops import resize
from jaxstyle.video.flow import estimate_flow
from jaxstyle.video.masks import disoccluded

Size = tuple[int, int]
Flow = Float[np.ndarray, "height width 2"]
Shown = Bool[np.ndarray, "height width"]
SYNTHETIC = ("pan and zoom", "moving object", "two objects, panning")
STEREO = "stereo pair"
CLIPS = (*SYNTHETIC, STEREO)


class Clip(Protocol):
    """Frames, and what moved where."""

    @property
    def length(self) -> int | None:
        """Number of frames; None if there are as many as wanted."""
        ...

    @property
    def known(self) -> bool:
        """False if the motion is an estimate."""
        ...

    def frame(self, number: int) -> Float[np.ndarray, "height width 3"]:
        """Return a frame."""
        ...

    def motion(self, source: int, target: int) -> tuple[Flow, Shown]:
        """Return the flow from one frame to another, and which pixels of the one the other shows."""
        ...


class Layer(NamedTuple):
    """A picture that moves.

    Attributes:
        picture: `(h, w, 3)`; the lowest layer has to cover every frame.
        place: function from the number of a frame to `(scale, x, y)`: the size of the picture's pixels in the frame,
            and the position of the first one.
    """

    picture: Float[np.ndarray, "_ _ 3"]
    place: Callable[[int], tuple[float, float, float]]


class Layers(NamedTuple):
    """A clip of moving pictures.

    Attributes:
        size: height and width.
        layers: from back to front.
    """

    size: Size
    layers: Sequence[Layer]
    length: None = None
    known: bool = True

    def frame(self, number: int) -> Float[np.ndarray, "height width 3"]:
        """Return a frame, with bilinear interpolation."""
        image = np.zeros((*self.size, 3), np.float32)
        for layer in self.layers:
            rows, columns = self._coordinates(layer, number)
            inside = _inside(layer, rows, columns)
            image[inside] = _sample(layer.picture, rows[inside], columns[inside])
        return image

    def motion(self, source: int, target: int) -> tuple[Flow, Shown]:
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


class StereoPair(NamedTuple):
    """What the right and the left eye see, as two frames.

    Attributes:
        right, left: `(h, w, 3)`.
        disparity: how far to the left the right eye sees each pixel of the left image; infinite where unknown.
    """

    right: Float[np.ndarray, "height width 3"]
    left: Float[np.ndarray, "height width 3"]
    disparity: Float[np.ndarray, "height width"]
    length: int = 2
    known: bool = True

    def frame(self, number: int) -> Float[np.ndarray, "height width 3"]:
        """Return the right image, then the left one."""
        return (self.right, self.left)[number]

    def motion(self, source: int, target: int) -> tuple[Flow, Shown]:
        """Return the flow from the left image to the right one, NaN where unknown, and which pixels the right eye sees.

        A pixel is hidden if another one of its row, nearer by more than a pixel, lands within a pixel of it.
        """
        assert (source, target) == (1, 0)
        height, width = self.disparity.shape
        known = np.isfinite(self.disparity)
        disparity = np.where(known, self.disparity, 0.0)
        flow = np.stack([np.where(known, -disparity, np.nan), np.zeros_like(disparity)], axis=2).astype(np.float32)
        columns = np.arange(width) - disparity
        shown = known & (columns >= 0)
        for row in range(height):
            near = np.abs(columns[row][:, None] - columns[row]) < 1
            nearer = known[row] & (disparity[row] > disparity[row][:, None] + 1)
            shown[row] &= ~(near & nearer).any(axis=1)
        return flow, shown


class Film(NamedTuple):
    """A recorded clip, whose motion is the estimated flow, where that is the same there and back.

    Attributes:
        frames: `(h, w, 3)` each.
    """

    frames: Sequence[Float[np.ndarray, "height width 3"]]
    known: bool = False

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def frame(self, number: int) -> Float[np.ndarray, "height width 3"]:
        """Return a frame."""
        return self.frames[number]

    def motion(self, source: int, target: int) -> tuple[Flow, Shown]:
        """Return the estimated flow, and where it can be trusted."""
        flow = estimate_flow(self.frames[source], self.frames[target])
        return flow, ~disoccluded(flow, estimate_flow(self.frames[target], self.frames[source]))


def clips(photo: np.ndarray, object_: np.ndarray, size: Size) -> dict[str, Layers]:
    """Return the synthetic clips of the benchmark.

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
    return {name: Layers(size, layers) for name, layers in zip(SYNTHETIC, scenes, strict=True)}


def stereo_pair(width: int) -> StereoPair:
    """Return the motorcycle of scikit-image (D. Scharstein et al., "High-Resolution Stereo Datasets with Subpixel-
    Accurate Ground Truth", GCPR 2014), resized.
    """
    left, right = (js.load_image(package_file("skimage", f"data/motorcycle_{side}.png")) for side in ("left", "right"))
    disparity = np.load(package_file("skimage", "data/motorcycle_disp.npz"))["arr_0"]
    size = round(width * left.shape[0] / left.shape[1]), width
    left, right = (np.asarray(resize(image, *size)) for image in (left, right))
    # Of the nearest pixel: unknown ones spread no further.
    rows, columns = ((np.arange(count) + 0.5) * own / count for count, own in zip(size, disparity.shape, strict=True))
    nearest = disparity[rows.astype(int)[:, None], columns.astype(int)]
    return StereoPair(right, left, nearest * (width / disparity.shape[1]))


def film(path: Path, width: int, count: int) -> Film:
    """Read the first frames of a film.

    Raises:
        InputError: if it cannot be read.
    """
    import cv2

    capture, frames = cv2.VideoCapture(str(path)), []
    for _ in range(count):
        read, frame = capture.read()
        if not read:
            break
        height = round(width * frame.shape[0] / frame.shape[1])
        frames.append(np.asarray(resize(jnp.asarray(frame[:, :, ::-1], jnp.float32) / 255, height, width)))
    if len(frames) < 2:
        raise js.InputError(f"{path} has {len(frames)} frames that can be read, expected a film of at least 2")
    return Film(frames)


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
