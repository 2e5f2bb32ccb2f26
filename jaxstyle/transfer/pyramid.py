"""Coarse to fine: the sizes at which a run optimizes, one after the other, and the steps at each.

The deepest layers see about 140 pixels. In a small copy of the image that is a whole building, in the full image a
window frame: large strokes form at coarse sizes, where a step is cheap too.
"""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

from jaxstyle.transfer.validate import MAX_SCALES, check_ratio, check_scales, check_share

# "auto", or the maximum number of scales.
ScaleCount = Literal["auto"] | int

# Ratio of the sides of a scale to those of the next coarser scale.
RATIO = 2.0
# Minimum long side of the first scale in pixels with "auto"; its long side is START to RATIO * START.
START = 128
# Fraction of the steps reserved for the full size; the coarser scales divide the rest equally.
SHARE = 0.5
# A coarse scale with fewer steps is not worth its compilation.
MIN_STEPS = 10
# Long side in pixels that no supersampled picture exceeds.
SUPERSAMPLED_SIDE = 512


class Scale(NamedTuple):
    """One size of a run.

    Attributes:
        height: of the image in pixels.
        width: of the image in pixels.
        factor: size relative to the full size, for the content and the styles; 1 at the last scale, or more if the
            picture is supersampled.
        steps: number of evaluations.
    """

    height: int
    width: int
    factor: float
    steps: int


def pyramid(
    height: int,
    width: int,
    steps: int,
    scales: ScaleCount = "auto",
    *,
    styles: Sequence[tuple[int, ...]] = (),
    min_side: int = 1,
    ratio: float = RATIO,
    share: float = SHARE,
) -> tuple[Scale, ...]:
    """Return the scales of a run, from coarse to fine; the last is the full size.

    Scale `k` of `n`, counted from 0, has the full size's sides times `ratio^(k + 1 - n)`. There are fewer scales than
    requested where a coarse one would get less than 10 steps, or have a side below `min_side`.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        steps: of all scales together, at least 1.
        scales: `"auto"`, or the greatest number of scales, 1 to 16; 1 is the full size alone.
        styles: height and width of each style image.
        min_side: least pixels per side of every image: see `Objective.min_side`.
        ratio: of a scale's sides to those of the coarser one, at least 1.1.
        share: fraction of the steps reserved for the full size, in (0, 1]; the other scales divide the rest equally.

    Returns:
        One or more scales, whose steps sum to `steps`.

    Raises:
        InputError: for numbers out of range.

    Example:
        >>> for scale in pyramid(342, 512, 150):
        ...     print(scale)
        Scale(height=86, width=128, factor=0.25, steps=37)
        Scale(height=171, width=256, factor=0.5, steps=38)
        Scale(height=342, width=512, factor=1.0, steps=75)
    """
    for check, name, value in (
        (check_scales, "scales", scales),
        (check_ratio, "ratio", ratio),
        (check_share, "share", share),
    ):
        check(name, value)
    max_count, min_long_side = (MAX_SCALES, START) if scales == "auto" else (scales, 0)
    shortest = min(height, width, *itertools.chain(*styles))

    def worthwhile(count: int) -> bool:
        factor = ratio ** (1 - count)
        return (
            count <= max_count
            and max(height, width) * factor >= min_long_side
            and shortest * factor >= min_side
            and min(_divide_steps(steps, count, share)[:-1]) >= MIN_STEPS
        )

    count = 1
    while worthwhile(count + 1):
        count += 1
    factors = [ratio ** (k + 1 - count) for k in range(count)]
    return tuple(
        Scale(*scaled_size(height, width, factor), factor, scale_steps)
        for factor, scale_steps in zip(factors, _divide_steps(steps, count, share), strict=True)
    )


def scaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Return height and width times a factor, in whole pixels."""
    return round(height * factor), round(width * factor)


def supersampling(height: int, width: int, largest: float) -> float:
    """Return the size at which a picture is made, relative to its own size.

    Args:
        height: of the picture in pixels.
        width: of the picture in pixels.
        largest: the largest such number; the picture that is made has a long side of at most 512 pixels.

    Example:
        >>> supersampling(171, 256, 2.0), supersampling(300, 400, 2.0), supersampling(600, 800, 2.0)
        (2.0, 1.28, 1.0)
    """
    return max(1.0, min(largest, SUPERSAMPLED_SIDE / max(height, width)))


def completed_fraction(scales: Sequence[Scale], index: int, steps: int) -> float:
    """Return the fraction of a run's cost that is done, where a step costs its pixels.

    Args:
        scales: of the run.
        index: of the current scale; those before it count as done, even if they converged early.
        steps: taken at the current scale; after a draft that ended early there are more than the scale's.

    Example:
        >>> completed_fraction(pyramid(256, 256, 100), index=1, steps=0)
        0.2
    """
    costs = [float(scale.height) * scale.width * scale.steps for scale in scales]
    return (sum(costs[:index]) + costs[index] * min(1.0, steps / scales[index].steps)) / sum(costs)


def _divide_steps(steps: int, count: int, share: float) -> tuple[int, ...]:
    """Steps of each of `count` scales."""
    if count == 1:
        return (steps,)
    full = max(1, round(share * steps))
    coarse, remainder = divmod(steps - full, count - 1)
    # The remainder goes to the finer scales.
    return (*(coarse + (k >= count - 1 - remainder) for k in range(count - 1)), full)
