"""A change of a run that is in progress: other weights, colors or styles for the rest of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxstyle.errors import InputError
from jaxstyle.image.color import Color
from jaxstyle.minimize.fingerprint import fingerprint
from jaxstyle.objective.base import broadcast_weights, check_weights
from jaxstyle.transfer.job import Job, style_share
from jaxstyle.transfer.run import Revision
from jaxstyle.transfer.settings import TERMS, Settings
from jaxstyle.typing import AnyImage

# From the styles and the settings to a job at full size.
JobMaker = Callable[[Sequence[Any], Settings], Job]


@dataclass(frozen=True)
class Change:
    """Settings and styles that hold for the rest of a run: what the callback of `stylize` may return.

    The run goes on from its present image, with a new history of the optimizer, as the loss is another one. Weights
    and strength are arguments of the compiled program: another number compiles nothing, and does not evaluate anything
    in addition. Colors and styles have other targets, which are computed first; a style of another size is measured by
    a program of its own. None keeps what the run has.

    Attributes:
        strength: see `Settings`, like all attributes but the last.
        content_weight: instead of a strength.
        style_weight: instead of a strength.
        tv_weight: weight of the smoothness term.
        edge_weight: above 0 only in a run with an edge term, from `edge_weight` or `edges=True`.
        neighbor_weight: only for neighbor layers.
        region_weight: weight of the style of each region.
        color: colors of the result.
        style: style image, or a sequence of as many style images as before.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 40, 32)
        >>> def stronger_from_the_third(progress):
        ...     return js.Change(strength=0.8) if progress.evaluations == 3 else None
        >>> options = {"params": params, "steps": 6, "finish": 0, "callback_every": 3}
        >>> js.stylize(content, style, callback=stronger_from_the_third, **options).evaluations
        6
    """

    strength: float | None = None
    content_weight: float | tuple[float, ...] | None = None
    style_weight: float | tuple[float, ...] | None = None
    tv_weight: float | None = None
    edge_weight: float | None = None
    neighbor_weight: float | tuple[float, ...] | None = None
    region_weight: float | tuple[float, ...] | None = None
    color: Color | None = None
    style: AnyImage | Sequence[AnyImage] | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings that change."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "style"}
        return {name: value for name, value in values.items() if value is not None}


class Changing:
    """The job of a run, as its changes leave it.

    Args:
        styles: at the start.
        settings: at the start, resolved.
        make: makes a job.
    """

    def __init__(self, styles: Sequence[Any], settings: Settings, make: JobMaker):
        self.styles, self.settings, self.make = styles, settings, make
        self.job = make(styles, settings)

    def revise(self, change: Change) -> Revision:
        """Apply a change.

        Raises:
            InputError: for a wrong value, or a change that this run does not allow.
        """
        before, settings = self.settings, self.settings.override(**change.settings())
        if settings.objective != before.objective:
            raise InputError(
                f"edge_weight is {settings.edge_weight}, but the run has no edge term, expected a run with edges=True "
                "or an edge_weight above 0 from the start"
            )
        styles = self.styles
        if change.style is not None:
            styles = list(change.style) if isinstance(change.style, list | tuple) else [change.style]
            if len(styles) != len(self.styles):
                raise InputError(f"the change has {len(styles)} styles, expected {len(self.styles)}, as before")
        # Below strength 0.5 the content has another share of the initial image.
        same_content = settings.color == before.color and style_share(settings.strength) == style_share(before.strength)
        numbers = change.style is None and same_content
        job = _reweighed(self.job, settings) if numbers else self.make(styles, settings)
        self.styles, self.settings, self.job = styles, settings, job
        return Revision(job, numbers, _fingerprint(change, settings))


def _reweighed(job: Job, settings: Settings) -> Job:
    count = None if job.regions is None else job.regions.content.shape[2]
    check_weights(settings.weights, settings.objective, count)
    weights = broadcast_weights(settings.weights, settings.objective, count)
    return job._replace(weights=weights, strength=settings.strength)


def _fingerprint(change: Change, settings: Settings) -> Mapping[str, str]:
    """Checksums of what the change may have changed: a strength also ends weights, and weights a strength."""
    names = ("strength", "color", *(f"{term}_weight" for term in TERMS))
    parts = {name: getattr(settings, name) for name in names}
    if change.style is not None:
        parts["styles"] = list(change.style) if isinstance(change.style, list | tuple) else [change.style]
    return fingerprint(**parts)
