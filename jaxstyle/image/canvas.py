"""A picture on a larger canvas: it begins at the top left, and what lies beyond its extent is masked.

Arrays of one shape are what a compiled program takes and what devices divide evenly. So pictures of several sizes share
a program, and a picture of any size lies on any number of devices, on a canvas; the extent is a pair of traced numbers.
The network zeroes the canvas beyond the extent before every layer, which is the zero padding that it would see at the
picture's own border: loss and gradient are those of the picture alone. `extent=None` means everywhere in this package
that the canvas is the picture, and then nothing is masked.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxstyle.errors import InputError
from jaxstyle.typing import AnyFeatures, AnyImage, Extent, Scalar

# A side or a place: a number that the program was compiled for, or a traced one.
Dim = int | Int[Array, ""]


class Canvas(NamedTuple):
    """A picture on a canvas.

    Attributes:
        pixels: `(H, W, 3)`.
        extent: height and width of the picture; None if it fills the canvas.
    """

    pixels: AnyImage
    extent: Extent | None = None


class Placement(NamedTuple):
    """Where a piece of a map lies in it, and where the map ends; in positions of the map.

    Attributes:
        top: row of the piece's first row, a multiple of the spacing of the deepest layer; negative above the map.
        left: column of its first column, likewise.
        height: of the map.
        width: of the map.
    """

    top: Dim
    left: Dim
    height: Dim
    width: Dim

    def shifted(self, down: Dim, right: Dim) -> "Placement":
        """That of a piece of the piece."""
        return self._replace(top=self.top + down, left=self.left + right)


def on_canvas(image: AnyImage, height: int, width: int) -> Canvas:
    """A picture at the top left of a canvas of zeros.

    Args:
        image: `(h, w, 3)`.
        height: of the canvas, at least the picture's.
        width: of the canvas, likewise.

    Returns:
        The canvas.

    Raises:
        InputError: for a canvas that is too small.

    Example:
        >>> import jax.numpy as jnp
        >>> canvas = on_canvas(jnp.ones((1, 2, 3)), 2, 3)
        >>> canvas.pixels[:, :, 0].tolist(), canvas.extent.tolist()
        ([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [1, 2])
    """
    down, right = height - image.shape[0], width - image.shape[1]
    if down < 0 or right < 0:
        raise InputError(f"a picture of {image.shape[:2]} does not fit on a canvas of {(height, width)}")
    pixels = jnp.pad(image, ((0, down), (0, right), (0, 0)))
    return Canvas(pixels, jnp.array(image.shape[:2], jnp.int32))


def sides(shape: tuple[int, ...], extent: Extent | None) -> tuple[Dim, Dim]:
    """Height and width of the picture on a canvas of this shape."""
    return (shape[0], shape[1]) if extent is None else (extent[0], extent[1])


def area(height: Dim, width: Dim) -> float | Scalar:
    """Height times width. A float: the product overflows int32 in large pictures."""
    if isinstance(height, int) and isinstance(width, int):
        return float(height) * width
    return jnp.asarray(height, jnp.float32) * jnp.asarray(width, jnp.float32)


def mask_outside(x: AnyFeatures, frame: Placement | None, spacing: int = 1) -> AnyFeatures:
    """Zero what a piece holds outside of the map.

    Args:
        x: the piece, at a layer.
        frame: of the piece; None leaves it as it is.
        spacing: positions of the frame's map between neighboring positions of the layer; a side of `n` has
            `n // spacing`.

    Returns:
        The same shape.
    """
    if frame is None:
        return x
    rows, columns = (
        (begin // spacing + jnp.arange(length) >= 0) & (begin // spacing + jnp.arange(length) < side // spacing)
        for begin, length, side in zip(frame[:2], x.shape[:2], frame[2:], strict=True)
    )
    return jnp.where(rows[:, None, None] & columns[None, :, None], x, 0.0)


def edge_extend(x: AnyFeatures, axis: int, side: Dim) -> AnyFeatures:
    """The last row, or column, of the picture repeated to the end of the canvas.

    A sum, not a slice: where the axis is spread over devices, a slice at a traced place gathers the whole picture.

    Args:
        x: the canvas.
        axis: 0 repeats rows, 1 columns.
        side: the picture's length along it.

    Returns:
        The same shape.
    """
    index = jnp.expand_dims(jnp.arange(x.shape[axis]), [other for other in range(3) if other != axis])
    last = jnp.sum(jnp.where(index == side - 1, x, 0.0), axis=axis, keepdims=True)
    return jnp.where(index < side, x, last)
