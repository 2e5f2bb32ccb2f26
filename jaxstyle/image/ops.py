"""Pixels as arrays: float32 RGB in [0, 1], shape (height, width, 3). No files here (see `io.py`)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxstyle.errors import InputError, check_integer, check_sequence, quote
from jaxstyle.guards import permissive
from jaxstyle.typing import AnyImage, Image

MAX_SIDE = 65536
MAX_SEED = 2**32 - 1


def check_size(height: Any, width: Any) -> None:
    """Raise InputError unless height and width are 1 to 65536 pixels."""
    check_integer(height, "height", 1, MAX_SIDE)
    check_integer(width, "width", 1, MAX_SIDE)


def is_key(seed: Any) -> bool:
    """Return True for one random key of JAX, such as `jax.random.key(0)`, or its tracer."""
    return isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.ndim == 0


def check_seed(seed: Any) -> None:
    """Raise InputError unless `seed` is an integer from 0 to 2^32 - 1, or a random key of JAX."""
    if not is_key(seed):
        check_integer(seed, "seed", 0, MAX_SEED)


def check_array(array: Any, name: str, expected: str, advice: str = "") -> None:
    """Raise InputError unless `array` is an array, or a tracer, that JAX can read; `expected` describes it."""
    if not isinstance(array, np.ndarray | jax.Array | jax.ShapeDtypeStruct):
        # Arrays of other libraries, such as PyTorch.
        is_array = hasattr(array, "__array__") and not isinstance(array, np.generic)
        advice = ": numpy.asarray makes one" if is_array else advice
        raise InputError(f"{name} is {quote(array)}, expected {expected}{advice}")
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, expected {expected}: array.filled(value) makes one")
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        native = array.dtype.newbyteorder("=")
        raise InputError(f"{name} has byte order {array.dtype.str}, expected {expected}: array.astype({str(native)!r})")


def check_image(image: Any, name: str = "image", min_side: int = 1, *, batch: bool = False) -> None:
    """Raise InputError unless `image` is a `(H, W, 3)` float32 array; values outside [0, 1] are allowed.

    Args:
        image: an array, or a tracer.
        name: name of the image in the message.
        min_side: smallest height and width in pixels.
        batch: True if leading axes are allowed.

    Raises:
        InputError: for another shape or dtype, or a side below `min_side`.
    """
    check_array(image, name, "an array of pixels", ": load_image reads a file or a PIL image")
    shape = tuple(image.shape)
    if shape[-1:] != (3,) or len(shape) < 3 or (len(shape) > 3 and not batch):
        axes = "(..., height, width, 3)" if batch else "(height, width, 3)"
        raise InputError(f"{name} has shape {shape}, expected {axes}: {_shape_advice(shape)}")
    height, width = shape[-3:-1]
    # float64 counts as float32 where JAX makes it so.
    dtype = jnp.result_type(image) if image.dtype == np.float64 else image.dtype
    if dtype != jnp.float32:
        raise InputError(
            f"{name} has dtype {dtype}, expected float32 in [0, 1]: convert it (8-bit pixels are divided by 255)"
        )
    if min(height, width) < min_side:
        raise InputError(
            f"{name} is {width}x{height} pixels, expected at least {min_side} a side for these layers: "
            "use a larger image or shallower layers"
        )


def _shape_advice(shape: tuple[int, ...]) -> str:
    """What to do with pixels of a wrong shape."""
    if len(shape) > 2 and shape[-3] == 3 and shape[-1] != 3:
        return "moveaxis(image, -3, -1) puts the channels last"
    if len(shape) > 3 and shape[-1] == 3:
        return "one image without a batch axis"
    if shape[-1:] == (4,):
        return "RGB without alpha, image[..., :3]"
    return "RGB, for a gray image three equal channels"


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


@permissive()
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


@permissive()
def white_noise(seed: int | Key[Array, ""], height: int, width: int) -> Image:
    """Uniform white noise in [0, 1]: the initial image of the paper (section 2.3).

    Pure: with a key as the seed it can be compiled, and batched by `jax.vmap`.

    Args:
        seed: 0 to 2^32 - 1, or a random key of JAX; the same seed and size give the same image.
        height: height in pixels, 1 to 65536.
        width: width in pixels, 1 to 65536.

    Returns:
        `(height, width, 3)`.

    Raises:
        InputError: for a seed or size out of range.

    Example:
        >>> white_noise(0, 4, 6).shape, bool((white_noise(0, 4, 6) == white_noise(0, 4, 6)).all())
        ((4, 6, 3), True)
    """
    check_seed(seed)
    check_size(height, width)
    uniform = functools.partial(jax.random.uniform, shape=(height, width, 3), dtype=jnp.float32)
    if is_key(seed):
        return uniform(seed)
    # By one generator, whichever is the program's default: the recipe of a run has only the seed.
    with jax.threefry_partitionable(True):
        return uniform(jax.random.key(seed, impl="threefry2x32"))
