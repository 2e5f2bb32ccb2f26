"""Time and memory of one step, evaluated whole, against the size of the picture.

Square pictures; a process of its own for each size, so that its peak of memory is its own. Temporaries and arguments
are what XLA says that the compiled step needs; peak RAM is what the whole process used, Python, compiler and weights
included. Seconds are the median after one step of warm-up, compiling apart.

    python -m benchmarks resolution --sizes 128 256 512
"""

from typing import Any

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.record import MIB
from benchmarks.worker import Worker


def measure(sizes: list[int], repeats: int, name: str) -> None:
    result: dict[str, Any] = {"question": "time and memory of one step by the size of the picture", "runs": []}
    for size in sizes:
        with Worker("resolution_worker", {"size": size, "repeats": repeats}) as worker:
            run = worker.answer["measured"]
            # From a worker: this process must not take the accelerator.
            result["machine"] = worker.answer["machine"]
        result["runs"].append(run)
        record.write(name, result)
        needs = (run["temporary_bytes"] + run["argument_bytes"]) / MIB
        print(f"{size:5d}  {run['median_seconds']:8.3f} s  {needs:8.0f} MiB", flush=True)


def table(result: dict[str, Any]) -> str:
    header = (
        "size",
        "compile, s",
        "one step, s",
        "s a megapixel",
        "temporaries, MiB",
        "MiB a megapixel",
        "arguments, MiB",
        "peak RAM, MiB",
        "peak device memory, MiB",
    )
    rows = []
    for run in result["runs"]:
        megapixels, device = run["size"] ** 2 / 1e6, run["peak_device_bytes"]
        temporaries = run["temporary_bytes"] / MIB
        rows.append(
            (
                f"{run['size']} x {run['size']}",
                f"{run['compile_seconds']:.1f}",
                f"{run['median_seconds']:.3f}",
                f"{run['median_seconds'] / megapixels:.2f}",
                f"{temporaries:,.0f}",
                f"{temporaries / megapixels:,.0f}",
                f"{run['argument_bytes'] / MIB:,.0f}",
                f"{run['peak_resident_bytes'] / MIB:,.0f}",
                None if device is None else f"{device / MIB:,.0f}",
            )
        )
    return record.table(header, rows)


def plot(result: dict[str, Any], name: str) -> None:
    from matplotlib.figure import Figure

    runs = result["runs"]
    sizes = [run["size"] for run in runs]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(sizes, [run["median_seconds"] for run in runs], "o-", label="measured")
    for label, kind in (("XLA: temporaries", "temporary_bytes"), ("process: peak RAM", "peak_resident_bytes")):
        right.loglog(sizes, [run[kind] / MIB for run in runs], "o-", label=label)
    first = runs[0]
    for axes, value in ((left, first["median_seconds"]), (right, first["temporary_bytes"] / MIB)):
        proportional = [value * (size / first["size"]) ** 2 for size in sizes]
        axes.loglog(sizes, proportional, "--", color="grey", linewidth=0.8, label="proportional to pixels")
        axes.set_xticks(sizes, [str(size) for size in sizes], rotation=45)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("side of the square picture, pixels")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    left.set_ylabel("seconds a step")
    right.set_ylabel("MiB")
    figure.savefig(record.plot_path(name), dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("resolution", __doc__)
    sizes = [128, 192, 256, 384, 512, 768, 1024]
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=sizes, help="sides in pixels")
    parser.add_argument("--repeats", type=arguments.positive, default=5, help="steps to time (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        if min(options.sizes) < (smallest := js.preset().objective.smallest):
            raise js.InputError(f"got a size of {min(options.sizes)}, expected at least {smallest} pixels")
        measure(options.sizes, options.repeats, options.name)
    result = record.read(options.name)
    record.write_tables(options.name, [table(result)])
    plot(result, options.name)


if __name__ == "__main__":
    main()
