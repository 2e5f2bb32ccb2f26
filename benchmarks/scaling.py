"""What does each device compute, store and send as an image is sharded over more devices?

Strong scaling shards one image over more devices; weak scaling keeps the pixels per device constant. On CPUs the
devices are simulated and share the cores, so nothing is timed: operations, memory and bytes sent are those of the
program that XLA compiles for one device. On GPUs and TPUs seconds are measured as well.

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
# Side of the image in strong scaling, and of each device's shard in weak scaling, in pixels.
STRONG_SIDE = 1024
WEAK_SIDE = 512
Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    result: Run = {"question": "what each of several devices computes, stores and sends", "runs": []}
    result["machine"] = record.machine()
    for kind, (rows, columns) in ((kind, mesh) for kind in ("strong", "weak") for mesh in MESHES):
        if rows * columns > jax.device_count():
            continue
        size = (STRONG_SIDE, STRONG_SIDE) if kind == "strong" else (WEAK_SIDE * rows, WEAK_SIDE * columns)
        result["runs"].append({"kind": kind, **measure_mesh(rows, columns, *size, options.repeats)})
        record.write(options.name, result)
        print(f"{kind} {rows}x{columns}: {size[1]}x{size[0]}", flush=True)


def measure_mesh(rows: int, columns: int, height: int, width: int, repeats: int) -> Run:
    """Compile, and time except on CPUs, the steps for one mesh and size."""
    mesh, optimizer = js.make_mesh(rows, columns), js.lbfgs(precondition="pyramid")
    program = lowered(height, width, js.Objective(), optimizer, mesh).compile()
    memory = program.memory_analysis()
    shared_cores = jax.devices()[0].platform == "cpu"
    return {
        "rows": rows,
        "columns": columns,
        "height": height,
        "width": width,
        "flops": program.cost_analysis().get("flops"),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": collectives(program.as_text()),
        "median_seconds": None if shared_cores else seconds_per_step(mesh, optimizer, height, width, repeats),
    }


def seconds_per_step(mesh: Any, optimizer: Any, height: int, width: int, repeats: int) -> float:
    """Return the median time of a step over loops of ten, after one warm-up loop."""
    objective = js.on_mesh(js.Objective(), mesh)
    content, style = (js.shard(js.white_noise(seed, height, width), mesh, objective) for seed in (1, 2))
    params, weights = js.replicated((js.load_params(), broadcast_weights(js.LossWeights(), objective)), mesh)
    targets = js.whiten(js.make_targets(params, content, [style], objective))
    problem = Problem(params, targets, weights, objective, optimizer)
    state, seconds = js.init(jax.numpy.asarray(content.pixels), *problem), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        state, _rows = run(state, *problem, np.int32(10))
        jax.block_until_ready(state)
        seconds.append((time.perf_counter() - start) / 10)
    return statistics.median(seconds[1:])


def table(result: Run) -> str:
    header = (
        "scaling",
        "devices",
        "image",
        "TFLOP per device",
        "relative to one device",
        "temporaries, MB",
        "arguments, MB",
    )
    header = (*header, "sent in permutes, MB", "sent in all-reduces, MB", "sent otherwise", "seconds per step")
    rows, one_device_flops = [], {}
    for run_ in result["runs"]:
        count, sent = run_["rows"] * run_["columns"], run_["collectives"]
        baseline = one_device_flops.setdefault(run_["kind"], run_["flops"])
        others = sum(total["bytes"] for kind, total in sent.items() if kind not in ("collective-permute", "all-reduce"))
        seconds = run_["median_seconds"]
        rows.append(
            (
                run_["kind"],
                f"{count} ({run_['rows']}x{run_['columns']})",
                f"{run_['width']}x{run_['height']}",
                f"{run_['flops'] / 1e12:.3f}",
                f"{run_['flops'] / baseline:.3f}",
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
        runs = [run for run in result["runs"] if run["kind"] == kind]
        counts = [run["rows"] * run["columns"] for run in runs]
        sent = [sum(total["bytes"] for total in run["collectives"].values()) / 1e6 for run in runs]
        axis.plot(counts, [run["flops"] / runs[0]["flops"] for run in runs], "o-", label="operations per device")
        memory = [run["temporary_bytes"] + run["argument_bytes"] for run in runs]
        axis.plot(counts, [size / memory[0] for size in memory], "s-", label="memory per device")
        ideal = [1 / count for count in counts] if kind == "strong" else [1.0] * len(counts)
        axis.plot(counts, ideal, "k:", label="ideal")
        axis.set(xlabel="devices", ylabel="relative to one device", title=f"{kind} scaling", ylim=(0, 1.25))
        sent_axis = axis.twinx()
        sent_axis.plot(counts, sent, "^--", color="tab:red", label="sent per step")
        sent_axis.set(ylabel="MB sent per device and step", ylim=(0, 25))
        lines = [*axis.get_lines(), *sent_axis.get_lines()]
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
