"""Progress and result of a run."""

from collections.abc import Callable
from typing import NamedTuple

from jaxstyle.minimize.status import Status
from jaxstyle.objective.base import Losses, LossWeights
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.typing import Image


class Progress(NamedTuple):
    """Argument of a callback.

    Attributes:
        evaluations: number of evaluations so far, at all scales.
        steps: maximum number of evaluations, at all scales.
        losses: of the best image so far at the current scale.
        image: that image, `(scale.height, scale.width, 3)`: below the last scale smaller than the content. In a run
            on a mesh it is sharded, on its canvas: `gather(image, scale.height, scale.width)` returns it whole.
        seconds: seconds since the start of the run.
        scale: the current one; its `steps` are the limit at this scale.
        fraction: of the run's cost that is done, 0 to 1: a step costs its pixels.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> def at_three(progress):
        ...     return progress.evaluations >= 3
        >>> options = {"params": params, "scales": 1, "finish": 0, "callback_every": 1}
        >>> result = js.stylize(content, style, callback=at_three, **options)
        >>> result.evaluations, str(result.status)
        (3, 'stopped by the callback')
    """

    evaluations: int
    steps: int
    losses: Losses
    image: Image
    seconds: float
    scale: Scale
    fraction: float


class BatchProgress(NamedTuple):
    """Argument of a callback of `stylize_batch`.

    Attributes:
        evaluations: of each image so far, at all scales.
        losses: the least total loss of each image so far, at the current scale.
        running: number of images that have not stopped yet.
        seconds: seconds since the start of the batch.
        fraction: of the cost that is done, 0 to 1.
        images: function that returns the best image so far of each, at the current scale, in the result's colors. To be
            called within the callback.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> def one(progress):
        ...     return progress.evaluations == (1, 1)
        >>> options = {"params": params, "scales": 1, "finish": 0, "callback_every": 1}
        >>> results = js.stylize_batch([content, style], style, callback=one, **options)
        >>> [str(result.status) for result in results]
        ['stopped by the callback', 'stopped by the callback']
    """

    evaluations: tuple[int, ...]
    losses: tuple[float, ...]
    running: int
    seconds: float
    fraction: float
    images: Callable[[], list[Image]]


class Result(NamedTuple):
    """Result of a run.

    Attributes:
        image: the evaluated image with the least total loss at the last scale, `(H, W, 3)`, or with `averaged` the
            average; in [0, 1] with `lbfgs` and `adam`, while other optimizers may leave the box. If the run stopped at
            a coarser scale, that scale's image, enlarged.
        losses: history, arrays of `(evaluations,)`: row k is the image that step k evaluated. Each scale has its own
            targets, so losses of different scales cannot be compared.
        evaluations: of value and gradient, at all scales.
        status: reason why the run stopped, at the last scale that it reached.
        seconds: from call to return, compilation included.
        scales: those that the run reached, from coarse to fine; `steps` of each are its evaluations.
        weights: of the loss's terms at the last scale, one number per layer, from the strength if there is one.
        window: side of the windows at the last scale in pixels; None if it was evaluated whole.
        changed: names of the images and settings that differ from those of the checkpoint, if `force` resumed the run.

    Example:
        >>> import jax, jaxstyle as js
        >>> params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
        >>> content, style = js.white_noise(1, 32, 48), js.white_noise(2, 32, 40)
        >>> result = js.stylize(content, style, params=params, steps=2, scales=1, finish=0)
        >>> result.image.shape, result.evaluations, result.losses.total.shape, str(result.status)
        ((32, 48, 3), 2, (2,), 'step limit')
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
