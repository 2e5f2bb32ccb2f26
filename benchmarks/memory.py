"""How close is the memory that a run is announced to need to the memory that it uses?

Runs of the default preset on square images, whole and in windows, and a batch of 4 at 256, in a separate process each.
The estimate is made as by `jaxstyle stylize`, before the first step: what the compiler reports for the program of the
steps, the arrays that the run holds, and the process itself. The peak is the resident memory of the whole process, or
that of the device.

    python -m benchmarks memory --sizes 512 2048 --windows whole 512
"""

import argparse
import itertools
from typing import Any

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.resolution import label_of, window
from benchmarks.worker import Worker

DEFAULT_SIZES = [512, 2048, 4096]
DEFAULT_WINDOWS: list[int | None] = [None, 512, 1024]
# Images of a batch, and their sides in pixels.
BATCH, BATCH_SIZE = 4, 256
Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    result: Run = {"question": "how close the estimate of a run's memory is to its peak", "runs": []}
    cases = [(size, side, 1) for size, side in itertools.product(options.sizes, options.windows)]
    for size, side, batch in [*cases, (BATCH_SIZE, None, BATCH)]:
        # A window as large as the image is the whole image.
        if side is not None and side >= size:
            continue
        request = {"size": size, "window": side, "batch": batch, "steps": options.steps}
        with Worker("memory_worker", request) as worker:
            run, result["machine"] = worker.answer["measured"], worker.answer["machine"]
        result["runs"].append(run)
        record.write(options.name, result)
        print(record.table(HEADER, [row(run)]).splitlines()[-1], flush=True)


HEADER = ("images", "evaluated", "temporaries, GB", "process, GB", "estimate, GB", "peak, GB", "estimate / peak")


def row(run: Run) -> tuple[str | None, ...]:
    count, peak = f"{run['batch']} of " if run["batch"] > 1 else "", run["peak_bytes"]
    estimate = run["process_bytes"] + sum(run["parts"].values())
    return (
        f"{count}{run['size']} x {run['size']}",
        label_of(run),
        *(f"{size / 1e9:.2f}" for size in (run["parts"]["temporary"], run["process_bytes"], estimate)),
        None if peak is None else f"{peak / 1e9:.2f}",
        None if peak is None else f"{estimate / peak:.2f}",
    )


def table(result: Run) -> str:
    return record.table(HEADER, map(row, result["runs"]))


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("memory", __doc__)
    parser.add_argument(
        "--sizes", type=arguments.positive, nargs="+", default=DEFAULT_SIZES, help="sides of the images in pixels"
    )
    parser.add_argument(
        "--windows", type=window, nargs="+", default=DEFAULT_WINDOWS, help="whole, or sides of windows in pixels"
    )
    parser.add_argument("--steps", type=arguments.positive, default=3, help="steps of each run (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        arguments.check_sizes(options.sizes, js.preset().objective.min_side)
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
