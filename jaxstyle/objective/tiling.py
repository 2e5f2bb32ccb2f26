"""Division of a segment's feature map into windows: their places and the parts that they own, without their values."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from jaxstyle.typing import AnyFeatures
from jaxstyle.vgg import network


@dataclass(frozen=True)
class Segment:
    """A part of the network, from the map of one layer to the statistics of deeper ones.

    Attributes:
        after: layer of the input map; None for the image.
        styles: layers whose outer products are summed.
        contents: layers whose squared errors are summed.
        maps: layers whose feature maps are returned.
        options: options of the network.
        window: maximum height and width, in positions of the input map, of the part that a window owns; None for a
            single window.
        shards: numbers of devices that share the map's rows and columns.
        means: True if the feature vectors of the style layers are summed, too.
        neighbors: layers whose distances to the style's nearest features are summed.
    """

    after: str | None
    styles: tuple[str, ...]
    contents: tuple[str, ...]
    maps: tuple[str, ...]
    options: network.Options
    window: int | None
    shards: tuple[int, int] = (1, 1)
    means: bool = False
    neighbors: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Style, content, map and neighbor layers, without repetition."""
        return tuple(dict.fromkeys((*self.styles, *self.contents, *self.maps, *self.neighbors)))

    @property
    def guided(self) -> tuple[str, ...]:
        """Layers whose sums are weighted by guides, without repetition."""
        return tuple(dict.fromkeys((*self.styles, *self.neighbors)))

    @property
    def stride(self) -> int:
        """Stride of the input map in pixels."""
        return 1 if self.after is None else network.stride(self.after)

    def stride_from(self, layer: str) -> int:
        """Stride of a layer in positions of the input map."""
        return network.stride(layer) // self.stride

    @property
    def alignment(self) -> int:
        """Positions of which windows have to be multiples: the stride of the deepest layer."""
        return max(map(self.stride_from, self.layers))

    @property
    def halo(self) -> int:
        """Positions that a window needs on each side of the part that it owns."""
        return _round_up(network.receptive_radius(self.layers, self.after), self.alignment)

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns of its neighbors that a device holds on each side; 0 along an axis that is not divided."""
        rows, columns = (self.halo if count > 1 else 0 for count in self.shards)
        return rows, columns


class Axis(NamedTuple):
    """Division of one axis of a segment's map, or of a device's part of it, into windows. All in positions.

    Attributes:
        size: length of the axis.
        windows: number of windows.
        core: length of the part that each window owns; the last one's may end beyond the map.
        length: length of a window with its halo. It differs from the map's by a multiple of the alignment, so that a
            window which ends where the map ends is pooled like the map.
        margin: positions of the neighbors' parts that a device holds before and after its own.
    """

    size: int
    windows: int
    core: int
    length: int
    margin: int = 0


class Patch(NamedTuple):
    """A rectangle of a map: its first row and column (traced), and its height and width (static)."""

    begin: tuple[Int[Array, ""], Int[Array, ""]]
    size: tuple[int, int]

    def cut(self, x: AnyFeatures) -> AnyFeatures:
        """Cut the rectangle out of a map."""
        return lax.dynamic_slice(x, (*self.begin, jnp.int32(0)), (*self.size, x.shape[2]))

    def put(self, x: AnyFeatures, part: AnyFeatures) -> AnyFeatures:
        """Replace the rectangle in a map."""
        return lax.dynamic_update_slice(x, part, (*self.begin, jnp.int32(0)))


class Window(NamedTuple):
    """One window of a segment's map: the part that it owns, and the halo around it.

    At the map's border a window is moved inwards, so that all have one shape. Then the part that it owns begins within
    a part that an earlier window owns.

    Attributes:
        corner: first row and column of the part that it owns, in positions of the segment's map (traced).
        axes: division of the map (static).
        segment: the segment (static).
    """

    corner: tuple[Int[Array, ""], Int[Array, ""]]
    axes: tuple[Axis, Axis]
    segment: Segment

    @classmethod
    def at(cls, k: int | Int[Array, ""], axes: tuple[Axis, Axis], segment: Segment) -> "Window":
        """The k-th window, row by row."""
        k = jnp.asarray(k, jnp.int32)
        return cls((k // axes[1].windows * axes[0].core, k % axes[1].windows * axes[1].core), axes, segment)

    @property
    def patch(self) -> Patch:
        """Rectangle of the window with its halo, in the segment's map with its margins."""
        row, column = (
            jnp.clip(corner + axis.margin - self.segment.halo, 0, axis.size + 2 * axis.margin - axis.length)
            for corner, axis in zip(self.corner, self.axes, strict=True)
        )
        return Patch((row, column), (self.axes[0].length, self.axes[1].length))

    def owned(self, layer: str) -> Patch:
        """Rectangle of the part that it owns, in the map of a layer."""
        spacing = self.segment.stride_from(layer)
        row, column = (
            jnp.clip(corner // spacing, 0, axis.size // spacing - axis.core // spacing)
            for corner, axis in zip(self.corner, self.axes, strict=True)
        )
        return Patch((row, column), (self.axes[0].core // spacing, self.axes[1].core // spacing))

    def owned_inside(self, layer: str) -> Patch:
        """Rectangle of the same part, in the window's own map of the layer."""
        spacing, owned = self.segment.stride_from(layer), self.owned(layer)
        row, column = (
            inner + axis.margin // spacing - outer // spacing
            for inner, outer, axis in zip(owned.begin, self.patch.begin, self.axes, strict=True)
        )
        return owned._replace(begin=(row, column))

    def mask_already_counted(self, part: AnyFeatures, layer: str) -> AnyFeatures:
        """Set to zero, in the owned part of a layer's map, what an earlier window owns, too."""
        spacing, begin = self.segment.stride_from(layer), self.owned(layer).begin
        rows, columns = (
            first + jnp.arange(side, dtype=jnp.int32) >= corner // spacing
            for first, side, corner in zip(begin, part.shape[:2], self.corner, strict=True)
        )
        return jnp.where(rows[:, None, None] & columns[None, :, None], part, 0.0)


def axes(shape: tuple[int, ...], segment: Segment) -> tuple[Axis, Axis]:
    """Divide the rows and the columns of a segment's map, or of a device's part of it, into windows.

    They have about equal lengths, none longer than the segment's, up to alignment.

    Args:
        shape: height and width, margins included, and further axes.
        segment: determines the window and the margins.
    """

    def divide(length: int, margin: int) -> Axis:
        size = length - 2 * margin
        if segment.window is None or size <= segment.window:
            return Axis(size, 1, size, length, margin)
        core = _round_up(-(-size // -(-size // segment.window)), segment.alignment)
        window = core + 2 * segment.halo + size % segment.alignment
        return Axis(size, -(-size // core), core, min(length, window), margin)

    rows, columns = map(divide, shape[:2], segment.margins)
    return rows, columns


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
