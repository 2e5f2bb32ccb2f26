"""Regions, edges and every style loss: the same numbers whole, in windows, on a canvas and over eight devices."""

import dataclasses
import itertools

import numpy as np
import pytest
from placement import check_losses_and_gradient, odd_pictures, placed

import jaxstyle as js
from jaxstyle.image.regions import Regions

LOSSES = ("gram", "covariance", "mean+std", "wasserstein")
GUIDANCE = (None, "simple", "inside", "all")


def regions(photo, paintings, guidance):
    """A left part, a lower part that overlaps it, and a corner of nothing; one painting has a mask of its own."""
    height, width = photo.shape[:2]
    masks = np.zeros((height, width, 2), np.float32)
    masks[:, : 3 * width // 4, 0] = 1
    masks[height // 4 :, :, 1] = 0.75
    masks[: height // 4, 3 * width // 4 :] = 0
    part = np.zeros((*paintings[1].shape[:2], 2), np.float32)
    part[:, 20:, 1] = 1
    return Regions(masks, (np.float32([1.0, 0.5]), part), guidance)


def evaluated(image, photo, paintings, params, objective, guidance, mesh=None, canvas=None):
    """Losses and gradient."""
    size = photo.shape[:2]
    masks = None if guidance is None else regions(photo, paintings, guidance)
    weights = js.LossWeights(1.0, 50.0, 10.0, 1.0 if guidance is None else (1.0, 0.5), edges=10.0, temporal=5.0)
    previous = js.Warped(photo[::-1], photo[:, ::-1, :1])
    pictures = image, photo, paintings
    params, weights, (image, photo, paintings), objective = placed(
        params, weights, pictures, objective, mesh, canvas, plain_paintings=guidance is not None
    )
    targets = js.make_targets(params, photo, paintings, objective, regions=masks, previous=previous)
    if mesh is not None and guidance is not None:
        targets = targets._replace(**js.replicated({"style": targets.style, "means": targets.means}, mesh))
    if objective.can_whiten:
        targets = js.whiten(targets)
    losses, gradient = js.value_and_grad(image.pixels, params, targets, weights, objective)
    return np.stack(losses), np.asarray(js.gather(gradient, *size))


@pytest.fixture(scope="module")
def pictures(photograph):
    return odd_pictures(photograph)


# Each loss and each guidance once; all pairs are in the long set.
QUICK = {("gram", "all"), ("covariance", "simple"), ("mean+std", None), ("wasserstein", "inside")}
PAIRS = [
    pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.long)
    for pair in itertools.product(LOSSES, GUIDANCE)
]


@pytest.mark.long
@pytest.mark.parametrize(("style_loss", "guidance"), PAIRS)
def test_all_ways_agree_for_a_tiny_network(tiny_params, pictures, style_loss, guidance):
    # The deepest layer sees 70 pixels, too far for a region to be inside.
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    objective = js.Objective(style_loss=style_loss, style_layers=layers, edges=True, temporal=True)
    whole = evaluated(*pictures, tiny_params, objective, guidance)
    assert whole[0][js.Losses._fields.index("edges")] > 1e-2
    assert whole[0][js.Losses._fields.index("temporal")] > 1e-2
    # Each loss and each guidance twice in windows and twice on a canvas.
    if (LOSSES.index(style_loss) + GUIDANCE.index(guidance)) % 2:
        check_losses_and_gradient(
            evaluated(*pictures, tiny_params, dataclasses.replace(objective, window=56), guidance), whole
        )
    else:
        check_losses_and_gradient(evaluated(*pictures, tiny_params, objective, guidance, canvas=(230, 260)), whole)
    # Over devices takes longest to compile: each loss and each guidance once.
    if LOSSES.index(style_loss) == GUIDANCE.index(guidance):
        check_losses_and_gradient(
            evaluated(*pictures, tiny_params, objective, guidance, mesh=js.make_mesh(4, 2)), whole
        )


@pytest.mark.long
@pytest.mark.parametrize(("style_loss", "guidance"), [("gram", "all"), ("wasserstein", "simple")])
def test_all_ways_agree_for_the_real_network(real_params, pictures, style_loss, guidance):
    objective = js.Objective(style_loss=style_loss, algorithm="direct", edges=True, temporal=True)
    whole = evaluated(*pictures, real_params, objective, guidance)
    check_losses_and_gradient(
        evaluated(*pictures, real_params, dataclasses.replace(objective, window=56), guidance), whole
    )
    # Matrix roots on eight fake devices of a few cores take minutes: that comparison is the tiny network's.
    if style_loss == "gram":
        check_losses_and_gradient(
            evaluated(*pictures, real_params, objective, guidance, mesh=js.make_mesh(2, 4)), whole
        )


@pytest.mark.long
def test_windows_of_every_devices_part(tiny_params, pictures):
    layers = {"style_layers": ("relu1_1", "relu3_1"), "content_layers": ("relu3_1",)}
    objective = js.Objective(style_loss="covariance", **layers, edges=True, temporal=True)
    whole = evaluated(*pictures, tiny_params, objective, "simple")
    windowed = dataclasses.replace(objective, window=32)
    check_losses_and_gradient(evaluated(*pictures, tiny_params, windowed, "simple", mesh=js.make_mesh(2, 2)), whole)


@pytest.mark.parametrize(
    "style_loss", ["gram", *(pytest.param(loss, marks=pytest.mark.long) for loss in LOSSES[1:3]), "wasserstein"]
)
def test_style_losses_lead_to_pictures_of_their_own(tiny_params, china, starry, style_loss):
    """None is silently another: each lowers its own loss, by a way of its own."""
    options = {"params": tiny_params, "steps": 20, "init": "noise", "strength": 1.0}
    objective = js.Objective(style_loss=style_loss)
    own = js.stylize(china, starry, objective=objective, **options, preset="gram")
    assert float(own.losses.style.min()) < 0.5 * float(own.losses.style[0])
    other = js.Objective(style_loss="mean+std" if style_loss == "gram" else "gram")
    assert np.abs(own.image - js.stylize(china, starry, objective=other, **options, preset="gram").image).mean() > 1e-2


def test_raw_moments_blend(tiny_params, china, starry):
    """Not covariances: the mean of those lacks what the two means differ by."""
    one, other = china[:, :64], starry[:64, :64]
    objective = js.Objective(style_loss="covariance", style_layers=("conv1_1",), content_layers=())
    blended = js.make_targets(tiny_params, china, [one, other], objective)
    each = [js.make_targets(tiny_params, china, [half], objective) for half in (one, other)]
    for name in ("style", "means"):
        expected = sum(np.asarray(getattr(targets, name)["conv1_1"], "f8") for targets in each) / 2
        np.testing.assert_allclose(getattr(blended, name)["conv1_1"], expected, rtol=1e-5)
