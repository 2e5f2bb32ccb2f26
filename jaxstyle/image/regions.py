"""Spatial guidance: masks that assign a style, or a part of a style image, to each region of the content image."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstyle.errors import InputError, check_choice, check_sequence, quote, shape_fits
from jaxstyle.image.ops import check_array

Guidance = Literal["simple", "inside", "all"]
Masks = Float[Array | np.ndarray, "_ _ _"]


class Regions(NamedTuple):
    """Masks that assign parts of the style images to regions of the content image.

    Attributes:
        content: `(H, W, regions)` in [0, 1], membership of each content pixel in each region. Pixels with a total
            membership below 0.5 keep the content image.
        styles: one entry for each style image, `(h, w, regions)`: weight of each style pixel in the target Gram matrix
            of each region; or `(regions,)`, the same weight for all of its pixels.
        guidance: `"simple"`, `"inside"` or `"all"`: see `guides.py`.

    Example:
        >>> import numpy as np
        >>> left = np.zeros((32, 48, 2), np.float32)
        >>> left[:, :24, 0] = left[:, 24:, 1] = 1
        >>> # The left half has the first style, the right one the second.
        >>> regions = Regions(left, (np.float32([1, 0]), np.float32([0, 1])))
        >>> len(regions.styles)
        2
    """

    content: Masks
    styles: tuple[Masks | Float[Array | np.ndarray, " regions"], ...]
    guidance: Guidance = "simple"


def stylized_pixels(masks: Masks) -> Bool[Array, "_ _ 1"]:
    """Mask of the pixels with a total membership of at least 0.5; all others keep the content image."""
    return jnp.sum(jnp.asarray(masks), axis=2, keepdims=True) >= 0.5


def check_regions(regions: Regions, content_shape: tuple[int, ...], style_shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise InputError for masks that do not match these images.

    Requires concrete arrays, so it cannot be called inside `jit`.

    Args:
        regions: the masks.
        content_shape: shape of the content image.
        style_shapes: shape of each style image.

    Raises:
        InputError: for a wrong type or size, values out of range, or a region without pixels or without a style.
    """
    if not isinstance(regions, Regions):
        raise InputError(f"regions is {quote(regions)}, expected Regions(content, styles)")
    check_choice(regions.guidance, "guidance", get_args(Guidance))
    check_sequence(regions.styles, "styles of regions", "masks, one for each style")
    if len(regions.styles) != len(style_shapes):
        raise InputError(
            f"regions.styles has {len(regions.styles)} entries, expected one for each of the {len(style_shapes)} style "
            "images"
        )
    height, width = content_shape[:2]
    content = _checked_values(regions.content, "content mask")
    if not shape_fits(content.shape, (height, width, None)):
        raise InputError(
            f"the content mask has shape {content.shape}, expected ({height}, {width}, regions): the height and width "
            "of the content image"
        )
    count = content.shape[2]
    in_styles = np.zeros(count, bool)
    for number, (mask, style_shape) in enumerate(zip(regions.styles, style_shapes, strict=True), 1):
        values = _checked_values(mask, f"mask of style {number}")
        if values.shape not in ((count,), (*style_shape[:2], count)):
            raise InputError(
                f"the mask of style {number} has shape {values.shape}, expected {(*style_shape[:2], count)} or "
                f"{(count,)}: as many regions as the content mask"
            )
        in_styles |= values.reshape(-1, count).any(axis=0)
    for region in range(count):
        if not content[:, :, region].any():
            advice = "remove the region, or mark some pixels in the content mask"
            raise InputError(f"region {region + 1} covers no content pixels: {advice}")
        if not in_styles[region]:
            advice = "mark some pixels in the mask of a style"
            raise InputError(f"region {region + 1} covers no pixels of any style: {advice}")


def _checked_values(mask: Any, name: str) -> np.ndarray:
    check_array(mask, f"the {name}", "an array of numbers")
    values = np.asarray(mask)
    if not any(jnp.issubdtype(values.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise InputError(f"the {name} is {quote(mask)}, expected an array of numbers")
    # In this form NaN fails, and an array without elements passes.
    if not np.all((values >= 0) & (values <= 1)):
        raise InputError(f"the {name} has values outside of [0, 1], expected the membership of pixels in a region")
    return values


def resize_mask(mask: Masks, height: int, width: int) -> Float[Array, "{height} {width} _"]:
    """Resize a mask with bilinear interpolation; downsampling softens its edges.

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
