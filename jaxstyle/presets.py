"""Named settings, each a published method."""

from dataclasses import dataclass

import optax

from jaxstyle.errors import InputError
from jaxstyle.objective import LossWeights, Objective
from jaxstyle.optimizers import lbfgs
from jaxstyle.scales import ScaleCount


@dataclass(frozen=True)
class Preset:
    """Settings of a run.

    Attributes:
        name: as given to `preset`.
        objective: layers, normalisation, pooling.
        weights: of the loss's terms.
        optimizer: an optax transform.
        steps: evaluations.
        scales: `"auto"`, or how many sizes to go through; 1 is the full size alone.
        init: `"content"` or `"noise"`.
        mosaic: share of the style's mosaic in a start from the content: see `start.py`.
        source: where the settings are published.
    """

    name: str
    objective: Objective
    weights: LossWeights
    optimizer: optax.GradientTransformationExtraArgs
    steps: int
    scales: ScaleCount
    init: str
    mosaic: float
    source: str


def preset(name: str = "default") -> Preset:
    """Settings by name.

    Args:
        name: one of `PRESETS`.

    Returns:
        The settings.

    Raises:
        InputError: for an unknown name, listing the known ones.

    Example:
        >>> preset("gatys-notebook").objective.style_layers
        ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1', 'relu5_1')
    """
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


PRESETS = {
    settings.name: settings
    for settings in (
        Preset(
            name="default",
            objective=Objective(),
            weights=LossWeights(content=1.0, style=1e3),
            optimizer=lbfgs(),
            steps=100,
            scales=1,
            init="content",
            mosaic=0.25,
            source="the notebook's objective; from 100 evaluations on this optimiser changes little to the eye",
        ),
        Preset(
            name="gatys-notebook",
            objective=Objective(normalization="notebook"),
            weights=LossWeights(content=1.0, style=1e3),
            optimizer=lbfgs(),
            steps=500,
            scales=1,
            init="content",
            mosaic=0.0,
            source="github.com/leongatys/PytorchNeuralStyleTransfer: objective, weights, 500 evaluations",
        ),
        Preset(
            name="paper",
            objective=Objective(normalization="paper", pooling="avg"),
            weights=LossWeights(content=1e-3, style=1.0),
            optimizer=lbfgs(),
            steps=500,
            scales=1,
            init="noise",
            mosaic=0.0,
            source="Gatys et al., CVPR 2016: equations 1 to 7, alpha/beta = 1e-3, average pooling, white noise",
        ),
    )
}
