"""One picture to make, before it is made: checked, with its colors and regions, at every size of the run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.image.color import Color, prepare
from jaxstyle.image.mosaic import initial_image
from jaxstyle.image.ops import check_images, fit
from jaxstyle.image.regions import Regions, check_regions, covered, resize_mask
from jaxstyle.objective.base import LossWeights, broadcast_weights, check_weights
from jaxstyle.objective.targets import style_shares
from jaxstyle.transfer.pyramid import Scale, pyramid, scaled
from jaxstyle.transfer.settings import Settings
from jaxstyle.typing import AnyImage, Image


class Job(NamedTuple):
    """What is wanted of one picture.

    Attributes:
        content: the photo, `(H, W, 3)`.
        styles: what the style is measured of.
        shares: of the styles, in the blend.
        weights: one number a layer, and a region.
        strength: what the content's and the style's weights are found from; None keeps them.
        regions: which pixels get which style.
        mosaic: share of the style's mosaic in a start from the content.
        seed: of noise and mosaic.
        scales: sizes to go through, and their steps.
    """

    content: Image
    styles: tuple[Image, ...]
    shares: list[float]
    weights: LossWeights
    strength: float | None
    regions: Regions | None
    mosaic: float
    seed: int
    scales: tuple[Scale, ...]


def make_job(
    content: Any,
    styles: Sequence[Any],
    settings: Settings,
    *,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
    color: Color = "style",
    seed: int = 0,
) -> Job:
    """Check what is wanted, and prepare it.

    Args:
        content: what should be a picture.
        styles: what should be pictures.
        settings: of the run.
        style_weights: one relative number a style; equal if None.
        regions: see `Regions`.
        color: see `color.py`.
        seed: of noise and mosaic.

    Returns:
        The job, at all of its scales.

    Raises:
        InputError: for anything that cannot be used.
    """
    check_images(content, styles, settings.objective.min_side)
    shares = style_shares(len(styles), style_weights)
    count = None
    if regions is not None:
        check_regions(regions, content.shape, [style.shape for style in styles])
        count = regions.content.shape[2]
    check_weights(settings.weights, settings.objective, count)
    photo, paintings = prepare(jnp.asarray(content), [jnp.asarray(style) for style in styles], color)
    weights = broadcast_weights(settings.weights, settings.objective, count)
    job = Job(photo, tuple(paintings), shares, weights, settings.strength, regions, settings.mosaic, seed, ())
    return in_scales(job, settings)


def in_scales(job: Job, settings: Settings) -> Job:
    """The job in as many scales as its settings say.

    Args:
        job: its scales are replaced.
        settings: say how many, and the steps.

    Returns:
        The job.
    """
    height, width = job.content.shape[:2]
    return job._replace(
        scales=pyramid(
            height,
            width,
            settings.steps,
            settings.scales,
            share=settings.share,
            ratio=settings.ratio,
            styles=sizes_of(job),
            min_side=settings.objective.min_side,
        )
    )


def sizes_of(job: Job, factor: float = 1.0) -> list[tuple[int, int]]:
    """Height and width of each style at a scale."""
    return [scaled(style.shape[0], style.shape[1], factor) for style in job.styles]


def at_scale(job: Job, scale: Scale) -> Job:
    """The job with all pictures and masks shrunk to a scale.

    Args:
        job: at full size.
        scale: one of its own.

    Returns:
        The job of that size, with this scale alone.
    """
    regions = job.regions
    if regions is not None:
        styles = tuple(
            mask if np.ndim(mask) == 1 else resize_mask(mask, *size)
            for mask, size in zip(regions.styles, sizes_of(job, scale.factor), strict=True)
        )
        regions = regions._replace(content=resize_mask(regions.content, scale.height, scale.width), styles=styles)
    return job._replace(
        content=fit(job.content, scale.height, scale.width),
        styles=tuple(shrink(style, scale.factor) for style in job.styles),
        regions=regions,
        scales=(scale,),
    )


def shrink(image: AnyImage, factor: float) -> Image:
    """A picture at a coarser scale."""
    height, width = image.shape[:2]
    return fit(image, *scaled(height, width, factor))


def start_of(job: Job, init: str | AnyImage) -> Image:
    """The picture that a job starts from, at the only scale that it has.

    Args:
        job: from `at_scale`.
        init: see `initial_image`.

    Returns:
        The picture.
    """
    return restore_fixed_pixels(_first(job, init, job.mosaic), job)


def mosaic_of(job: Job) -> Image:
    """The style alone, with the content's regions: what a job's strength is measured at, whatever it starts from."""
    return restore_fixed_pixels(_first(job._replace(seed=0), "content", 1.0), job)


def restore_fixed_pixels(image: Image, job: Job) -> Image:
    """The picture with the photo where no region is.

    Args:
        image: of the job's size.
        job: from `at_scale`.

    Returns:
        The picture.
    """
    if job.regions is None:
        return image
    return jnp.where(covered(job.regions.content), image, job.content)


def _first(job: Job, init: str | AnyImage, mosaic: float) -> Image:
    scale = job.scales[0]
    where = {"height": scale.height, "width": scale.width, "seed": job.seed, "factor": scale.factor}
    if job.regions is None or not isinstance(init, str) or init != "content":
        return initial_image(init, job.content, job.styles, **where, mosaic=mosaic, shares=job.shares)
    picture = job.content
    # Each region has pieces of its own styles alone.
    for r in range(job.regions.content.shape[2]):
        marks = [np.max(np.asarray(mask)[..., r]) for mask in job.regions.styles]
        shares = style_shares(len(marks), np.multiply(job.shares, marks).tolist())
        pieces = initial_image(init, job.content, job.styles, **where, mosaic=mosaic, shares=shares)
        belongs = jnp.asarray(job.regions.content)[:, :, r : r + 1]
        picture = picture + belongs * (pieces - job.content)
    return jnp.clip(picture, 0.0, 1.0)
