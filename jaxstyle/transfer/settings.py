"""Settings of a run: for presets, for callers, and the values that a checkpoint compares."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import optax
from jax.sharding import Mesh

from jaxstyle.image.color import Color
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.mesh import on_mesh
from jaxstyle.optim.lbfgs import lbfgs, uses_lbfgs
from jaxstyle.transfer.memory import WindowOption
from jaxstyle.transfer.pyramid import RATIO, SHARE, ScaleCount
from jaxstyle.transfer.validate import check_parameters
from jaxstyle.typing import AnyImage


@dataclass(frozen=True)
class Settings:
    """Settings of a run. `stylize` takes them, and its keywords override single ones. `Preset` is an alias.

    Attributes:
        name: of a preset; empty for settings of your own.
        objective: structure of the loss: see `Objective`.
        weights: weights of the loss terms.
        strength: strength of the style, 0 to 1, which computes the weights if not None: see `balance`.
        optimizer: `lbfgs()`, `adam()` or any optax transform that needs one value and gradient per step.
        steps: maximum number of evaluations at all scales together.
        scales: `"auto"`, or the maximum number of scales, 1 to 16; 1 is the full size alone.
        share: fraction of the steps reserved for the full size when there are several scales.
        ratio: ratio of each scale's sides to those of the scale before, 1.1 to 100.
        init: initial image: `"content"`, `"noise"`, `"gray"`, or an image.
        mosaic: blend weight, 0 to 1, of a mosaic of style pieces in an initial image from the content: see `mosaic.py`.
        window: side in pixels of the windows in which a larger image is evaluated; None evaluates it whole; `"auto"` is
            the objective's, or the largest that fit into the memory.
        whitening: exponent of the whitening in the surrogate loss, 0 to 1; None is 1 for `lbfgs`, 0 for others.
        color: source of the result's colors: see `color.py`.
        seed: seed of the noise and the mosaic, 0 to 2^32 - 1.
        tolerance: the run has converged when, over the last 20 evaluations, the best loss decreased by no more than
            this fraction per evaluation.
        source: where the settings are published.

    Raises:
        InputError: for a value of the wrong type or out of range.

    Example:
        >>> import dataclasses, jaxstyle as js
        >>> dataclasses.replace(js.preset("paper"), steps=50).init
        'noise'
    """

    name: str = ""
    objective: Objective = field(default_factory=Objective)
    weights: LossWeights = field(default_factory=lambda: LossWeights(content=1.0, style=1e3))
    strength: float | None = None
    optimizer: optax.GradientTransformation = field(default_factory=lbfgs)
    steps: int = 100
    scales: ScaleCount = 1
    share: float = SHARE
    ratio: float = RATIO
    init: str | AnyImage = "content"
    mosaic: float = 0.25
    window: WindowOption = "auto"
    whitening: float | None = None
    color: Color = "style"
    seed: int = 0
    tolerance: float = 1e-6
    source: str = ""

    def __post_init__(self) -> None:
        check_parameters(self.parts())

    def parts(self) -> dict[str, Any]:
        """Return the values by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def resolve_settings(base: Settings, mesh: Mesh | None, **changes: Any) -> Settings:
    """Return settings overridden by the parameters of `stylize`, with everything that depends on others resolved.

    If neither strength nor weights are given and the style loss differs from the base's, the strength is 0.5, because
    the base's weights do not apply to another style loss. On a mesh that shards an image the default optimizer is one
    that can be sharded too. Whitening is on by default for `lbfgs` only: other optimizers lose progress when the run
    switches to the plain gradient.

    Args:
        base: settings.
        mesh: devices of the run.
        changes: by the names of the attributes; None, and a window of "auto", change nothing.

    Returns:
        Settings; the objective has the window, if there is one, and the mesh's shards.

    Raises:
        InputError: for a value of the wrong type or out of range.
    """
    window = changes.pop("window", "auto")
    changes = {name: value for name, value in changes.items() if value is not None}
    if not (isinstance(window, str) and window == "auto"):
        changes["window"] = window
    settings = dataclasses.replace(base, **changes)
    resolved: dict[str, Any] = {}
    if not settings.objective.can_whiten:
        resolved["whitening"] = 0.0
    elif settings.whitening is None:
        resolved["whitening"] = float(uses_lbfgs(settings.optimizer))
    if "weights" in changes and "strength" not in changes:
        resolved["strength"] = None
    elif "strength" not in changes and settings.objective.style_loss != base.objective.style_loss:
        resolved["strength"] = 0.5
    if resolved.get("strength", settings.strength) is not None and "weights" not in changes:
        # The base's weights may have other layers than the objective.
        resolved["weights"] = base.weights._replace(content=1.0, style=1.0)
    # The objective refuses a wrong window, before anything is computed.
    objective = settings.objective
    if settings.window != "auto":
        objective = dataclasses.replace(objective, window=settings.window)
    objective = dataclasses.replace(objective, shards=(1, 1)) if mesh is None else on_mesh(objective, mesh)
    if settings.optimizer is lbfgs() and "optimizer" not in changes and objective.shards != (1, 1):
        # A Fourier transform would gather the whole image on every device.
        resolved["optimizer"] = lbfgs(precondition="pyramid")
    return dataclasses.replace(settings, objective=objective, **resolved)
