"""Whether the options of a command can be used, before anything is read or computed."""

import math
import os

from jaxstyle.cli.options import STARTS, Options
from jaxstyle.errors import InputError
from jaxstyle.image.masks import parse_region_specs
from jaxstyle.objective.balance import check_strength
from jaxstyle.objective.base import MIN_WINDOW
from jaxstyle.transfer.validate import MAX_STEPS

# A side in pixels, and a batch, at most: beyond lies a typing error.
MAX_SIDE = 65536
MAX_BATCH = 4096
# What Pillow can count.
MAX_FILE_PIXELS = 2**31 - 1


def check_options(options: Options) -> None:
    """Refuse what nothing below would refuse in the option's own name.

    Args:
        options: as told.

    Raises:
        InputError: naming the option.
    """
    for name, most in (
        ("size", MAX_SIDE),
        ("style-size", MAX_SIDE),
        ("steps", MAX_STEPS),
        ("save-every", MAX_STEPS),
        ("batch", MAX_BATCH),
        ("max-pixels", MAX_FILE_PIXELS),
    ):
        value = getattr(options, name.replace("-", "_"))
        if value is not None and not 1 <= value <= most:
            raise InputError(f"--{name} is {value}, expected 1 to {most}")
    for name in ("content-layers", "style-layers"):
        if not getattr(options, name.replace("-", "_")):
            raise InputError(f"--{name} names no layer, expected at least one; weight 0 leaves a term out")
    paintings = 1 + len(options.more)
    if options.blend is not None and len(options.blend) != paintings:
        raise InputError(f"--blend has {len(options.blend)} numbers, expected one for each painting: {paintings}")
    if options.blend is not None and not (all(0 <= share < math.inf for share in options.blend) and any(options.blend)):
        raise InputError(f"--blend is {options.blend}, expected finite numbers >= 0, at least one positive")
    if not 0 <= options.seed < 2**32:
        raise InputError(f"--seed is {options.seed}, expected 0 to {2**32 - 1}")
    if not 1 <= options.quality <= 100:
        raise InputError(f"--quality is {options.quality}, expected 1 to 100")
    check_window(options.window)
    if not 0 < options.share <= 1:
        raise InputError(f"--share is {options.share}, expected a part of the steps above 0, up to 1")
    if len(options.style_scale) not in (1, paintings):
        raise InputError(
            f"--style-scale has {len(options.style_scale)} numbers, expected one or {paintings}: a painting each"
        )
    for scale in options.style_scale:
        if not 0 < scale < math.inf:
            raise InputError(f"--style-scale is {scale}, expected a number above 0, such as 2")
    _check_control(options, paintings)
    if not 0 <= options.tolerance < 1:
        raise InputError(f"--tolerance is {options.tolerance}, expected a number from 0 to 1 such as 1e-6")
    for name, value in (("whitening", options.whitening), ("mosaic", options.mosaic)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"--{name} is {value}, expected a number from 0 to 1")
    if options.init not in STARTS and not os.path.isfile(options.init):
        raise InputError(f"--init is {options.init!r}, expected {', '.join(STARTS)}, or the path of a picture")
    if os.path.isdir(options.photo) and options.save_every is not None:
        raise InputError("--save-every is for a single photo, not for a folder of them: leave it out")
    if os.path.isdir(options.photo) and options.checkpoint is not None:
        raise InputError(
            "--checkpoint is for a single photo, expected it left out: the same command goes on with a folder by itself"
        )
    if not 0 <= options.checkpoint_every < math.inf:
        raise InputError(f"--checkpoint-every is {options.checkpoint_every}, expected seconds, from 0 on")
    if options.verbose and options.quiet:
        raise InputError("--verbose and --quiet contradict each other, expected one of them")
    if options.batch > 1 and not os.path.isdir(options.photo):
        raise InputError(f"--batch is for a folder of photos, which {options.photo} is not: leave it out")
    options.shards()


def check_window(window: str | int) -> None:
    """Refuse a `--window` that is too small.

    Raises:
        InputError: naming the option.
    """
    if isinstance(window, int) and window < MIN_WINDOW:
        raise InputError(f"--window is {window}, expected auto, whole, or {MIN_WINDOW} pixels or more")


def _check_control(options: Options, paintings: int) -> None:
    """Refuse controls that contradict each other."""
    check_strength(options.strength)
    if options.strength is not None and options.weighted():
        raise InputError("--strength finds the weights itself, expected it or --content-weight and --style-weight")
    if options.content_mask is None and (options.style_mask or options.region):
        raise InputError("--style-mask and --region are about the regions of --content-mask, expected it too")
    if options.content_mask is not None and os.path.isdir(options.photo):
        raise InputError("--content-mask is for a single photo, not for a folder of them: leave it out")
    if options.style_mask and len(options.style_mask) != paintings:
        raise InputError(
            f"--style-mask has {len(options.style_mask)} pictures, expected {paintings}: a painting each, or none"
        )
    parse_region_specs(options.region, paintings)
