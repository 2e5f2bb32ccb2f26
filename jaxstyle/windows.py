"""A picture's statistics from windows of it: exact, in a memory that the window bounds.

Statistics are sums over positions (`statistics.py`), so each window adds those of the part that it owns. Around that part it
needs a halo, as wide as the receptive field reaches; at the picture's true borders it ends where the picture ends, so
that the network pads there as it always does. The sums of all windows are those of the whole picture, so the loss's derivative with respect to them
is known after one pass over the windows; a second pass takes every window again and propagates that derivative back to its
pixels. Value and gradient are those of the whole picture, not an approximation by each tile's own Gram matrices.

Blocks 1 to 3 hold nearly all of the memory, but reach only 22 pixels; blocks 4 and 5 reach 48 more, on maps of a
64th of the positions. So the network is cut after `pool3` into two stages, each with windows and a halo of its own: the
lower ones are small, the deep ones large, often as large as the picture.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxstyle import vgg
from jaxstyle.layers import Pooling, Precision
from jaxstyle.statistics import outer_products, squared_error
from jaxstyle.typing import AnyFeatures, FeatureMaps, Image, Params, Scalar

# Where the network is cut, and how many times a lower window's side a deep window has.
CUT = "pool3"
DEEP = 4


@dataclass(frozen=True)
class Stage:
    """A part of the network, from the map of one layer to the statistics of deeper ones.

    Attributes:
        after: layer of the given map; the picture itself if None.
        styles: layers whose outer products are summed.
        contents: layers whose squared errors are summed.
        maps: layers whose feature maps are wanted.
        pooling: see `vgg.features`.
        padding: likewise.
        precision: likewise.
        window: side of the part that a window owns at most, in positions of the given map; None is one window for all.
    """

    after: str | None
    styles: tuple[str, ...]
    contents: tuple[str, ...]
    maps: tuple[str, ...]
    pooling: Pooling
    padding: vgg.Padding
    precision: Precision
    window: int | None

    @property
    def layers(self) -> tuple[str, ...]:
        """All in use, each once."""
        return tuple(dict.fromkeys((*self.styles, *self.contents, *self.maps)))

    def jump(self, layer: str) -> int:
        """Positions of the given map between neighbouring positions of a layer."""
        return vgg.stride(layer) // (1 if self.after is None else vgg.stride(self.after))

    @property
    def align(self) -> int:
        """What windows have to be multiples of."""
        return max(map(self.jump, self.layers))

    @property
    def halo(self) -> int:
        """Positions around the part that a window owns which it needs for it."""
        return _up(vgg.radius(self.layers, self.after), self.align)


class Outcome(NamedTuple):
    """What a stage gives.

    Attributes:
        products: style layer to the sum of its outer products.
        errors: content layer to the sum of squared differences from the content's features.
        maps: layer to its feature map.
    """

    products: dict[str, Float[Array, "_ _"]]
    errors: dict[str, Scalar]
    maps: dict[str, AnyFeatures]


class Axis(NamedTuple):
    """How one side of a stage's map is divided into windows.

    Attributes:
        size: of the map, in positions.
        count: of the windows.
        own: how many positions belong to each window; the last one's may reach beyond the map.
        length: of a window with its halo. It differs from the map's by a multiple of the alignment, so that a window
            which ends where the map ends is pooled like the map.
    """

    size: int
    count: int
    own: int
    length: int


def through_windows(
    image: Image,
    params: Params,
    content: FeatureMaps,
    styles: tuple[str, ...],
    maps: tuple[str, ...] = (),
    *,
    window: int | None,
    pooling: Pooling = "max",
    padding: vgg.Padding = "zeros",
    precision: Precision = "highest",
) -> Outcome:
    """Statistics and feature maps of a picture, in two stages of windows.

    Args:
        image: `(H, W, 3)` in [0, 1].
        params: see `load_params`.
        content: content layer to the feature map that the squared error is from.
        styles: layers whose outer products are summed.
        maps: layers whose feature maps are wanted.
        window: side in pixels of the part that a window of blocks 1 to 3 owns at most; None is the whole picture.
        pooling: see `vgg.features`.
        padding: likewise.
        precision: likewise.

    Returns:
        The outcome; differentiable with respect to the picture alone.
    """
    depth = vgg.LAYERS.index
    wanted = {"styles": styles, "contents": tuple(content), "maps": maps}
    cut = window is not None and any(depth(layer) > depth(CUT) for layers in wanted.values() for layer in layers)
    options = {"pooling": pooling, "padding": padding, "precision": precision}
    if not cut:
        return run_stage(image, params, content, Stage(None, **wanted, **options, window=window))
    low = {name: tuple(layer for layer in layers if depth(layer) <= depth(CUT)) for name, layers in wanted.items()}
    deep = {name: tuple(layer for layer in layers if depth(layer) > depth(CUT)) for name, layers in wanted.items()}
    extra = {**low, "maps": tuple(dict.fromkeys((*low["maps"], CUT)))}
    first = run_stage(image, params, _of(content, low["contents"]), Stage(None, **extra, **options, window=window))
    last = Stage(CUT, **deep, **options, window=max(1, DEEP * window // vgg.stride(CUT)))
    second = run_stage(first.maps[CUT], params, _of(content, deep["contents"]), last)
    return Outcome(
        first.products | second.products, first.errors | second.errors, _of(first.maps | second.maps, maps)
    )


def run_stage(x: AnyFeatures, params: Params, content: FeatureMaps, stage: Stage) -> Outcome:
    """One stage, window by window if its map is larger than a window.

    Args:
        x: the stage's map.
        params: see `load_params`.
        content: content layer to feature map, for the stage's `contents`.
        stage: static.

    Returns:
        The outcome; differentiable with respect to `x` alone.
    """
    if any(axis.count > 1 for axis in _axes(x, stage)):
        return _windowed(x, params, content, stage)
    taps = _features(x, params, stage)
    return Outcome(
        {layer: outer_products(taps[layer]) for layer in stage.styles},
        {layer: squared_error(taps[layer], content[layer]) for layer in stage.contents},
        _of(taps, stage.maps),
    )


def divide(size: int, stage: Stage) -> Axis:
    """Windows of about equal sides, none larger than the stage's, up to alignment.

    Args:
        size: of the map's side.
        stage: says the window.

    Returns:
        The division.
    """
    if stage.window is None or size <= stage.window:
        return Axis(size, 1, size, size)
    own = _up(-(-size // -(-size // stage.window)), stage.align)
    return Axis(size, -(-size // own), own, min(size, own + 2 * stage.halo + size % stage.align))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _windowed(x: AnyFeatures, params: Params, content: FeatureMaps, stage: Stage) -> Outcome:
    axes = _axes(x, stage)

    def part(k: int | Int[Array, ""]) -> Outcome:
        window = Window.of(k, axes, stage)
        return _part(window.patch.cut(x), window, params, content)

    def add(k: Int[Array, ""], total: Outcome) -> Outcome:
        window, new = Window.of(k, axes, stage), part(k)
        return Outcome(
            jax.tree.map(jnp.add, total.products, new.products),
            jax.tree.map(jnp.add, total.errors, new.errors),
            {layer: window.owned(layer).put(total.maps[layer], new.maps[layer]) for layer in stage.maps},
        )

    shapes = jax.eval_shape(part, 0)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    sides = {layer: tuple(axis.size // stage.jump(layer) for axis in axes) for layer in stage.maps}
    maps = {layer: jnp.zeros((*sides[layer], shapes.maps[layer].shape[2]), jnp.float32) for layer in stage.maps}
    return lax.fori_loop(0, axes[0].count * axes[1].count, add, zero._replace(maps=maps))


def _windowed_forward(x, params, content, stage):
    return _windowed(x, params, content, stage), (x, params, content)


def _windowed_backward(stage, residuals, cotangent):
    x, params, content = residuals
    axes = _axes(x, stage)

    def add(k, gradient):
        window = Window.of(k, axes, stage)
        maps = {layer: window.only_new(window.owned(layer).cut(cotangent.maps[layer]), layer) for layer in stage.maps}
        _, pull = jax.vjp(lambda pixels: _part(pixels, window, params, content), window.patch.cut(x))
        (share,) = pull(cotangent._replace(maps=maps))
        return window.patch.put(gradient, window.patch.cut(gradient) + share)

    # No cotangents for the params and the content: nobody optimises them here.
    return lax.fori_loop(0, axes[0].count * axes[1].count, add, jnp.zeros_like(x)), None, None


_windowed.defvjp(_windowed_forward, _windowed_backward)


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
        return cls((k // axes[1].count * axes[0].own, k % axes[1].count * axes[1].own), axes, stage)

    @property
    def patch(self) -> Patch:
        """The window with its halo, in the stage's map."""
        begin = (self._inwards(corner - self.stage.halo, axis.size - axis.length) for corner, axis in self._sides)
        return Patch(tuple(begin), tuple(axis.length for axis in self.axes))

    def owned(self, layer: str) -> Patch:
        """The part that it owns, in the map of a layer."""
        jump = self.stage.jump(layer)
        begin = (self._inwards(corner // jump, axis.size // jump - axis.own // jump) for corner, axis in self._sides)
        return Patch(tuple(begin), tuple(axis.own // jump for axis in self.axes))

    def only_new(self, part: AnyFeatures, layer: str) -> AnyFeatures:
        """Zero in the owned part of a layer's map what an earlier window owns as well."""
        jump, begin = self.stage.jump(layer), self.owned(layer).begin
        rows, columns = (
            first + jnp.arange(side) >= corner // jump
            for first, side, corner in zip(begin, part.shape[:2], self.corner, strict=True)
        )
        return jnp.where(rows[:, None, None] & columns[None, :, None], part, 0.0)

    @property
    def _sides(self):
        return zip(self.corner, self.axes, strict=True)

    @staticmethod
    def _inwards(begin, last):
        return jnp.clip(begin, 0, last)


def _part(pixels: AnyFeatures, window: Window, params: Params, content: FeatureMaps) -> Outcome:
    """What a window adds to the sums, and its own part of the maps."""
    stage = window.stage
    owned = {}
    for layer, tap in _features(pixels, params, stage).items():
        outer, inner = window.patch.begin, window.owned(layer)
        begin = (inside - first // stage.jump(layer) for inside, first in zip(inner.begin, outer, strict=True))
        owned[layer] = inner._replace(begin=tuple(begin)).cut(tap)
    products = {layer: outer_products(window.only_new(owned[layer], layer)) for layer in stage.styles}
    errors = {}
    for layer in stage.contents:
        difference = owned[layer] - window.owned(layer).cut(content[layer])
        errors[layer] = jnp.sum(jnp.square(window.only_new(difference, layer)))
    return Outcome(products, errors, _of(owned, stage.maps))


def _features(x: AnyFeatures, params: Params, stage: Stage) -> dict[str, AnyFeatures]:
    options = {"pooling": stage.pooling, "padding": stage.padding, "precision": stage.precision}
    return vgg.features(params, x, stage.layers, **options, after=stage.after)


def _axes(x: AnyFeatures, stage: Stage) -> tuple[Axis, Axis]:
    return divide(x.shape[0], stage), divide(x.shape[1], stage)


def _of(maps: Mapping, layers: tuple[str, ...]) -> dict:
    return {layer: maps[layer] for layer in layers}


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
