"""Pixels as arrays: float32 RGB in [0, 1], shape (height, width, 3). No files here (see `io.py`)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, check_integer, check_sequence, quote
from jaxstyle.typing import AnyImage, Image

MAX_SIDE = 65536
MAX_SEED = 2**32 - 1


def check_size(height: Any, width: Any) -> None:
    """Raise InputError unless height and width are 1 to 65536 pixels."""
    check_integer(height, "height", 1, MAX_SIDE)
    check_integer(width, "width", 1, MAX_SIDE)


def check_seed(seed: Any) -> None:
    """Raise InputError unless `seed` is an integer from 0 to 2^32 - 1."""
    check_integer(seed, "seed", 0, MAX_SEED)


def check_image(image: Any, name: str = "image", min_side: int = 1) -> None:
    """Raise InputError unless `image` is a `(H, W, 3)` float32 array; values outside [0, 1] are allowed.

    Args:
        image: an array, or a tracer.
        name: name of the image in the message.
        min_side: smallest height and width in pixels.

    Raises:
        InputError: for another shape or dtype, or a side below `min_side`.
    """
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        raise InputError(f"{name} is {quote(image)}, expected an array of pixels: load_image reads a file")
    if isinstance(image, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, expected plain pixels: array.filled() gives them")
    shape = tuple(image.shape)
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(f"{name} has shape {shape}, expected (height, width, 3): RGB without alpha or batch axis")
    try:
        dtype = jnp.result_type(image)
    except TypeError:
        # Not a number, or not an array of NumPy or JAX.
        dtype = image.dtype
    if dtype != jnp.float32:
        raise InputError(
            f"{name} has dtype {dtype}, expected float32 in [0, 1]: convert it (8-bit pixels are divided by 255)"
        )
    if min(shape[:2]) < min_side:
        raise InputError(
            f"{name} is {shape[1]}x{shape[0]} pixels, expected at least {min_side} a side for these layers: "
            "use a larger image or shallower layers"
        )


def check_range(image: Any, name: str = "image", min_side: int = 1) -> None:
    """Raise InputError for an array that is not an image, or has pixels far from [0, 1]: mostly unscaled 8-bit values.

    Requires concrete arrays, so it cannot be called inside `jit`.

    Args:
        image: `(H, W, 3)`; resampling and some optimizers overshoot a little, which is allowed.
        name: name of the image in the message.
        min_side: smallest height and width in pixels.

    Raises:
        InputError: see `check_image`; for values beyond -0.5 or 1.5, NaN or infinity.
    """
    check_image(image, name, min_side)
    # First, because XLA's minimum and maximum of larger arrays on CPUs ignore NaN.
    if not bool(jnp.all(jnp.isfinite(image))):
        raise InputError(f"{name} has NaN or infinite pixels, expected values in [0, 1]")
    low, high = float(jnp.min(image)), float(jnp.max(image))
    if not (low >= -0.5 and high <= 1.5):
        raise InputError(f"{name} has values from {low:g} to {high:g}, expected [0, 1]: {scale_advice(low, high)}")


def scale_advice(low: float, high: float) -> str:
    """What to do with pixels from `low` to `high`, by the scale that they are probably on."""
    if low >= 0:
        return f"divide {8 if high <= 255 else 16}-bit pixels by {255 if high <= 255 else 65535}"
    if low >= -1.1 and high <= 1.1:
        return "pixels in [-1, 1] become (x + 1) / 2"
    if low >= -2.2 and high <= 2.7:
        return "pixels normalized by ImageNet's mean and standard deviation become x * std + mean"
    return "undo the normalization of the pixels, or clip them"


def check_images(content: Any, styles: Any, min_side: int = 1) -> None:
    """Raise InputError for a content image or style images that a run cannot use.

    Args:
        content: the content image.
        styles: list of the style images.
        min_side: smallest height and width in pixels.

    Raises:
        InputError: see `check_range`.
    """
    check_sequence(styles, "styles", "images, such as [style]")
    check_range(content, "content", min_side)
    for style in styles:
        check_range(style, "style", min_side)


def resize(image: Image, height: int, width: int) -> Float[Array, "{height} {width} 3"]:
    """Resize by Lanczos filtering, with antialiasing when it shrinks; clipped to [0, 1], since Lanczos overshoots.

    Args:
        image: `(H, W, 3)` in [0, 1].
        height: new height in pixels, 1 to 65536.
        width: new width in pixels, 1 to 65536.

    Returns:
        `(height, width, 3)` in [0, 1].

    Raises:
        InputError: for an array of another shape or dtype, or a size out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> resize(jnp.ones((4, 6, 3)), 2, 3).shape
        (2, 3, 3)
    """
    check_image(image)
    check_size(height, width)
    resized = jax.image.resize(image, (height, width, 3), "lanczos3", precision=jax.lax.Precision.HIGHEST)
    return jnp.clip(resized, 0.0, 1.0)


def fit(image: AnyImage, height: int, width: int) -> Float[Array, "{height} {width} 3"]:
    """Resize an image; an image of this size is returned unchanged, even if it has values outside [0, 1]."""
    return jnp.asarray(image) if image.shape[:2] == (height, width) else resize(jnp.asarray(image), height, width)


def white_noise(seed: int, height: int, width: int) -> Image:
    """Uniform white noise in [0, 1]: the initial image of the paper (section 2.3).

    Args:
        seed: 0 to 2^32 - 1; the same seed and size give the same image.
        height: height in pixels, 1 to 65536.
        width: width in pixels, 1 to 65536.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for a seed or size out of range.
    """
    check_seed(seed)
    check_size(height, width)
    return jax.random.uniform(jax.random.key(seed), (height, width, 3), jnp.float32)
