"""Pictures of a run: `FOLDER/SIZE/PAIR/METHOD.png`, made once and reused."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp

import jaxstyle as js
from benchmarks.quality import methods, pairs
from benchmarks.worker import WorkerError
from jaxstyle.typing import Image

# Long side of the cells of a contact sheet in pixels.
CELL = 320


def path_of(folder: Path, size: int, pair: str, method: str) -> Path:
    """Return the path of a method's picture."""
    return folder / str(size) / pair / f"{method}.png"


def is_current(path: Path, method: str) -> bool:
    """Return True if a picture exists and was made with the present settings of its method."""
    return path.is_file() and (js.read_recipe(path) or {}).get("identity") == methods.identity(method)


def make(
    folder: Path,
    sizes: Sequence[int],
    pair_names: Sequence[str],
    method_names: Sequence[str],
    images: Path | None = None,
    python: str = sys.executable,
) -> list[str]:
    """Make the missing pictures, pair after pair, so that an interrupted run compares methods by the same pairs.

    Returns:
        A message for each picture that could not be made; the others are made all the same.
    """
    params = js.load_params()
    cells = [(size, pair, method) for size in sizes for pair in pair_names for method in method_names]
    failures = []
    for number, (size, pair, method) in enumerate(cells, 1):
        path = path_of(folder, size, pair, method)
        label = f"[{number}/{len(cells)}] {size} {pair} {method}"
        if is_current(path, method):
            print(f"{label}: exists", flush=True)
            continue
        photo, painting = pairs.load(pair, size, images)
        start = time.perf_counter()
        try:
            image, seconds = methods.make(method, photo, painting, params, python)
        except WorkerError as error:
            print(f"{label}: failed", flush=True)
            failures.append(f"{label}: {error}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        recipe = {"method": method, "identity": methods.identity(method), "seconds": round(seconds, 1)}
        js.save_image(path, image, recipe=recipe)
        print(f"{label}: {time.perf_counter() - start:.1f} s", flush=True)
    return failures


def sheet(
    folder: Path, size: int, pair_names: Sequence[str], method_names: Sequence[str], images: Path | None = None
) -> Image:
    """Arrange photo, painting and the pictures of all methods, one row for each pair; missing ones are white."""
    rows = []
    for pair in pair_names:
        photo, painting = pairs.load(pair, size, images)
        paths = [path_of(folder, size, pair, method) for method in method_names]
        white = jnp.ones_like(photo)
        rows.append([_fitted(image) for image in (photo, painting, *(_read(path, white) for path in paths))])
    return js.contact_sheet(
        rows, [pair.replace("+", " + ") for pair in pair_names], ["photo", "painting", *method_names]
    )


def _read(path: Path, otherwise: Image) -> Image:
    return js.load_image(path) if path.is_file() else otherwise


def _fitted(image: Image) -> Image:
    scale = min(1.0, CELL / max(image.shape))
    return js.resize(image, *(round(scale * side) for side in image.shape[:2]))
