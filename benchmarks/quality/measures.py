"""All measures of a picture. `MEASURES` lists them with the values of the two ends: the photo and the painting."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.quality import mess, network, structure, texture
from jaxstyle.image.ops import fit
from jaxstyle.typing import Image, Params


class Measure(NamedTuple):
    """A measure.

    Attributes:
        title: column of the tables.
        best: end at which a value is best; for `photo` of the content, for `painting` of the style, `neither` of a
            result that is a clean mixture of both.
        meaning: one line.
    """

    title: str
    best: str
    meaning: str


MEASURES = {
    "content_fidelity": Measure("CF", "photo", "cosine of the features at relu4_1, relu5_1; photo 1"),
    "ssim": Measure("SSIM", "photo", "structural similarity of the luminance; photo 1"),
    "contour_f_score": Measure("contours", "photo", "F-score of the contours; photo 1"),
    "global_effects": Measure("GE", "painting", "cosines of Gram matrices and color histograms; painting 1"),
    "local_patterns": Measure("LP", "painting", "nearest 3x3 patches of features, and their diversity; painting 1"),
    "unused_layers": Measure("W2", "painting", "Wasserstein distance at layers of no loss; painting 0, photo 1"),
    "wavelet_distance": Measure("wavelets", "painting", "statistics of a wavelet pyramid; painting 0, photo 1"),
    "gradient_distance": Measure("gradients", "painting", "distribution of gradients; painting 0, photo 1"),
    "color_distance": Measure("color", "painting", "distance of the colors in OkLab, times 100; painting 0"),
    "flat_mess": Measure("flat mess", "neither", "specks and crossings where the photo is flat; lower is cleaner"),
    "contour_mess": Measure("contour mess", "neither", "crossings of contours; 0 to 1, lower is cleaner"),
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
