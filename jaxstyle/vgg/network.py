"""VGG-19 (Simonyan and Zisserman, 2015) as a fixed feature extractor: `features` maps an image to feature maps.

Five blocks of 3x3 convolutions, each followed by a ReLU, with a 2x2 pool after every block; no classifier. The network
is evaluated only up to the deepest requested layer.
"""

import itertools
import math
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.errors import InputError, check_choice, quote, shape_fits
from jaxstyle.guards import permissive
from jaxstyle.image.canvas import Placement
from jaxstyle.image.ops import check_array, check_image
from jaxstyle.typing import AnyFeatures, Params
from jaxstyle.vgg.layers import Algorithm, Options, Padding, Pooling, Precision, at_least_float32
from jaxstyle.vgg.modules import VGG19

# Number of convolutions in each block, and their output channels.
BLOCKS = (2, 2, 4, 4, 4)
WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = tuple(f"conv{b}_{i}" for b, n in enumerate(BLOCKS, 1) for i in range(1, n + 1))
# All layers, in order of evaluation.
LAYERS = tuple(
    layer
    for b, n in enumerate(BLOCKS, 1)
    for layer in (*(f"{kind}{b}_{i}" for i in range(1, n + 1) for kind in ("conv", "relu")), f"pool{b}")
)


def check_layers(layers: Any) -> None:
    """Raise `InputError`, naming every unknown or repeated layer, unless `layers` is a collection of layer names."""
    if isinstance(layers, str) or not isinstance(layers, Collection):
        raise InputError(f"layers is {quote(layers)}, expected a sequence of layer names such as ('relu4_2',)")
    unknown = [layer for layer in layers if not isinstance(layer, str) or layer not in LAYERS]
    if unknown:
        raise InputError(
            f"unknown layer {', '.join(map(quote, unknown))}: expected conv, relu or pool names of "
            "VGG-19 from conv1_1, relu1_1 ... to relu5_4, pool5 (relu4_2 is after the ReLU, conv4_2 before)"
        )
    if len(set(layers)) != len(layers):
        raise InputError(f"layers {tuple(layers)} contains duplicates, expected each name once")


def check_options(pooling: Any, padding: Any, precision: Any, algorithm: Any = "auto") -> None:
    """Raise `InputError`, naming the option, its value and its choices, unless `features` accepts these options."""
    check_choice(pooling, "pooling", get_args(Pooling))
    check_choice(padding, "padding", get_args(Padding))
    check_choice(precision, "precision", get_args(Precision))
    check_choice(algorithm, "algorithm", get_args(Algorithm))
    if (precision, algorithm) == ("bfloat16", "winograd"):
        raise InputError(
            "algorithm 'winograd' supports float32 only, got precision 'bfloat16': use precision 'highest' "
            "or 'default', or algorithm 'auto' or 'direct'"
        )


def check_params(params: Any, layers: Sequence[str] = LAYERS) -> None:
    """Raise `InputError`, naming the first wrong array, unless `params` are those of a VGG-19 of any widths.

    Convolutions that are deeper than all of the `layers` may be missing.
    """
    if not isinstance(params, Mapping):
        raise InputError(f"params is {quote(params)}, expected the nested dict that load_params returns")
    for part in ("scale", "shift"):
        _check_array(params, "input", part, 3)
    channels = 3
    for layer in layers_between(layers):
        if layer not in CONVOLUTIONS:
            continue
        channels_out = _check_array(params, layer, "kernel", 3, 3, channels, None)[3]
        _check_array(params, layer, "bias", channels_out)
        channels = channels_out


def _check_array(params: Mapping[Any, Any], layer: str, part: str, *sizes: int | None) -> tuple[int, ...]:
    """Shape of one array of params, after checking it; None allows any positive size."""
    name, parts = f"{layer}.{part}", params.get(layer)
    array: Any = parts.get(part) if isinstance(parts, Mapping) else None
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise InputError(f"params has no array {name}, expected input and the 16 convolutions, as from load_params")
    check_array(array, f"{name} of params", "a float32 array")
    shape = tuple(array.shape)
    if not shape_fits(shape, sizes):
        expected = ", ".join(str(size or "any") for size in sizes)
        raise InputError(f"{name} of params has shape {shape}, expected ({expected})")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(f"{name} of params has dtype {array.dtype}, expected float32")
    return shape


def stride(layer: str) -> int:
    """Cumulative stride of a layer in pixels: 2 to the number of pooling layers up to and including it.

    Example:
        >>> stride("relu1_1"), stride("relu5_1"), stride("pool5")
        (1, 16, 32)
    """
    check_layers((layer,))
    kind, block = layer[:4], int(layer[4])
    return 2 ** (block if kind == "pool" else block - 1)


