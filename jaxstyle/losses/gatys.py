"""The losses as pure functions of arrays; no network here.

Two published normalizations, for a layer of `C` channels and `M = h * w` positions with features `F`, content
features `P`, Gram matrices `G = F F^T / M` of the picture and `A` of the style:

| | content | style, a layer |
|---|---|---|
| `"paper"` | `1/2 sum (F - P)^2` | `1/(4 C^2) sum (G - A)^2` |
| `"notebook"` | `1/(C M) sum (F - P)^2` | `1/C^4 sum (G - A)^2` |

The paper (Gatys et al., CVPR 2016, equations 1 and 4) writes Gram matrices as plain sums and divides their squared
difference by `4 N^2 M^2`; with Grams divided by positions that is the line above, and stays comparable when the
style's picture has another size. Its layer weights are `w_l = 1/L` for `L` style layers. The authors' own notebook
(github.com/leongatys/PytorchNeuralStyleTransfer) takes means instead of sums and weighs a layer by `1/C^2`.
"""

from typing import Literal, get_args

import jax.numpy as jnp

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Dim, area
from jaxstyle.losses.statistics import Variation, outer_products, squared_error, variation_sum
from jaxstyle.typing import Features, Gram, Image, Scalar

Normalization = Literal["paper", "notebook"]


def gram_matrix(features: Features) -> Gram:
    """Gram matrix of a feature map, `G = F F^T / (h w)`: which channels are active together, wherever it is.

    Args:
        features: `(h, w, c)`.

    Returns:
        `(c, c)`, symmetric, positive semidefinite, the same for any order of the positions.

    Example:
        >>> import jax.numpy as jnp
        >>> gram_matrix(jnp.array([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[5.0, 7.0], [7.0, 10.0]]

    References:
        Gatys et al., CVPR 2016, equation 3, divided by the number of positions.
    """
    return outer_products(features) / float(features.shape[0] * features.shape[1])


def content_loss(features: Features, target: Features, normalization: Normalization = "notebook") -> Scalar:
    """Squared distance between feature maps: `1/(C M) sum (F - P)^2`, or the paper's `1/2 sum (F - P)^2`.

    Args:
        features: `(h, w, c)` of the picture.
        target: `(h, w, c)` of the content picture.
        normalization: see the module's table.

    Returns:
        A scalar, zero where the two are equal.

    Example:
        >>> import jax.numpy as jnp
        >>> float(content_loss(jnp.ones((2, 2, 3)), jnp.zeros((2, 2, 3)), "paper"))
        6.0

    References:
        Gatys et al., CVPR 2016, equation 1.
    """
    height, width, channels = features.shape
    return content_scale((height, width, channels), normalization) * squared_error(features, target)


def style_loss(gram: Gram, target: Gram, normalization: Normalization = "notebook") -> Scalar:
    """Squared distance between Gram matrices: `1/C^4 sum (G - A)^2`, or the paper's `1/(4 C^2) sum (G - A)^2`.

    Args:
        gram: `(c, c)` of the picture, divided by positions: see `gram_matrix`.
        target: `(c, c)` of the style.
        normalization: see the module's table.

    Returns:
        A scalar, zero where the two are equal.

    Example:
        >>> import jax.numpy as jnp
        >>> float(style_loss(jnp.eye(2), jnp.zeros((2, 2))))
        0.125

    References:
        Gatys et al., CVPR 2016, equation 4.
    """
    return style_scale(len(gram), normalization) * jnp.sum(jnp.square(gram - target))


def total_variation(image: Image) -> Scalar:
    """Squared total variation, `1/(H W) sum (x[i+1, j] - x[i, j])^2 + (x[i, j+1] - x[i, j])^2`: a penalty on noise.

    The square has a gradient everywhere, and the division makes the value independent of the picture's size.

    Args:
        image: `(H, W, 3)` in [0, 1].

    Returns:
        A scalar, zero for a constant picture.

    Example:
        >>> import jax.numpy as jnp
        >>> float(total_variation(jnp.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])))
        0.5
    """
    return variation_sum(image) / float(image.shape[0] * image.shape[1])


def check_normalization(normalization: str) -> None:
    """Refuse a normalization that is not in the module's table.

    Raises:
        InputError: naming the choices.
    """
    if normalization not in get_args(Normalization):
        raise InputError(
            f"unknown normalization {normalization!r}, expected one of {', '.join(map(repr, get_args(Normalization)))}"
        )


def content_scale(shape: tuple[Dim, Dim, int], normalization: Normalization) -> float | Scalar:
    """What a content layer's sum of squared errors is multiplied by.

    Args:
        shape: `(h, w, c)` of the layer's feature map.
        normalization: see the module's table.

    Returns:
        A float: as an int32 inside JAX, `h w c` would overflow from half a megapixel on.
    """
    check_normalization(normalization)
    if normalization == "paper":
        return 0.5
    height, width, channels = shape
    return 1 / (area(height, width) * channels)


def style_scale(channels: int, normalization: Normalization) -> float:
    """What a style layer's sum of squares is multiplied by.

    Args:
        channels: of the layer.
        normalization: see the module's table.

    Returns:
        A Python float.
    """
    check_normalization(normalization)
    # Floats: in int32 the fourth power of 256 is zero.
    return float(channels) ** -4 if normalization == "notebook" else float(channels) ** -2 / 4


def variation_scale(height: Dim, width: Dim, kind: Variation) -> float | Scalar:
    """What the sum of differences between neighbors is multiplied by.

    `1/(H W)` for squares; 255 for magnitudes, as of neural-style-pt, which sums those of pixels from 0 to 255; for
    `"nine-point"` two thirds of a mean over pixels and colors, as of style-transfer-pytorch.

    Args:
        height: of the picture.
        width: of the picture.
        kind: see `variation_sum`.

    Returns:
        A number.
    """
    if kind == "absolute":
        return 255.0
    return (1.0 if kind == "squared" else 2 / 9) / area(height, width)
