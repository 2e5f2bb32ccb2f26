"""Parts of a clip for several processes: each makes some scenes in a row, as scenes do not depend on one another."""

import itertools
import re
from collections.abc import Iterable, Sequence

from jaxstyle.errors import InputError, quote
from jaxstyle.typing import AnyImage
from jaxstyle.video.cuts import is_cut

# Which part, from 1, of how many.
Part = tuple[int, int]
WHOLE: Part = (1, 1)
MAX_PARTS = 1000


def parse_part(text: str) -> Part:
    """Return the part that `"K/N"` means.

    Raises:
        InputError: for another text, or a number out of range.

    Example:
        >>> parse_part("2/4")
        (2, 4)
    """
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count <= MAX_PARTS:
        raise InputError(f"part is {quote(text)}, expected K/N with K from 1 to N and N up to {MAX_PARTS}, such as 1/4")
    return number, count


def scene_starts(frames: Iterable[AnyImage]) -> list[int]:
    """Return the numbers of the frames that start a scene: 0, and the first frame after each cut.

    Args:
        frames: `(H, W, 3)` in [0, 1], of one size.
    """
    pairs = enumerate(itertools.pairwise(frames), 1)
    return [0, *(number for number, (before, after) in pairs if is_cut(before, after))]


def frames_of(part: Part, starts: Sequence[int], count: int) -> range:
    """Return the frames of a part: as many as in the others, as far as the cuts allow.

    Args:
        part: number, from 1, and number of parts.
        starts: see `scene_starts`.
        count: number of frames of the clip.

    Raises:
        InputError: if there are more parts than scenes.

    Example:
        >>> [frames_of((k, 3), [0, 10, 55, 60, 90], 100) for k in (1, 2, 3)]
        [range(0, 55), range(55, 60), range(60, 100)]
    """
    number, parts = part
    if parts > len(starts):
        raise InputError(f"the clip has {len(starts)} scenes, expected at least one for each of the {parts} parts")
    firsts = [0]
    for k in range(1, parts):
        # Later parts need a scene each.
        free = range(firsts[-1] + 1, len(starts) - (parts - k) + 1)
        firsts.append(min(free, key=lambda index: abs(starts[index] - count * k / parts)))
    ends = [*(starts[index] for index in firsts), count]
    return range(ends[number - 1], ends[number])
