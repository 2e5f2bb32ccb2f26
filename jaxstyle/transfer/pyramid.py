"""Coarse to fine: the sizes at which a run optimizes, one after the other, and how its steps spread over them.

What the deepest layers see spans some 140 pixels. In a small copy of the picture that is a whole building, in the full
picture a window frame: so large strokes are laid out at coarse sizes, where a step is cheap too.
"""

import itertools
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal, NamedTuple

from jaxstyle.errors import InputError

# How many scales: as many as make sense, or at most a number.
ScaleCount = Literal["auto"] | int

# Each scale's sides, relative to those of the scale before.
RATIO = 2.0
# "auto" makes no scale with a shorter long side: the first has START to RATIO * START pixels.
START = 128
# Of the steps, for the full size; the coarser scales divide the rest equally.
SHARE = 0.5
# With fewer steps than these a coarse scale is not worth its compilation.
MIN_STEPS = 10
# Beyond lies a typing error.
MAX_SCALES = 16


class Scale(NamedTuple):
    """One size of a run.

    Attributes:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        factor: of the full size's sides; 1 at the last scale. The styles shrink by it too.
        steps: evaluations.
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
    start: int = START,
    share: float = SHARE,
) -> tuple[Scale, ...]:
    """The scales of a run, from coarse to fine; the last is the full size.

    Scale `k` of `n`, counted from 0, has the full size's sides times `ratio^(k + 1 - n)`. There are fewer scales than
    asked for where a coarse one would get less than 10 steps, or have a side below `min_side`.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        steps: of all scales together, at least 1.
        scales: `"auto"`, or how many at most, 1 to 16; 1 is the full size alone.
        styles: height and width of each style picture.
        min_side: the least pixels a side of every picture: see `Objective.smallest`.
        ratio: of a scale's sides to those of the coarser one, at least 1.1.
        start: the least long side that `"auto"` begins with, in pixels.
        share: of the steps, for the full size, in (0, 1]; the other scales divide the rest equally.

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
    most, least_side = (MAX_SCALES, start) if scales == "auto" else (scales, 0)
    if not (isinstance(most, Integral) and 1 <= most <= MAX_SCALES):
        raise InputError(f"scales is {scales!r}, expected 'auto' or a number from 1 to {MAX_SCALES}")
    if not 1.1 <= ratio <= 100:
        raise InputError(f"ratio is {ratio}, expected 1.1 to 100, such as 2")
    if not (isinstance(share, Real) and 0 < share <= 1):
        raise InputError(f"share is {share!r}, expected a part of the steps above 0, up to 1")
    shortest = min(height, width, *itertools.chain(*styles))

    def worthwhile(count: int) -> bool:
        factor = ratio ** (1 - count)
        return (
            count <= most
            and max(height, width) * factor >= least_side
            and shortest * factor >= min_side
            and min(_spread(steps, count, share)[:-1]) >= MIN_STEPS
        )

    count = 1
    while worthwhile(count + 1):
        count += 1
    factors = [ratio ** (k + 1 - count) for k in range(count)]
    return tuple(
        Scale(*scaled(height, width, factor), factor, taken)
        for factor, taken in zip(factors, _spread(steps, count, share), strict=True)
    )


def scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    """Height and width times the factor, in whole pixels."""
    return round(height * factor), round(width * factor)


def fraction_done(scales: Sequence[Scale], index: int, steps: int) -> float:
    """How much of a run's cost lies behind it, a step costing its pixels.

    Args:
        scales: of the run.
        index: of the present scale; those before it are done, even if they converged early.
        steps: taken at the present scale.

    Returns:
        0 to 1.

    Example:
        >>> fraction_done(pyramid(256, 256, 100), index=1, steps=0)
        0.2
    """
    costs = [float(scale.height) * scale.width * scale.steps for scale in scales]
    return (sum(costs[:index]) + costs[index] * steps / scales[index].steps) / sum(costs)


def _spread(steps: int, count: int, share: float) -> tuple[int, ...]:
    """Steps for each of `count` scales."""
    if count == 1:
        return (steps,)
    full = max(1, round(share * steps))
    each, left = divmod(steps - full, count - 1)
    # What does not divide goes to the finer ones.
    return (*(each + (k >= count - 1 - left) for k in range(count - 1)), full)
