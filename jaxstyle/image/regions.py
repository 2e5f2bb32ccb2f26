"""Regions of a picture: which pixels of the content get which pixels' style."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstyle.errors import InputError

Guidance = Literal["simple", "inside", "all"]
Masks = Float[Array | np.ndarray, "_ _ _"]


class Regions(NamedTuple):
    """Which pixels of the content get which pixels' style.

    Attributes:
        content: `(H, W, regions)` in [0, 1], how much each pixel of the content belongs to each region. Pixels that
            belong to none, or to all together by less than a half, keep the photo.
        styles: one entry a style picture, `(h, w, regions)`: which of its pixels are the model of which region; or
            `(regions,)`, how much all of it is.
        guidance: `"simple"`, `"inside"` or `"all"`: see `guides.py`.
    """

    content: Masks
    styles: tuple[Masks | Float[Array | np.ndarray, " regions"], ...]
    guidance: Guidance = "simple"


def covered(masks: Masks) -> Bool[Array, "_ _ 1"]:
    """Which pixels belong to the regions, all together by at least a half; the others keep the photo."""
    return jnp.sum(jnp.asarray(masks), axis=2, keepdims=True) >= 0.5


def check_regions(regions: Regions, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]) -> None:
    """Refuse masks that do not belong to these pictures. Needs numbers, not tracers.

    Args:
        regions: what should be regions.
        content: shape of the content.
        styles: shape of each style.

    Raises:
        InputError: for another size, values out of range, a region without pixels or without a style.
    """
    if not isinstance(regions, Regions):
        raise InputError(f"regions is {str(regions)[:80]!r}, expected Regions(content, styles)")
    if regions.guidance not in get_args(Guidance):
        raise InputError(
            f"unknown guidance {regions.guidance!r}, expected one of {', '.join(map(repr, get_args(Guidance)))}"
        )
    if len(regions.styles) != len(styles):
        raise InputError(f"regions have masks of {len(regions.styles)} styles, expected one for each of {len(styles)}")
    shape = np.shape(regions.content)
    if len(shape) != 3 or shape[:2] != tuple(content[:2]) or shape[2] < 1:
        raise InputError(f"the content's mask has shape {shape}, expected {(*content[:2], 'regions')} as its picture")
    count = shape[2]
    named = [("content's mask", regions.content)]
    named += [(f"mask of style {k}", mask) for k, mask in enumerate(regions.styles, 1)]
    for name, mask in named:
        values = np.asarray(mask)
        if not (np.all(np.isfinite(values)) and values.min() >= 0 and values.max() <= 1):
            raise InputError(f"the {name} has values outside of [0, 1], expected how much a pixel belongs to a region")
    for k, (mask, style) in enumerate(zip(regions.styles, styles, strict=True), 1):
        if np.shape(mask) not in ((count,), (*style[:2], count)):
            raise InputError(
                f"the mask of style {k} has shape {np.shape(mask)}, expected {(*style[:2], count)} or {(count,)}: the "
                "content's has as many regions"
            )
    for r in range(count):
        if not np.any(np.asarray(regions.content)[:, :, r]):
            raise InputError(f"region {r + 1} has no pixel of the content, expected some: leave the region out")
        if not any(np.any(np.asarray(mask)[..., r]) for mask in regions.styles):
            raise InputError(f"region {r + 1} has no pixel of any style, expected some: mark it in a style's mask")


def resize_mask(mask: Masks, height: int, width: int) -> Float[Array, "{height} {width} _"]:
    """A mask at another size; its edges become soft where it shrinks.

    Args:
        mask: `(h, w, regions)` in [0, 1].
        height: new height in pixels.
        width: new width in pixels.

    Returns:
        `(height, width, regions)` in [0, 1].
    """
    mask = jnp.asarray(mask, jnp.float32)
    if mask.shape[:2] == (height, width):
        return mask
    return jnp.clip(jax.image.resize(mask, (height, width, mask.shape[2]), "linear"), 0.0, 1.0)
