"""Tables and plot of `step`, from its JSON."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks import record

Run = dict[str, Any]


def limit(run: Run, peaks: Run) -> float:
    """Return the roofline: a lower bound for the seconds of direct convolution on this machine."""
    return max(run["flops"] / peaks["flops"], run["bytes"] / peaks["bytes"])


def seconds(result: Run) -> str:
    """Tabulate every contestant at every size."""
    header = (
        "side, pixels",
        "program",
        "median, ms",
        "ratio to torch eager",
        "ratio to torch compiled",
        "roofline, ms",
    )
    header = (*header, "roofline / median", "compile, s", "temporaries, MB", "process peak, MB")
    rows = []
    for run in result["runs"]:
        medians = {name: statistics.median(contestant["seconds"]) for name, contestant in run["contestants"].items()}
        for name, contestant in run["contestants"].items():
            precision = name.split()[1]
            roof = limit(run, result["peaks"][precision])
            peers = [medians.get(f"torch {precision} {kind}") for kind in ("eager", "compiled")]
            rows.append(
                (
                    run["size"],
                    name,
                    _milliseconds(medians[name]),
                    *(None if peer is None else f"{medians[name] / peer:.2f}" for peer in peers),
                    _milliseconds(roof),
                    f"{roof / medians[name]:.2f}",
                    _number(contestant.get("compile_seconds"), 1, 1),
                    _number(contestant.get("temporary_bytes"), 1e6, 0),
                    _number(contestant.get("peak_resident_bytes"), 1e6, 0),
                )
            )
    return record.table(header, rows)


def accuracy(result: Run) -> str:
    """Tabulate relative differences of the gradient from float64 over the images, and the loss after a whole run."""
    header = ("program", "noise, median", "noise, largest", "photo with noise, median", "photo with noise, largest")
    finals = {final["name"]: final for final in result["finals"]}
    rows = []
    for name in dict.fromkeys([row["name"] for row in result["accuracy"]] + list(finals)):
        errors = [
            [row["error"] for row in result["accuracy"] if (row["name"], row["picture"]) == (name, picture)]
            for picture in ("noise", "mixed")
        ]
        cells = [
            f"{reduce(values):.1e}" if values else None for values in errors for reduce in (statistics.median, max)
        ]
        final = finals.get(name)
        rows.append((name, *cells, None if final is None else f"{final['loss']:,.0f} after {final['steps']} steps"))
    return record.table((*header, "loss of the saved picture"), rows)


def write(name: str) -> None:
    """Write and print the tables of a result, and write its plot."""
    result = record.read(name)
    plot(result, record.plot_path(name))
    tables = [seconds(result)] + ([accuracy(result)] if result["accuracy"] or result["finals"] else [])
    record.write_tables(name, tables)
    print("\n".join(tables))


def plot(result: Run, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    names = dict.fromkeys(name for run in result["runs"] for name in run["contestants"])
    for name in names:
        runs = [run for run in result["runs"] if name in run["contestants"]]
        times = [1e9 * statistics.median(run["contestants"][name]["seconds"]) / run["size"] ** 2 for run in runs]
        axis.plot([run["size"] for run in runs], times, "o-", label=name)
    for precision, peaks in result["peaks"].items():
        roof = [1e9 * limit(run, peaks) / run["size"] ** 2 for run in result["runs"]]
        axis.plot([run["size"] for run in result["runs"]], roof, "k:", label=f"roofline of direct {precision}")
    sizes = [run["size"] for run in result["runs"]]
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, map(str, sizes))
    axis.set(xlabel="side, pixels", ylabel="ns per pixel", title=result["machine"]["device"], ylim=(0, None))
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def _number(value: float | None, unit: float, digits: int) -> str | None:
    return None if value is None else f"{value / unit:,.{digits}f}"
