"""Regions of a picture, carried down to every layer: which positions' features count for which region's style.

A guide `T` of a layer multiplies its features, and each region has Gram matrices, means and covariances of its own:
`G_r = sum over p of T_rp^2 f_p f_p^T`, with `sum over p of T_rp^2 = 1` (Gatys et al., "Controlling Perceptual Factors
in Neural Style Transfer", CVPR 2017, section 4). Masks in pixels become guides in one of three ways:

- `"simple"`: every pooling averages the mask as it pools the features.
- `"inside"`: a position belongs to a region only if all pixels that it sees do: nothing that lies outside of a region
  influences its style, and the region's style does not change a pixel outside. Deep layers see 70 pixels far, so a
  region must be wide enough.
- `"all"`: a position belongs to a region if any pixel that it sees does; regions overlap at their borders.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, area, mask_outside, sides
from jaxstyle.image.regions import Guidance, Masks, stylized_pixels
from jaxstyle.typing import AnyFeatures, Extent
from jaxstyle.vgg import network
from jaxstyle.vgg.layers import pool


class Guides(NamedTuple):
    """Regions as the evaluation needs them.

    Attributes:
        weights: style layer to `(h, w, regions)`, the guide `T`.
        shares: `(regions,)`, of the picture's area: so a region's style is as strong a pixel as that of a whole
            picture.
        free: `(H, W, 1)`, which pixels may change.
    """

    weights: dict[str, AnyFeatures]
    shares: Float[Array, " regions"]
    free: Bool[Array, "height width 1"]


def make_guides(
    masks: Masks, layers: Sequence[str], guidance: Guidance = "simple", extent: Extent | None = None
) -> Guides:
    """Masks in pixels to guides. Pure; a region that a layer has no position of has a guide of zeros.

    Args:
        masks: `(H, W, regions)` in [0, 1].
        layers: the style layers.
        guidance: see the module's text.
        extent: of the picture, where the masks lie on a larger canvas: see `canvas.py`.

    Returns:
        The guides.
    """
    masks = jnp.asarray(masks, jnp.float32)
    height, width = sides(masks.shape, extent)
    whole = None if extent is None else Placement(0, 0, height, width)
    masks = mask_outside(masks, whole)
    found = {layer: _normalized(each) for layer, each in propagate(masks, layers, guidance, whole).items()}
    shares = jnp.sum(masks, axis=(0, 1)) / area(height, width)
    return Guides(found, shares, stylized_pixels(masks))


def propagate(
    masks: Float[Array, "_ _ _"], layers: Sequence[str], guidance: Guidance, whole: Placement | None = None
) -> dict[str, AnyFeatures]:
    """Masks in pixels to masks of layers, the way the features go.

    Args:
        masks: `(H, W, regions)` in [0, 1].
        layers: names.
        guidance: see the module's text.
        whole: where the picture ends on a canvas.

    Returns:
        Layer to `(h, w, regions)` in [0, 1].
    """
    # What is inside is what no pixel outside reaches.
    x, found = 1 - masks if guidance == "inside" else masks, {}
    for layer in network.layers_between(layers) if layers else ():
        # A pool takes the map of the layers before it.
        x = mask_outside(x, whole, network.stride(layer) // (2 if layer.startswith("pool") else 1))
        if layer.startswith("conv") and guidance != "simple":
            x = _spread(x)
        elif layer.startswith("pool"):
            x = pool(x, "avg" if guidance == "simple" else "max")
        if layer in layers:
            reached = 1 - x if guidance == "inside" else x
            found[layer] = mask_outside(reached, whole, network.stride(layer))
    return found


def reach(weights: Mapping[str, AnyFeatures]) -> dict[str, Float[Array, " regions"]]:
    """Of each layer's guides the sum of squares: 1, or 0 for a region that has no position there."""
    return {layer: jnp.sum(jnp.square(guide), axis=(0, 1)) for layer, guide in weights.items()}


def check_reach(reached: Mapping[str, Float[np.ndarray, " regions"]], guidance: Guidance, whose: str) -> None:
    """Refuse guides with a layer that has no position of a region.

    Args:
        reached: what `reach` gives, as numbers.
        guidance: of the guides.
        whose: what the message calls the picture.

    Raises:
        InputError: naming the region and the layer.
    """
    for layer, sums in reached.items():
        empty = np.flatnonzero(sums < 0.5)
        if empty.size:
            instead = "shallower layers, or guidance 'simple'" if guidance == "inside" else "or shallower layers"
            raise InputError(
                f"region {empty[0] + 1} of {whose} has no position at {layer} with guidance {guidance!r}, expected a "
                f"larger region, {instead}"
            )


def _normalized(mask: AnyFeatures) -> AnyFeatures:
    total = jnp.sum(jnp.square(mask), axis=(0, 1), keepdims=True)
    return jnp.where(total > 0, mask * jax.lax.rsqrt(jnp.where(total > 0, total, 1.0)), 0.0)


def _spread(x: AnyFeatures) -> AnyFeatures:
    """The largest of the 3x3 positions around each; nothing lies beyond the border."""
    for axis in (0, 1):
        pads = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        padded, side = jnp.pad(x, pads), x.shape[axis]
        x = jnp.maximum(
            jnp.maximum(*(jax.lax.slice_in_dim(padded, k, k + side, axis=axis) for k in (0, 1))),
            jax.lax.slice_in_dim(padded, 2, 2 + side, axis=axis),
        )
    return x
