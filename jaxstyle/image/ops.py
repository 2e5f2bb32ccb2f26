"""Pixels as arrays: float32 RGB in [0, 1], shape (height, width, 3). No files here (see `io.py`)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.typing import AnyImage, Image


def check_image(image: Any, name: str = "image", min_side: int = 1) -> None:
    """Refuse an array that is not a picture.

    Args:
        image: what should be `(H, W, 3)` float32; values outside [0, 1] are allowed.
        name: what the message calls it.
        min_side: the least number of pixels a side.

    Raises:
        InputError: for another shape or dtype, or a side below `min_side`.
    """
    if not hasattr(image, "shape"):
        raise InputError(f"{name} is {str(image)[:80]!r}, expected an array of pixels: load_image reads a file")
    shape, dtype = jnp.shape(image), jnp.result_type(image)
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(f"{name} has shape {shape}, expected (height, width, 3): RGB without alpha or batch axis")
    if dtype != jnp.float32:
        raise InputError(
            f"{name} has dtype {dtype}, expected float32 in [0, 1]: convert it (8-bit pixels are divided by 255)"
        )
    if min(shape[:2]) < min_side:
        raise InputError(
            f"{name} is {shape[1]}x{shape[0]} pixels, expected at least {min_side} a side for these layers: "
            "use a larger picture or shallower layers"
        )


def check_range(image: Any, name: str = "image") -> None:
    """Refuse pixels that are far from [0, 1]: mostly 0 to 255 passed as they are. Needs numbers, not tracers.

    Args:
        image: `(H, W, 3)`; resampling and some optimizers overshoot a little, which is allowed.
        name: what the message calls it.

    Raises:
        InputError: for values beyond -0.5 or 1.5, NaN or infinity.
    """
    # First, because of larger arrays XLA's minimum and maximum on CPUs pass over NaN.
    if not bool(jnp.all(jnp.isfinite(image))):
        raise InputError(f"{name} has NaN or infinite pixels, expected values in [0, 1]")
    low, high = float(jnp.min(image)), float(jnp.max(image))
    if not (low >= -0.5 and high <= 1.5):
        raise InputError(f"{name} has values from {low:g} to {high:g}, expected [0, 1]: divide 8-bit pixels by 255")


def check_pictures(content: Any, styles: Sequence[Any], min_side: int) -> None:
    """Refuse a content or styles that a run cannot use.

    Args:
        content: what should be a picture.
        styles: likewise, each.
        min_side: the least number of pixels a side.

    Raises:
        InputError: see `check_image` and `check_range`.
    """
    for name, picture in (("content", content), *(("style", each) for each in styles)):
        check_image(picture, name, min_side)
        check_range(picture, name)


def resize(image: Image, height: int, width: int) -> Float[Array, "{height} {width} 3"]:
    """Resize by Lanczos filtering, with antialiasing when it shrinks; clipped to [0, 1], since Lanczos overshoots.

    Args:
        image: `(H, W, 3)` in [0, 1].
        height: new height in pixels.
        width: new width in pixels.

    Returns:
        `(height, width, 3)` in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> resize(jnp.ones((4, 6, 3)), 2, 3).shape
        (2, 3, 3)
    """
    if height < 1 or width < 1:
        raise InputError(f"cannot resize to {width}x{height} pixels, expected at least 1x1")
    resized = jax.image.resize(image, (height, width, 3), "lanczos3", precision=jax.lax.Precision.HIGHEST)
    return jnp.clip(resized, 0.0, 1.0)


def fit(image: AnyImage, height: int, width: int) -> Float[Array, "{height} {width} 3"]:
    """Resized; untouched where it has that size, even beyond [0, 1]."""
    return jnp.asarray(image) if image.shape[:2] == (height, width) else resize(jnp.asarray(image), height, width)


def white_noise(seed: int, height: int, width: int) -> Image:
    """Uniform white noise in [0, 1]: the paper's starting point (section 2.3).

    Args:
        seed: 0 to 2^32 - 1; the same seed and size give the same picture.
        height: in pixels.
        width: in pixels.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for a seed out of range.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}, expected 0 to {2**32 - 1}")
    return jax.random.uniform(jax.random.key(seed), (height, width, 3), jnp.float32)
