"""Statistics of an image from windows of it: exact, in an amount of memory that the window bounds.

Statistics are sums over positions (`statistics.py`), so each window adds those of the part that it owns. Around that
part it needs a halo of the receptive field's radius; at the image's true borders it ends where the image ends, so that
the network pads there as usual. The sums over all windows are those of the whole image, so the loss's derivative with
respect to them is known after one pass over the windows; a second pass evaluates every window again and propagates that
derivative back to its pixels. Value and gradient are those of the whole image, not an approximation by the Gram
matrices of tiles.

Blocks 1 to 3 need nearly all of the memory, but have a receptive radius of only 22 pixels; blocks 4 and 5 add 48, on
maps of a 64th of the positions. So the network is cut after `pool3` into two stages, each with windows and a halo of
its own: the first one's are small, the second one's large, often as large as the image.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, edge_extend, mask_outside, sides
from jaxstyle.image.ops import check_image
from jaxstyle.losses.neighbors import Bank, neighbor_distances
from jaxstyle.losses.statistics import check_same_shape, feature_sum, outer_products, squared_error
from jaxstyle.objective.halo import join, split
from jaxstyle.objective.tiling import Stage, Window, axes
from jaxstyle.typing import AnyFeatures, Extent, FeatureMaps, Image, Params, Scalar
from jaxstyle.vgg import network

# Last layer of the first stage, and side of the second stage's windows relative to the first one's, in pixels.
CUT = "pool3"
DEEP_WINDOW_FACTOR = 4


class StageInputs(NamedTuple):
    """What feature maps are compared with or weighted by. Maps are divided among windows and devices like these.

    Attributes:
        content: content layer to the feature map that squared errors are measured from.
        guides: style and neighbor layer to `(h, w, regions)`: see `guides.py`; empty where the whole image has one
            style.
        banks: neighbor layer to the style's features: see `neighbors.py`.
    """

    content: FeatureMaps
    guides: FeatureMaps
    banks: Mapping[str, Bank] = {}


class StageOutputs(NamedTuple):
    """Statistics and feature maps of a stage.

    Attributes:
        products: style layer to the sum of its outer products; with guides one for each region.
        sums: style layer to the sum of its feature vectors; with guides one for each region. Empty unless the stage
            has `means`.
        errors: content layer to the sum of squared differences from the content's features.
        distances: neighbor layer to the sum of distances to the nearest feature of the style; with guides one for each
            region.
        maps: layer to its feature map.
    """

    products: dict[str, Float[Array, "*regions _ _"]]
    sums: dict[str, Float[Array, "*regions _"]]
    errors: dict[str, Scalar]
    distances: dict[str, Float[Array, "*regions"]]
    maps: dict[str, AnyFeatures]


def run_stages(
    image: Image,
    params: Params,
    inputs: StageInputs,
    stages: Sequence[Stage],
    maps: tuple[str, ...] = (),
    extent: Extent | None = None,
) -> StageOutputs:
    """Compute statistics and feature maps of an image, stage by stage.

    Args:
        image: `(H, W, 3)` in [0, 1].
        params: see `load_params`.
        inputs: maps to compare with and to weight by.
        stages: see `make_stages`.
        maps: layers whose feature maps are returned.
        extent: height and width of an image on a larger canvas: see `canvas.py`.

    Returns:
        Statistics and maps; differentiable with respect to the image alone.

    Raises:
        InputError: for an image smaller than the deepest layer's stride, or content of another size.
    """
    # Here, because the second stage sees only its own part of the network.
    check_image(image, min_side=max((network.stride(layer) for stage in stages for layer in stage.layers), default=1))
    outputs = StageOutputs({}, {}, {}, {}, {})
    if extent is not None and any(stage.options.padding == "replicate" for stage in stages):
        for axis, side in enumerate(sides(image.shape, extent)):
            image = edge_extend(image, axis, side)
    for stage in stages:
        x = image if stage.after is None else outputs.maps[stage.after]
        new = run_stage(x, params, inputs, stage, extent)
        outputs = StageOutputs(*(old_field | new_field for old_field, new_field in zip(outputs, new, strict=True)))
    return outputs._replace(maps=_select(outputs.maps, maps))


def make_stages(
    styles: tuple[str, ...],
    contents: tuple[str, ...],
    maps: tuple[str, ...],
    options: network.Options,
    window: int | None,
    shards: tuple[int, int] = (1, 1),
    means: bool = False,
    neighbors: tuple[str, ...] = (),
) -> tuple[Stage, ...]:
    """Make one stage of the network, or two where there are windows and layers after the cut.

    Args:
        styles: layers whose outer products are summed.
        contents: layers whose squared errors are summed.
        maps: layers whose feature maps are returned.
        options: options of the network.
        window: maximum height and width in pixels of the part that a window of the first stage owns; None for no
            windows.
        shards: numbers of devices that share the image's rows and columns.
        means: True if feature vectors are summed, too.
        neighbors: layers whose distances to the style's nearest features are summed.

    Returns:
        One stage, or two of which the second starts from a map of the first; none if there are no layers.
    """
    roles = styles, contents, maps, neighbors
    if not any(roles):
        return ()

    def stage(after: str | None, layers: Sequence[tuple[str, ...]], window: int | None) -> Stage:
        return Stage(after, *layers[:3], options, window, shards, means, layers[3])  # pyright: ignore[reportCallIssue]

    cut = network.LAYERS.index(CUT)
    deep = [tuple(layer for layer in layers if network.LAYERS.index(layer) > cut) for layers in roles]
    if window is None or not any(deep):
        return (stage(None, roles, window),)
    shallow = [tuple(layer for layer in layers if network.LAYERS.index(layer) <= cut) for layers in roles]
    # The second stage starts from a map of the first one.
    shallow[2] = tuple(dict.fromkeys((*shallow[2], CUT)))
    return stage(None, shallow, window), stage(CUT, deep, DEEP_WINDOW_FACTOR * window // network.stride(CUT))


def run_stage(
    x: AnyFeatures, params: Params, inputs: StageInputs, stage: Stage, extent: Extent | None = None
) -> StageOutputs:
    """Compute one stage: whole, in windows, or in windows of all devices' parts at once.

    Args:
        x: the stage's input map.
        params: see `load_params`.
        inputs: maps for the stage's `contents` and `styles`, and banks for its `neighbors`, at least.
        stage: static.
        extent: height and width in pixels of an image on a larger canvas.

    Returns:
        Statistics and maps; differentiable with respect to `x` alone.

    Raises:
        InputError: for a feature map of the content of another size.
    """
    for layer in stage.contents:
        check_same_shape(
            (*(side // stage.stride_from(layer) for side in x.shape[:2]), inputs.content[layer].shape[2]),
            inputs.content[layer].shape,
        )
    guides = _select(inputs.guides, stage.guided) if inputs.guides else {}
    inputs = StageInputs(_select(inputs.content, stage.contents), guides, _select(inputs.banks, stage.neighbors))
    frame = None if extent is None else Placement(0, 0, extent[0] // stage.stride, extent[1] // stage.stride)
    if has_windows_on_devices(x.shape, stage):
        return _map_device_windows(x, params, inputs, frame, stage)
    if stage.shards == (1, 1) and any(axis.windows > 1 for axis in axes(x.shape, stage)):
        return _map_windows(x, params, inputs, frame, stage)
    taps = _features(x, params, frame, stage)
    return StageOutputs(
        {layer: _products(taps[layer], guides.get(layer), stage.shards[1]) for layer in stage.styles},
        {layer: feature_sum(taps[layer], guides.get(layer)) for layer in stage.styles if stage.means},
        {layer: squared_error(taps[layer], inputs.content[layer]) for layer in stage.contents},
        {
            layer: _distance_sum(
                mask_outside(
                    _distances(taps[layer], inputs.banks[layer], stage.shards), frame, stage.stride_from(layer)
                ),
                guides.get(layer),
            )
            for layer in stage.neighbors
        },
        _select(taps, stage.maps),
    )


def has_windows_on_devices(shape: tuple[int, ...], stage: Stage) -> bool:
    """True if a map of this shape is sharded, and the devices' parts are larger than a window.

    Raises:
        InputError: if they are, but are not equal, not aligned, or smaller than a halo.
    """
    parts = [side // count for side, count in zip(shape[:2], stage.shards, strict=True)]
    if stage.shards == (1, 1) or stage.window is None or max(parts) <= stage.window:
        return False
    for side, part, count in zip(shape[:2], parts, stage.shards, strict=True):
        if count > 1 and (side % (count * stage.alignment) or part < stage.halo):
            raise InputError(
                f"{side} positions do not divide into {count} equal parts of a multiple of {stage.alignment}, at least "
                f"{stage.halo}: put the image on a larger canvas, on fewer devices, or use larger windows"
            )
    return True


def _map_device_windows(
    x: AnyFeatures, params: Params, inputs: StageInputs, frame: Placement | None, stage: Stage
) -> StageOutputs:
    """Compute every device's part in windows, all devices at once."""
    whole = Placement(0, 0, *x.shape[:2]) if frame is None else frame
    height, width = (side // count for side, count in zip(x.shape[:2], stage.shards, strict=True))

    def run_block(block: AnyFeatures, inputs: StageInputs, row: Int[Array, ""], column: Int[Array, ""]) -> StageOutputs:
        placement = whole.shifted(row * height - stage.margins[0], column * width - stage.margins[1])
        return _map_windows(block, params, inputs, placement, stage)

    # Every device has the whole banks.
    by_block = StageInputs(0, 0, None)  # pyright: ignore[reportArgumentType]
    run_blocks = jax.vmap(jax.vmap(run_block, (0, by_block, None, 0)), (0, by_block, 0, None))
    content, guides = jax.tree.map(lambda array: split(array, stage.shards), inputs[:2])
    outputs = run_blocks(
        split(x, stage.shards, stage.margins),
        StageInputs(content, guides, inputs.banks),
        *map(jnp.arange, stage.shards),
    )
    sums = jax.tree.map(lambda terms: jnp.sum(terms, axis=(0, 1)), outputs._replace(maps={}))
    return sums._replace(maps={layer: join(blocks) for layer, blocks in outputs.maps.items()})


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _map_windows(
    x: AnyFeatures, params: Params, inputs: StageInputs, frame: Placement | None, stage: Stage
) -> StageOutputs:
    rows, columns = axes(x.shape, stage)

    def run_window(window: Window) -> StageOutputs:
        return _run_window(window.patch.cut(x), window, params, inputs, frame)

    def add(k: Int[Array, ""], total: StageOutputs) -> StageOutputs:
        window = Window.at(k, (rows, columns), stage)
        new = run_window(window)
        sums = jax.tree.map(jnp.add, total._replace(maps={}), new._replace(maps={}))
        maps = {layer: window.owned(layer).put(total.maps[layer], new.maps[layer]) for layer in stage.maps}
        return sums._replace(maps=maps)

    shapes = jax.eval_shape(lambda: run_window(Window.at(0, (rows, columns), stage)))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    maps = {}
    for layer in stage.maps:
        size = (axis.size // stage.stride_from(layer) for axis in (rows, columns))
        maps[layer] = jnp.zeros((*size, shapes.maps[layer].shape[2]), jnp.float32)
    return lax.fori_loop(0, rows.windows * columns.windows, add, zero._replace(maps=maps))


def _map_windows_forward(x, params, inputs, frame, stage):
    return _map_windows(x, params, inputs, frame, stage), (x, params, inputs, frame)


def _map_windows_backward(stage, residuals, cotangent):
    x, params, inputs, frame = residuals
    rows, columns = axes(x.shape, stage)

    def add(k, gradient):
        window = Window.at(k, (rows, columns), stage)
        maps = {
            layer: window.mask_already_counted(window.owned(layer).cut(cotangent.maps[layer]), layer)
            for layer in stage.maps
        }
        _, vjp = jax.vjp(lambda piece: _run_window(piece, window, params, inputs, frame), window.patch.cut(x))
        (term,) = vjp(cotangent._replace(maps=maps))
        return window.patch.put(gradient, window.patch.cut(gradient) + term)

    # No cotangents for the params, the input maps and the placement, which are not optimized.
    gradient = lax.fori_loop(0, rows.windows * columns.windows, add, jnp.zeros_like(x))
    return gradient, None, None, None


_map_windows.defvjp(_map_windows_forward, _map_windows_backward)


def _run_window(
    piece: AnyFeatures, window: Window, params: Params, inputs: StageInputs, frame: Placement | None
) -> StageOutputs:
    """Terms of a window in the sums, and the part of the maps that it owns."""
    stage = window.stage
    placement = None if frame is None else frame.shifted(*window.patch.begin)
    taps = _features(piece, params, placement, stage)
    owned = {layer: window.owned_inside(layer).cut(tap) for layer, tap in taps.items()}
    products, sums, errors, distances = {}, {}, {}, {}
    for layer in stage.styles:
        new = window.mask_already_counted(owned[layer], layer)
        guide = window.owned(layer).cut(inputs.guides[layer]) if inputs.guides else None
        products[layer] = _products(new, guide)
        if stage.means:
            sums[layer] = feature_sum(new, guide)
    for layer in stage.contents:
        difference = owned[layer] - window.owned(layer).cut(inputs.content[layer])
        errors[layer] = jnp.sum(jnp.square(window.mask_already_counted(difference, layer)))
    for layer in stage.neighbors:
        part, spacing = window.owned_inside(layer), stage.stride_from(layer)
        frame_of_part = None if placement is None else placement.shifted(*(spacing * start for start in part.begin))
        new = mask_outside(_distances(owned[layer], inputs.banks[layer]), frame_of_part, spacing)
        guide = window.owned(layer).cut(inputs.guides[layer]) if inputs.guides else None
        distances[layer] = _distance_sum(window.mask_already_counted(new, layer), guide)
    return StageOutputs(products, sums, errors, distances, _select(owned, stage.maps))


def _distances(features: AnyFeatures, bank: Bank, shards: tuple[int, int] = (1, 1)) -> AnyFeatures:
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


def _features(x: AnyFeatures, params: Params, frame: Placement | None, stage: Stage) -> dict[str, AnyFeatures]:
    return network.features(params, x, stage.layers, after=stage.after, frame=frame, **stage.options._asdict())


def _select(maps: Mapping, layers: tuple[str, ...]) -> dict:
    return {layer: maps[layer] for layer in layers}
