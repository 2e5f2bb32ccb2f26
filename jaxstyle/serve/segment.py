"""A segment of a run: its pictures and settings, the picture that it starts from, and those that it leaves behind."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxstyle.image.masks import regions_of
from jaxstyle.image.regions import Regions
from jaxstyle.serve.options import Wanted
from jaxstyle.serve.pictures import Picture
from jaxstyle.transfer.settings import Settings
from jaxstyle.typing import AnyImage, Image

Pixels = UInt8[np.ndarray, "height width 3"]


class Inputs(NamedTuple):
    """Pictures of a run.

    Attributes:
        photo: the content.
        paintings: whose styles are blended.
        mask: divides the photo into regions; None for no regions.
    """

    photo: Picture
    paintings: tuple[Picture, ...]
    mask: Picture | None = None

    def load_styles(self, wanted: Wanted) -> list[Image]:
        """Decode the paintings."""
        side = max(1, round(wanted.size * wanted.style_scale))
        return [painting.load(side, wanted.settings.min_side) for painting in self.paintings]

    def load_regions(self, photo: AnyImage, styles: Sequence[AnyImage]) -> tuple[Regions | None, tuple[float, ...]]:
        """Decode the mask."""
        if self.mask is None:
            return None, (1.0,)
        return regions_of(photo, self.mask.load_mask(), styles)


class Snapshot(NamedTuple):
    """An earlier picture.

    Attributes:
        id: name.
        evaluation: after which it was taken.
        pixels: in 8 bits.
        scales: sizes that the run still had to go through, this one included.
        steps: evaluations that it had left.
    """

    id: str
    evaluation: int
    pixels: Pixels
    scales: int
    steps: int

    def to_json(self) -> dict[str, Any]:
        """Describe the picture for the page."""
        height, width, _ = self.pixels.shape
        return {"id": self.id, "evaluation": self.evaluation, "width": width, "height": height}


class Segment(NamedTuple):
    """A call of `stylize`.

    Attributes:
        wanted: settings; `init` is that of the settings, or `start`.
        start: picture to start from; None for that of the settings.
    """

    wanted: Wanted
    start: Pixels | None = None

    def settings(self, region_weights: tuple[float, ...] = (1.0,)) -> Settings:
        """Return the settings of the call."""
        weights = {} if region_weights == (1.0,) else {"region_weight": region_weights}
        settings = replace(self.wanted.settings, **weights)
        return settings if self.start is None else replace(settings, init=self.start.astype(np.float32) / 255)


@dataclass
class Clock:
    """Seconds that a run has worked, without its pauses."""

    total: float = 0.0
    since: float | None = None

    def start(self) -> None:
        """Begin to count."""
        self.since = time.perf_counter()

    def stop(self) -> None:
        """End counting."""
        self.total, self.since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.total + (0.0 if self.since is None else time.perf_counter() - self.since)
