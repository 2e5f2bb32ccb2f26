"""Pictures of many sizes on few canvases, so that few programs are compiled."""

import itertools
from collections.abc import Sequence

Size = tuple[int, int]

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
    groups = [[size] for size in sorted(set(sizes))]
    everything = sum(height * width for height, width in sizes)

    def canvas(group: Sequence[Size]) -> Size:
        return max(height for height, _ in group), max(width for _, width in group)

    def pixels(group: Sequence[Size]) -> int:
        height, width = canvas(group)
        return height * width * sum(sizes.count(size) for size in group)

    def price(pair: tuple[list[Size], list[Size]]) -> int:
        return pixels([*pair[0], *pair[1]]) - pixels(pair[0]) - pixels(pair[1])

    while len(groups) > 1:
        pair = min(itertools.combinations(groups, 2), key=price)
        if len(groups) <= most and price(pair) > FREE * everything:
            break
        groups = [group for group in groups if group not in pair] + [[*pair[0], *pair[1]]]
    return {size: canvas(group) for group in sorted(map(sorted, groups)) for size in group}
