"""Tables and plots of `optimizers`, from its JSON. Ratios are averaged by geometric means."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks import record
from jaxstyle.errors import InputError

Run = dict[str, Any]
# Runs on the same images from the same start, by optimizer.
Group = dict[str, Run]
OURS = "jaxstyle"
TABLE_EVALUATIONS = (25, 50, 100, 200)
HISTORY_SIZES = ("jaxstyle-memory-5", "jaxstyle", "jaxstyle-memory-20", "jaxstyle-memory-50")
EXPONENTS = ("jaxstyle-exponent-0", "jaxstyle-exponent-0.5", "jaxstyle", "jaxstyle-exponent-1.5", "jaxstyle-exponent-2")


def groups(result: dict[str, Any]) -> list[Group]:
    """Group the runs by images and start."""
    by_images: dict[tuple[Any, ...], Group] = {}
    for run in result["runs"]:
        group = by_images.setdefault(tuple(run[name] for name in ("pair", "size", "init")), {})
        group[run["optimizer"]] = run
    return list(by_images.values())


def names(result: dict[str, Any]) -> list[str]:
    """Return the names of the contestants in the order of their runs."""
    return list(dict.fromkeys(run["optimizer"] for run in result["runs"]))


def reference(result: dict[str, Any]) -> str:
    """Return the contestant whose final saved loss is 1 in the plots."""
    return result["reference"] if result["reference"] in names(result) else OURS


def geometric_mean(ratios: Iterable[float]) -> float | None:
    """Return the geometric mean, or None if there are no ratios."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(statistics.fmean(logs)) if logs else None


def saved_ratios(result: dict[str, Any], name: str, base: str, mark: str) -> list[float]:
    """Return a contestant's saved loss after `mark` evaluations relative to that of `base`, for each group."""
    return [
        group[name]["saved"][mark] / group[base]["saved"][mark]
        for group in groups(result)
        if name in group and base in group and mark in group[name]["saved"] and mark in group[base]["saved"]
    ]


def common_mark(result: dict[str, Any]) -> str:
    """Return the last evaluation at which every run has a saved loss."""
    shared = set.intersection(*(set(run["saved"]) for run in result["runs"]))
    if not shared:
        raise InputError(
            "the runs have no common evaluation with a saved loss, expected runs of 10 evaluations or more"
        )
    return max(shared, key=int)


def numbers(text: str) -> list[float]:
    """Parse losses or seconds, which a run stores as one string."""
    return [float(number) for number in text.split()]


def diverged(run: Run) -> bool:
    """Return True if the last loss is not finite or above the first."""
    losses = numbers(run["losses"])
    return not math.isfinite(losses[-1]) or losses[-1] > losses[0]


def seconds(run: Run, evaluation: int | None = None) -> float:
    """Return the time from the start of the run to the end of an evaluation (default: the last)."""
    ends = numbers(run["seconds"])
    # Stored with millisecond precision; positive, because ratios divide by it.
    return max(ends[-1 if evaluation is None else min(evaluation, len(ends)) - 1], 0.0005)


def seconds_per_evaluation(run: Run) -> float:
    """Return the mean time of an evaluation."""
    return seconds(run) / len(numbers(run["seconds"]))


def evaluations_table(result: dict[str, Any], target: str) -> str:
    """Tabulate the evaluations until the reference's loss is reached, relative to the reference's evaluations."""
    columns = sorted({(run["init"], run["size"]) for run in result["runs"]})
    rows = []
    for name in names(result):
        runs = [run for run in result["runs"] if run["optimizer"] == name and target in run["reached"]]
        if runs:
            cells = [
                _mean_share([run for run in runs if (run["init"], run["size"]) == column], target) for column in columns
            ]
            worst = max((run["reached"][target] or math.inf) / run["reached"]["evaluations"] for run in runs)
            missed = sum(run["reached"][target] is None for run in runs)
            rows.append((name, *cells, _mean_share(runs, target), _number(worst), f"{missed} of {len(runs)}"))
    header = ("optimizer", *(f"{init} {size}" for init, size in columns), "all", "worst", "not reached")
    return record.table(header, rows)


def _mean_share(runs: Sequence[Run], target: str) -> str | None:
    """Return the mean share of the reference's evaluations, a lower bound if a run does not reach the loss."""
    mean = geometric_mean(
        (run["reached"][target] or run["evaluations"]) / run["reached"]["evaluations"] for run in runs
    )
    missed = any(run["reached"][target] is None for run in runs)
    return None if mean is None else f"{'> ' if missed else ''}{mean:.3g}"


def losses_table(result: dict[str, Any]) -> str:
    """Tabulate saved losses relative to ours after the same number of evaluations; the best first."""
    rows, last = [], common_mark(result)
    for name in ranking(result):
        runs = [run for run in result["runs"] if run["optimizer"] == name]
        relative_times = [
            seconds_per_evaluation(group[name]) / seconds_per_evaluation(group[OURS])
            for group in groups(result)
            if name in group and OURS in group
        ]
        rows.append(
            (
                name,
                *(_number(geometric_mean(saved_ratios(result, name, OURS, str(mark)))) for mark in TABLE_EVALUATIONS),
                _number(max(saved_ratios(result, name, OURS, last), default=None)),
                _number(statistics.median(relative_times)),
                f"{sum(map(diverged, runs))} of {len(runs)}",
                sum(bool(run["stopped"]) for run in runs),
            )
        )
    header = (
        "optimizer",
        *(f"after {mark}" for mark in TABLE_EVALUATIONS),
        f"worst after {last}",
        "relative time per evaluation",
        "diverged",
        "stopped early",
    )
    return record.table(header, rows)


