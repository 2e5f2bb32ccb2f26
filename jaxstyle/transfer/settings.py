"""The options of a run: what a preset says, what the caller says instead, and whether that can be used."""

import dataclasses
from numbers import Integral
from typing import Any, NamedTuple

import optax
from jax.sharding import Mesh

from jaxstyle.errors import InputError
from jaxstyle.losses.style import WHITENED
from jaxstyle.objective.balance import check_strength
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.mesh import on_mesh
from jaxstyle.optim.lbfgs import lbfgs
from jaxstyle.transfer.memory import WindowOption
from jaxstyle.transfer.presets import preset as named_preset
from jaxstyle.transfer.pyramid import ScaleCount

# Steps at most: beyond lies a typing error.
MAX_STEPS = 1_000_000


class Settings(NamedTuple):
    """Options of `stylize` and `stylize_batch`, each with its value; see there, and for `ratio` `pyramid`."""

    objective: Objective
    weights: LossWeights
    strength: float | None
    optimizer: optax.GradientTransformation
    steps: int
    scales: ScaleCount
    share: float
    ratio: float
    init: Any
    mosaic: float
    window: WindowOption
    whitening: float
    tolerance: float


def resolve_settings(
    preset: str,
    mesh: Mesh | None,
    *,
    objective: Any,
    weights: Any,
    strength: Any,
    optimizer: Any,
    steps: Any,
    scales: Any,
    share: Any,
    init: Any,
    mosaic: Any,
    window: Any,
    whitening: Any,
    tolerance: Any,
) -> Settings:
    """A preset's settings, replaced by what is not None.

    Args:
        preset: its name.
        mesh: that the run will use; where it spreads a picture, the default optimizer is one that can be spread too.
        objective: or None, like the others.
        weights: of the loss's terms.
        strength: that the weights are found from; if neither is given, and the style loss is not the preset's, whose
            weights would mean nothing, it is 0.5.
        optimizer: an optax transform.
        steps: evaluations at most.
        scales: how many.
        share: of the steps, for the full size.
        init: where to start.
        mosaic: share of it in the start.
        window: "auto", a number of pixels, or None for the whole picture.
        whitening: power of the surrogate's metric.
        tolerance: of convergence.

    Returns:
        All of them; the objective with the window, if there is one, and with the mesh's shards.

    Raises:
        InputError: for a value that cannot be used.
    """
    named = named_preset(preset)
    settings = Settings(
        objective=named.objective if objective is None else objective,
        weights=named.weights if weights is None else weights,
        strength=named.strength if strength is None and weights is None else strength,
        optimizer=named.optimizer if optimizer is None else optimizer,
        steps=named.steps if steps is None else steps,
        scales=named.scales if scales is None else scales,
        share=named.share if share is None else share,
        ratio=named.ratio,
        init=named.init if init is None else init,
        mosaic=named.mosaic if mosaic is None else mosaic,
        window=window,
        whitening=whitening,
        tolerance=tolerance,
    )
    _check(settings)
    if settings.objective.style_loss not in WHITENED:
        settings = settings._replace(whitening=0.0)
    if strength is None and weights is None and settings.objective.style_loss != named.objective.style_loss:
        settings = settings._replace(strength=0.5)
    if settings.strength is not None and weights is None:
        # What a strength replaces may be of other layers than these.
        settings = settings._replace(weights=LossWeights(1.0, 1.0, named.weights.tv))
    # Here, so that a wrong window is refused before anything is computed.
    structure = settings.objective if window == "auto" else dataclasses.replace(settings.objective, window=window)
    structure = dataclasses.replace(structure, shards=(1, 1)) if mesh is None else on_mesh(structure, mesh)
    if settings.optimizer is lbfgs() and optimizer is None and structure.shards != (1, 1):
        # A Fourier transform would gather the whole picture on every device.
        settings = settings._replace(optimizer=lbfgs(precondition="pyramid"))
    return settings._replace(objective=structure)


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number of evaluations.

    Raises:
        InputError: naming it.
    """
    if not isinstance(value, Integral):
        raise InputError(f"{name} is {str(value)[:80]!r}, expected a whole number")
    if not 1 <= int(value) <= MAX_STEPS:
        raise InputError(f"{name} is {value}, expected 1 to {MAX_STEPS}")


def _check(settings: Settings) -> None:
    for name, kind in (
        ("objective", Objective),
        ("weights", LossWeights),
        ("optimizer", optax.GradientTransformation),
    ):
        value = getattr(settings, name)
        if not isinstance(value, kind):
            raise InputError(f"{name} is {str(value)[:80]!r}, expected {kind.__name__}")
    check_count("steps", settings.steps)
    if isinstance(settings.window, str) and settings.window != "auto":
        raise InputError(
            f"window is {settings.window!r}, expected 'auto', a number of pixels, or None for the whole picture"
        )
    if not 0 <= settings.tolerance < 1:
        raise InputError(f"tolerance is {settings.tolerance}, expected a number from 0 to 1 such as 1e-6")
    for name in ("whitening", "mosaic"):
        if not 0 <= getattr(settings, name) <= 1:
            raise InputError(f"{name} is {getattr(settings, name)}, expected a number from 0 to 1")
    check_strength(settings.strength)
