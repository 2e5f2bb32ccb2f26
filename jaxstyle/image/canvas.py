"""Images on a larger canvas: the image starts at the top left, and everything outside of its extent is masked.

A compiled program has fixed array shapes, and devices divide arrays evenly. On a canvas, images of several sizes share
a program, and an image of any size is divided over any number of devices; the extent is a pair of traced numbers. The
network zeroes the canvas outside of the extent before every layer, as zero padding does at the border of the image:
loss and gradient equal those of the image alone. Throughout the package `extent=None` means that the image fills the
canvas, so nothing is masked.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxstyle.errors import InputError
from jaxstyle.guards import permissive
from jaxstyle.image.ops import check_image, check_size
from jaxstyle.typing import AnyFeatures, AnyImage, Extent, Scalar

# A length or a position: a static or a traced number.
Dim = int | Int[Array, ""]


class Canvas(NamedTuple):
    """An image on a canvas.

    Attributes:
        pixels: `(H, W, 3)`.
        extent: height and width of the image; None if it fills the canvas.

    Example:
        >>> import jax.numpy as jnp
        >>> canvas = on_canvas(jnp.ones((4, 5, 3)), 8, 8)
        >>> canvas.pixels.shape, canvas.extent.tolist()
        ((8, 8, 3), [4, 5])
    """

    pixels: AnyImage
    extent: Extent | None = None


class Placement(NamedTuple):
    """Position of a piece of a map, and the size of that map; in positions of the map.

    Attributes:
        top: row of the piece's first row, a multiple of the stride of the deepest layer; negative above the map.
        left: column of the piece's first column, a multiple of the same stride; negative left of the map.
        height: height of the map.
        width: width of the map.
    """

    top: Dim
    left: Dim
    height: Dim
    width: Dim

    def shifted(self, down: Dim, right: Dim) -> "Placement":
        """Placement of a sub-piece at this offset in the piece."""
        return self._replace(top=self.top + down, left=self.left + right)


@permissive()
def on_canvas(image: AnyImage, height: int, width: int) -> Canvas:
    """Place an image at the top left of a canvas of zeros.

    Args:
        image: `(h, w, 3)`.
        height: height of the canvas, h to 65536.
        width: width of the canvas, w to 65536.

    Returns:
        The canvas.

    Raises:
        InputError: for an array that is not an image, or a canvas that is too small.

    Example:
        >>> import jax.numpy as jnp
        >>> canvas = on_canvas(jnp.ones((1, 2, 3)), 2, 3)
        >>> canvas.pixels[:, :, 0].tolist(), canvas.extent.tolist()
        ([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [1, 2])
    """
    check_image(image)
    check_size(height, width)
    down, right = height - image.shape[0], width - image.shape[1]
    if down < 0 or right < 0:
        raise InputError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels does not fit on a canvas of {width}x{height}, "
            "expected a canvas at least as large as the image"
        )
    pixels = jnp.pad(image, ((0, down), (0, right), (0, 0)))
    return Canvas(pixels, jnp.array(image.shape[:2], jnp.int32))


def sides(shape: tuple[int, ...], extent: Extent | None) -> tuple[Dim, Dim]:
    """Height and width of the image on a canvas of this shape."""
    return (shape[0], shape[1]) if extent is None else (extent[0], extent[1])


def area(height: Dim, width: Dim) -> float | Scalar:
    """Height times width, as a float: the product overflows int32 in large images."""
    if isinstance(height, int) and isinstance(width, int):
        return float(height) * width
    return jnp.asarray(height, jnp.float32) * jnp.asarray(width, jnp.float32)


def mask_outside(x: AnyFeatures, placement: Placement | None, spacing: int = 1) -> AnyFeatures:
    """Zero the positions of a piece that are outside of the map.

    Args:
        x: feature map of the piece.
        placement: position of the piece in the map; None masks nothing.
        spacing: stride of the layer in positions of the placement's map; a side of `n` has `n // spacing` positions.

    Returns:
        The same shape.
    """
    if placement is None:
        return x
    rows, columns = (
        (start // spacing + jnp.arange(length, dtype=jnp.int32) >= 0)
        & (start // spacing + jnp.arange(length, dtype=jnp.int32) < side // spacing)
        for start, length, side in zip(placement[:2], x.shape[:2], placement[2:], strict=True)
    )
    return jnp.where(rows[:, None, None] & columns[None, :, None], x, 0.0)


def edge_extend(x: AnyFeatures, axis: int, side: Dim) -> AnyFeatures:
    """Repeat the last row, or column, of the image to the end of the canvas.

    A sum, not a slice: where the axis is sharded, a slice at a traced position gathers the whole image.

    Args:
        x: the canvas.
        axis: 0 repeats rows, 1 columns.
        side: length of the image along the axis.

    Returns:
        The same shape.
    """
    index = jnp.expand_dims(jnp.arange(x.shape[axis], dtype=jnp.int32), [other for other in range(3) if other != axis])
    last = jnp.sum(jnp.where(index == side - 1, x, 0.0), axis=axis, keepdims=True)
    return jnp.where(index < side, x, last)
