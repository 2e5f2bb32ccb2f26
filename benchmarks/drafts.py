"""Does a run that begins in bfloat16 end at the loss of one in float32?

Runs of the preset `gram` in float32 alone, in bfloat16 alone, and with a draft in bfloat16, with the same number of
evaluations. Compared is the loss of the saved picture, in float32, on any device: a CPU computes bfloat16 in float32
and rounds, which is slow, but similar.

`FOLDER` contains `content_NAME.jpg` and `style_NAME.jpg`; a pair is written `CONTENT+STYLE`.

    python -m benchmarks drafts --images FOLDER --sizes 96 --steps 60
"""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import Any

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.losses import saved_losses
from benchmarks.optimizers import FULL, Run, files

METHODS: dict[str, dict[str, Any]] = {
    "float32": {"draft": "none"},
    "bfloat16": {"draft": "none", "precision": "bfloat16"},
    "bfloat16, then float32": {"draft": "bfloat16"},
}


def measure(options: argparse.Namespace) -> None:
    params = js.load_params()
    result: Run = {"question": "the loss of the saved picture in float32", "steps": options.steps, "runs": []}
    result["machine"] = record.machine()
    for size, pair in itertools.product(options.sizes, options.pairs):
        content, style = (js.load_image(path, size=size, enlarge=False) for path in files(options.images, pair))
        for method, changes in METHODS.items():
            stylized = js.stylize(
                content, style, params=params, preset="gram", steps=options.steps, tolerance=0.0, **changes
            )
            loss = float(saved_losses(stylized.image, content, style, params, js.preset("gram")).total)
            result["runs"].append({"pair": pair, "size": size, "method": method, "loss": loss})
            record.write(options.name, result)
            print(f"{pair} {size} {method}: {loss:,.0f}", flush=True)


def table(result: Run) -> str:
    losses = {(run["size"], run["pair"], run["method"]): run["loss"] for run in result["runs"]}
    rows, relative = [], {method: [] for method in METHODS}
    for size, pair in dict.fromkeys((run["size"], run["pair"]) for run in result["runs"]):
        exact = losses[size, pair, "float32"]
        row = [str(size), pair, f"{exact:,.0f}"]
        for method in list(METHODS)[1:]:
            relative[method].append(losses[size, pair, method] / exact)
            row.append(f"{relative[method][-1]:.3f}")
        rows.append(row)
    means = [f"{statistics.geometric_mean(relative[method]):.3f}" for method in list(METHODS)[1:]]
    rows.append(["all", "geometric mean", None, *means])
    return record.table(
        ("long side", "pair", "float32", *(f"{method} / float32" for method in list(METHODS)[1:])), rows
    )


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("drafts", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder with content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pairs", nargs="+", default=FULL["pairs"], metavar="CONTENT+STYLE")
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[96], help="long sides")
    parser.add_argument("--steps", type=arguments.positive, default=60, help="evaluations (default: %(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.images is None:
            raise js.InputError("no images, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
        arguments.check_sizes(options.sizes, js.preset("gram").min_side)
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
