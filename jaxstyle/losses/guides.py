"""Guides: masks of regions propagated to every layer, as weights of its positions for each region's style.

A guide `T` of a layer multiplies its features, and each region has Gram matrices, means and covariances of its own,
`G_r = sum over p of T_rp^2 f_p f_p^T`, with `sum over p of T_rp^2 = 1` (Gatys et al., "Controlling Perceptual Factors
in Neural Style Transfer", CVPR 2017, section 4). Masks in pixels become guides in one of three ways:

- `"simple"`: every pool averages the mask.
- `"inside"`: a position belongs to a region only if all pixels of its receptive field do: no pixel outside of a region
  influences its style, and the region's style does not change a pixel outside. The receptive radius of deep layers is
  70 pixels, so a region must be wide enough.
- `"all"`: a position belongs to a region if any pixel of its receptive field does; regions overlap at their borders.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxstyle.image.canvas import Placement, area, mask_outside, sides
from jaxstyle.image.regions import Guidance, Masks, stylized_pixels
from jaxstyle.typing import AnyFeatures, Extent
from jaxstyle.vgg import network
from jaxstyle.vgg.layers import pool


class Guides(NamedTuple):
    """Guides of all style layers.

    Attributes:
        weights: style layer to `(h, w, regions)`, the guide `T`.
        shares: `(regions,)`, each region's share of the image's area, which makes the style's weight per pixel that of
            an image without regions.
        free: `(H, W, 1)`, True for pixels that may change.
    """

    weights: dict[str, AnyFeatures]
    shares: Float[Array, " regions"]
    free: Bool[Array, "height width 1"]


def make_guides(
    masks: Masks, layers: Sequence[str], guidance: Guidance = "simple", extent: Extent | None = None
) -> Guides:
    """Make guides from masks in pixels. Pure; a region without a position in a layer has a guide of zeros there.

    Args:
        masks: `(H, W, regions)` in [0, 1].
        layers: the style layers.
        guidance: see the module's text.
        extent: height and width of an image on a larger canvas: see `canvas.py`.
    """
    masks = jnp.asarray(masks, jnp.float32)
    height, width = sides(masks.shape, extent)
    whole = None if extent is None else Placement(0, 0, height, width)
    masks = mask_outside(masks, whole)
    weights = {layer: _normalized(mask) for layer, mask in propagate(masks, layers, guidance, whole).items()}
    shares = jnp.sum(masks, axis=(0, 1)) / area(height, width)
    return Guides(weights, shares, stylized_pixels(masks))


def propagate(
    masks: Float[Array, "_ _ _"], layers: Sequence[str], guidance: Guidance, whole: Placement | None = None
) -> dict[str, AnyFeatures]:
    """Propagate masks in pixels through the network to masks of layers.

    Args:
        masks: `(H, W, regions)` in [0, 1].
        layers: names of layers.
        guidance: see the module's text.
        whole: placement of an image on a larger canvas.

    Returns:
        Layer to `(h, w, regions)` in [0, 1].
    """
    # A position is inside of a region if no pixel outside of it is in its receptive field.
    x, layer_masks = 1 - masks if guidance == "inside" else masks, {}
    for layer in network.layers_between(layers) if layers else ():
        # The input of a pool is the map of the layers before it.
        x = mask_outside(x, whole, network.stride(layer) // (2 if layer.startswith("pool") else 1))
        if layer.startswith("conv") and guidance != "simple":
            x = _dilate(x)
        elif layer.startswith("pool"):
            x = pool(x, "avg" if guidance == "simple" else "max")
        if layer in layers:
            layer_mask = 1 - x if guidance == "inside" else x
            layer_masks[layer] = mask_outside(layer_mask, whole, network.stride(layer))
    return layer_masks


def _normalized(mask: AnyFeatures) -> AnyFeatures:
    total = jnp.sum(jnp.square(mask), axis=(0, 1), keepdims=True)
    return jnp.where(total > 0, mask * jax.lax.rsqrt(jnp.where(total > 0, total, 1.0)), 0.0)


def _dilate(x: AnyFeatures) -> AnyFeatures:
    """Maximum over the 3x3 positions around each, with zeros beyond the border."""
    for axis in (0, 1):
        pads = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        padded, side = jnp.pad(x, pads), x.shape[axis]
        x = jnp.maximum(
            jnp.maximum(*(jax.lax.slice_in_dim(padded, k, k + side, axis=axis) for k in (0, 1))),
            jax.lax.slice_in_dim(padded, 2, 2 + side, axis=axis),
        )
    return x
