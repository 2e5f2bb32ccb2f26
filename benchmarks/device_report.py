"""Tables and plot of `device`, from its JSON."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks import record, step_report

Run = dict[str, Any]


def write(name: str) -> None:
    """Write and print the tables of a result, and write its plot."""
    result = record.read(name)
    plot(result, record.plot_path(name))
    text = "\n".join(tables(result))
    record.write_tables(name, [text])
    print(text)


def tables(result: Run) -> list[str]:
    """Return all tables, and what there was no time for."""
    texts = [seconds(result)]
    texts += [accuracy(result)] if result["accuracy"] else []
    texts += [whole_runs(result)] if result["whole_runs"] else []
    return texts + ([f"No time was left for: {', '.join(result['left_out'])}.\n"] if result["left_out"] else [])


def seconds(result: Run) -> str:
    """Tabulate every contestant at every size; the best of PyTorch is that of the same precision."""
    header = (
        "side, pixels",
        "program",
        "median, ms",
        "of the best torch",
        "roofline / median",
        "compile, s",
        "memory, MB",
    )
    rows = []
    for run in result["runs"]:
        medians = {
            name: statistics.median(contestant["seconds"])
            for name, contestant in run["contestants"].items()
            if "seconds" in contestant
        }
        for name, contestant in run["contestants"].items():
            precision = name.split()[1]
            peers = [value for peer, value in medians.items() if peer.startswith(f"torch {precision} ")]
            median = medians.get(name)
            memory = contestant.get("temporary_bytes", contestant.get("peak_device_bytes"))
            rows.append(
                (
                    run["size"],
                    name,
                    "failed" if median is None else f"{1e3 * median:.3g}",
                    None if median is None or not peers else f"{median / min(peers):.2f}",
                    None
                    if median is None or precision not in result["peaks"]
                    else f"{step_report.limit(run, result['peaks'][precision]) / median:.2f}",
                    None if "compile_seconds" not in contestant else f"{contestant['compile_seconds']:.1f}",
                    None if memory is None else f"{memory / 1e6:,.0f}",
                )
            )
    return record.table(header, rows)


def accuracy(result: Run) -> str:
    """Tabulate the relative errors from float64."""
    header = ("precision", "picture", "value", "gradient", "1 - cosine")
    return record.table(
        header,
        [
            (
                row["precision"],
                {"noise": "noise", "mixed": "photo with noise"}[picture],
                f"{row[f'{picture}_value']:.1e}",
                f"{row[f'{picture}_gradient']:.1e}",
                f"{1 - row[f'{picture}_cosine']:.1e}",
            )
            for row in result["accuracy"]
            for picture in ("noise", "mixed")
        ],
    )


def whole_runs(result: Run) -> str:
    """Tabulate the seconds of whole runs."""
    header = ("run", "precision", "side, pixels", "evaluations", "seconds", "first time, s", "loss in float32")
    return record.table(
        header,
        [
            (
                run["name"],
                run["precision"],
                run["size"],
                run["evaluations"],
                f"{run['seconds']:.2f}",
                f"{run['first_seconds']:.1f}",
                None if "loss" not in run else f"{run['loss']:,.0f}",
            )
            for run in result["whole_runs"]
        ],
    )


def plot(result: Run, path: Path) -> None:
    """Plot the time per pixel of each program against the size."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    runs = sorted(result["runs"], key=lambda run: run["size"])
    names = dict.fromkeys(name for run in runs for name, row in run["contestants"].items() if "seconds" in row)
    for name in names:
        points = [
            (run["size"], 1e9 * statistics.median(run["contestants"][name]["seconds"]) / run["size"] ** 2)
            for run in runs
            if "seconds" in run["contestants"].get(name, {})
        ]
        axis.plot(*zip(*points, strict=True), "o-" if name.startswith("jaxstyle") else "x--", label=name)
    sizes = [run["size"] for run in runs]
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sizes, map(str, sizes))
    axis.set(xlabel="side, pixels", ylabel="ns per pixel", title=result["machine"]["device"])
    if names:
        axis.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)