def receptive_radius(layers: Sequence[str], after: str | None = None) -> int:
    """Radius of the receptive field of the deepest layer, on each side of the `s` x `s` cell of inputs of a position.

    With stride `s`, position `p` of a layer depends at most on rows `s p - radius` to `s p + s - 1 + radius`. The
    radius is the sum, over all 3x3 convolutions up to the deepest layer, of the cumulative stride at their input.

    Args:
        layers: names; only the deepest one matters.
        after: layer whose feature map is the input; the image if None.

    Returns:
        Radius in positions of the input.

    Example:
        >>> receptive_radius(["relu1_1"]), receptive_radius(["relu4_2"]), receptive_radius(["conv5_1"])
        (1, 38, 70)
        >>> receptive_radius(["relu5_1"], after="pool3")
        6
    """
    spacing = 1 if after is None else stride(after)
    return sum(stride(layer) // spacing for layer in layers_between(layers, after) if layer in CONVOLUTIONS)


def layers_between(layers: Sequence[str], after: str | None = None) -> tuple[str, ...]:
    """Return every layer that must be evaluated to obtain `layers`, in order.

    From the first layer after `after` to the deepest requested one.

    Args:
        layers: names, all deeper than `after`.
        after: layer whose feature map is the input; the image if None.

    Raises:
        InputError: for no layers, an unknown layer, or one that is not deeper than `after`.

    Example:
        >>> layers_between(["relu1_1"]), layers_between(["relu4_1"], after="pool3")
        (('conv1_1', 'relu1_1'), ('conv4_1', 'relu4_1'))
    """
    check_layers(layers)
    if len(layers) == 0:
        raise InputError("layers is empty, expected at least one name such as 'relu4_2'")
    if after is not None:
        check_layers((after,))
    start = 0 if after is None else LAYERS.index(after) + 1
    indices = [LAYERS.index(layer) for layer in layers]
    if min(indices) < start:
        raise InputError(f"layers {tuple(layers)} must all be deeper than {after}")
    return LAYERS[start : max(indices) + 1]


def features(
    params: Params,
    image: Float[Array | np.ndarray, "*batch _ _ _"],
    layers: Sequence[str],
    *,
    pooling: Pooling = "max",
    padding: Padding = "zeros",
    precision: Precision = "highest",
    algorithm: Algorithm = "auto",
    after: str | None = None,
    frame: Placement | None = None,
) -> dict[str, Float[Array, "*batch _ _ _"]]:
    """Feature maps of an image at the named layers.

    The input of the first convolution is `image * scale + shift`, with `scale` and `shift` from `params["input"]`.

    Args:
        params: see `load_params`.
        image: `(..., H, W, 3)` float32 RGB in [0, 1]; with `after`, the feature map of that layer.
        layers: names such as `"relu4_2"` (after the ReLU), `"conv4_2"` (before) or `"pool4"`.
        pooling: of 2x2 windows: `"max"`; `"avg"`, the mean, as in the paper; `"l2"`, the root mean square. An odd last
            row or column is dropped.
        padding: of the first convolution: `"zeros"`, or `"replicate"`, which weakens dark borders. All other
            convolutions pad with zeros.
        precision: of the convolutions: `"highest"` is float32; `"default"` is the device's own (TF32 on NVIDIA,
            bfloat16 on TPU); with `"bfloat16"` maps and kernels are of that type between the layers too, in half the
            memory, and products are added in float32.
        algorithm: of the convolutions: `"direct"`; `"winograd"`, with a quarter of the multiplications and always in
            float32 (see `winograd.py`); `"auto"`, which is Winograd in wide float32 layers on CPU, else direct.
        after: layer whose feature map is the input; `layers` must be deeper.
        frame: position of the input in a larger map, for windows and canvases. Positions outside of that map count as
            zero padding, and their features are zero. With `"replicate"`, the input has to extend the map's border.

    Returns:
        Layer name to feature map `(..., h, w, c)` float32 with `h = H // stride(layer)`; differentiable in reverse
        mode.

    Raises:
        InputError: for an unknown layer or option, params that are not VGG-19's, or an image of the wrong type or
            smaller than the stride of the deepest layer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> params = init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> features(params, jnp.zeros((32, 48, 3)), ("relu1_1", "relu4_2"))["relu4_2"].shape
        (4, 6, 8)

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
        configuration E. Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks",
        CVPR 2016, section 2.
    """
    maps = feature_maps(params, image, layers, Options(pooling, padding, precision, algorithm), after, frame)
    return {layer: at_least_float32(array) for layer, array in maps.items()}


def feature_maps(
    params: Params,
    image: Float[Array | np.ndarray, "*batch _ _ _"],
    layers: Sequence[str],
    options: Options,
    after: str | None = None,
    frame: Placement | None = None,
) -> dict[str, Float[Array, "*batch _ _ _"]]:
    """Feature maps as they are between the layers: bfloat16 with that precision. See `features`."""
    check_layers(layers)
    check_options(*options)
    check_params(params, layers or LAYERS)
    if frame is not None and not isinstance(frame, Placement):
        raise InputError(f"frame is {quote(frame)}, expected a Placement or None")
    if len(layers) == 0:
        return {}
    evaluated = layers_between(layers, after)
    min_side = max(map(stride, layers))
    if after is None:
        check_image(image, min_side=min_side, batch=True)
    else:
        _check_feature_map(image, params, after, min_side // stride(after))
    widths = tuple(params[layer]["kernel"].shape[3] for layer in evaluated if layer in CONVOLUTIONS)
    network = VGG19(evaluated, tuple(layers), widths, options)

    def apply(pixels: Float[Array | np.ndarray, "_ _ _"]) -> dict[str, AnyFeatures]:
        return network.apply({"params": params}, pixels, frame)  # pyright: ignore[reportReturnType]

    for _ in image.shape[:-3]:
        apply = jax.vmap(apply)
    return apply(image)


def _check_feature_map(x: Any, params: Params, layer: str, min_side: int) -> None:
    """Raise `InputError` unless `x` can be the feature map of this layer."""
    channels = channels_of(params, layer)
    shape, dtype = getattr(x, "shape", ()), getattr(x, "dtype", None)
    if not shape_fits(shape[-3:], (None, None, channels)) or min(shape[-3:-1]) < min_side or dtype != jnp.float32:
        got = quote(x) if dtype is None else f"of shape {shape} and dtype {dtype}"
        raise InputError(
            f"the input is {got}, expected a feature map of {layer}: float32 of shape (..., height, width, {channels}) "
            f"with at least {min_side} a side"
        )


def channels_of(params: Params, layer: str) -> int:
    """Number of channels of a layer."""
    convolutions = [name for name in layers_between((layer,)) if name in CONVOLUTIONS]
    return params[convolutions[-1]]["kernel"].shape[3]


@permissive()
def init_params(key: Array, widths: Sequence[int] = WIDTHS) -> Params:
    """Random params, for tests and experiments: kernels from `N(0, 2 / (9 c_in))` (He et al., 2015), biases zero.

    Args:
        key: JAX random key.
        widths: output channels of the convolutions in each of the five blocks; the default is VGG-19.

    Returns:
        Params for images in [0, 1]; `scale` and `shift` map them to [-1, 1].

    Raises:
        InputError: for a value that is not a random key, or widths that are not five positive integers.

    Example:
        >>> import jax
        >>> init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))["conv5_4"]["kernel"].shape
        (3, 3, 8, 8)
    """
    try:
        widths = tuple(map(operator.index, widths))
    except TypeError:
        raise InputError(f"widths is {quote(widths)}, expected five positive integers") from None
    if len(widths) != len(BLOCKS) or min(widths) < 1:
        raise InputError(f"widths is {widths}, expected five positive integers")
    channels_out = [widths[int(layer[4]) - 1] for layer in CONVOLUTIONS]
    shapes = [(3, 3, c_in, c_out) for c_in, c_out in zip([3, *channels_out], channels_out, strict=False)]
    # Draw all kernels at once: one draw per kernel would compile a separate program for each shape.
    try:
        normal = jax.random.normal(key, (sum(map(math.prod, shapes)),), jnp.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"key is {quote(key)}, expected one random key such as jax.random.key(0)") from error
    kernels = jnp.split(normal, list(itertools.accumulate(map(math.prod, shapes)))[:-1])
    params: dict[str, dict[str, Array]] = {
        "input": {"scale": jnp.full((3,), 2.0, jnp.float32), "shift": -jnp.ones((3,), jnp.float32)}
    }
    for layer, shape, kernel in zip(CONVOLUTIONS, shapes, kernels, strict=True):
        std = math.sqrt(2 / math.prod(shape[:3]))
        params[layer] = {"kernel": std * kernel.reshape(shape), "bias": jnp.zeros(shape[3:], jnp.float32)}
    return params
