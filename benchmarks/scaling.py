"""One picture over more and more devices: what each computes, holds, and sends to the others in a step.

Strong scaling divides one picture among more devices; weak scaling gives each device as many pixels as before. On CPUs
the devices are fake ones, which share the cores, so nothing is timed: operations, bytes of memory and bytes sent are
those of the program that XLA compiles for one of the devices. On GPUs and TPUs the same script measures seconds too.

    python -m benchmarks scaling
"""

import argparse
import os
import statistics
import time
from typing import Any

import jax
import numpy as np

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.collectives import collectives, lowered
from jaxstyle.minimize.loop import Problem, run
from jaxstyle.objective.base import broadcast_weights

MESHES = ((1, 1), (2, 1), (2, 2), (4, 2))
# Pixels a side of one device's part: of the largest mesh where it is strong, of each where it is weak.
STRONG = 1024
WEAK = 512
Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    result: Run = {"question": "what each of several devices computes, holds and sends", "runs": []}
    result["machine"] = record.machine()
    for kind, (rows, columns) in ((kind, mesh) for kind in ("strong", "weak") for mesh in MESHES):
        if rows * columns > jax.device_count():
            continue
        size = (STRONG, STRONG) if kind == "strong" else (WEAK * rows, WEAK * columns)
        result["runs"].append({"kind": kind, **measured(rows, columns, *size, options.repeats)})
        record.write(options.name, result)
        print(f"{kind} {rows}x{columns}: {size[1]}x{size[0]}", flush=True)


def measured(rows: int, columns: int, height: int, width: int, repeats: int) -> Run:
    """One mesh and size."""
    mesh, optimizer = js.make_mesh(rows, columns), js.lbfgs(precondition="pyramid")
    program = lowered(height, width, js.Objective(), optimizer, mesh).compile()
    memory = program.memory_analysis()
    alone = jax.devices()[0].platform == "cpu"
    return {
        "rows": rows,
        "columns": columns,
        "height": height,
        "width": width,
        "flops": program.cost_analysis().get("flops"),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": collectives(program.as_text()),
        "median_seconds": None if alone else seconds_a_step(mesh, optimizer, height, width, repeats),
    }


def seconds_a_step(mesh: Any, optimizer: Any, height: int, width: int, repeats: int) -> float:
    """Median of a step, after a loop of them as warm-up; ten in each loop."""
    objective = js.on_mesh(js.Objective(), mesh)
    photo, painting = (js.shard(js.white_noise(seed, height, width), mesh, objective) for seed in (1, 2))
    params, weights = js.replicated((js.load_params(), broadcast_weights(js.LossWeights(), objective)), mesh)
    targets = js.whiten(js.make_targets(params, photo, [painting], objective))
    problem = Problem(params, targets, weights, objective, optimizer)
    state, found = js.init(jax.numpy.asarray(photo.pixels), *problem), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        state, _rows = run(state, *problem, np.int32(10))
        jax.block_until_ready(state)
        found.append((time.perf_counter() - start) / 10)
    return statistics.median(found[1:])


def table(result: Run) -> str:
    header = ("scaling", "devices", "picture", "TFLOP a device", "of one device's", "temporaries, MB", "arguments, MB")
    header = (*header, "sent in permutes, MB", "in all-reduces, MB", "otherwise", "a step, s")
    rows, first = [], {}
    for run_ in result["runs"]:
        count, sent = run_["rows"] * run_["columns"], run_["collectives"]
        whole = first.setdefault(run_["kind"], run_["flops"])
        others = sum(each["bytes"] for kind, each in sent.items() if kind not in ("collective-permute", "all-reduce"))
        seconds = run_["median_seconds"]
        rows.append(
            (
                run_["kind"],
                f"{count} ({run_['rows']}x{run_['columns']})",
                f"{run_['width']}x{run_['height']}",
                f"{run_['flops'] / 1e12:.3f}",
                f"{run_['flops'] / whole:.3f}",
                f"{run_['temporary_bytes'] / 1e6:.0f}",
                f"{run_['argument_bytes'] / 1e6:.0f}",
                *(
                    f"{sent.get(kind, {'bytes': 0})['bytes'] / 1e6:.2f}"
                    for kind in ("collective-permute", "all-reduce")
                ),
                f"{others} bytes",
                None if seconds is None else f"{seconds:.3f}",
            )
        )
    return record.table(header, rows)


def plot(result: Run, path: Any) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, kind in zip(axes, ("strong", "weak"), strict=True):
        runs = [each for each in result["runs"] if each["kind"] == kind]
        counts = [each["rows"] * each["columns"] for each in runs]
        sent = [sum(one["bytes"] for one in each["collectives"].values()) / 1e6 for each in runs]
        axis.plot(counts, [each["flops"] / runs[0]["flops"] for each in runs], "o-", label="operations a device")
        held = [each["temporary_bytes"] + each["argument_bytes"] for each in runs]
        axis.plot(counts, [each / held[0] for each in held], "s-", label="memory a device")
        ideal = [1 / count for count in counts] if kind == "strong" else [1.0] * len(counts)
        axis.plot(counts, ideal, "k:", label="ideal")
        axis.set(xlabel="devices", ylabel="relative to one device", title=f"{kind} scaling", ylim=(0, 1.25))
        other = axis.twinx()
        other.plot(counts, sent, "^--", color="tab:red", label="sent a step")
        other.set(ylabel="MB sent a device and step", ylim=(0, 25))
        lines = [*axis.get_lines(), *other.get_lines()]
        axis.legend(lines, [str(line.get_label()) for line in lines], fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("scaling", __doc__)
    parser.add_argument("--repeats", type=arguments.positive, default=5, help="timed loops (default: %(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        measure(options)
    result = record.read(options.name)
    plot(result, record.plot_path(options.name))
    record.report(options.name, table(result))
