"""Measurements of all pictures as JSON, and their tables."""

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jaxstyle as js
from benchmarks import record
from benchmarks.quality import methods, pairs
from benchmarks.quality.measures import MEASURES, make_measure
from benchmarks.quality.pictures import path_of
from jaxstyle.errors import InputError
from jaxstyle.files import checksum

Run = dict[str, Any]
QUESTION = "content, style and cleanness of pictures, per pair and method"


def measure_pictures(
    name: str,
    folder: Path,
    sizes: Sequence[int],
    pair_names: Sequence[str],
    method_names: Sequence[str],
    images: Path | None = None,
) -> None:
    """Measure the pictures that exist, and the photos and paintings; those measured before are skipped."""
    params, result = js.load_params(), _earlier(name)
    measured = {(run["size"], run["pair"], run["method"]): run for run in result["runs"]}
    for size, pair in itertools.product(sizes, pair_names):
        photo, painting = pairs.load(pair, size, images)
        paths = {method: path_of(folder, size, pair, method) for method in method_names}
        checksums: dict[str, str | None] = dict.fromkeys(methods.ENDS)
        checksums |= {method: checksum(path) for method, path in paths.items() if path.is_file()}
        missing = {
            method: sha256
            for method, sha256 in checksums.items()
            if (run := measured.get((size, pair, method))) is None or run["sha256"] != sha256
        }
        if not missing:
            continue
        measure = make_measure(params, photo, painting)
        for method, sha256 in missing.items():
            seconds = None
            if method in methods.ENDS:
                image = dict(zip(methods.ENDS, (photo, painting), strict=True))[method]
            else:
                image, seconds = js.load_image(paths[method]), (js.read_recipe(paths[method]) or {}).get("seconds")
            run = {"size": size, "pair": pair, "half": pairs.half_of(pair), "method": method, "sha256": sha256}
            run |= {"seconds": seconds, **{key: round(value, 4) for key, value in measure(image).items()}}
            measured[size, pair, method] = run
            result |= {"machine": record.machine(), "runs": list(measured.values())}
            record.write(name, result)
            values = ", ".join(f"{title} {run[key]:.2f}" for key, title in MEASURES.items())
            print(f"{size} {pair} {method}: {values}", flush=True)


def tables(result: Run, method_names: Sequence[str]) -> list[str]:
    """Return the means for each size and half, and then the measures of each pair.

    The means are over the pairs of which all methods have been measured, so that all are of the same pairs.
    """
    chosen = [run for run in result["runs"] if run["method"] in (*methods.ENDS, *method_names)]
    texts = []
    for size, half in dict.fromkeys((run["size"], run["half"]) for run in chosen):
        runs = [run for run in chosen if (run["size"], run["half"]) == (size, half)]
        by_pair = {
            pair: [run for run in runs if run["pair"] == pair] for pair in dict.fromkeys(r["pair"] for r in runs)
        }
        all_methods = {run["method"] for run in runs}
        complete = [rows for rows in by_pair.values() if {run["method"] for run in rows} == all_methods]
        title = f"{half}, {size}: mean of {len(complete)} pair{'s' * (len(complete) != 1)}"
        texts.append(
            record.table((title, *MEASURES.values(), "seconds"), _rows([run for rows in complete for run in rows]))
        )
        texts.extend(
            record.table((f"{pair}, {size}", *MEASURES.values(), "seconds"), _rows(rows))
            for pair, rows in by_pair.items()
        )
    return texts


def _rows(runs: Sequence[Run]) -> list[tuple[Any, ...]]:
    """Return the means of each method, the two ends first."""
    names = dict.fromkeys([*methods.ENDS, *(run["method"] for run in runs)]) if runs else ()
    return [_mean([run for run in runs if run["method"] == name]) for name in names]


def _mean(runs: Sequence[Run]) -> tuple[Any, ...]:
    seconds = [run["seconds"] for run in runs if run["seconds"] is not None]
    means = (f"{statistics.mean(run[measure] for run in runs):.2f}" for measure in MEASURES)
    return runs[0]["method"], *means, f"{statistics.mean(seconds):.0f}" if seconds else None


def _earlier(name: str) -> Run:
    credits = {picture: entry.credit for picture, entry in {**pairs.PHOTOS, **pairs.PAINTINGS}.items()}
    try:
        runs = record.read(name)["runs"]
    except InputError:
        runs = []
    return {"question": QUESTION, "credits": credits, "runs": runs}
