"""A job: the checked inputs of one image, and how to resize them."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.image.color import Color, prepare, restore
from jaxstyle.image.mosaic import initial_image
from jaxstyle.image.ops import check_images, fit
from jaxstyle.image.regions import Regions, check_regions, resize_mask, stylized_pixels
from jaxstyle.losses.temporal import Warped
from jaxstyle.objective.base import LossWeights, broadcast_weights, check_weights
from jaxstyle.objective.targets import check_previous, normalize_style_weights
from jaxstyle.transfer.pyramid import scaled_size
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
        color: source of the result's colors.
        original: the content at full size, in its own colors.
        factor: size of the images, relative to the full size.
        style_key: equal for jobs with the same styles, which are measured once; None measures this job's separately.
        previous: the previous result of a video, warped to this content, for an objective with `temporal`.
    """

    content: Image
    styles: tuple[Image, ...]
    shares: list[float]
    weights: LossWeights
    strength: float | None
    regions: Regions | None
    mosaic: float
    seed: int
    color: Color
    original: AnyImage
    factor: float = 1.0
    style_key: Hashable = None
    previous: Warped | None = None


def make_job(
    content: Any,
    styles: Sequence[Any],
    settings: Settings,
    *,
    style_weights: Sequence[float] | None = None,
    regions: Regions | None = None,
    previous: Warped | None = None,
) -> Job:
    """Check the inputs of an image, and match their colors.

    Raises:
        InputError: for a wrong image, or a value of the wrong type or out of range.
    """
    check_parameters({"style_weights": style_weights, "regions": regions})
    check_images(content, styles, settings.min_side)
    shares = normalize_style_weights(len(styles), style_weights)
    count = None
    if regions is not None:
        check_regions(regions, content.shape, [style.shape for style in styles])
        count = regions.content.shape[2]
    if settings.objective.temporal or previous is not None:
        check_previous(previous, settings.objective, *content.shape[:2])
    check_weights(settings.weights, settings.objective, count)
    prepared, styles = prepare(jnp.asarray(content), [jnp.asarray(style) for style in styles], settings.color)
    weights = broadcast_weights(settings.weights, settings.objective, count)
    return Job(
        prepared,
        tuple(styles),
        shares,
        weights,
        settings.strength,
        regions,
        settings.mosaic,
        settings.seed,
        settings.color,
        content,
        previous=previous,
    )


def content_size(job: Job, factor: float = 1.0) -> tuple[int, int]:
    """Return height and width of the image at a size of the run."""
    return scaled_size(job.content.shape[0], job.content.shape[1], factor)


def style_sizes(job: Job, factor: float = 1.0) -> list[tuple[int, int]]:
    """Return height and width of each style at a size of the run."""
    return [scaled_size(style.shape[0], style.shape[1], factor) for style in job.styles]


def resize_job(job: Job, factor: float) -> Job:
    """Return the job with its images and masks resized."""
    size, regions = content_size(job, factor), job.regions
    if regions is not None:
        styles = tuple(
            mask if np.ndim(mask) == 1 else resize_mask(mask, *size)
            for mask, size in zip(regions.styles, style_sizes(job, factor), strict=True)
        )
        regions = regions._replace(content=resize_mask(regions.content, *size), styles=styles)
    previous = job.previous
    if previous is not None:
        previous = Warped(fit(previous.pixels, *size), resize_mask(previous.weights, *size))
    styles = zip(job.styles, style_sizes(job, factor), strict=True)
    return job._replace(
        content=fit(job.content, *size),
        styles=tuple(fit(style, *style_size) for style, style_size in styles),
        regions=regions,
        factor=factor,
        previous=previous,
    )


def finished_image(job: Job, image: AnyImage) -> Image:
    """Return an image of the run at full size, with its colors, and the content's pixels outside of all regions."""
    return restore(restore_fixed_pixels(next_image(job, image), job), job.original, job.color)


def style_share(strength: float | None) -> float:
    """Return the share of the style in what a run starts from: all of it from strength 0.5 on, nothing at 0."""
    return 1.0 if strength is None else min(1.0, 2 * strength)


def start_image(job: Job, init: str | AnyImage) -> Image:
    """Return the initial image of a job from `resize_job`; for `init` see `initial_image`."""
    return restore_fixed_pixels(_initial_image(job, init, style_share(job.strength) * job.mosaic), job)


def next_image(job: Job, image: AnyImage, factor: float = 1.0) -> Image:
    """Return an image of another scale at a size of the run.

    Below strength 0.5 with a part of the detail that the content loses by the same resizing, at 0 with all of it.

    Args:
        job: at full size.
        image: result of another scale.
        factor: size relative to the full size.
    """
    size = content_size(job, factor)
    resized, detail_share = fit(image, *size), 1 - style_share(job.strength)
    if detail_share == 0 or image.shape[:2] == size:
        return resized
    detail = fit(job.content, *size) - fit(fit(job.content, *image.shape[:2]), *size)
    return jnp.clip(resized + detail_share * detail, 0.0, 1.0)


def mosaic_image(job: Job) -> Image:
    """Return the style mosaic within the regions: where `balance` measures the gradients of the content layers."""
    return restore_fixed_pixels(_initial_image(job._replace(seed=0), "content", 1.0), job)


def restore_fixed_pixels(image: Image, job: Job) -> Image:
    """Return the image with the content's pixels outside of all regions."""
    if job.regions is None:
        return image
    return jnp.where(stylized_pixels(job.regions.content), image, job.content)


def _initial_image(job: Job, init: str | AnyImage, mosaic: float) -> Image:
    options = {"seed": job.seed, "factor": job.factor, "mosaic": mosaic}
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
