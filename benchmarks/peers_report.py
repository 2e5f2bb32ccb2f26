"""Table and plot of `peers`, from its JSON."""

from typing import Any

from benchmarks import record
from benchmarks.record import MIB


def programs(result: dict[str, Any]) -> str:
    """What each program needs and how good its saved picture becomes."""
    header = (
        "long side",
        "program",
        "start-up, s",
        "compile, s",
        "one evaluation, s",
        "evaluations",
        "all of them, s",
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
                    # Where nothing is compiled ahead, what the first call cost more than the others.
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
    """When jaxstyle's saved picture is as good as the other program's final one; a ratio below 1 is faster.

    "Undisturbed" takes the evaluations of both at the time of their fastest tenth.
    """
    header = (
        "long side",
        "peer",
        "its final loss",
        "its seconds",
        "reached after evaluation",
        "seconds",
        "ratio",
        "ratio with compiling",
        "ratio with compiling and both start-ups",
        "ratio undisturbed",
        "processors busy elsewhere",
    )
    rows = []
    for run in result["runs"]:
        for name, found in run["reached"].items():
            ratio = [found[f"ratio{kind}"] for kind in ("", "_with_compile", "_with_start_up", "_undisturbed")]
            foreign = run["foreign_cpu_share"]
            rows.append(
                (
                    run["size"],
                    name,
                    f"{found['peer_loss']:,.0f}",
                    f"{found['peer_seconds']:.1f}",
                    found["evaluation"] or "not reached",
                    None if found["seconds"] is None else f"{found['seconds']:.1f}",
                    *(None if value is None else f"{value:.2f}" for value in ratio),
                    None if foreign is None else f"{foreign:.0%}",
                )
            )
    return record.table(header, rows)


def plot(result: dict[str, Any], name: str) -> None:
    """Loss of the saved picture against seconds of work, compiling included and start-up not."""
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
        axes.set(xlabel="seconds, compiling included", ylabel="loss of the saved picture", title=f"{width} x {height}")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(record.plot_path(name), dpi=120)


def report(name: str) -> None:
    """Write both."""
    result = record.read(name)
    record.write_tables(name, (programs(result), ratios(result)))
    plot(result, name)
