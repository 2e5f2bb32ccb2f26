"""Tables and plots of `optimizers`, from its JSON. Ratios are averaged geometrically over pairs, sizes and starts."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks import record
from jaxstyle.errors import InputError

Run = dict[str, Any]
# The runs on the same pictures: optimizer to run.
Group = dict[str, Run]
OURS = "jaxstyle"
AFTER = (25, 50, 100, 200)
MEMORY = ("jaxstyle-memory-5", "jaxstyle", "jaxstyle-memory-20", "jaxstyle-memory-50")
EXPONENTS = ("jaxstyle-exponent-0", "jaxstyle-exponent-0.5", "jaxstyle", "jaxstyle-exponent-1.5", "jaxstyle-exponent-2")


def groups(result: dict[str, Any]) -> list[Group]:
    """The runs, those on the same pictures and from the same start together."""
    found: dict[tuple[Any, ...], Group] = {}
    for run in result["runs"]:
        group = found.setdefault(tuple(run[name] for name in ("pair", "size", "init")), {})
        group[run["optimizer"]] = run
    return list(found.values())


def names(result: dict[str, Any]) -> list[str]:
    """The contestants, in the order in which they ran."""
    return list(dict.fromkeys(run["optimizer"] for run in result["runs"]))


def reference(result: dict[str, Any]) -> str:
    """Whose final saved loss is 1 in the plots."""
    return result["reference"] if result["reference"] in names(result) else OURS


def geometric_mean(ratios: Iterable[float]) -> float | None:
    """None of nothing."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(statistics.fmean(logs)) if logs else None


def saved_ratios(result: dict[str, Any], name: str, base: str, mark: str) -> list[float]:
    """A contestant's saved loss after `mark` evaluations relative to another's, a group each."""
    return [
        group[name]["saved"][mark] / group[base]["saved"][mark]
        for group in groups(result)
        if name in group and base in group and mark in group[name]["saved"] and mark in group[base]["saved"]
    ]


def common_mark(result: dict[str, Any]) -> str:
    """The last evaluation after which the saved picture of every run was judged."""
    shared = set.intersection(*(set(run["saved"]) for run in result["runs"]))
    if not shared:
        raise InputError("no evaluation at which all runs were judged, expected runs of 10 evaluations or more")
    return max(shared, key=int)


def numbers(text: str) -> list[float]:
    """Losses or seconds, as a run keeps them: in one text."""
    return [float(number) for number in text.split()]


def diverged(run: Run) -> bool:
    """Whether a run ends above its beginning, or nowhere."""
    losses = numbers(run["losses"])
    return not math.isfinite(losses[-1]) or losses[-1] > losses[0]


def seconds(run: Run, evaluation: int | None = None) -> float:
    """Since the run's start, at the end of an evaluation, or of the last one."""
    ends = numbers(run["seconds"])
    # Kept to the millisecond; a ratio needs more than zero.
    return max(ends[-1 if evaluation is None else min(evaluation, len(ends)) - 1], 0.0005)


def pace(run: Run) -> float:
    """Seconds an evaluation."""
    return seconds(run) / len(numbers(run["seconds"]))


def evaluations_table(result: dict[str, Any], target: str) -> str:
    """Evaluations until a contestant reaches the reference's loss, relative to the reference's evaluations."""
    columns = sorted({(run["init"], run["size"]) for run in result["runs"]})
    rows = []
    for name in names(result):
        runs = [run for run in result["runs"] if run["optimizer"] == name and target in run["reached"]]
        if runs:
            cells = [
                _share([run for run in runs if (run["init"], run["size"]) == column], target) for column in columns
            ]
            worst = max((run["reached"][target] or math.inf) / run["reached"]["evaluations"] for run in runs)
            missed = sum(run["reached"][target] is None for run in runs)
            rows.append((name, *cells, _share(runs, target), _number(worst), f"{missed} of {len(runs)}"))
    header = ("optimizer", *(f"{init} {size}" for init, size in columns), "all", "worst", "not reached")
    return record.table(header, rows)


def _share(runs: Sequence[Run], target: str) -> str | None:
    """Mean share of the reference's evaluations; a run that never got there counts all of its own: a bound."""
    mean = geometric_mean(
        (run["reached"][target] or run["evaluations"]) / run["reached"]["evaluations"] for run in runs
    )
    missed = any(run["reached"][target] is None for run in runs)
    return None if mean is None else f"{'> ' if missed else ''}{mean:.3g}"


def losses_table(result: dict[str, Any]) -> str:
    """Saved loss relative to ours after as many evaluations, and how the runs went; the best first."""
    rows, last = [], common_mark(result)
    for name in ranking(result):
        runs = [run for run in result["runs"] if run["optimizer"] == name]
        paces = [pace(group[name]) / pace(group[OURS]) for group in groups(result) if name in group and OURS in group]
        rows.append(
            (
                name,
                *(_number(geometric_mean(saved_ratios(result, name, OURS, str(mark)))) for mark in AFTER),
                _number(max(saved_ratios(result, name, OURS, last), default=None)),
                _number(statistics.median(paces)),
                f"{sum(map(diverged, runs))} of {len(runs)}",
                sum(bool(run["stopped"]) for run in runs),
            )
        )
    header = (
        "optimizer",
        *(f"after {mark}" for mark in AFTER),
        f"worst after {last}",
        "seconds an evaluation",
        "diverged",
        "stopped early",
    )
    return record.table(header, rows)


