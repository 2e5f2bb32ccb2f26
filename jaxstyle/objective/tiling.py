"""How a stage of the network divides its map into windows: which part each owns, and where it lies. No arithmetic."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from jaxstyle.typing import AnyFeatures
from jaxstyle.vgg import network


@dataclass(frozen=True)
class Stage:
    """A part of the network, from the map of one layer to the statistics of deeper ones.

    Attributes:
        after: layer of the given map; the picture itself if None.
        styles: layers whose outer products are summed.
        contents: layers whose squared errors are summed.
        maps: layers whose feature maps are wanted.
        options: of the network.
        window: side of the part that a window owns at most, in positions of the given map; None is one window for all.
        shards: devices that the map's rows and columns are spread over.
        means: whether the feature vectors of the style layers are summed, too.
    """

    after: str | None
    styles: tuple[str, ...]
    contents: tuple[str, ...]
    maps: tuple[str, ...]
    options: network.Options
    window: int | None
    shards: tuple[int, int] = (1, 1)
    means: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """All in use, each once."""
        return tuple(dict.fromkeys((*self.styles, *self.contents, *self.maps)))

    @property
    def stride(self) -> int:
        """Pixels between neighboring positions of the given map."""
        return 1 if self.after is None else network.stride(self.after)

    def stride_from(self, layer: str) -> int:
        """Positions of the given map between neighboring positions of a layer."""
        return network.stride(layer) // self.stride

    @property
    def alignment(self) -> int:
        """What windows have to be multiples of."""
        return max(map(self.stride_from, self.layers))

    @property
    def halo(self) -> int:
        """Positions around the part that a window owns which it needs for it."""
        return _up(network.receptive_radius(self.layers, self.after), self.alignment)

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns that a device's part of the map has on each side beside its own: 0 where nothing divides."""
        rows, columns = (self.halo if count > 1 else 0 for count in self.shards)
        return rows, columns


class Axis(NamedTuple):
    """How one side of a stage's map, or of a device's part of it, is divided into windows.

    Attributes:
        size: in positions.
        windows: how many.
        core: how many positions belong to each window; the last one's may reach beyond the map.
        length: of a window with its halo. It differs from the map's by a multiple of the alignment, so that a window
            which ends where the map ends is pooled like the map.
        margin: positions of the neighbors' parts that a device holds before and after its own.
    """

    size: int
    windows: int
    core: int
    length: int
    margin: int = 0


def divide(size: int, stage: Stage, margin: int = 0) -> Axis:
    """Windows of about equal sides, none larger than the stage's, up to alignment.

    Args:
        size: of the map's side, or of a device's part of it.
        stage: says the window.
        margin: as wide as the stage's halo, or 0.

    Returns:
        The division.
    """
    if stage.window is None or size <= stage.window:
        return Axis(size, 1, size, size + 2 * margin, margin)
    core = _up(-(-size // -(-size // stage.window)), stage.alignment)
    length = min(size + 2 * margin, core + 2 * stage.halo + size % stage.alignment)
    return Axis(size, -(-size // core), core, length, margin)


class Patch(NamedTuple):
    """A rectangle of a map: where it begins (traced), and its sides (static)."""

    begin: tuple[Int[Array, ""], Int[Array, ""]]
    sides: tuple[int, int]

    def cut(self, x: AnyFeatures) -> AnyFeatures:
        """That part of a map."""
        return lax.dynamic_slice(x, (*self.begin, jnp.int32(0)), (*self.sides, x.shape[2]))

    def put(self, x: AnyFeatures, part: AnyFeatures) -> AnyFeatures:
        """The map with that part replaced."""
        return lax.dynamic_update_slice(x, part, (*self.begin, jnp.int32(0)))


class Window(NamedTuple):
    """One window of a stage's map: the part that it owns, and the halo around it.

    At the map's border a window is moved inwards, so that all are of one shape. Then its own part begins within a
    part that an earlier window owns.

    Attributes:
        corner: where its own part begins, in positions of the stage's map (traced).
        axes: how the map is divided (static).
        stage: static.
    """

    corner: tuple[Int[Array, ""], Int[Array, ""]]
    axes: tuple[Axis, Axis]
    stage: Stage

    @classmethod
    def of(cls, k: int | Int[Array, ""], axes: tuple[Axis, Axis], stage: Stage) -> "Window":
        """The k-th, row by row."""
        k = jnp.asarray(k, jnp.int32)
        return cls((k // axes[1].windows * axes[0].core, k % axes[1].windows * axes[1].core), axes, stage)

    @property
    def patch(self) -> Patch:
        """The window with its halo, in the stage's map with its margins."""
        row, column = (
            jnp.clip(corner + axis.margin - self.stage.halo, 0, axis.size + 2 * axis.margin - axis.length)
            for corner, axis in zip(self.corner, self.axes, strict=True)
        )
        return Patch((row, column), (self.axes[0].length, self.axes[1].length))

    def owned(self, layer: str) -> Patch:
        """The part that it owns, in the map of a layer."""
        spacing = self.stage.stride_from(layer)
        row, column = (
            jnp.clip(corner // spacing, 0, axis.size // spacing - axis.core // spacing)
            for corner, axis in zip(self.corner, self.axes, strict=True)
        )
        return Patch((row, column), (self.axes[0].core // spacing, self.axes[1].core // spacing))

    def owned_inside(self, layer: str) -> Patch:
        """The same part, in the window's own map of the layer."""
        spacing, owned = self.stage.stride_from(layer), self.owned(layer)
        row, column = (
            inner + axis.margin // spacing - outer // spacing
            for inner, outer, axis in zip(owned.begin, self.patch.begin, self.axes, strict=True)
        )
        return owned._replace(begin=(row, column))

    def mask_already_counted(self, part: AnyFeatures, layer: str) -> AnyFeatures:
        """Zero in the owned part of a layer's map what an earlier window owns as well."""
        spacing, begin = self.stage.stride_from(layer), self.owned(layer).begin
        rows, columns = (
            first + jnp.arange(side) >= corner // spacing
            for first, side, corner in zip(begin, part.shape[:2], self.corner, strict=True)
        )
        return jnp.where(rows[:, None, None] & columns[None, :, None], part, 0.0)


def axes(shape: tuple[int, ...], stage: Stage) -> tuple[Axis, Axis]:
    """Both sides of a stage's map, or of a device's part of it.

    Args:
        shape: height and width, margins included; what follows does not matter.
        stage: says the window and the margins.

    Returns:
        The division of rows and that of columns.
    """
    rows, columns = (
        divide(side - 2 * margin, stage, margin) for side, margin in zip(shape[:2], stage.margins, strict=True)
    )
    return rows, columns


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
