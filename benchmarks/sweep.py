"""Does a contact sheet cost more than its cells run separately?

Strengths and style scales of one pair: all cells by one call of `stylize_batch`, alternating with one call of `stylize`
per cell, after a first round that compiles. Measures wall time per evaluation and cell.

    python -m benchmarks sweep --images FOLDER
"""

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.optimizers import FULL, Run, files
from jaxstyle.minimize.loop import run

STRENGTHS = (0.1, 0.3, 0.5, 0.7)
STYLE_SCALES = (0.5, 1.0, 2.0)


def measure(images: Path, pair: str, size: int, steps: int, rounds: int, name: str) -> None:
    content_path, style_path = files(images, pair)
    content = js.load_image(content_path, size=size)
    styles = [js.load_image(style_path, size=round(scale * size)) for scale in STYLE_SCALES]
    cells = list(itertools.product(styles, STRENGTHS))
    options: dict[str, Any] = {"params": js.load_params(), "preset": "gram", "steps": steps, "tolerance": 0.0}

    def together() -> float:
        cell_styles, strengths = zip(*cells, strict=True)
        start = time.perf_counter()
        results = js.stylize_batch(content, list(cell_styles), strength=list(strengths), **options)
        return (time.perf_counter() - start) / sum(result.evaluations for result in results)

    def separately() -> float:
        start = time.perf_counter()
        results = [js.stylize(content, style, strength=strength, **options) for style, strength in cells]
        return (time.perf_counter() - start) / sum(result.evaluations for result in results)

    compiled = run._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    together()
    compiled = run._cache_size() - compiled  # pyright: ignore[reportAttributeAccessIssue]
    separately()
    result: Run = {
        "question": "seconds per evaluation of a cell, all cells together and separately",
        "pair": pair,
        "size": size,
        "cells": len(cells),
        "steps": steps,
        "programs": compiled,
        "machine": record.machine(),
        "rounds": [],
    }
    for _ in range(rounds):
        result["rounds"].append({"together": together(), "alone": separately()})
        record.write(name, result)
        print(result["rounds"][-1], flush=True)


def table(result: Run) -> str:
    header = ("cells", "long side", "together", "separately", "ratio", "programs compiled for the steps")
    medians = {key: statistics.median(times[key] for times in result["rounds"]) for key in ("together", "alone")}
    ratio = statistics.median(times["together"] / times["alone"] for times in result["rounds"])
    row = result["cells"], result["size"], f"{medians['together']:.3f} s", f"{medians['alone']:.3f} s", f"{ratio:.2f}"
    return record.table(header, [(*row, result["programs"])])


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("sweep", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder with content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pair", default=FULL["pairs"][0], metavar="CONTENT+STYLE")
    parser.add_argument("--size", type=arguments.positive, default=192, help="long side in pixels (%(default)s)")
    parser.add_argument("--steps", type=arguments.positive, default=20, help="evaluations of each cell (%(default)s)")
    parser.add_argument("--rounds", type=arguments.positive, default=3, help="timed rounds (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.images is None:
            raise js.InputError("no images, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
        measure(options.images, options.pair, options.size, options.steps, options.rounds, options.name)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
