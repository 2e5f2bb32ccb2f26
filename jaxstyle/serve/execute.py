"""A segment of a run in its thread: read the pictures, stylize, and let the page follow."""

from typing import Any

from jaxstyle.minimize.checkpoint import Checkpoint
from jaxstyle.serve.run import Run
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.transfer.memory import USABLE
from jaxstyle.transfer.result import Progress, Result
from jaxstyle.transfer.stylize import stylize
from jaxstyle.typing import Params

# Bytes per pixel of picture and paintings that no run exceeds: with so much memory there is no need to compile the
# programs of the full size before the first picture, to learn their memory.
AMPLE_BYTES = 6000
# Evaluations between two pictures at most, while an evaluation is quick.
CALLBACK_EVERY = 5


def execute(run: Run, params: Params, checkpoint: Checkpoint | None) -> Result:
    """Make the present segment of a run."""
    wanted, inputs = run.wanted, run.inputs
    min_side = wanted.settings.min_side
    photo = inputs.photo.load(wanted.size, min_side)
    if run.picture() is None:
        run.show(photo)
    styles = inputs.load_styles(wanted)
    regions, region_weights = inputs.load_regions(photo, styles)
    settings = run.segment.settings(region_weights)
    style_sizes = [(style.shape[0], style.shape[1]) for style in styles]
    scales = settings.scales_of(photo.shape[0], photo.shape[1], style_sizes)
    pixels = scales[-1].factor ** 2 * sum(image.shape[0] * image.shape[1] for image in (photo, *styles))
    free = free_memory()
    options: dict[str, Any] = {}
    if settings.window == "auto" and free is not None and AMPLE_BYTES * pixels < USABLE * free:
        options["window"] = None
    factors = [scale.factor for scale in scales]

    def follow(progress: Progress) -> Any:
        return run.on_progress(progress, factors)

    options |= {"params": params, "regions": regions, "callback": follow, "checkpoint": checkpoint}
    return stylize(photo, styles, settings, callback_every=CALLBACK_EVERY, **options)