def ranking(result: dict[str, Any]) -> list[str]:
    """Rank the contestants by their saved loss at the end of the shortest run, relative to ours; the best first."""
    last = common_mark(result)
    scores = {name: geometric_mean(saved_ratios(result, name, OURS, last)) for name in names(result)}
    return sorted((name for name in scores if scores[name] is not None), key=lambda name: scores[name] or 0.0)


def kendall(first: Sequence[str], second: Sequence[str]) -> float:
    """Compute Kendall's rank correlation of two orders of the same names: 1 if equal, -1 if reversed."""
    rank = {name: i for i, name in enumerate(second)}
    pairs = [(a, b) for i, a in enumerate(first) for b in first[i + 1 :]]
    return sum(1 if rank[a] < rank[b] else -1 for a, b in pairs) / len(pairs) if pairs else 1.0


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Compare the rankings of the contestants that two results share, as a table and a sentence."""
    orders = ranking(first), ranking(second)
    shared = [[name for name in order if name in orders[0] and name in orders[1]] for order in orders]
    cells = (
        [f"{name} ({_number(geometric_mean(saved_ratios(result, name, OURS, common_mark(result))))})" for name in order]
        for result, order in zip((first, second), shared, strict=True)
    )
    rows = [(i, *row) for i, row in enumerate(zip(*cells, strict=True), 1)]
    verdict = "the same order" if shared[0] == shared[1] else "different orders"
    correlation = f"Kendall's rank correlation {kendall(*shared):.2f} over {len(shared[0])} contestants: {verdict}"
    return f"{record.table(('rank', 'first', 'second'), rows)}\n{correlation}"


def curve(
    result: dict[str, Any], name: str, init: str, x: Callable[[Run, Run, int], float], required: Sequence[str] = ()
) -> list[tuple[float, float]]:
    """Return points of `x(run, reference, evaluation)` and the saved loss relative to the reference's final one.

    Only groups with runs of all of `required` are used, so that their curves are comparable.
    """
    base = reference(result)
    points: dict[int, list[tuple[float, float]]] = {}
    for group in groups(result):
        if {name, base, *required} <= group.keys() and group[name]["init"] == init:
            run, base_run = group[name], group[base]
            for mark, loss in run["saved"].items():
                ratio = loss / base_run["saved"][str(base_run["evaluations"])]
                points.setdefault(int(mark), []).append((x(run, base_run, int(mark)), ratio))
    means = [tuple(geometric_mean(values) for values in zip(*points[mark], strict=True)) for mark in sorted(points)]
    return [(x_mean or 0.0, ratio or 0.0) for x_mean, ratio in means]


def plot(result: dict[str, Any], path: Any, optimizers: Sequence[str], label: str, x: Callable[[Run, Run, int], float]):
    """Plot one panel per start and one curve per contestant."""
    from matplotlib.figure import Figure

    inits = sorted({run["init"] for run in result["runs"]})
    figure = Figure(figsize=(5.5 * len(inits) + 2, 4.6), layout="constrained")
    panels = figure.subplots(1, len(inits), squeeze=False, sharey=True)[0]
    for axes, init in zip(panels, inits, strict=True):
        present = {run["optimizer"] for run in result["runs"] if run["init"] == init}
        for i, name in enumerate(optimizers):
            if points := curve(result, name, init, x, [other for other in optimizers if other in present]):
                style = {"color": "black", "linewidth": 2.5} if name == OURS else {"color": f"C{i % 10}"}
                line = "--" if i >= 10 else "-"
                axes.semilogy(*zip(*points, strict=True), f"o{line}", markersize=3, label=name, **style)
        axes.axhline(1, color="gray", linewidth=0.7)
        axes.set(xlabel=label, title=f"from {'the content (ours with a mosaic)' if init == 'content' else init}")
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel(f"loss of the saved picture / {reference(result)}'s final saved loss")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        panels[-1].legend(
            list(handles.values()), list(handles), loc="upper left", bbox_to_anchor=(1, 1), fontsize="small"
        )
    figure.savefig(path, dpi=120)


def report(name: str) -> None:
    """Write all tables and plots of a result."""
    result = record.read(name)
    base = result["reference"]
    tables = [f"Saved loss relative to {OURS}'s after the same number of evaluations.\n", losses_table(result)]
    for target, description in (
        ("saved", "final saved loss"),
        ("unclamped", "best evaluated loss (pixels not clipped)"),
    ):
        title = (
            f"Evaluations until the saved loss reaches {base}'s {description}, divided by {base}'s evaluations. "
            "A lower bound (>) if some runs do not reach it."
        )
        tables += [f"{title}\n", evaluations_table(result, target)]
    record.write_tables(name, tables)
    main_optimizers = [name for name in names(result) if name == OURS or name not in (*HISTORY_SIZES, *EXPONENTS)]
    evaluations, relative = "evaluations", f"seconds / {reference(result)}'s total"
    for kind, optimizers, label, x in (
        ("evaluations", main_optimizers, evaluations, lambda run, base_run, mark: mark),
        ("seconds", main_optimizers, relative, lambda run, base_run, mark: seconds(run, mark) / seconds(base_run)),
        ("memory", HISTORY_SIZES, evaluations, lambda run, base_run, mark: mark),
        ("exponents", EXPONENTS, evaluations, lambda run, base_run, mark: mark),
    ):
        plot(result, record.plot_path(f"{name}_{kind}"), optimizers, label, x)


def _number(value: float | None) -> str | None:
    return None if value is None or math.isinf(value) else f"{value:.3g}"
