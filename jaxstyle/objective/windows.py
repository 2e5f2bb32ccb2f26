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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, edge_extend, mask_outside, sides
from jaxstyle.image.ops import check_image
from jaxstyle.losses.neighbors import Bank, neighbor_distances
from jaxstyle.losses.statistics import check_same_shape, feature_sum, outer_products
from jaxstyle.objective.halo import join, split
from jaxstyle.objective.tiling import Segment, Window, axes
from jaxstyle.sharding_types import vary_like
from jaxstyle.typing import AnyFeatures, Extent, Image, Params, Scalar
from jaxstyle.vgg import network
from jaxstyle.vgg.layers import at_least_float32

# Sets positions of a part of a layer's map to 0.
Mask = Callable[[AnyFeatures, str], AnyFeatures]


class Inputs(NamedTuple):
    """Maps that feature maps are compared with or weighted by, divided among windows and devices like these.

    Attributes:
        content: content layer to the feature map that squared errors are measured from.
        guides: style and neighbor layer to `(h, w, regions)`: see `guides.py`; empty where the whole image has one
            style.
        banks: neighbor layer to the style's features, which are not divided: see `neighbors.py`.
    """

    content: Mapping[str, AnyFeatures] = {}
    guides: Mapping[str, AnyFeatures] = {}
    banks: Mapping[str, Bank] = {}


