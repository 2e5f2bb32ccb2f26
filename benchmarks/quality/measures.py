"""All measures of a picture, by name."""

from collections.abc import Callable

import numpy as np

from benchmarks.quality import mess, network, structure, texture
from jaxstyle.image.ops import fit
from jaxstyle.typing import Image, Params

# Column titles. Of the content: the photo itself is best.
MEASURES = {
    "content_fidelity": "CF",
    "ssim": "SSIM",
    "contour_f_score": "contours",
    # Of the style: the painting itself is best.
    "global_effects": "GE",
    "local_patterns": "LP",
    "unused_layers": "W2",
    "wavelet_distance": "wavelets",
    "gradient_distance": "gradients",
    "color_distance": "color",
    # Of neither: lower is cleaner.
    "flat_mess": "flat mess",
    "contour_mess": "contour mess",
}


def make_measure(params: Params, photo: Image, painting: Image) -> Callable[[Image], dict[str, float]]:
    """Return a function that computes all measures of a result; what depends on the pair alone is computed once.

    A result of another size than the photo, such as the painting, is resized where positions are compared.

    Args:
        params: see `load_params`.
        photo: pixels of the photo.
        painting: pixels of the painting, of any size.
    """
    photo_maps, painting_maps = (network.feature_maps(params, image) for image in (photo, painting))
    own_patches = network.count_patches(painting_maps, painting_maps)
    photo_distances = network.gaussian_distances(photo_maps, painting_maps)
    ends = {
        statistics: [statistics(np.asarray(image)) for image in (painting, photo)]
        for statistics in (texture.wavelet_statistics, texture.gradient_magnitudes)
    }
    photo_pixels, painting_pixels = np.asarray(photo), np.asarray(painting)

    def measure(result: Image) -> dict[str, float]:
        aligned = fit(result, *photo.shape[:2])
        maps = network.feature_maps(params, result)
        aligned_maps = maps if aligned is result else network.feature_maps(params, aligned)
        distances = network.gaussian_distances(maps, painting_maps)
        pixels, aligned_pixels = np.asarray(result), np.asarray(aligned)
        wavelets, gradients = (
            texture.relative_distance(statistics(pixels), *of_ends) for statistics, of_ends in ends.items()
        )
        return {
            "content_fidelity": network.content_fidelity(aligned_maps, photo_maps),
            "ssim": structure.ssim(aligned_pixels, photo_pixels),
            "contour_f_score": structure.contour_f_score(aligned_pixels, photo_pixels),
            "global_effects": network.global_effects(maps, painting_maps, (pixels, painting_pixels)),
            "local_patterns": network.local_patterns(maps, painting_maps, own_patches),
            "unused_layers": float(np.mean(np.divide(distances, photo_distances))),
            "wavelet_distance": wavelets,
            "gradient_distance": gradients,
            "color_distance": texture.color_distance(pixels, painting_pixels),
            "flat_mess": mess.flat_mess(aligned_pixels, painting_pixels, photo_pixels),
            "contour_mess": mess.contour_mess(aligned_pixels, photo_pixels),
        }

    return measure
