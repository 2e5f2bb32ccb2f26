"""A job: one image to make, with its colors and regions, checked, at every scale of the run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.image.color import Color, prepare
from jaxstyle.image.mosaic import initial_image
from jaxstyle.image.ops import check_images, fit
from jaxstyle.image.regions import Regions, check_regions, resize_mask, stylized_pixels
from jaxstyle.objective.base import LossWeights, broadcast_weights, check_weights
from jaxstyle.objective.targets import normalize_style_weights
from jaxstyle.transfer.pyramid import Scale, pyramid, scaled_size
from jaxstyle.transfer.settings import Settings
from jaxstyle.transfer.validate import check_parameters
from jaxstyle.typing import AnyImage, Image


class Job(NamedTuple):
    """Inputs of one image.

    Attributes:
        content: `(H, W, 3)`.
        styles: images whose statistics are the style.
        shares: fraction of each style in the blend.
        weights: one number per layer, and per region.
        strength: computes the content's and the style's weights; None keeps them.
        regions: masks that assign styles to regions of the content.
        mosaic: blend weight of the style mosaic in an initial image from the content.
        seed: seed of noise and mosaic.
        scales: scales of the run.
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
    """Check the inputs of an image, match their colors, and choose the scales.

    Raises:
        InputError: for a wrong image, or a value of the wrong type or out of range.
    """
    check_parameters({"style_weights": style_weights, "regions": regions, "color": color, "seed": seed})
    check_images(content, styles, settings.objective.min_side)
    shares = normalize_style_weights(len(styles), style_weights)
    count = None
    if regions is not None:
        check_regions(regions, content.shape, [style.shape for style in styles])
        count = regions.content.shape[2]
    check_weights(settings.weights, settings.objective, count)
    content, styles = prepare(jnp.asarray(content), [jnp.asarray(style) for style in styles], color)
    weights = broadcast_weights(settings.weights, settings.objective, count)
    job = Job(content, tuple(styles), shares, weights, settings.strength, regions, settings.mosaic, seed, ())
    return with_scales(job, settings)


def with_scales(job: Job, settings: Settings) -> Job:
    """Return the job with the scales of these settings."""
    height, width = job.content.shape[:2]
    return job._replace(
        scales=pyramid(
            height,
            width,
            settings.steps,
            settings.scales,
            share=settings.share,
            ratio=settings.ratio,
            styles=style_sizes(job),
            min_side=settings.objective.min_side,
        )
    )


def style_sizes(job: Job, factor: float = 1.0) -> list[tuple[int, int]]:
    """Return height and width of each style at a scale."""
    return [scaled_size(style.shape[0], style.shape[1], factor) for style in job.styles]


def resize_job(job: Job, scale: Scale) -> Job:
    """Return the job at one of its scales: with its images and masks resized, and this scale alone."""
    regions = job.regions
    if regions is not None:
        styles = tuple(
            mask if np.ndim(mask) == 1 else resize_mask(mask, *size)
            for mask, size in zip(regions.styles, style_sizes(job, scale.factor), strict=True)
        )
        regions = regions._replace(content=resize_mask(regions.content, scale.height, scale.width), styles=styles)
    return job._replace(
        content=fit(job.content, scale.height, scale.width),
        styles=tuple(_resize_style(style, scale.factor) for style in job.styles),
        regions=regions,
        scales=(scale,),
    )


def _resize_style(style: AnyImage, factor: float) -> Image:
    return fit(style, *scaled_size(style.shape[0], style.shape[1], factor))


def start_image(job: Job, init: str | AnyImage) -> Image:
    """Return the initial image of a job from `resize_job`; for `init` see `initial_image`."""
    return restore_fixed_pixels(_initial_image(job, init, job.mosaic), job)


def mosaic_image(job: Job) -> Image:
    """Return the style's mosaic in the content's regions, where `balance` measures the content's gradients."""
    return restore_fixed_pixels(_initial_image(job._replace(seed=0), "content", 1.0), job)


def restore_fixed_pixels(image: Image, job: Job) -> Image:
    """Return the image with the content's pixels outside of all regions."""
    if job.regions is None:
        return image
    return jnp.where(stylized_pixels(job.regions.content), image, job.content)


def _initial_image(job: Job, init: str | AnyImage, mosaic: float) -> Image:
    scale = job.scales[0]
    options = {"height": scale.height, "width": scale.width, "seed": job.seed, "factor": scale.factor, "mosaic": mosaic}
    if job.regions is None or not isinstance(init, str) or init != "content":
        return initial_image(init, job.content, job.styles, **options, shares=job.shares)
    image = job.content
    # The mosaic of a region contains only pieces of the styles of that region.
    for region in range(job.regions.content.shape[2]):
        marks = [np.max(np.asarray(mask)[..., region]) for mask in job.regions.styles]
        shares = normalize_style_weights(len(marks), np.multiply(job.shares, marks).tolist())
        pieces = initial_image(init, job.content, job.styles, **options, shares=shares)
        mask = jnp.asarray(job.regions.content)[:, :, region : region + 1]
        image = image + mask * (pieces - job.content)
    return jnp.clip(image, 0.0, 1.0)
