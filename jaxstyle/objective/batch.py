"""Leading axes of targets. The content's fields and the style's have their own: images may share a style."""

from jaxstyle.errors import InputError
from jaxstyle.objective.targets import Targets
from jaxstyle.typing import ImageBatch

# The other fields belong to the content.
STYLE_FIELDS = ("style", "means", "metric", "banks")


def check_leading_axes(image: ImageBatch, targets: Targets) -> None:
    """Raise InputError unless the leading axes of the targets are the last ones of the image's, or none."""
    leading = image.shape[:-3]
    for half, shape in (("content", _content_axes(targets)), ("style", _style_axes(targets))):
        if len(shape) > len(leading) or shape != leading[len(leading) - len(shape) :]:
            raise InputError(
                f"image has leading axes {leading} and the {half} of targets {shape}, expected the same, or targets "
                "that all images share"
            )


def mapped_axes(targets: Targets, leading: int) -> Targets:
    """Return the axes of targets for `jax.vmap` over the first axis of images with this number of leading axes."""
    content, style = (0 if len(axes) == leading else None for axes in (_content_axes(targets), _style_axes(targets)))
    return Targets(**{name: style if name in STYLE_FIELDS else content for name in Targets._fields})  # pyright: ignore[reportArgumentType]


def _content_axes(targets: Targets) -> tuple[int, ...]:
    maps = [*targets.content.values(), targets.edges, None if targets.previous is None else targets.previous.pixels]
    vectors = [targets.extent, None if targets.guides is None else targets.guides.shares]
    axes = [array.shape[:-3] for array in maps if array is not None]
    axes += [array.shape[:-1] for array in vectors if array is not None]
    return axes[0] if axes else ()


def _style_axes(targets: Targets) -> tuple[int, ...]:
    regions = 0 if targets.guides is None else 1
    axes = [gram.shape[: gram.ndim - 2 - regions] for gram in targets.style.values()]
    axes += [bank.center.shape[: bank.center.ndim - 1 - regions] for bank in (targets.banks or {}).values()]
    return axes[0] if axes else ()
