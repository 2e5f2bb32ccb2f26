"""A feed-forward network: parameters from a random key, and images through the network."""

import math
from collections.abc import Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxstyle.errors import InputError, check_choice, check_integer, quote
from jaxstyle.feed_forward.modules import STRIDE, Network
from jaxstyle.guards import permissive
from jaxstyle.image.ops import check_image, is_key
from jaxstyle.typing import ImageBatch, Images
from jaxstyle.vgg.layers import Precision

# Layer to its arrays: see `modules.py`.
NetworkParams = Mapping[str, Any]
# A quarter of it, in the residual blocks, is as wide as a mirrored border and the kernel.
MIN_SIDE = 16
MAX_WIDTH, MAX_BLOCKS = 1024, 100
# The array whose shape says the width.
FIRST = "first.convolution.kernel"


@permissive()
def init_network(key: Array, width: int = 16, blocks: int = 5) -> dict[str, Any]:
    """Return random parameters of a feed-forward network, for training: see `examples/feed_forward.py`.

    Kernels are normal, cut at two deviations, with variance `2 / (k^2 c_in)` for `k` x `k` pixels and `c_in` channels
    (He et al., 2015).

    Args:
        key: JAX random key.
        width: channels at full size, 1 to 1024; 32 in the paper. The time grows with its square.
        blocks: number of residual blocks, 0 to 100.

    Returns:
        A nested dict of float32 arrays.

    Raises:
        InputError: for a value that is not a random key, or numbers out of range.

    Example:
        >>> import jax
        >>> init_network(jax.random.key(0), width=4, blocks=1)["first"]["convolution"]["kernel"].shape
        (9, 9, 3, 4)

    References:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016;
        Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", arXiv:1607.08022 (2016).
    """
    check_integer(width, "width", 1, MAX_WIDTH)
    check_integer(blocks, "blocks", 0, MAX_BLOCKS)
    if not is_key(key):
        raise InputError(f"key is {quote(key)}, expected one random key such as jax.random.key(0)")
    network = Network(int(width), int(blocks), "highest")
    return jax.jit(network.init)(key, jnp.zeros((1, MIN_SIDE, MIN_SIDE, 3)))["params"]


def apply_network(network: NetworkParams, image: ImageBatch, precision: Precision = "highest") -> ImageBatch:
    """Stylize images in one pass through a feed-forward network.

    Pure, and differentiable by parameters and images. To compile it:
    `jax.jit(apply_network, static_argnames="precision")`.

    Args:
        network: parameters from `init_network` or `load_network`.
        image: `(..., H, W, 3)` in [0, 1], at least 16 pixels a side.
        precision: of the convolutions: `"highest"`, `"default"` or `"bfloat16"`, as in `features`.

    Returns:
        `(..., H, W, 3)` float32 in [0, 1].

    Raises:
        InputError: for anything but images and parameters of a network, or an image that is too small.

    Example:
        >>> import jax, jaxstyle as js
        >>> network = init_network(jax.random.key(0), width=4, blocks=1)
        >>> apply_network(network, js.white_noise(1, 18, 21)).shape
        (18, 21, 3)
    """
    check_image(image, batch=True)
    *leading, height, width, _ = image.shape
    if min(height, width) < MIN_SIDE:
        raise InputError(f"image is {width}x{height} pixels, expected at least {MIN_SIDE} a side")
    check_choice(precision, "precision", get_args(Precision))
    channels, blocks = structure(network)
    images = jnp.asarray(image, jnp.float32).reshape(math.prod(leading), height, width, 3)
    # Whole cells at a quarter of the size.
    down, right = -height % STRIDE, -width % STRIDE
    images = jnp.pad(images, ((0, 0), (0, down), (0, right), (0, 0)), mode="edge")
    stylized: Images = Network(channels, blocks, precision).apply({"params": network}, images)  # pyright: ignore[reportAssignmentType]
    return stylized[:, :height, :width].reshape(image.shape)


def structure(network: Any, source: str = "network") -> tuple[int, int]:
    """Return width and number of blocks of parameters.

    Args:
        network: parameters, or something else.
        source: name of the parameters in the message.

    Raises:
        InputError: for anything but the parameters of a network, naming the first wrong array.
    """
    if not isinstance(network, Mapping) or not network:
        raise InputError(f"{source} is {quote(network)}, expected the parameters that load_network returns")
    actual = {name: tuple(getattr(array, "shape", ())) for name, array in flat(network).items()}
    shape = actual.get(FIRST, ())
    width = shape[3] if len(shape) == 4 else 0
    blocks = sum(str(name).startswith("block_") for name in network) // 2
    expected = shapes(width, blocks) if width else {FIRST: "(9, 9, 3, width)"}
    for name in sorted({*expected, *actual}):
        if actual.get(name) != expected.get(name):
            raise InputError(
                f"{source} has {name} of shape {actual.get(name)}, expected {expected.get(name)}: parameters of a "
                "feed-forward network"
            )
    return width, blocks


def shapes(width: int, blocks: int) -> dict[str, Any]:
    """Return the shape of every array of a network, by its name such as `first.convolution.kernel`."""
    template = jax.eval_shape(
        Network(width, blocks, "highest").init,
        jax.ShapeDtypeStruct((), jax.random.key(0).dtype),
        jax.ShapeDtypeStruct((1, MIN_SIDE, MIN_SIDE, 3), jnp.float32),
    )
    return {name: tuple(array.shape) for name, array in flat(template["params"]).items()}


def flat(network: NetworkParams, prefix: str = "") -> dict[str, Any]:
    """Return the arrays of nested parameters by their full names, joined by dots."""
    arrays = {}
    for name, value in network.items():
        arrays |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return arrays


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters from their full names: the inverse of `flat`."""
    network: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split(".")
        inner = network
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InputError(f"there are arrays {name} and {parent}, expected the file of a feed-forward network")
        inner[last] = array
    return network
