"""Options of a run: a preset's settings, overridden by those of the caller."""

import dataclasses
from typing import Any, NamedTuple

import optax
from jax.sharding import Mesh

from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.objective.mesh import on_mesh
from jaxstyle.optim.lbfgs import lbfgs, uses_lbfgs
from jaxstyle.transfer.memory import WindowOption
from jaxstyle.transfer.presets import preset as named_preset
from jaxstyle.transfer.pyramid import ScaleCount
from jaxstyle.transfer.validate import check_parameters


class Settings(NamedTuple):
    """Options of `stylize` and `stylize_batch`, each with its value; `ratio` is that of `pyramid`."""

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
    """Return a preset's settings, overridden by the parameters of `stylize` that are not None, and checked.

    If neither strength nor weights are given, and the style loss is not the preset's, whose weights would mean nothing,
    the strength is 0.5. On a mesh that shards an image the default optimizer is one that can be sharded too. Only
    `lbfgs` is whitened by default: the switch to the plain gradient sets other optimizers back.

    Returns:
        Settings; the objective has the window, if there is one, and the mesh's shards.

    Raises:
        InputError: for a value of the wrong type or out of range.
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
        whitening=0.0 if whitening is None else whitening,
        tolerance=tolerance,
    )
    check_parameters(settings._asdict())
    if not settings.objective.can_whiten:
        settings = settings._replace(whitening=0.0)
    elif whitening is None and uses_lbfgs(settings.optimizer):
        settings = settings._replace(whitening=1.0)
    if strength is None and weights is None and settings.objective.style_loss != named.objective.style_loss:
        settings = settings._replace(strength=0.5)
    if settings.strength is not None and weights is None:
        # The preset's weights may have other layers than the objective.
        settings = settings._replace(weights=LossWeights(1.0, 1.0, named.weights.tv))
    # The objective refuses a wrong window, before anything is computed.
    structure = settings.objective if window == "auto" else dataclasses.replace(settings.objective, window=window)
    structure = dataclasses.replace(structure, shards=(1, 1)) if mesh is None else on_mesh(structure, mesh)
    if settings.optimizer is lbfgs() and optimizer is None and structure.shards != (1, 1):
        # A Fourier transform would gather the whole image on every device.
        settings = settings._replace(optimizer=lbfgs(precondition="pyramid"))
    return settings._replace(objective=structure)
