"""Where a flow can be trusted: not where something has come into sight, nor at the borders of moving objects.

All masks are of the present frame. `backward` is the flow from it to the previous frame, `forward` the flow from the
previous frame to it. The formulas are those of Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for Videos" (GCPR
2016), after Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow"
(ECCV 2010).
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxstyle.video.flow import Flow, warp

Mask = Bool[np.ndarray, "height width"]

# Standard deviation in pixels, and radius, of the Gaussian that softens the weights around untrusted pixels.
SMOOTHING, RADIUS = 0.8, 3


def disoccluded(backward: Flow, forward: Flow) -> Mask:
    """Return where the previous frame does not show what the present one does: there and back is not the same place.

    With `w~(x) = forward(x + backward(x))`, where `|w~ + backward|^2 > 0.01 (|w~|^2 + |backward|^2) + 0.5`.
    """
    back = warp(forward, backward)
    return _squares(back + backward) > 0.01 * (_squares(back) + _squares(backward)) + 0.5


def motion_boundaries(backward: Flow) -> Mask:
    """Return where the flow jumps: `|grad u|^2 + |grad v|^2 > 0.01 |backward|^2 + 0.002`, by central differences."""
    padded = np.pad(backward, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down, across = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    return _squares(down) + _squares(across) > 0.01 * _squares(backward) + 0.002


def outside(backward: Flow) -> Mask:
    """Return which pixels were outside of the previous frame."""
    height, width = backward.shape[:2]
    rows, columns = np.arange(height)[:, None] + backward[:, :, 1], np.arange(width)[None] + backward[:, :, 0]
    return (rows < 0) | (rows > height - 1) | (columns < 0) | (columns > width - 1)


def flow_weights(backward: Flow, forward: Flow) -> Float[np.ndarray, "height width 1"]:
    """Return the weights of the temporal loss: 0 in any of the masks, less than 1 around them, 1 elsewhere.

    Args:
        backward: `(H, W, 2)`, the flow from the present frame to the previous one.
        forward: `(H, W, 2)`, the flow from the previous frame to the present one.

    Returns:
        `(H, W, 1)` float32.
    """
    trusted = ~(disoccluded(backward, forward) | motion_boundaries(backward) | outside(backward))
    weights = trusted.astype(np.float32)
    return np.minimum(weights, _smooth(weights))[:, :, None]


def _squares(vectors: Float[np.ndarray, "height width 2"]) -> Float[np.ndarray, "height width"]:
    return np.sum(np.square(vectors), axis=2)


def _smooth(array: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Convolve with a Gaussian; the border continues."""
    offsets = np.arange(-RADIUS, RADIUS + 1)
    kernel = np.exp(-0.5 * np.square(offsets / SMOOTHING))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis, length in enumerate(array.shape):
        index = np.clip(np.arange(length)[:, None] + offsets, 0, length - 1)
        array = np.moveaxis(np.take(array, index, axis=axis), axis + 1, -1) @ kernel
    return array
