"""A picture's statistics from windows of it: exact, in a memory that the window bounds.

Statistics are sums over positions (`statistics.py`), so each window adds those of the part that it owns. Around that
part it needs a halo, as wide as the receptive field reaches; at the picture's true borders it ends where the picture
ends, so that the network pads there as it always does. The sums of all windows are those of the whole picture, so the
loss's derivative with respect to them is known after one pass over the windows; a second pass takes every window again
and propagates that derivative back to its pixels. Value and gradient are those of the whole picture, not an
approximation by each tile's own Gram matrices.

Blocks 1 to 3 hold nearly all of the memory, but reach only 22 pixels; blocks 4 and 5 reach 48 more, on maps of a 64th
of the positions. So the network is cut after `pool3` into two stages, each with windows and a halo of its own: the
lower ones are small, the deep ones large, often as large as the picture.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, edge_extend, sides
from jaxstyle.image.ops import check_image
from jaxstyle.losses.statistics import check_same_shape, feature_sum, outer_products, squared_error
from jaxstyle.objective.halo import join, split
from jaxstyle.objective.tiling import Stage, Window, axes
from jaxstyle.typing import AnyFeatures, Extent, FeatureMaps, Image, Params, Scalar
from jaxstyle.vgg import network

# Where the network is cut, and how many times a lower window's side a deep window has.
CUT = "pool3"
DEEP = 4


class StageInputs(NamedTuple):
    """Maps that a picture is compared with or weighted by, divided among windows and devices as its own are.

    Attributes:
        content: content layer to the feature map that the squared error is from.
        guides: style layer to `(h, w, regions)`: see `guides.py`; empty where the whole picture has one style.
    """

    content: FeatureMaps
    guides: FeatureMaps


class StageOutputs(NamedTuple):
    """What a stage gives.

    Attributes:
        products: style layer to the sum of its outer products; with guides one for each region.
        sums: style layer to the sum of its feature vectors, likewise, where the stage wants it.
        errors: content layer to the sum of squared differences from the content's features.
        maps: layer to its feature map.
    """

    products: dict[str, Float[Array, "*regions _ _"]]
    sums: dict[str, Float[Array, "*regions _"]]
    errors: dict[str, Scalar]
    maps: dict[str, AnyFeatures]


def through_windows(
    image: Image,
    params: Params,
    given: StageInputs,
    stages: Sequence[Stage],
    maps: tuple[str, ...] = (),
    extent: Extent | None = None,
) -> StageOutputs:
    """Statistics and feature maps of a picture, stage by stage.

    Args:
        image: `(H, W, 3)` in [0, 1].
        params: see `load_params`.
        given: maps to compare with and to weight by.
        stages: see `stages_of`.
        maps: layers whose feature maps are wanted.
        extent: of the picture, where the image is a larger canvas: see `canvas.py`.

    Returns:
        The outcome; differentiable with respect to the picture alone.

    Raises:
        InputError: for a picture smaller than the deepest layer's stride, or content of another size.
    """
    # The deeper stages see only their own part of the network.
    check_image(image, min_side=max((network.stride(layer) for stage in stages for layer in stage.layers), default=1))
    total = StageOutputs({}, {}, {}, {})
    if extent is not None and any(stage.options.padding == "replicate" for stage in stages):
        for axis, side in enumerate(sides(image.shape, extent)):
            image = edge_extend(image, axis, side)
    for stage in stages:
        x = image if stage.after is None else total.maps[stage.after]
        outcome = run_stage(x, params, given, stage, extent)
        total = StageOutputs(*(before | new for before, new in zip(total, outcome, strict=True)))
    return total._replace(maps=_of(total.maps, maps))


def stages_of(
    styles: tuple[str, ...],
    contents: tuple[str, ...],
    maps: tuple[str, ...],
    options: network.Options,
    window: int | None,
    shards: tuple[int, int] = (1, 1),
    means: bool = False,
) -> tuple[Stage, ...]:
    """The network as one stage, or cut into two where there are windows and layers above the cut.

    Args:
        styles: layers whose outer products are summed.
        contents: layers whose squared errors are summed.
        maps: layers whose feature maps are wanted.
        options: of the network.
        window: side in pixels of the part that a window of blocks 1 to 3 owns at most; None is the whole picture.
        shards: devices that the picture's rows and columns are spread over.
        means: whether feature vectors are summed, too.

    Returns:
        One or two, the second starting from a map of the first; none if nothing is wanted.
    """
    wanted = styles, contents, maps
    if not any(wanted):
        return ()
    deep = [
        tuple(layer for layer in layers if network.LAYERS.index(layer) > network.LAYERS.index(CUT)) for layers in wanted
    ]
    if window is None or not any(deep):
        return (Stage(None, *wanted, options, window, shards, means),)
    low = [tuple(layer for layer in layers if layer not in below) for layers, below in zip(wanted, deep, strict=True)]
    return (
        Stage(None, low[0], low[1], tuple(dict.fromkeys((*low[2], CUT))), options, window, shards, means),
        Stage(CUT, deep[0], deep[1], deep[2], options, DEEP * window // network.stride(CUT), shards, means),
    )


def run_stage(
    x: AnyFeatures, params: Params, given: StageInputs, stage: Stage, extent: Extent | None = None
) -> StageOutputs:
    """One stage: whole, in windows, or in windows of every device's own part at once.

    Args:
        x: the stage's map.
        params: see `load_params`.
        given: for the stage's `contents` and `styles`, at least.
        stage: static.
        extent: of the picture in pixels, where its canvas is larger.

    Returns:
        The outcome; differentiable with respect to `x` alone.

    Raises:
        InputError: for a feature map of the content of another size.
    """
    for layer in stage.contents:
        check_same_shape(
            (*(side // stage.stride_from(layer) for side in x.shape[:2]), given.content[layer].shape[2]),
            given.content[layer].shape,
        )
    given = StageInputs(_of(given.content, stage.contents), _of(given.guides, stage.styles) if given.guides else {})
    frame = None if extent is None else Placement(0, 0, extent[0] // stage.stride, extent[1] // stage.stride)
    if in_blocks(x.shape, stage):
        return _in_blocks(x, params, given, frame, stage)
    if stage.shards == (1, 1) and any(axis.windows > 1 for axis in axes(x.shape, stage)):
        return _map_windows(x, params, given, frame, stage)
    taps = _features(x, params, frame, stage)
    return StageOutputs(
        {layer: _products(taps[layer], given.guides.get(layer), stage.shards[1]) for layer in stage.styles},
        {layer: feature_sum(taps[layer], given.guides.get(layer)) for layer in stage.styles if stage.means},
        {layer: squared_error(taps[layer], given.content[layer]) for layer in stage.contents},
        _of(taps, stage.maps),
    )


def in_blocks(shape: tuple[int, ...], stage: Stage) -> bool:
    """Whether the parts that the devices have of a map are larger than a window.

    Args:
        shape: of the whole map.
        stage: says the devices and the window.

    Returns:
        True or False.

    Raises:
        InputError: if they are, but are not equal or not aligned, or smaller than a halo.
    """
    parts = [side // count for side, count in zip(shape[:2], stage.shards, strict=True)]
    if stage.shards == (1, 1) or stage.window is None or max(parts) <= stage.window:
        return False
    for side, part, count in zip(shape[:2], parts, stage.shards, strict=True):
        if count > 1 and (side % (count * stage.alignment) or part < stage.halo):
            raise InputError(
                f"{side} positions do not divide into {count} equal parts of a multiple of {stage.alignment}, at least "
                f"{stage.halo}: put the picture on a larger canvas, on fewer devices, or use larger windows"
            )
    return True


def _in_blocks(
    x: AnyFeatures, params: Params, given: StageInputs, frame: Placement | None, stage: Stage
) -> StageOutputs:
    """Every device's part in windows, all devices at once."""
    whole = Placement(0, 0, *x.shape[:2]) if frame is None else frame
    height, width = (side // count for side, count in zip(x.shape[:2], stage.shards, strict=True))

    def block(piece: AnyFeatures, its: StageInputs, row: Int[Array, ""], column: Int[Array, ""]) -> StageOutputs:
        where = whole.shifted(row * height - stage.margins[0], column * width - stage.margins[1])
        return _map_windows(piece, params, its, where, stage)

    blocks = jax.vmap(jax.vmap(block, (0, 0, None, 0)), (0, 0, 0, None))
    outcome = blocks(
        split(x, stage.shards, stage.margins),
        jax.tree.map(lambda each: split(each, stage.shards), given),
        *map(jnp.arange, stage.shards),
    )
    sums = jax.tree.map(lambda each: jnp.sum(each, axis=(0, 1)), outcome._replace(maps={}))
    return sums._replace(maps={layer: join(map_) for layer, map_ in outcome.maps.items()})


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _map_windows(
    x: AnyFeatures, params: Params, given: StageInputs, frame: Placement | None, stage: Stage
) -> StageOutputs:
    sides = axes(x.shape, stage)

    def part(window: Window) -> StageOutputs:
        return _part(window.patch.cut(x), window, params, given, frame)

    def add(k: Int[Array, ""], total: StageOutputs) -> StageOutputs:
        window = Window.of(k, sides, stage)
        new = part(window)
        sums = jax.tree.map(jnp.add, total._replace(maps={}), new._replace(maps={}))
        maps = {layer: window.owned(layer).put(total.maps[layer], new.maps[layer]) for layer in stage.maps}
        return sums._replace(maps=maps)

    shapes = jax.eval_shape(lambda: part(Window.of(0, sides, stage)))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    full = {layer: tuple(axis.size // stage.stride_from(layer) for axis in sides) for layer in stage.maps}
    maps = {layer: jnp.zeros((*full[layer], shapes.maps[layer].shape[2]), jnp.float32) for layer in stage.maps}
    return lax.fori_loop(0, sides[0].windows * sides[1].windows, add, zero._replace(maps=maps))


def _map_windows_forward(x, params, given, frame, stage):
    return _map_windows(x, params, given, frame, stage), (x, params, given, frame)


def _map_windows_backward(stage, residuals, cotangent):
    x, params, given, frame = residuals
    sides = axes(x.shape, stage)

    def add(k, gradient):
        window = Window.of(k, sides, stage)
        maps = {
            layer: window.mask_already_counted(window.owned(layer).cut(cotangent.maps[layer]), layer)
            for layer in stage.maps
        }
        _, pull = jax.vjp(lambda pixels: _part(pixels, window, params, given, frame), window.patch.cut(x))
        (share,) = pull(cotangent._replace(maps=maps))
        return window.patch.put(gradient, window.patch.cut(gradient) + share)

    # No cotangents for the params, the given maps and the place: nobody optimizes them here.
    gradient = lax.fori_loop(0, sides[0].windows * sides[1].windows, add, jnp.zeros_like(x))
    return gradient, None, None, None


_map_windows.defvjp(_map_windows_forward, _map_windows_backward)


def _part(
    pixels: AnyFeatures, window: Window, params: Params, given: StageInputs, frame: Placement | None
) -> StageOutputs:
    """What a window adds to the sums, and its own part of the maps."""
    stage = window.stage
    where = None if frame is None else frame.shifted(*window.patch.begin)
    taps = _features(pixels, params, where, stage)
    owned = {layer: window.owned_inside(layer).cut(tap) for layer, tap in taps.items()}
    products, sums, errors = {}, {}, {}
    for layer in stage.styles:
        new = window.mask_already_counted(owned[layer], layer)
        guide = window.owned(layer).cut(given.guides[layer]) if given.guides else None
        products[layer] = _products(new, guide)
        if stage.means:
            sums[layer] = feature_sum(new, guide)
    for layer in stage.contents:
        difference = owned[layer] - window.owned(layer).cut(given.content[layer])
        errors[layer] = jnp.sum(jnp.square(window.mask_already_counted(difference, layer)))
    return StageOutputs(products, sums, errors, _of(owned, stage.maps))


def _products(features: AnyFeatures, guide: AnyFeatures | None, columns: int = 1) -> Float[Array, "*regions _ _"]:
    """Sum of outer products, for each region if there is a guide, where so many devices share a row."""
    if guide is None:
        return _in_strips(features, columns)
    # The product with the guide is made again on the way back, instead of a map for every region being kept.
    guided = jax.checkpoint(lambda features, weight: _in_strips(features * weight, columns))
    return jnp.stack([guided(features, guide[:, :, r : r + 1]) for r in range(guide.shape[2])])


def _in_strips(features: AnyFeatures, columns: int) -> Float[Array, "_ _"]:
    """Sum of outer products. A list of all positions cannot be spread over rows and columns: XLA would gather rows."""
    if columns == 1:
        return outer_products(features)
    height, width, channels = features.shape
    if width % columns:
        raise InputError(
            f"{width} positions in a row do not divide among {columns} devices, expected a canvas: use spread"
        )
    strips = features.reshape(height, columns, width // columns, channels)
    return jnp.sum(jax.vmap(outer_products, in_axes=1)(strips), axis=0)


def _features(x: AnyFeatures, params: Params, frame: Placement | None, stage: Stage) -> dict[str, AnyFeatures]:
    return network.features(params, x, stage.layers, after=stage.after, frame=frame, **stage.options._asdict())


def _of(maps: Mapping, layers: tuple[str, ...]) -> dict:
    return {layer: maps[layer] for layer in layers}
