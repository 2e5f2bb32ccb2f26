"""Array types. Checked in the tests (jaxtyping with beartype), free at run time."""

from collections.abc import Mapping

import numpy as np
import optax
from jaxtyping import Array, Float, Int

# Pixels are float32 RGB in [0, 1], height before width.
Image = Float[Array, "height width 3"]
# An image whose size is independent of the other arguments' sizes; from outside it may be a NumPy array.
AnyImage = Float[Array | np.ndarray, "_ _ 3"]
# An image, or images with any leading axes.
ImageBatch = Float[Array, "*batch height width 3"]
# A batch of images.
Images = Float[Array, "batch height width 3"]
# Height and width of an image on a larger canvas: see `canvas.py`.
Extent = Int[Array, "2"]
# The feature map of one layer, and its Gram matrix over channels.
Features = Float[Array, "h w c"]
# A feature map whose shape is independent of the other arguments' shapes; the network's input, an image, is one too.
AnyFeatures = Float[Array, "_ _ _"]
# Layer name to feature map.
FeatureMaps = Mapping[str, AnyFeatures]
Gram = Float[Array, "c c"]
# A scalar on the device.
Scalar = Float[Array, ""]
# {"input": {"scale", "shift"}, "conv1_1": {"kernel", "bias"}, ...}: see `weights.py`.
Params = Mapping[str, Mapping[str, Array]]
# Any optax transform that needs one value and gradient a step.
Optimizer = optax.GradientTransformation
