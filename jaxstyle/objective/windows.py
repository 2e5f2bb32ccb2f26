"""Statistics of an image from windows of it: exact, in an amount of memory that the window bounds.

Statistics are sums over positions (`statistics.py`), so each window adds those of the part that it owns. Around that
part it needs a halo of the receptive field's radius; at the image's true borders it ends where the image ends, so that
the network pads there as usual. The sums over all windows are those of the whole image, so the loss's derivative with
respect to them is known after one pass over the windows; a second pass evaluates every window again and propagates that
derivative back to its pixels. Value and gradient are those of the whole image, not an approximation by the Gram
matrices of tiles.

Blocks 1 to 3 need nearly all of the memory, but have a receptive radius of only 22 pixels; blocks 4 and 5 add 48, on
maps of a 64th of the positions. So the network is cut after `pool3` into two segments, each with windows and a halo of
its own: the first one's are small, the second one's large, often as large as the image.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, edge_extend, sides
from jaxstyle.image.ops import check_image
from jaxstyle.losses.statistics import check_same_shape, feature_sum, outer_products
from jaxstyle.objective.halo import join, split
from jaxstyle.objective.tiling import Segment, Window, axes
from jaxstyle.typing import AnyFeatures, Extent, Image, Params, Scalar
from jaxstyle.vgg import network


class Inputs(NamedTuple):
    """Maps that feature maps are compared with or weighted by, divided among windows and devices like these.

    Attributes:
        content: content layer to the feature map that squared errors are measured from.
        guides: style layer to `(h, w, regions)`: see `guides.py`; empty where the whole image has one style.
    """

    content: Mapping[str, AnyFeatures] = {}
    guides: Mapping[str, AnyFeatures] = {}


class Statistics(NamedTuple):
    """Sums over the positions of an image, and feature maps.

    Attributes:
        products: style layer to the sum of its outer products; with guides one for each region.
        sums: style layer to the sum of its feature vectors; with guides one for each region. Empty unless the segment
            has `means`.
        errors: content layer to the sum of squared differences from the content's features.
        maps: layer to its feature map.
    """

    products: dict[str, Float[Array, "*regions _ _"]]
    sums: dict[str, Float[Array, "*regions _"]]
    errors: dict[str, Scalar]
    maps: dict[str, AnyFeatures]


def compute_statistics(
    image: Image, params: Params, inputs: Inputs, segments: Sequence[Segment], extent: Extent | None = None
) -> Statistics:
    """Compute statistics and feature maps of an image, segment by segment.

    Args:
        image: `(H, W, 3)` in [0, 1].
        params: see `load_params`.
        inputs: maps to compare with and to weight by.
        segments: see `segments_of`.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        Statistics and maps of all segments; differentiable with respect to the image alone.

    Raises:
        InputError: for an image smaller than the deepest layer's stride, or content of another size.
    """
    # Here, because the second segment sees only its own part of the network.
    check_image(image, min_side=max((network.stride(layer) for part in segments for layer in part.layers), default=1))
    if extent is not None and any(segment.options.padding == "replicate" for segment in segments):
        for axis, side in enumerate(sides(image.shape, extent)):
            image = edge_extend(image, axis, side)
    total = Statistics({}, {}, {}, {})
    for segment in segments:
        x = image if segment.after is None else total.maps[segment.after]
        new = _segment_statistics(x, params, inputs, segment, extent)
        total = Statistics(*(old_field | new_field for old_field, new_field in zip(total, new, strict=True)))
    return total


def _segment_statistics(
    x: AnyFeatures, params: Params, inputs: Inputs, segment: Segment, extent: Extent | None
) -> Statistics:
    """Compute one segment from its input map: whole, in windows, or in windows of all devices' parts at once."""
    for layer in segment.contents:
        height, width = (side // segment.stride_from(layer) for side in x.shape[:2])
        target = inputs.content[layer].shape
        check_same_shape((height, width, target[2]), target)
    guides = _select(inputs.guides, segment.styles) if inputs.guides else {}
    inputs = Inputs(_select(inputs.content, segment.contents), guides)
    frame = None if extent is None else Placement(0, 0, extent[0] // segment.stride, extent[1] // segment.stride)
    parts = [side // count for side, count in zip(x.shape, segment.shards, strict=False)]
    if segment.window is None or max(parts) <= segment.window:
        return _statistics_of(_features(x, params, frame, segment), inputs, segment, segment.shards[1])
    if segment.shards == (1, 1):
        return _map_windows(x, params, inputs, frame, segment)
    for side, part, count in zip(x.shape, parts, segment.shards, strict=False):
        if count > 1 and (side % (count * segment.alignment) or part < segment.halo):
            raise InputError(
                f"{side} positions do not divide into {count} equal parts of a multiple of {segment.alignment}, at "
                f"least {segment.halo}: put the image on a larger canvas, on fewer devices, or use larger windows"
            )
    return _map_device_windows(x, params, inputs, frame, segment)


def _map_device_windows(
    x: AnyFeatures, params: Params, inputs: Inputs, frame: Placement | None, segment: Segment
) -> Statistics:
    """Compute every device's part in windows, all devices at once."""
    whole = Placement(0, 0, *x.shape[:2]) if frame is None else frame
    height, width = (side // count for side, count in zip(x.shape[:2], segment.shards, strict=True))

    def run_block(block: AnyFeatures, inputs: Inputs, row: Int[Array, ""], column: Int[Array, ""]) -> Statistics:
        placement = whole.shifted(row * height - segment.margins[0], column * width - segment.margins[1])
        return _map_windows(block, params, inputs, placement, segment)

    run_blocks = jax.vmap(jax.vmap(run_block, (0, 0, None, 0)), (0, 0, 0, None))
    blocks = run_blocks(
        split(x, segment.shards, segment.margins),
        jax.tree.map(lambda array: split(array, segment.shards), inputs),
        *map(jnp.arange, segment.shards),
    )
    sums = jax.tree.map(lambda terms: jnp.sum(terms, axis=(0, 1)), blocks._replace(maps={}))
    return sums._replace(maps=jax.tree.map(join, blocks.maps))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _map_windows(
    x: AnyFeatures, params: Params, inputs: Inputs, frame: Placement | None, segment: Segment
) -> Statistics:
    grid = axes(x.shape, segment)

    def run_window(window: Window) -> Statistics:
        return _window_statistics(window.patch.cut(x), window, params, inputs, frame)

    def add(k: Int[Array, ""], total: Statistics) -> Statistics:
        window = Window.at(k, grid, segment)
        new = run_window(window)
        sums = jax.tree.map(jnp.add, total._replace(maps={}), new._replace(maps={}))
        maps = {layer: window.owned(layer).put(total.maps[layer], new.maps[layer]) for layer in segment.maps}
        return sums._replace(maps=maps)

    zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: run_window(Window.at(0, grid, segment))))
    sizes = {layer: [axis.size // segment.stride_from(layer) for axis in grid] for layer in segment.maps}
    maps = {layer: jnp.zeros((*size, zero.maps[layer].shape[2]), jnp.float32) for layer, size in sizes.items()}
    return lax.fori_loop(0, grid[0].windows * grid[1].windows, add, zero._replace(maps=maps))


def _map_windows_forward(x, params, inputs, frame, segment):
    return _map_windows(x, params, inputs, frame, segment), (x, params, inputs, frame)


def _map_windows_backward(segment, residuals, cotangent):
    x, params, inputs, frame = residuals
    grid = axes(x.shape, segment)

    def add(k, gradient):
        window = Window.at(k, grid, segment)
        maps = {
            layer: window.mask_already_counted(window.owned(layer).cut(cotangent.maps[layer]), layer)
            for layer in segment.maps
        }
        _, vjp = jax.vjp(lambda piece: _window_statistics(piece, window, params, inputs, frame), window.patch.cut(x))
        (term,) = vjp(cotangent._replace(maps=maps))
        return window.patch.put(gradient, window.patch.cut(gradient) + term)

    # No cotangents for the params, the input maps and the placement, which are not optimized.
    gradient = lax.fori_loop(0, grid[0].windows * grid[1].windows, add, jnp.zeros_like(x))
    return gradient, None, None, None


_map_windows.defvjp(_map_windows_forward, _map_windows_backward)


def _window_statistics(
    piece: AnyFeatures, window: Window, params: Params, inputs: Inputs, frame: Placement | None
) -> Statistics:
    """Terms of a window in the sums, and the part of the maps that it owns."""
    segment = window.segment
    placement = None if frame is None else frame.shifted(*window.patch.begin)
    taps = _features(piece, params, placement, segment)
    owned = {layer: window.owned_inside(layer).cut(tap) for layer, tap in taps.items()}
    parts = ({layer: window.owned(layer).cut(array) for layer, array in maps.items()} for maps in inputs)
    return _statistics_of(owned, Inputs(*parts), segment, only_new=window.mask_already_counted)


def _statistics_of(
    taps: dict[str, AnyFeatures],
    inputs: Inputs,
    segment: Segment,
    columns: int = 1,
    only_new: Callable[[AnyFeatures, str], AnyFeatures] = lambda part, layer: part,
) -> Statistics:
    """Statistics of feature maps; `columns` devices share a row, and `only_new` masks positions that do not count."""
    new, guides = {layer: only_new(taps[layer], layer) for layer in segment.styles}, inputs.guides
    return Statistics(
        {layer: _products(features, guides.get(layer), columns) for layer, features in new.items()},
        {layer: feature_sum(features, guides.get(layer)) for layer, features in new.items() if segment.means},
        {
            layer: jnp.sum(jnp.square(only_new(taps[layer] - inputs.content[layer], layer)))
            for layer in segment.contents
        },
        _select(taps, segment.maps),
    )


def _products(features: AnyFeatures, guide: AnyFeatures | None, columns: int = 1) -> Float[Array, "*regions _ _"]:
    """Sum of outer products, for each region if there is a guide; `columns` devices share a row."""
    if guide is None:
        return _sharded_products(features, columns)
    # The backward pass multiplies by the guide again, instead of a map for every region being stored.
    guided = jax.checkpoint(lambda features, weight: _sharded_products(features * weight, columns))
    return jnp.stack([guided(features, guide[:, :, r : r + 1]) for r in range(guide.shape[2])])


def _sharded_products(features: AnyFeatures, columns: int) -> Float[Array, "_ _"]:
    """Sum of outer products in strips: a list of all positions cannot be sharded, so XLA would gather rows."""
    if columns == 1:
        return outer_products(features)
    height, width, channels = features.shape
    if width % columns:
        raise InputError(
            f"{width} positions in a row do not divide among {columns} devices, expected a canvas: use shard"
        )
    strips = features.reshape(height, columns, width // columns, channels)
    return jnp.sum(jax.vmap(outer_products, in_axes=1)(strips), axis=0)


def _features(x: AnyFeatures, params: Params, frame: Placement | None, segment: Segment) -> dict[str, AnyFeatures]:
    return network.features(params, x, segment.layers, after=segment.after, frame=frame, **segment.options._asdict())


def _select(maps: Mapping, layers: tuple[str, ...]) -> dict:
    return {layer: maps[layer] for layer in layers}
