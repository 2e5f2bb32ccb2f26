"""Tables and plot of `peers`, from its JSON."""

from typing import Any

from benchmarks import record
from benchmarks.record import MIB


def programs(result: dict[str, Any]) -> str:
    """Tabulate time, memory and final saved loss of each program."""
    header = (
        "long side",
        "program",
        "start-up, s",
        "compile, s",
        "seconds per evaluation",
        "evaluations",
        "total, s",
        "peak RAM, MiB",
        "peak device memory, MiB",
        "loss of the saved picture",
    )
    rows = []
    for run in result["runs"]:
        for name, program in run["programs"].items():
            device, saved = program["peak_device_bytes"], program["saved"]
            rows.append(
                (
                    run["size"],
                    name,
                    f"{program['start_up_seconds']:.1f}",
                    # Without compilation in advance: the extra time of the first evaluation.
                    f"{program['compile_seconds'] or program['first_call_extra_seconds']:.1f}",
                    f"{program['median_seconds']:.3f}",
                    len(program["seconds"]),
                    f"{program['total_seconds']:.1f}",
                    f"{program['peak_resident_bytes'] / MIB:,.0f}",
                    None if device is None else f"{device / MIB:,.0f}",
                    f"{list(saved.values())[-1]:,.0f}",
                )
            )
    return record.table(header, rows)


def ratios(result: dict[str, Any]) -> str:
    """Tabulate the time until jaxstyle's saved picture is as good as the peer's final one; below 1, jaxstyle is faster.

    "Undisturbed" assumes for each evaluation the 10 % quantile of the program's times.
    """
    header = (
        "long side",
        "peer",
        "peer's final loss",
        "peer's seconds",
        "reached after evaluation",
        "seconds",
        "ratio",
        "ratio with compilation",
        "ratio with compilation and start-up",
        "ratio undisturbed",
        "processor time of other programs",
    )
    rows = []
    for run in result["runs"]:
        for name, times in run["reached"].items():
            ratios_ = [times[f"ratio{kind}"] for kind in ("", "_with_compile", "_with_start_up", "_undisturbed")]
            other_cpu_share = run["foreign_cpu_share"]
            rows.append(
                (
                    run["size"],
                    name,
                    f"{times['peer_loss']:,.0f}",
                    f"{times['peer_seconds']:.1f}",
                    times["evaluation"] or "not reached",
                    None if times["seconds"] is None else f"{times['seconds']:.1f}",
                    *(None if value is None else f"{value:.2f}" for value in ratios_),
                    None if other_cpu_share is None else f"{other_cpu_share:.0%}",
                )
            )
    return record.table(header, rows)


def plot(result: dict[str, Any], name: str) -> None:
    """Plot the saved loss against seconds, including compilation but not start-up."""
    from matplotlib.figure import Figure

    runs = result["runs"]
    figure = Figure(figsize=(5.5 * len(runs), 4.2), layout="constrained")
    panels = figure.subplots(1, len(runs), squeeze=False)[0]
    for axes, run in zip(panels, runs, strict=True):
        for i, (program, measured) in enumerate(run["programs"].items()):
            saved = measured["saved"]
            seconds = [measured["compile_seconds"] + sum(measured["seconds"][: int(k)]) for k in saved]
            axes.loglog(seconds, list(saved.values()), "o-", markersize=3, color=f"C{i}", label=program)
            if program in run["reached"]:
                axes.axhline(run["reached"][program]["peer_loss"], color=f"C{i}", linewidth=0.7, linestyle=":")
        height, width, _ = run["shapes"]["content"]
        axes.set(
            xlabel="seconds, including compilation", ylabel="loss of the saved picture", title=f"{width} x {height}"
        )
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(record.plot_path(name), dpi=120)


def report(name: str) -> None:
    """Write tables and plot of a result."""
    result = record.read(name)
    record.write_tables(name, (programs(result), ratios(result)))
    plot(result, name)
