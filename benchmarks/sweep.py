"""Does a sheet of many settings, in one compiled program, cost more than its pictures one by one?

Strengths and style scales of one pair of pictures: all cells by `stylize_batch`, then each by `stylize`, in turn, both
with their programs compiled by a first round; seconds an evaluation of a picture, from call to result.

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
from jaxstyle.minimize.batch_loop import run_batch

STRENGTHS = (0.1, 0.3, 0.5, 0.7)
STYLE_SCALES = (0.5, 1.0, 2.0)


def measure(images: Path, pair: str, size: int, steps: int, rounds: int, name: str) -> None:
    photo_path, painting_path = files(images, pair)
    content = js.load_image(photo_path, size=size)
    paintings = [js.load_image(painting_path, size=round(scale * size)) for scale in STYLE_SCALES]
    cells = list(itertools.product(paintings, STRENGTHS))
    options: dict[str, Any] = {"params": js.load_params(), "steps": steps, "scales": 1, "tolerance": 0.0}

    def together() -> float:
        styles, strengths = zip(*cells, strict=True)
        begin = time.perf_counter()
        made = js.stylize_batch(content, list(styles), strength=list(strengths), **options)
        return (time.perf_counter() - begin) / sum(result.evaluations for result in made)

    def alone() -> float:
        begin = time.perf_counter()
        made = [js.stylize(content, style, strength=strength, **options) for style, strength in cells]
        return (time.perf_counter() - begin) / sum(result.evaluations for result in made)

    compiled = run_batch._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    together()
    compiled = run_batch._cache_size() - compiled  # pyright: ignore[reportAttributeAccessIssue]
    alone()
    result: Run = {
        "question": "seconds an evaluation of a picture, all cells together and one by one",
        "pair": pair,
        "size": size,
        "cells": len(cells),
        "steps": steps,
        "programs": compiled,
        "machine": record.machine(),
        "rounds": [],
    }
    for _ in range(rounds):
        result["rounds"].append({"together": together(), "alone": alone()})
        record.write(name, result)
        print(result["rounds"][-1], flush=True)


def table(result: Run) -> str:
    header = ("cells", "long side", "together", "one by one", "ratio", "programs compiled for the steps")
    both = {way: statistics.median(each[way] for each in result["rounds"]) for way in ("together", "alone")}
    ratio = statistics.median(each["together"] / each["alone"] for each in result["rounds"])
    row = result["cells"], result["size"], f"{both['together']:.3f} s", f"{both['alone']:.3f} s", f"{ratio:.2f}"
    return record.table(header, [(*row, result["programs"])])


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("sweep", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="holds content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pair", default=FULL["pairs"][0], metavar="CONTENT+STYLE")
    parser.add_argument("--size", type=arguments.positive, default=192, help="long side in pixels (%(default)s)")
    parser.add_argument("--steps", type=arguments.positive, default=20, help="of each picture (%(default)s)")
    parser.add_argument("--rounds", type=arguments.positive, default=3, help="that are measured (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.images is None:
            raise js.InputError("no pictures, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
        measure(options.images, options.pair, options.size, options.steps, options.rounds, options.name)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
