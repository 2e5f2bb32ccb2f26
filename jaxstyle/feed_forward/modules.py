"""The Flax modules of the feed-forward network. The parameters come from outside: see `init_network`.

The image transformation network of Johnson et al. (2016), with instance normalization (Ulyanov et al., 2016). Instead
of transposed convolutions, which leave a checkerboard pattern, it has nearest-neighbor upsampling and convolutions.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.typing import Images
from jaxstyle.vgg.layers import Precision

# Added to variances before the square root.
EPSILON = 1e-5
# Spatial reduction of the residual blocks.
STRIDE = 4
# Side of the first and the last kernel in pixels.
OUTER = 9

Maps = Float[Array, "batch _ _ _"]


class Network(nn.Module):
    """Two convolutions of stride 2, residual blocks, and two upsamplings, between convolutions of 9x9 pixels.

    Attributes:
        width: channels at full size; twice and four times as many at half and a quarter of it.
        blocks: number of residual blocks.
        precision: of the convolutions, as in `features`.
    """

    width: int
    blocks: int
    precision: Precision

    @nn.compact
    def __call__(self, images: Images) -> Images:
        """Stylized images; the sides are multiples of `STRIDE`."""

        def layer(x: Maps, channels: int, name: str, side: int = 3, stride: int = 1, relu: bool = True) -> Maps:
            return _Layer(channels, side, stride, relu, self.precision, name=name)(x)

        # Around zero.
        x = layer(images - 0.5, self.width, "first", OUTER)
        x = layer(x, 2 * self.width, "down_1", stride=2)
        x = layer(x, 4 * self.width, "down_2", stride=2)
        for number in range(1, self.blocks + 1):
            y = layer(x, 4 * self.width, f"block_{number}_1")
            x = x + layer(y, 4 * self.width, f"block_{number}_2", relu=False)
        x = layer(_doubled(x), 2 * self.width, "up_1")
        x = layer(_doubled(x), self.width, "up_2")
        x = _Convolution(3, OUTER, 1, self.precision, name="last")(x)
        bias: Array = self.param("bias", nn.initializers.zeros, (3,), jnp.float32)
        return nn.sigmoid(x.astype(jnp.float32) + bias[None, None, None])


class _Convolution(nn.Module):
    """A convolution without bias; the border is mirrored, so that it stays as bright as the rest."""

    channels: int
    side: int
    stride: int
    precision: Precision

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        shape = (self.side, self.side, x.shape[-1], self.channels)
        kernel: Array = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        dtype, margin = jnp.bfloat16 if self.precision == "bfloat16" else jnp.float32, self.side // 2
        x = jnp.pad(x.astype(dtype), ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
        return lax.conv_general_dilated(
            x,
            kernel.astype(dtype),
            window_strides=(self.stride, self.stride),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST if self.precision == "highest" else lax.Precision.DEFAULT,
        )


class _Layer(nn.Module):
    """Convolution, instance normalization and, optionally, ReLU."""

    channels: int
    side: int
    stride: int
    relu: bool
    precision: Precision

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        x = _Convolution(self.channels, self.side, self.stride, self.precision, name="convolution")(x)
        scale: Array = self.param("scale", nn.initializers.ones, (self.channels,), jnp.float32)
        offset: Array = self.param("offset", nn.initializers.zeros, (self.channels,), jnp.float32)
        # Moments in float32: those of a large image are sums of many numbers.
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
        variance = jnp.mean(jnp.square(wide - mean), axis=(1, 2), keepdims=True)
        y = (wide - mean) / jnp.sqrt(variance + EPSILON) * scale[None, None, None] + offset[None, None, None]
        y = y.astype(x.dtype)
        return nn.relu(y) if self.relu else y


def _doubled(x: Maps) -> Maps:
    """Copy each value to four positions."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
