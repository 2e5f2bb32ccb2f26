"""Optical flow: where each pixel of a frame is in another frame, and images moved along it.

A flow `w` from frame `a` to frame `b` is an array `(H, W, 2)` of pixels to the right and pixels down: what `a` shows at
`x` is at `x + w(x)` in `b`. So `warp(b, w)` looks like `a`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxstyle.errors import InputError
from jaxstyle.typing import AnyImage

Flow = Float[np.ndarray, "height width 2"]

# Weights of red, green and blue in the gray frames that are compared: Rec. 709.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def estimate_flow(source: AnyImage, target: AnyImage) -> Flow:
    """Estimate the dense optical flow from one frame to another.

    Dense inverse search at full resolution, from OpenCV, the most exact of the methods measured: docs/video.md.

    Args:
        source: `(H, W, 3)` in [0, 1].
        target: `(H, W, 3)`.

    Returns:
        `(H, W, 2)` float32, in pixels, to the right and down.

    Raises:
        InputError: if OpenCV is not installed.

    References:
        Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search" (ECCV 2016).
    """
    cv2 = _opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setPatchStride(2)
    search.setGradientDescentIterations(50)
    search.setVariationalRefinementIterations(10)
    return np.asarray(search.calc(_gray(source), _gray(target), None), np.float32)


def warp(image: Float[np.ndarray, "height width c"], flow: Flow) -> Float[np.ndarray, "height width c"]:
    """Move an image along a flow: the result at `x` is the image at `x + flow(x)`, with bilinear interpolation.

    Args:
        image: `(H, W, c)`.
        flow: `(H, W, 2)`; positions outside of the image show its border.

    Returns:
        `(H, W, c)` float32.

    Example:
        >>> image = np.float32([[[0], [1], [3]]])
        >>> warp(image, np.float32([[[0.5, 0], [1, 0], [1, 0]]]))[0, :, 0].tolist()
        [0.5, 3.0, 3.0]
    """
    height, width = flow.shape[:2]
    rows, columns = (
        np.clip(grid + flow[:, :, axis], 0, side - 1)
        for grid, axis, side in ((np.arange(height)[:, None], 1, height), (np.arange(width)[None], 0, width))
    )
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (part.astype(np.float32)[:, :, None] for part in (rows - top, columns - left))
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def warp_sharp(image: Float[np.ndarray, "height width c"], flow: Flow) -> Float[np.ndarray, "height width c"]:
    """Move an image along a flow like `warp`, by Lanczos interpolation, which hardly blurs from frame to frame.

    Positions are rounded to 1/32 of a pixel, and the result may exceed the image's range.

    Args:
        image: `(H, W, c)`, at most 4 channels.
        flow: `(H, W, 2)`.

    Returns:
        `(H, W, c)` float32.

    Raises:
        InputError: if OpenCV is not installed.
    """
    cv2 = _opencv()
    rows, columns = np.indices(flow.shape[:2], np.float32)
    positions = columns + flow[:, :, 0], rows + flow[:, :, 1]
    image = np.asarray(image, np.float32)
    return cv2.remap(image, *positions, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)


def _gray(frame: AnyImage) -> np.ndarray:
    """Brightness in 8 bits, the only kind of image that the search takes."""
    return np.rint(np.clip(np.asarray(frame) @ LUMINANCE, 0, 1) * 255).astype(np.uint8)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError("optical flow needs OpenCV: pip install 'jaxstyle[video]', or use flow='none'") from error
    return cv2