class Statistics(NamedTuple):
    """Sums over the positions of an image, and feature maps.

    Attributes:
        products: style layer to the sum of its outer products; with guides one for each region.
        sums: style layer to the sum of its feature vectors; with guides one for each region. Empty unless the segment
            has `means`.
        errors: content layer to the sum of squared differences from the content's features.
        distances: neighbor layer to the sum of distances to the nearest feature of the style; with guides one for each
            region.
        maps: layer to its feature map, float32.
    """

    products: dict[str, Float[Array, "*regions _ _"]]
    sums: dict[str, Float[Array, "*regions _"]]
    errors: dict[str, Scalar]
    distances: dict[str, Float[Array, "*regions"]]
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
    total = Statistics({}, {}, {}, {}, {})
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
    guides = _select(inputs.guides, segment.guided) if inputs.guides else {}
    inputs = Inputs(_select(inputs.content, segment.contents), guides, _select(inputs.banks, segment.neighbors))
    frame = None if extent is None else Placement(0, 0, extent[0] // segment.stride, extent[1] // segment.stride)
    parts = [side // count for side, count in zip(x.shape, segment.shards, strict=False)]
    if segment.window is None or max(parts) <= segment.window:
        taps = _features(x, params, frame, segment)
        return _statistics_of(taps, inputs, segment, segment.shards, inside=_inside(frame, segment))
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

    def run_block(block: AnyFeatures, parts: Inputs, row: Int[Array, ""], column: Int[Array, ""]) -> Statistics:
        placement = whole.shifted(row * height - segment.margins[0], column * width - segment.margins[1])
        # Every device has the whole banks.
        return _map_windows(block, params, parts._replace(banks=inputs.banks), placement, segment)

    run_blocks = jax.vmap(jax.vmap(run_block, (0, 0, None, 0)), (0, 0, 0, None))
    blocks = run_blocks(
        split(x, segment.shards, segment.margins),
        jax.tree.map(lambda array: split(array, segment.shards), inputs._replace(banks={})),
        *(jnp.arange(count, dtype=jnp.int32) for count in segment.shards),
    )
    sums = jax.tree.map(lambda terms: jnp.sum(terms, axis=(0, 1)), blocks._replace(maps={}))
    return sums._replace(maps=jax.tree.map(join, blocks.maps))


def _map_windows(
    x: AnyFeatures, params: Params, inputs: Inputs, frame: Placement | None, segment: Segment
) -> Statistics:
    """Compute one segment from its input map, window by window."""
    return _sum_windows(vary_like(x, params, inputs, frame), params, inputs, frame, segment)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _sum_windows(
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
    start = vary_like(zero._replace(maps=maps), x)
    return lax.fori_loop(0, grid[0].windows * grid[1].windows, add, start)


def _sum_windows_forward(x, params, inputs, frame, segment):
    return _sum_windows(x, params, inputs, frame, segment), (x, params, inputs, frame)


def _sum_windows_backward(segment, residuals, cotangent):
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
    start = vary_like(jnp.zeros_like(x), x)
    gradient = lax.fori_loop(0, grid[0].windows * grid[1].windows, add, start)
    return gradient, None, None, None


_sum_windows.defvjp(_sum_windows_forward, _sum_windows_backward)


def _window_statistics(
    piece: AnyFeatures, window: Window, params: Params, inputs: Inputs, frame: Placement | None
) -> Statistics:
    """Terms of a window in the sums, and the part of the maps that it owns."""
    segment = window.segment
    placement = None if frame is None else frame.shifted(*window.patch.begin)
    taps = _features(piece, params, placement, segment)
    owned = {layer: window.owned_inside(layer).cut(tap) for layer, tap in taps.items()}
    content, guides = ({layer: window.owned(layer).cut(array) for layer, array in maps.items()} for maps in inputs[:2])
    inside = _inside(placement, segment, {layer: window.owned_inside(layer).begin for layer in segment.neighbors})
    inputs = Inputs(content, guides, inputs.banks)
    return _statistics_of(owned, inputs, segment, only_new=window.mask_already_counted, inside=inside)


def _inside(frame: Placement | None, segment: Segment, begins: Mapping[str, Sequence[Any]] | None = None) -> Mask:
    """Return a function that sets positions outside of the image to 0.

    Args:
        frame: placement of the segment's input map on the canvas.
        segment: static.
        begins: layer to the first row and column of the parts to mask; None if they begin where the map begins.
    """

    def mask(part: AnyFeatures, layer: str) -> AnyFeatures:
        spacing = segment.stride_from(layer)
        begin = (0, 0) if begins is None else begins[layer]
        placement = None if frame is None else frame.shifted(*(spacing * start for start in begin))
        return mask_outside(part, placement, spacing)

    return mask


def _statistics_of(
    taps: dict[str, AnyFeatures],
    inputs: Inputs,
    segment: Segment,
    shards: tuple[int, int] = (1, 1),
    only_new: Mask = lambda part, layer: part,
    inside: Mask = lambda part, layer: part,
) -> Statistics:
    """Statistics of feature maps on the devices of `shards`; `only_new` and `inside` mask positions that do not count.

    Outside of the image features are 0, but distances are not.
    """
    new, guides = {layer: only_new(taps[layer], layer) for layer in segment.styles}, inputs.guides

    def distances(layer: str) -> AnyFeatures:
        return only_new(inside(_distances(taps[layer], inputs.banks[layer], shards), layer), layer)

    return Statistics(
        {layer: _products(features, guides.get(layer), shards[1]) for layer, features in new.items()},
        {layer: feature_sum(features, guides.get(layer)) for layer, features in new.items() if segment.means},
        {
            layer: jnp.sum(jnp.square(only_new(at_least_float32(taps[layer]) - inputs.content[layer], layer)))
            for layer in segment.contents
        },
        {layer: _distance_sum(distances(layer), guides.get(layer)) for layer in segment.neighbors},
        jax.tree.map(at_least_float32, _select(taps, segment.maps)),
    )


def _distances(features: AnyFeatures, bank: Bank, shards: tuple[int, int]) -> AnyFeatures:
    """Distances to the bank of each region, `(h, w, regions)`; a bank of the whole image counts as one region."""
    regions = [bank] if bank.center.ndim == 1 else [Bank(*region) for region in zip(*bank, strict=True)]
    # Every device searches for its own positions: a list of all of them cannot be sharded.
    blocks = split(features, shards)
    search = jax.vmap(jax.vmap(neighbor_distances, (0, None)), (0, None))
    return join(jnp.stack([search(blocks, region) for region in regions], axis=-1))


def _distance_sum(distances: AnyFeatures, guide: AnyFeatures | None) -> Float[Array, "*regions"]:
    if guide is None:
        return jnp.sum(distances)
    return jnp.sum(distances * jnp.square(guide), axis=(0, 1))


def _products(features: AnyFeatures, guide: AnyFeatures | None, columns: int = 1) -> Float[Array, "*regions _ _"]:
    """Sum of outer products, for each region if there is a guide; `columns` devices share a row."""
    if guide is None:
        return _sharded_products(features, columns)
    # The backward pass multiplies by the guide again, instead of a map for every region being stored.
    guided = jax.checkpoint(lambda features, weight: _sharded_products(at_least_float32(features) * weight, columns))
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
    return network.feature_maps(params, x, segment.layers, segment.options, segment.after, frame)


def _select(maps: Mapping, layers: tuple[str, ...]) -> dict:
    return {layer: maps[layer] for layer in layers}
