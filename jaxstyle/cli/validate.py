"""Checks of a command's options, before anything is read or computed."""

import math
import os
import re
from collections.abc import Sequence

from jaxstyle.cli.option_names import option_name
from jaxstyle.cli.options import STARTS, Options
from jaxstyle.errors import InputError
from jaxstyle.image.masks import parse_region_specs
from jaxstyle.transfer import presets
from jaxstyle.transfer.validate import MAX_STEPS

# Beyond these lie typing errors.
MAX_SIDE = 65536
MAX_BATCH = 4096
MAX_SCALE = 1e4
# The largest number of pixels that Pillow can count.
MAX_FILE_PIXELS = 2**31 - 1

# Least and greatest value of each option with a whole number.
LIMITS = {
    "size": (1, MAX_SIDE),
    "style_size": (1, MAX_SIDE),
    "save_every": (1, MAX_STEPS),
    "quality": (1, 100),
    "batch": (1, MAX_BATCH),
    "max_pixels": (1, MAX_FILE_PIXELS),
}


def check_options(options: Options) -> None:
    """Check options that the library would not check, or under another name.

    Raises:
        InputError: naming the option.
    """
    for name, (least, greatest) in LIMITS.items():
        value = getattr(options, name)
        if value is not None and value != "original":
            check_between(option_name(name), value, least, greatest)
    check_layers(options.content_layers, options.style_layers)
    options.settings()
    if not 0 <= options.checkpoint_every < math.inf:
        raise InputError(f"--checkpoint-every is {options.checkpoint_every}, expected seconds, 0 or more")
    _check_paintings(options)
    _check_controls(options)
    _check_files(options)
    if options.verbose and options.quiet:
        raise InputError("--verbose and --quiet contradict each other, expected one of them")
    options.shards()


def check_between(name: str, value: int, least: int, greatest: int) -> None:
    """Check the range of a whole number.

    Raises:
        InputError: naming the option or argument.
    """
    if not least <= value <= greatest:
        raise InputError(f"{name} is {value}, expected {least} to {greatest}")


def check_layers(content_layers: Sequence[str], style_layers: Sequence[str]) -> None:
    """Check that there are layers.

    Raises:
        InputError: naming the option.
    """
    for name, layers in (("--content-layers", content_layers), ("--style-layers", style_layers)):
        if not layers:
            raise InputError(f"{name} names no layer, expected at least one; weight 0 omits a loss term")


def _check_paintings(options: Options) -> None:
    count = len(options.paintings())
    if options.blend is not None and len(options.blend) != count:
        raise InputError(f"--blend has {len(options.blend)} numbers, expected one per painting: {count}")
    if options.blend is not None and not (all(0 <= share < math.inf for share in options.blend) and any(options.blend)):
        raise InputError(f"--blend is {_words(options.blend)}, expected numbers of 0 or more, at least one above 0")
    if len(options.style_scale) not in (1, count):
        raise InputError(
            f"--style-scale has {len(options.style_scale)} numbers, expected 1, or one per painting: {count}"
        )
    for scale in options.style_scale:
        if not 0 < scale <= MAX_SCALE:
            raise InputError(f"--style-scale is {scale}, expected a number above 0, at most {MAX_SCALE:g}, such as 2")


def _check_controls(options: Options) -> None:
    has_strength = options.strength not in (None, presets.preset(options.preset).strength)
    if has_strength and (options.content_weight or options.style_weight):
        raise InputError(
            "--strength computes the weights, expected either it or --content-weight and --style-weight, not both"
        )
    count = len(options.paintings())
    if options.content_mask is None and (options.style_mask or options.region):
        raise InputError("--style-mask and --region refer to the regions of --content-mask: add --content-mask")
    if options.style_mask and len(options.style_mask) != count:
        raise InputError(
            f"--style-mask has {len(options.style_mask)} values, expected one per painting: {count} files, or none"
        )
    parse_region_specs(options.region, count)


def check_spelling(path: str | os.PathLike[str]) -> None:
    """Name the likely cause if there is no such file.

    Raises:
        InputError: for a URL, a home that the shell did not fill in, or several files in one word.
    """
    text = os.fspath(path)
    if os.path.lexists(text):
        return
    if re.match(r"(https?|ftp|s3|gs):/", text):
        raise InputError(f"{text} is the address of a page, expected a file on this machine: download it first")
    if text.startswith("~"):
        raise InputError(f"{text} starts with ~, which a shell fills in only without quotes: remove the quotes")
    if "," in text and all(os.path.exists(part.strip()) for part in text.split(",")):
        raise InputError(f"there is no file {text}, expected names with spaces between them, without commas")


def _check_files(options: Options) -> None:
    for path in (options.output, *options.inputs()):
        check_spelling(path)
    extension = f".{options.format}" if os.path.isdir(options.photo) else options.output.suffix.lower()
    if options.bit_depth == 16 and extension not in (".png", ".tif", ".tiff"):
        raise InputError(f"--bit-depth is 16, which {extension} files do not hold: write .png or .tiff, or omit it")
    if options.init not in STARTS and not os.path.isfile(options.init):
        raise InputError(f"--init is {options.init!r}, expected {', '.join(STARTS)}, or the path of an image")
    if os.path.isdir(options.photo) and options.size == "original" and options.style_size is None:
        raise InputError("--size original for a folder makes pictures of several sizes: add a --style-size for all")
    if os.path.isdir(options.photo) and options.animation is not None:
        raise InputError(f"--animation shows a single run, but {options.photo} is a folder of photos: omit it")
    if not os.path.isdir(options.photo):
        if options.batch > 1:
            raise InputError(f"--batch is for a folder of photos, which {options.photo} is not: omit it")
        if options.recursive:
            raise InputError(f"--recursive is for a folder of photos, which {options.photo} is not: omit it")
        if options.content_mask is not None and os.path.isdir(options.content_mask):
            raise InputError(
                f"--content-mask is the folder {options.content_mask}, expected the mask of {options.photo}"
            )


def _words(values: Sequence[float]) -> str:
    """Numbers as they are written on a command line."""
    return " ".join(f"{value:g}" for value in values)
