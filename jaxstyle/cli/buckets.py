"""Pictures of many sizes on few canvases, so that few programs are compiled."""

import itertools
from collections import Counter
from collections.abc import Sequence

Size = tuple[int, int]
Group = tuple[list[Size], int, Size]

# Canvases at most, and how much more work fewer of them may cost without being asked for.
MOST = 3
FREE = 0.02


def canvases(sizes: Sequence[Size], most: int = MOST) -> dict[Size, Size]:
    """For each size the canvas that it is put on.

    Each size begins as its own canvas. Those two whose union costs the fewest pixels become one, as long as there are
    more than `most`, or the union costs next to nothing.

    Args:
        sizes: height and width of every picture; what occurs often weighs more.
        most: canvases at most.

    Returns:
        Size to canvas, which is at least as high and as wide.

    Example:
        >>> canvases([(384, 512), (342, 512), (512, 384), (512, 512)], most=2)
        {(342, 512): (384, 512), (384, 512): (384, 512), (512, 384): (512, 512), (512, 512): (512, 512)}
    """
    counts = Counter(sizes)
    # Of each group its sizes, how many pictures have one of them, and its canvas.
    groups = [([size], count, size) for size, count in sorted(counts.items())]
    everything = sum(height * width for height, width in sizes)

    def united(pair: tuple[Group, Group]) -> Group:
        (first, few, (high, wide)), (second, more, (height, width)) = pair
        return [*first, *second], few + more, (max(high, height), max(wide, width))

    def price(pair: tuple[Group, Group]) -> int:
        return _pixels(united(pair)) - _pixels(pair[0]) - _pixels(pair[1])

    while len(groups) > 1:
        pair = min(itertools.combinations(groups, 2), key=price)
        if len(groups) <= most and price(pair) > FREE * everything:
            break
        groups = [group for group in groups if group not in pair] + [united(pair)]
    return dict(sorted((size, group[2]) for group in groups for size in group[0]))


def _pixels(group: Group) -> int:
    """What all of its pictures cost."""
    _, count, (height, width) = group
    return count * height * width
