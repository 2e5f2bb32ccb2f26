"""The Flax modules of VGG-19. The parameters come from outside: see `load_params` and `init_params`."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.image.canvas import Placement, mask_outside
from jaxstyle.typing import AnyFeatures, Features, Image
from jaxstyle.vgg.layers import Options, convolution, pool


class VGG19(nn.Module):
    """A run of consecutive layers of VGG-19.

    Attributes:
        layers: names of the layers to evaluate, in order; the image is the input if the first one is conv1_1.
        taps: those whose feature maps are returned.
        widths: output channels of each convolution among the layers.
        options: see `features`.
    """

    layers: tuple[str, ...]
    taps: tuple[str, ...]
    widths: tuple[int, ...]
    options: Options

    @nn.compact
    def __call__(self, x: AnyFeatures, placement: Placement | None) -> dict[str, AnyFeatures]:
        """Feature maps of the taps."""
        from_image = self.layers[0] == "conv1_1"
        if from_image:
            x = _InputScaling(name="input")(x)
        if not from_image or self.options.padding == "zeros":
            x = mask_outside(x, placement)
        taps = {}
        widths = iter(self.widths)
        spacing = 1
        for layer in self.layers:
            kind, number = layer[:4], layer[4:]
            if kind == "conv":
                # The convolution includes its ReLU unless the values before the ReLU are tapped.
                fuse_relu = layer not in self.taps and f"relu{number}" in self.layers
                options = self.options if layer == "conv1_1" else self.options._replace(padding="zeros")
                x = _Convolution(next(widths), fuse_relu, options, name=layer)(x)
                x = mask_outside(x, placement, spacing)
            elif kind == "relu":
                is_fused = f"conv{number}" in self.layers and f"conv{number}" not in self.taps
                x = x if is_fused else nn.relu(x)
            else:
                spacing *= 2
                x = mask_outside(pool(x, self.options.pooling), placement, spacing)
            if layer in self.taps:
                taps[layer] = x
        return taps


class _InputScaling(nn.Module):
    """`image * scale + shift`, per channel."""

    @nn.compact
    def __call__(self, image: Image) -> Image:
        scale: Array = self.param("scale", nn.initializers.ones, (3,), jnp.float32)
        shift: Array = self.param("shift", nn.initializers.zeros, (3,), jnp.float32)
        return image * scale[None, None] + shift[None, None]


class _Convolution(nn.Module):
    """3x3 convolution with bias and, optionally, ReLU."""

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
        # Crop the outermost results, which depend on the zeros around the replicated border.
        return x[1:-1, 1:-1] if replicate else x
