"""Array types. Checked in the tests (jaxtyping with beartype), free at run time."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Int

# Pixels are float32 RGB in [0, 1], height before width.
Image = Float[Array, "height width 3"]
# A picture among others, each of its own size; from outside it may be NumPy's.
AnyImage = Float[Array | np.ndarray, "_ _ 3"]
# Height and width of a picture on a larger canvas: see `canvas.py`.
Extent = Int[Array, "2"]
# One layer's feature map, and its Gram matrix over channels.
Features = Float[Array, "h w c"]
# A feature map among others, each of its own shape: a picture too, as the network's input.
AnyFeatures = Float[Array, "_ _ _"]
# Layer to its feature map.
FeatureMaps = Mapping[str, AnyFeatures]
Gram = Float[Array, "c c"]
# A scalar on the device.
Scalar = Float[Array, ""]
# {"input": {"scale", "shift"}, "conv1_1": {"kernel", "bias"}, ...}: see `weights.py`.
Params = Mapping[str, Mapping[str, Array]]
