import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.objective.base import check_weights
from jaxstyle.transfer.job import make_job
from jaxstyle.transfer.presets import PRESETS
from jaxstyle.transfer.stage import stages_of


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_complete_and_usable(name):
    settings = js.preset(name)
    assert settings.name == name
    assert settings.steps > 0
    assert settings.init in ("content", "noise", "gray")
    assert settings.scales in (1, "auto")
    assert 0 <= settings.mosaic <= 1
    assert len(settings.source) > 20
    check_weights(settings.weights, settings.objective)
    # Equal settings share their compiled programs.
    hash((settings.objective, settings.transform))


def test_the_default_is_the_default():
    assert js.preset() is js.preset("default")


def test_the_default_paints_small_sizes_first_and_finishes_each():
    settings = js.preset()
    assert settings.strength == 0.5
    job = make_job(js.white_noise(1, 192, 256), [js.white_noise(2, 200, 160)], settings)
    assert [
        (stage.factor, stage.steps, bool(stage.objective.neighbor_layers)) for stage in stages_of([job], settings)
    ] == [
        (0.5, 30, False),
        (0.5, 12, True),
        (1.0, 30, False),
        (1.0, 12, True),
        (2.0, 20, False),
        (2.0, 12, True),
    ]


def test_the_notebook_as_published():
    """github.com/leongatys/PytorchNeuralStyleTransfer: weights 1e3 / C^2 of mean squared errors, content 1e0 at r42."""
    settings = js.preset("gatys-notebook")
    assert settings.objective == js.Objective(
        content_layers=("relu4_2",),
        style_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        normalization="notebook",
        pooling="max",
        padding="zeros",
    )
    assert settings.weights == js.LossWeights(content=1.0, style=1e3, tv=0.0)
    assert settings.steps == 500
    assert (settings.init, settings.mosaic) == ("content", 0.0)


def test_the_paper_as_published():
    """CVPR 2016, section 2 (average pooling), 3.1 (alpha / beta is 1e-3 or less, conv4_2, white noise)."""
    settings = js.preset("paper")
    assert settings.objective.normalization == "paper"
    assert settings.objective.pooling == "avg"
    assert settings.weights.content / settings.weights.style <= 1e-3
    assert settings.weights.tv == 0
    assert settings.init == "noise"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match="unknown preset 'monet', expected one of default, gram, gatys-notebook, paper"
    ):
        js.preset("monet")
