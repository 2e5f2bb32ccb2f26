"""The losses of Gatys et al. as pure functions of arrays, without the network.

Two published normalizations, for a layer of `C` channels and `M = h * w` positions with features `F`, content
features `P`, Gram matrices `G = F F^T / M` of the image and `A` of the style:

| | content | style, per layer |
|---|---|---|
| `"paper"` | `1/2 sum (F - P)^2` | `1/(4 C^2) sum (G - A)^2` |
| `"notebook"` | `1/(C M) sum (F - P)^2` | `1/C^4 sum (G - A)^2` |

The paper (Gatys et al., CVPR 2016, equations 1 and 4) writes Gram matrices as plain sums and divides their squared
difference by `4 N^2 M^2`; with Gram matrices divided by positions that is the line above, and stays comparable when the
style image has another size. Its layer weights are `w_l = 1/L` for `L` style layers. The authors' own notebook
(github.com/leongatys/PytorchNeuralStyleTransfer) takes means instead of sums and weights a layer by `1/C^2`.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, check_choice
from jaxstyle.image.canvas import Dim, area
from jaxstyle.image.ops import check_array, check_image
from jaxstyle.losses.statistics import Variation, check_same_shape, outer_products, variation_sum
from jaxstyle.typing import Features, Gram, Image, ImageBatch, Scalar

Normalization = Literal["paper", "notebook"]


def gram_matrix(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch c c"]:
    """Compute the Gram matrix of a feature map, `G = F F^T / (h w)`: correlations of channels, without positions.

    Args:
        features: `(..., h, w, c)`.

    Returns:
        `(..., c, c)`, symmetric, positive semidefinite, the same for any order of the positions; differentiable in
        reverse mode.

    Raises:
        InputError: for anything but a feature map.

    Example:
        >>> import jax.numpy as jnp
        >>> gram_matrix(jnp.array([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[5.0, 7.0], [7.0, 10.0]]

    References:
        Gatys et al., CVPR 2016, equation 3, divided by the number of positions.
    """
    _check_array(features, "features", ("h", "w", "c"))
    return jax.vmap(gram_matrix)(features) if features.ndim > 3 else _gram_matrix(features)


def content_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*shared h w c"],
    normalization: Normalization = "notebook",
) -> Float[Array, "*batch"]:
    """Compute the squared distance of feature maps: `1/(C M) sum (F - P)^2`, or the paper's `1/2 sum (F - P)^2`.

    Args:
        features: `(..., h, w, c)` of the image.
        target: `(..., h, w, c)` of the content; it may lack the first leading axes, and is then
            shared along them.
        normalization: `"notebook"` or `"paper"`: see the module's table.

    Returns:
        One number for each image, zero where the two are equal.

    Raises:
        InputError: for anything but feature maps of one shape, or an unknown normalization.

    Example:
        >>> import jax.numpy as jnp
        >>> float(content_loss(jnp.ones((2, 2, 3)), jnp.zeros((2, 2, 3)), "paper"))
        6.0

    References:
        Gatys et al., CVPR 2016, equation 1.
    """
    _check_array(features, "features", ("h", "w", "c"))
    _check_array(target, "target", ("h", "w", "c"))
    _check_fit(features, target, "features")
    if features.ndim > 3:
        return _mapped(functools.partial(content_loss, normalization=normalization), features, target)
    height, width, channels = features.shape
    return _scaled_squares(features, target, content_scale((height, width, channels), normalization))


def style_loss(
    gram: Float[Array, "*batch c c"], target: Float[Array, "*shared c c"], normalization: Normalization = "notebook"
) -> Float[Array, "*batch"]:
    """Compute the squared distance of Gram matrices: `1/C^4 sum (G - A)^2`, or the paper's `1/(4 C^2) sum (G - A)^2`.

    Args:
        gram: `(..., c, c)` of the image, divided by positions: see `gram_matrix`.
        target: `(..., c, c)` of the style; it may lack the first leading axes, and is then
            shared along them.
        normalization: `"notebook"` or `"paper"`: see the module's table.

    Returns:
        One number for each image, zero where the two are equal.

    Raises:
        InputError: for anything but square matrices of one shape, or an unknown normalization.

    Example:
        >>> import jax.numpy as jnp
        >>> float(style_loss(jnp.eye(2), jnp.zeros((2, 2))))
        0.125

    References:
        Gatys et al., CVPR 2016, equation 4.
    """
    _check_array(gram, "gram", ("c", "c"))
    _check_array(target, "target", ("c", "c"))
    _check_fit(gram, target, "gram")
    if gram.ndim > 2:
        return _mapped(functools.partial(style_loss, normalization=normalization), gram, target)
    return _scaled_squares(gram, target, style_scale(len(gram), normalization))


def total_variation(image: ImageBatch) -> Float[Array, "*batch"]:
    """Compute the total variation, `1/(H W) sum (x[i+1, j] - x[i, j])^2 + (x[i, j+1] - x[i, j])^2`.

    It is a penalty on noise. The square has a gradient everywhere, and the division makes the value independent of the
    image's size.

    Args:
        image: `(..., H, W, 3)` in [0, 1].

    Returns:
        One number for each image, zero for a constant one.

    Raises:
        InputError: for anything but an image.

    Example:
        >>> import jax.numpy as jnp
        >>> float(total_variation(jnp.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])))
        0.5
    """
    check_image(image, batch=True)
    return jax.vmap(total_variation)(image) if image.ndim > 3 else _total_variation(image)


# Compiled, so that they are fast without an outer `jit`, and transfer no constants to the device; inlined with one.
@functools.partial(jax.jit, inline=True)
def _gram_matrix(features: Features) -> Gram:
    return outer_products(features) / float(features.shape[0] * features.shape[1])


@functools.partial(jax.jit, static_argnames="scale", inline=True)
def _scaled_squares(array: Array, target: Array, scale: float) -> Scalar:
    return scale * jnp.sum(jnp.square(array - target))


@functools.partial(jax.jit, inline=True)
def _total_variation(image: Image) -> Scalar:
    return variation_sum(image) / float(image.shape[0] * image.shape[1])


def content_scale(shape: tuple[Dim, Dim, int], normalization: Normalization) -> float | Scalar:
    """Factor of a content layer's sum of squared errors.

    Args:
        shape: `(h, w, c)` of the layer's feature map.
        normalization: see the module's table.

    Returns:
        A float: as an int32 inside JAX, `h w c` would overflow from half a megapixel on.
    """
    check_choice(normalization, "normalization", get_args(Normalization))
    if normalization == "paper":
        return 0.5
    height, width, channels = shape
    return 1 / (area(height, width) * channels)


def style_scale(channels: int, normalization: Normalization) -> float:
    """Factor of a style layer's sum of squares: see the module's table."""
    check_choice(normalization, "normalization", get_args(Normalization))
    # Floats: in int32 the fourth power of 256 is zero.
    return float(channels) ** -4 if normalization == "notebook" else float(channels) ** -2 / 4


def variation_scale(height: Dim, width: Dim, kind: Variation) -> float | Scalar:
    """Factor of the sum of differences between neighbors in an image of this size.

    `1/(H W)` for squares; 255 for magnitudes, as in neural-style-pt, which sums those of pixels from 0 to 255; for
    `"nine-point"` two thirds of a mean over pixels and colors, as in style-transfer-pytorch.
    """
    if kind == "absolute":
        return 255.0
    return (1.0 if kind == "squared" else 2 / 9) / area(height, width)


def _check_fit(array: Array, target: Array, name: str) -> None:
    """Raise InputError unless the target has the array's shape, or its last axes."""
    if array.ndim < target.ndim or array.shape[array.ndim - target.ndim :] != target.shape:
        check_same_shape(array.shape, target.shape, name)


def _mapped(loss: Callable[..., Array], array: Array, target: Array) -> Array:
    """Map a loss over the array's first axis, and over the target's if it has as many axes."""
    return jax.vmap(loss, in_axes=(0, 0 if target.ndim == array.ndim else None))(array, target)


def _check_array(array: Any, name: str, axes: tuple[str, ...]) -> None:
    """Raise InputError unless `array` is of floats and ends with these axes, none empty; equal names, equal sizes."""
    expected = f"an array (..., {', '.join(axes)}) of floats"
    check_array(array, name, expected)
    shape, dtype = array.shape, array.dtype
    ending = shape[-len(axes) :]
    sizes = dict(zip(axes, ending, strict=False))
    if len(shape) < len(axes) or 0 in ending or any(sizes[axis] != n for axis, n in zip(axes, ending, strict=True)):
        raise InputError(f"{name} has shape {tuple(shape)}, expected {expected}")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"{name} has dtype {dtype}, expected {expected}")
