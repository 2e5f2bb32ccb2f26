"""How do time and memory of a step grow with the size of the image?

Steps of the default preset on square images, whole and in windows, in a separate process for each size and window.
Temporaries and arguments are XLA's figures for the compiled step; peak RAM is that of the whole process, including
Python, compiler and weights; "planned" is the peak that `jaxstyle plan` estimates in advance. Seconds are the median
after one warm-up step, without compilation. Sizes that do not fit, and those of `--compile`, are only compiled.

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

DEFAULT_SIZES = [256, 512, 1024, 2048, 4096]
DEFAULT_COMPILED_SIZES = [8192, 16384]
DEFAULT_WINDOWS: list[int | None] = [None, 128, 256, 512, 1024]
Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    result: Run = {"question": "time and memory of one step by the size of the image", "runs": []}
    sizes = [(size, True) for size in options.sizes] + [(size, False) for size in options.compile]
    for (size, timed), window in itertools.product(sizes, options.windows):
        # A window as large as the image is the whole image.
        if window is not None and window >= size:
            continue
        request = {"size": size, "window": window, "repeats": options.repeats if timed else 0}
        with Worker("resolution_worker", request | {"limit": options.limit}) as worker:
            run = worker.answer["measured"]
            # Reported by the worker, because this process must not occupy the accelerator.
            result["machine"] = worker.answer["machine"]
        result["runs"].append(run)
        record.write(options.name, result)
        step_time = "compiled only" if run["median_seconds"] is None else f"{run['median_seconds']:.3f} s"
        print(
            f"{size:5d}  {label_of(run):>12}  {step_time:>13}  {run['planned_bytes'] / MIB:8.0f} MiB planned",
            flush=True,
        )


def label_of(run: Run) -> str:
    return "whole" if run["window"] is None else f"windows {run['window']}"


def table(result: Run) -> str:
    header = (
        "size",
        "evaluated",
        "compile, s",
        "seconds per step",
        "seconds per megapixel",
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
        whole_seconds = whole.get(run["size"], {}).get("median_seconds")
        rows.append(
            (
                f"{run['size']} x {run['size']}",
                label_of(run),
                f"{run['compile_seconds']:.1f}",
                None if seconds is None else f"{seconds:.3f}",
                None if seconds is None else f"{seconds / megapixels:.2f}",
                None if seconds is None or whole_seconds is None else f"{seconds / whole_seconds:.2f}",
                *(f"{run[kind] / MIB:,.0f}" for kind in ("temporary_bytes", "argument_bytes", "planned_bytes")),
                # The peak of a process that only compiled is not that of a step.
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
    for label in dict.fromkeys(map(label_of, runs)):
        labeled = [run for run in runs if label_of(run) == label]
        timed = [run for run in labeled if run["median_seconds"] is not None]
        left.loglog([run["size"] for run in timed], [run["median_seconds"] for run in timed], "o-", label=label)
        (line,) = right.loglog(
            [run["size"] for run in labeled], [run["temporary_bytes"] / MIB for run in labeled], "o-", label=label
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
        axes.set_xlabel("side of the square image, pixels")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    left.set_ylabel("seconds per step")
    right.set_ylabel("MiB: temporaries (lines), peak RAM (crosses)")
    figure.savefig(record.plot_path(name), dpi=120)


def window(text: str) -> int | None:
    """Parse `whole` or the side of a window."""
    if text == "whole":
        return None
    side = arguments.positive(text)
    if side < MIN_WINDOW:
        raise argparse.ArgumentTypeError(f"got {text}, expected whole or a side of at least {MIN_WINDOW}")
    return side


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("resolution", __doc__)
    parser.add_argument(
        "--sizes", type=arguments.positive, nargs="+", default=DEFAULT_SIZES, help="sides of the images in pixels"
    )
    parser.add_argument(
        "--compile",
        type=arguments.positive,
        nargs="*",
        default=DEFAULT_COMPILED_SIZES,
        help="sides that are only compiled",
    )
    parser.add_argument(
        "--windows", type=window, nargs="+", default=DEFAULT_WINDOWS, help="whole, or sides of windows in pixels"
    )
    parser.add_argument("--repeats", type=arguments.positive, default=5, help="timed steps (%(default)s)")
    parser.add_argument(
        "--limit", type=arguments.positive, default=120, help="seconds after which no further step starts"
    )
    options = parser.parse_args(argv)
    if not options.plot:
        arguments.check_sizes((*options.sizes, *options.compile), js.preset().objective.min_side)
        if None not in options.windows and min(options.windows) >= max((*options.sizes, *options.compile)):
            raise js.InputError("all windows are larger than the images, expected smaller windows or whole")
        measure(options)
    result = record.read(options.name)
    record.write_tables(options.name, [table(result)])
    plot(result, options.name)


if __name__ == "__main__":
    main()
