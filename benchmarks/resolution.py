"""Time and memory of one step against the size of the picture, whole and in windows.

Square pictures; a process of its own for each size and window, so that its peak of memory is its own. Temporaries and
arguments are what XLA says that the compiled step needs; peak RAM is what the whole process used, Python, compiler and
weights included; "planned" is what `jaxstyle plan` says beforehand. Seconds are the median after one step of warm-up,
compiling apart. Sizes that do not fit into the memory, and those of `--compile`, are compiled only.

    python -m benchmarks resolution --sizes 256 512 1024 --windows whole 256
"""

import argparse
import itertools
from typing import Any

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.record import MIB
from benchmarks.worker import Worker
from jaxstyle.objective.base import MIN_WINDOW

SIZES = [256, 512, 1024, 2048, 4096]
COMPILE = [8192, 16384]
WINDOWS: list[int | None] = [None, 128, 256, 512, 1024]
Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    result: Run = {"question": "time and memory of one step by the size of the picture", "runs": []}
    sizes = [(size, True) for size in options.sizes] + [(size, False) for size in options.compile]
    for (size, timed), window in itertools.product(sizes, options.windows):
        # A window that holds the picture is the whole picture.
        if window is not None and window >= size:
            continue
        wanted = {"size": size, "window": window, "repeats": options.repeats if timed else 0}
        with Worker("resolution_worker", wanted | {"limit": options.limit}) as worker:
            run = worker.answer["measured"]
            # From a worker: this process must not take the accelerator.
            result["machine"] = worker.answer["machine"]
        result["runs"].append(run)
        record.write(options.name, result)
        time = "compiled only" if run["median_seconds"] is None else f"{run['median_seconds']:.3f} s"
        print(f"{size:5d}  {name_of(run):>12}  {time:>13}  {run['planned_bytes'] / MIB:8.0f} MiB planned", flush=True)


def name_of(run: Run) -> str:
    return "whole" if run["window"] is None else f"windows {run['window']}"


def table(result: Run) -> str:
    header = (
        "size",
        "evaluated",
        "compile, s",
        "one step, s",
        "s a megapixel",
        "time / whole",
        "temporaries, MiB",
        "arguments, MiB",
        "planned, MiB",
        "peak RAM, MiB",
        "peak device memory, MiB",
    )
    whole = {run["size"]: run for run in result["runs"] if run["window"] is None}
    rows = []
    for run in result["runs"]:
        megapixels, seconds, device = run["size"] ** 2 / 1e6, run["median_seconds"], run["peak_device_bytes"]
        against = whole.get(run["size"], {}).get("median_seconds")
        rows.append(
            (
                f"{run['size']} x {run['size']}",
                name_of(run),
                f"{run['compile_seconds']:.1f}",
                None if seconds is None else f"{seconds:.3f}",
                None if seconds is None else f"{seconds / megapixels:.2f}",
                None if seconds is None or against is None else f"{seconds / against:.2f}",
                *(f"{run[kind] / MIB:,.0f}" for kind in ("temporary_bytes", "argument_bytes", "planned_bytes")),
                # A process that only compiled needed no more than that.
                None if seconds is None else f"{run['peak_resident_bytes'] / MIB:,.0f}",
                None if device is None or seconds is None else f"{device / MIB:,.0f}",
            )
        )
    return record.table(header, rows)


def plot(result: Run, name: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    runs, first = result["runs"], result["runs"][0]
    for label in dict.fromkeys(map(name_of, runs)):
        mine = [run for run in runs if name_of(run) == label]
        timed = [run for run in mine if run["median_seconds"] is not None]
        left.loglog([run["size"] for run in timed], [run["median_seconds"] for run in timed], "o-", label=label)
        (line,) = right.loglog(
            [run["size"] for run in mine], [run["temporary_bytes"] / MIB for run in mine], "o-", label=label
        )
        if timed:
            sizes, peaks = zip(*((run["size"], run["peak_resident_bytes"] / MIB) for run in timed), strict=True)
            right.loglog(sizes, peaks, "x:", color=line.get_color(), linewidth=0.8)
    sizes = sorted({run["size"] for run in runs})
    for axes, value in ((left, first["median_seconds"]), (right, first["temporary_bytes"] / MIB)):
        if value is not None:
            proportional = [value * (size / first["size"]) ** 2 for size in sizes]
            axes.loglog(sizes, proportional, "--", color="gray", linewidth=0.8, label="proportional to pixels")
        axes.set_xticks(sizes, [str(size) for size in sizes], rotation=45)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("side of the square picture, pixels")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    left.set_ylabel("seconds a step")
    right.set_ylabel("MiB: temporaries (lines), peak RAM (crosses)")
    figure.savefig(record.plot_path(name), dpi=120)


def window(text: str) -> int | None:
    """`whole`, or a window's side."""
    if text == "whole":
        return None
    side = arguments.positive(text)
    if side < MIN_WINDOW:
        raise argparse.ArgumentTypeError(f"got {text}, expected whole, or {MIN_WINDOW} or more")
    return side


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("resolution", __doc__)
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=SIZES, help="sides in pixels")
    parser.add_argument("--compile", type=arguments.positive, nargs="*", default=COMPILE, help="sides, compiled only")
    parser.add_argument("--windows", type=window, nargs="+", default=WINDOWS, help="whole, or sides of windows")
    parser.add_argument("--repeats", type=arguments.positive, default=5, help="steps to time (%(default)s)")
    parser.add_argument(
        "--limit", type=arguments.positive, default=120, help="seconds after which no further step is begun"
    )
    options = parser.parse_args(argv)
    if not options.plot:
        arguments.check_sizes((*options.sizes, *options.compile), js.preset().objective.min_side)
        if None not in options.windows and min(options.windows) >= max((*options.sizes, *options.compile)):
            raise js.InputError("all windows hold all of the pictures, expected smaller windows, or whole")
        measure(options)
    result = record.read(options.name)
    record.write_tables(options.name, [table(result)])
    plot(result, options.name)


if __name__ == "__main__":
    main()
