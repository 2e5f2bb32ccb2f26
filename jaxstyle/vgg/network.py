"""VGG-19 (Simonyan and Zisserman, 2015) as a frozen feature extractor: `features` maps pixels to named feature maps.

The only module that imports Flax. The network is computed only as deep as the deepest layer asked for.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Placement, mask_outside
from jaxstyle.image.ops import check_image
from jaxstyle.typing import AnyFeatures, Features, Image, Params
from jaxstyle.vgg.layers import Algorithm, Pooling, Precision, convolution, pool

Padding = Literal["zeros", "replicate"]

# Convolutions in each of the five blocks; a pool ends every block.
BLOCKS = (2, 2, 4, 4, 4)
WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = tuple(f"conv{b}_{i}" for b, n in enumerate(BLOCKS, 1) for i in range(1, n + 1))
LAYERS = tuple(
    layer
    for b, n in enumerate(BLOCKS, 1)
    for layer in (*(f"{kind}{b}_{i}" for i in range(1, n + 1) for kind in ("conv", "relu")), f"pool{b}")
)


class Options(NamedTuple):
    """How the network is computed, whichever layers are wanted. Static.

    Attributes:
        pooling: see `features`.
        padding: likewise.
        precision: likewise.
        algorithm: likewise.
    """

    pooling: Pooling = "max"
    padding: Padding = "zeros"
    precision: Precision = "highest"
    algorithm: Algorithm = "auto"


def check_layers(layers: Sequence[str]) -> None:
    """Refuse names that are not layers of VGG-19, all of them at once, and repeated ones.

    Args:
        layers: names such as `"conv4_2"` (before the ReLU), `"relu4_2"` (after) or `"pool4"`.

    Raises:
        InputError: naming every wrong layer.
    """
    if isinstance(layers, str):
        raise InputError(f"layers is the string {layers!r}, expected a sequence of names such as ('relu4_2',)")
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown:
        raise InputError(
            f"unknown layer {', '.join(map(repr, unknown))}: expected conv, relu or pool names of VGG-19 "
            "from conv1_1, relu1_1 ... to relu5_4, pool5 (relu4_2 is after the ReLU, conv4_2 before)"
        )
    if len(set(layers)) != len(layers):
        raise InputError(f"layers {tuple(layers)} name a layer twice, expected each once")


def check_options(pooling: str, padding: str, precision: str, algorithm: str = "auto") -> None:
    """Refuse values that `features` does not know.

    Raises:
        InputError: naming the option, the value and the choices.
    """
    for name, value, choices in (
        ("pooling", pooling, get_args(Pooling)),
        ("padding", padding, get_args(Padding)),
        ("precision", precision, get_args(Precision)),
        ("algorithm", algorithm, get_args(Algorithm)),
    ):
        if value not in choices:
            raise InputError(f"unknown {name} {value!r}, expected one of {', '.join(choices)}")
    if (precision, algorithm) == ("bfloat16", "winograd"):
        raise InputError(
            "Winograd's convolution is float32 only, expected precision highest, or algorithm auto or direct"
        )


def stride(layer: str) -> int:
    """Pixels between neighboring positions of a layer: 2 to the number of pools up to it.

    Example:
        >>> stride("relu1_1"), stride("relu5_1"), stride("pool5")
        (1, 16, 32)
    """
    check_layers((layer,))
    kind, block = layer[:4], int(layer[4])
    return 2 ** (block if kind == "pool" else block - 1)


def receptive_radius(layers: Sequence[str], after: str | None = None) -> int:
    """How far from a position of these layers the values lie that it depends on: the receptive field's reach.

    A position `p` of a layer with stride `s` depends on rows `s p - radius` to `s p + s - 1 + radius` at most.

    Args:
        layers: the one with the largest radius counts.
        after: layer whose positions are the unit; the picture's pixels if None.

    Returns:
        Positions at `after`.

    Example:
        >>> radius(["relu1_1"]), radius(["relu4_2"]), radius(["conv5_1"]), radius(["relu5_1"], after="pool3")
        (1, 38, 70, 6)
    """
    check_layers(layers)
    reach, spacing = 0, 1
    for layer in layers_between(layers, after):
        if layer.startswith("conv"):
            reach += spacing
        elif layer.startswith("pool"):
            spacing *= 2
    return reach


def layers_between(layers: Sequence[str], after: str | None = None) -> tuple[str, ...]:
    """The layers that have to be computed for these, in order.

    Args:
        layers: names.
        after: layer whose map is given; the picture if None.

    Returns:
        Names, from the first after the given one to the deepest wanted.

    Example:
        >>> layers_between(["relu1_1"]), layers_between(["relu4_1"], after="pool3")
        (('conv1_1', 'relu1_1'), ('conv4_1', 'relu4_1'))
    """
    begin = 0 if after is None else LAYERS.index(after) + 1
    return LAYERS[begin : max(map(LAYERS.index, layers)) + 1]


def features(
    params: Params,
    image: AnyFeatures,
    layers: Sequence[str],
    *,
    pooling: Pooling = "max",
    padding: Padding = "zeros",
    precision: Precision = "highest",
    algorithm: Algorithm = "auto",
    after: str | None = None,
    frame: Placement | None = None,
) -> dict[str, AnyFeatures]:
    """Feature maps of a picture at the named layers.

    The picture enters as `x * scale + shift` (from `params["input"]`), so the params know how to read it.

    Args:
        params: see `load_params`.
        image: `(H, W, 3)` float32 RGB in [0, 1]; with `after`, the feature map of that layer instead.
        layers: names such as `"relu4_2"` (after the ReLU), `"conv4_2"` (before), `"pool4"`.
        pooling: of 2x2 positions: `"max"`; `"avg"`, as the paper prefers; `"l2"`, the root of the mean of squares.
            An odd last row or column is dropped, as in Caffe's successors.
        padding: of the first convolution: `"zeros"`, or `"replicate"`, which makes dark frames weaker; the others
            pad zeros.
        precision: of the convolutions: `"highest"` is full float32; `"default"` is what the device prefers (TF32 on
            NVIDIA, bfloat16 on TPU); `"bfloat16"` rounds inputs and kernels and accumulates in float32.
        algorithm: of the convolutions: `"direct"`; `"winograd"`, which needs a quarter of the multiplications (see
            `winograd.py`) and is float32 whatever the device prefers; `"auto"` takes the faster of the two, which is
            Winograd's in wide float32 layers on CPU.
        after: the layer whose map is given; only deeper layers can be had.
        frame: if the image is a piece of another, or a canvas, where it lies: what is outside of the picture counts as
            the zeros of the padding, and features are zero there. With `"replicate"` it has to continue the picture's
            border.

    Returns:
        Layer name to feature map `(h, w, c)` float32, where `h = H // stride(layer)`; differentiable in reverse mode.

    Raises:
        InputError: for an unknown layer or option, or a picture smaller than the deepest layer's stride.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> params = init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> features(params, jnp.zeros((32, 48, 3)), ("relu1_1", "relu4_2"))["relu4_2"].shape
        (4, 6, 8)

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
        configuration E. Gatys et al., CVPR 2016, section 2.
    """
    check_layers(layers)
    check_options(pooling, padding, precision, algorithm)
    if not layers:
        return {}
    if after is None:
        check_image(image, min_side=max(map(stride, layers)))
    elif not set(layers) <= set(layers_between(layers, after)):
        raise InputError(f"the layers {tuple(layers)} are not all deeper than {after}, expected deeper ones only")
    widths = tuple(params[layer]["kernel"].shape[3] for layer in CONVOLUTIONS)
    network = _VGG19(tuple(layers), widths, Options(pooling, padding, precision, algorithm), after)
    return network.apply({"params": params}, image, frame)  # pyright: ignore[reportReturnType]


def init_params(key: Array, widths: Sequence[int] = WIDTHS) -> Params:
    """Random params of the same network, for tests and experiments: He-normal kernels, zero biases.

    Args:
        key: a JAX random key.
        widths: channels of each of the five blocks; narrow ones make a tiny VGG.

    Returns:
        Params for pixels in [0, 1]; `scale` and `shift` center them to [-1, 1].
    """
    outs = [widths[int(layer[4]) - 1] for layer in CONVOLUTIONS]
    shapes = [(3, 3, channels, out) for channels, out in zip([3, *outs], outs, strict=False)]
    # One draw for all: every other shape would be another program to compile.
    numbers = jax.random.normal(key, (sum(map(math.prod, shapes)),), jnp.float32)
    kernels = jnp.split(numbers, list(itertools.accumulate(map(math.prod, shapes)))[:-1])
    params: dict[str, dict[str, Array]] = {
        "input": {"scale": jnp.full((3,), 2.0, jnp.float32), "shift": -jnp.ones((3,), jnp.float32)}
    }
    for layer, shape, kernel in zip(CONVOLUTIONS, shapes, kernels, strict=True):
        scale = math.sqrt(2 / math.prod(shape[:3]))
        params[layer] = {
            "kernel": scale * kernel.reshape(shape),
            "bias": jnp.zeros(shape[3:], jnp.float32),
        }
    return params


class _VGG19(nn.Module):
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    options: Options
    after: str | None = None

    @nn.compact
    def __call__(self, image: AnyFeatures, frame: Placement | None) -> dict[str, AnyFeatures]:
        taps = {}
        x, spacing = image, 1
        if self.after is None:
            x = _InputScaling(name="input")(x)
        if self.after is not None or self.options.padding == "zeros":
            x = mask_outside(x, frame)
        layers = layers_between(self.layers, self.after)
        for layer in layers:
            kind, number = layer[:4], layer[4:]
            if kind == "conv":
                # The ReLU is computed with the convolution, unless someone wants to see what it is given.
                relu = layer not in self.layers and f"relu{number}" in layers
                width = self.widths[CONVOLUTIONS.index(layer)]
                options = self.options if layer == "conv1_1" else self.options._replace(padding="zeros")
                x = mask_outside(_Convolution(width, relu, options, name=layer)(x), frame, spacing)
            elif kind == "relu":
                fused = f"conv{number}" in layers and f"conv{number}" not in self.layers
                x = x if fused else nn.relu(x)
            else:
                spacing *= 2
                x = mask_outside(pool(x, self.options.pooling), frame, spacing)
            if layer in self.layers:
                taps[layer] = x
        return taps


class _InputScaling(nn.Module):
    @nn.compact
    def __call__(self, image: Image) -> Image:
        scale: Array = self.param("scale", nn.initializers.ones, (3,), jnp.float32)
        shift: Array = self.param("shift", nn.initializers.zeros, (3,), jnp.float32)
        return image * scale[None, None] + shift[None, None]


class _Convolution(nn.Module):
    width: int
    relu: bool
    options: Options

    @nn.compact
    def __call__(self, x: Features) -> Float[Array, "h w d"]:
        kernel: Array = self.param("kernel", nn.initializers.he_normal(), (3, 3, x.shape[-1], self.width), jnp.float32)
        bias: Array = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        replicate = self.options.padding == "replicate"
        if replicate:
            x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
        x = convolution(x, kernel, bias, self.relu, self.options.precision, self.options.algorithm)
        # The outermost results have seen the zeros beyond the copied border.
        return x[1:-1, 1:-1] if replicate else x