def ranking(result: dict[str, Any]) -> list[str]:
    """The contestants by their saved loss where the shortest run ends, relative to ours; the best first."""
    last = common_mark(result)
    scores = {name: geometric_mean(saved_ratios(result, name, OURS, last)) for name in names(result)}
    return sorted((name for name in scores if scores[name] is not None), key=lambda name: scores[name] or 0.0)


def kendall(first: Sequence[str], second: Sequence[str]) -> float:
    """Kendall's rank correlation of two orders of the same names: 1 the same, -1 the reverse."""
    place = {name: i for i, name in enumerate(second)}
    pairs = [(a, b) for i, a in enumerate(first) for b in first[i + 1 :]]
    return sum(1 if place[a] < place[b] else -1 for a, b in pairs) / len(pairs) if pairs else 1.0


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Whether two results rank the contestants that they share alike, as a table and a sentence."""
    orders = ranking(first), ranking(second)
    shared = [[name for name in order if name in orders[0] and name in orders[1]] for order in orders]
    cells = (
        [f"{name} ({_number(geometric_mean(saved_ratios(result, name, OURS, common_mark(result))))})" for name in order]
        for result, order in zip((first, second), shared, strict=True)
    )
    rows = [(i, *row) for i, row in enumerate(zip(*cells, strict=True), 1)]
    verdict = "the same order" if shared[0] == shared[1] else "different orders"
    correlation = f"Kendall's rank correlation {kendall(*shared):.2f} over {len(shared[0])} contestants: {verdict}"
    return f"{record.table(('place', 'first', 'second'), rows)}\n{correlation}"


def curve(
    result: dict[str, Any], name: str, init: str, x: Callable[[Run, Run, int], float], among: Sequence[str] = ()
) -> list[tuple[float, float]]:
    """Saved loss relative to the reference's final one, against `x(run, reference, evaluation)`.

    Over the pictures that all of `among` ran on, so that their curves compare.
    """
    base = reference(result)
    points: dict[int, list[tuple[float, float]]] = {}
    for group in groups(result):
        if {name, base, *among} <= group.keys() and group[name]["init"] == init:
            run, other = group[name], group[base]
            for mark, loss in run["saved"].items():
                ratio = loss / other["saved"][str(other["evaluations"])]
                points.setdefault(int(mark), []).append((x(run, other, int(mark)), ratio))
    means = [tuple(geometric_mean(values) for values in zip(*points[mark], strict=True)) for mark in sorted(points)]
    return [(across or 0.0, up or 0.0) for across, up in means]


def plot(result: dict[str, Any], path: Any, which: Sequence[str], label: str, x: Callable[[Run, Run, int], float]):
    """One panel for each start, one curve for each contestant."""
    from matplotlib.figure import Figure

    inits = sorted({run["init"] for run in result["runs"]})
    figure = Figure(figsize=(5.5 * len(inits) + 2, 4.6), layout="constrained")
    panels = figure.subplots(1, len(inits), squeeze=False, sharey=True)[0]
    for axes, init in zip(panels, inits, strict=True):
        present = {run["optimizer"] for run in result["runs"] if run["init"] == init}
        for i, name in enumerate(which):
            if points := curve(result, name, init, x, [each for each in which if each in present]):
                style = {"color": "black", "linewidth": 2.5} if name == OURS else {"color": f"C{i % 10}"}
                line = "--" if i >= 10 else "-"
                axes.semilogy(*zip(*points, strict=True), f"o{line}", markersize=3, label=name, **style)
        axes.axhline(1, color="gray", linewidth=0.7)
        axes.set(xlabel=label, title=f"from {'the content (ours: and a mosaic)' if init == 'content' else init}")
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel(f"loss of the saved picture / {reference(result)}'s final one")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        panels[-1].legend(
            list(handles.values()), list(handles), loc="upper left", bbox_to_anchor=(1, 1), fontsize="small"
        )
    figure.savefig(path, dpi=120)


def report(name: str) -> None:
    """Write all of them."""
    result = record.read(name)
    base = result["reference"]
    tables = [f"Saved loss relative to {OURS}'s after as many evaluations.\n", losses_table(result)]
    for target, words in (("saved", "saved picture's loss"), ("unclamped", "best evaluated loss, outside [0, 1] too")):
        title = (
            f"Evaluations until the saved picture reaches {base}'s final {words}, divided by {base}'s evaluations. "
            "Above a number (>) where some runs never do."
        )
        tables += [f"{title}\n", evaluations_table(result, target)]
    record.write_tables(name, tables)
    everyone = [each for each in names(result) if each == OURS or each not in (*MEMORY, *EXPONENTS)]
    evaluations, relative = "evaluations", f"seconds / all of {reference(result)}'s"
    for kind, which, label, x in (
        ("evaluations", everyone, evaluations, lambda run, other, mark: mark),
        ("seconds", everyone, relative, lambda run, other, mark: seconds(run, mark) / seconds(other)),
        ("memory", MEMORY, evaluations, lambda run, other, mark: mark),
        ("exponents", EXPONENTS, evaluations, lambda run, other, mark: mark),
    ):
        plot(result, record.plot_path(f"{name}_{kind}"), which, label, x)


def _number(value: float | None) -> str | None:
    return None if value is None or math.isinf(value) else f"{value:.3g}"
