"""What a run tells while it goes on, and what it gives."""

from collections.abc import Callable
from typing import NamedTuple

from jaxstyle.minimize.status import Status
from jaxstyle.objective.base import Losses, LossWeights
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.typing import Image


class Progress(NamedTuple):
    """What a callback sees.

    Attributes:
        evaluations: taken so far, at all scales.
        steps: the limit, for all scales.
        losses: of the best picture so far at the present scale.
        image: that picture, `(scale.height, scale.width, 3)`: below the last scale smaller than the content. In a run
            on a mesh it lies there, on its canvas: `gather(image, scale.height, scale.width)` gives it.
        seconds: since the run began.
        scale: the present one; its `steps` are the limit at this scale.
        fraction: of the run's cost that lies behind it, 0 to 1: a step costs its pixels.
    """

    evaluations: int
    steps: int
    losses: Losses
    image: Image
    seconds: float
    scale: Scale
    fraction: float


class BatchProgress(NamedTuple):
    """What a callback of `stylize_batch` sees.

    Attributes:
        evaluations: of each picture so far, at all scales.
        losses: the least total loss of each so far, at the present scale.
        running: how many pictures have not stopped yet.
        seconds: since the batch began.
        fraction: of the cost that lies behind it, 0 to 1.
    """

    evaluations: tuple[int, ...]
    losses: tuple[float, ...]
    running: int
    seconds: float
    fraction: float


class Result(NamedTuple):
    """What a run gives.

    Attributes:
        image: the evaluated picture with the least total loss at the last scale, `(H, W, 3)`, or with `averaged` the
            average; in [0, 1] with `lbfgs` and `adam`, while other optimizers may leave the box. Of a run that stopped
            at a coarser scale it is that scale's picture, enlarged.
        losses: history, arrays of `(evaluations,)`: row k is the picture that step k evaluated. Each scale has its own
            targets, so losses of different scales cannot be compared.
        evaluations: values and gradients computed, at all scales.
        status: why the run stopped, at the last scale it came to.
        seconds: from call to return, compilation included.
        scales: those that it came to, from coarse to fine, each with the evaluations it took as its `steps`.
        weights: of the loss's terms at the last scale, one number a layer: what a strength became.
        window: side of the windows at the last scale, in pixels; None if it was evaluated whole.
        changed: of a run that went on by force from a checkpoint with other pictures or settings, which ones.
    """

    image: Image
    losses: Losses
    evaluations: int
    status: Status
    seconds: float
    scales: tuple[Scale, ...]
    weights: LossWeights
    window: int | None = None
    changed: tuple[str, ...] = ()


Callback = Callable[[Progress], bool | None]
