"""Does a whole optimizer step fit on TPUs, according to the TPU compiler?

Requires the extra `tpu-aot`, whose libtpu compiles on a machine without a TPU. Each case compiles the loop of steps
that `stylize` runs (network, losses, gradient, L-BFGS with its history), and records memory, operations and
communication per chip. It does not show that the program runs or how long a step takes.

A case compiles for up to 15 minutes on two cores. The JSON is written after each case, and cases in it are not compiled
again.

    python -m benchmarks tpu_aot
"""

import argparse
import os
import re
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax

import jaxstyle as js
from benchmarks import arguments, record
from jaxstyle.errors import InputError
from jaxstyle.vgg.layers import Precision

# Names of single-chip topologies, and topology options, for `get_topology_desc`.
SINGLE_CHIP_TOPOLOGIES = {"v5e": "v5e:1x1", "v6e": "v6e:1x1", "v5p": "v5p:1x1x1", "v4": "v4:1x1x1"}
TOPOLOGY_OPTIONS = {"v4": {"chip_config_name": "megacore"}}
GIB = 2**30
# Memory of a chip in GiB, from Google's documentation.
MEMORY_GIB = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
# Compiles in a fraction of the time; tends to need slightly more memory. JAX 0.12 has levels instead.
COMPILER_OPTIONS = (
    {"exec_time_optimization_effort": -1.0} if jax.__version_info__ < (0, 12) else {"optimization_level": "O0"}
)
Run = dict[str, Any]


class Case(NamedTuple):
    """Chip, mesh, topology, side of the square image in pixels, window, history size, and precision of the maps."""

    chip: str
    rows: int
    columns: int
    topology: str
    side: int
    window: int | None = None
    memory_size: int = 10
    precision: Precision = "highest"

    @property
    def name(self) -> str:
        """Identifier in the JSON."""
        window = "" if self.window is None else f", windows of {self.window}"
        precision = "" if self.precision == "highest" else f", {self.precision}"
        return f"{self.chip} {self.rows}x{self.columns}, {self.side}{window}, {self.memory_size} pairs{precision}"


def single_chip(chip: str, side: int, window: int | None = None, precision: Precision = "highest") -> Case:
    """Return a case for one chip."""
    return Case(chip, 1, 1, SINGLE_CHIP_TOPOLOGIES[chip], side, window, precision=precision)


CASES = (
    single_chip("v5e", 512),
    single_chip("v5e", 1024),
    single_chip("v5e", 2048),
    Case("v5e", 4, 4, "v5e:4x4", 8192),
    single_chip("v5e", 4096, 512),
    Case("v5e", 4, 4, "v5e:4x4", 4096),
    single_chip("v5e", 4096),
    Case("v5e", 4, 4, "v5e:4x4", 2048),
    Case("v5e", 2, 4, "v5e:2x4", 4096),
    Case("v4", 2, 2, "v4:2x2x1", 4096),
    Case("v5p", 2, 2, "v5p:2x2x1", 4096),
    Case("v6e", 2, 4, "v6e:2x4", 4096),
    single_chip("v5e", 512, precision="bfloat16"),
    single_chip("v5e", 1024, precision="bfloat16"),
    single_chip("v5e", 2048, precision="bfloat16"),
    single_chip("v5e", 4096, 1024, "bfloat16"),
    single_chip("v6e", 3072, precision="bfloat16"),
    single_chip("v6e", 3840, precision="bfloat16"),
    Case("v5e", 4, 4, "v5e:4x4", 16384, 1024, precision="bfloat16"),
)


def measure(options: argparse.Namespace) -> None:
    try:
        result = record.read(options.name)
    except InputError:
        result = {"question": "does a whole optimizer step fit on TPUs", "runs": []}
    compiled = {run["name"] for run in result["runs"]}
    for case in CASES:
        if case.name in compiled or options.only not in case.name:
            continue
        # In a separate process, because libtpu may abort it; this also releases its memory.
        command = [sys.executable, "-m", "benchmarks.tpu_aot", str(CASES.index(case))]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, env=_environment())
        lines = [line for line in answer.stdout.splitlines() if line.startswith("{")]
        if answer.returncode or not lines:
            raise InputError(
                f"{case.name}: the compiler process exited with status {answer.returncode}: {answer.stderr[-500:]}"
            )
        run = record.json.loads(lines[-1])
        result["machine"] = run.pop("machine")
        result["runs"].append(run)
        record.write(options.name, result)
        print(f"{case.name}: {'fits' if run['fits'] else 'does not fit'}, {run['compile_seconds']:.0f} s", flush=True)


def compile_case(case: Case) -> Run:
    """Compile a case in this process."""
    from jax.errors import JaxRuntimeError
    from jax.experimental import topologies

    from benchmarks.collectives import collectives, lowered

    options: dict[str, Any] = dict(TOPOLOGY_OPTIONS.get(case.chip, {}))
    if case.rows * case.columns == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    topology = topologies.get_topology_desc(platform="tpu", topology_name=case.topology, **options)
    mesh = js.make_mesh(case.rows, case.columns, devices=topology.devices)
    optimizer = js.lbfgs(case.memory_size, precondition="pyramid")
    objective = js.Objective(window=case.window, precision=case.precision)
    program = lowered(case.side, case.side, objective, optimizer, mesh)
    run: Run = case._asdict() | {"name": case.name, "kind": topology.devices[0].device_kind, "fits": False}
    run |= {"chip_bytes": MEMORY_GIB[case.chip] * GIB, "compiler_options": COMPILER_OPTIONS}
    start = time.perf_counter()
    try:
        program = program.compile(COMPILER_OPTIONS)
    except JaxRuntimeError as error:
        run |= {"compile_seconds": time.perf_counter() - start}
        if not re.search("RESOURCE_EXHAUSTED|Ran out of memory", str(error)):
            raise
        return run | {"refused": str(error)[:600]}
    run |= {"compile_seconds": time.perf_counter() - start}
    memory, cost = program.memory_analysis(), program.cost_analysis()
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    return run | {
        # The compiler's own check ignores the program's code.
        "fits": peak <= run["chip_bytes"],
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
        "peak_bytes": peak,
        "flops": cost.get("flops"),
        "collectives": collectives(program.as_text()),
    }


def table(result: Run) -> str:
    header = ("chips", "image", "fits", "GB per chip", "limit, GB", "arguments, GB", "temporaries, GB", "code, GB")
    header = (*header, "TFLOP per chip", "permutes", "all-reduces", "other collectives (largest)", "compile time")
    rows = []
    for run in result["runs"]:
        chips = run["rows"] * run["columns"]
        window = "" if run["window"] is None else f", windows of {run['window']}"
        head = [f"{chips} {run['chip']}" + (f" ({run['rows']}x{run['columns']})" if chips > 1 else "")]
        # Runs of before do not name it.
        precision = run.get("precision", "highest")
        precision = "" if precision == "highest" else f", {precision}"
        head += [f"{run['side']}²{window}{precision}, {run['memory_size']} pairs", "yes" if run["fits"] else "no"]
        if "refused" in run:
            rows.append([*head, None, f"{run['chip_bytes'] / 1e9:.1f}", *[None] * 7, f"{run['compile_seconds']:.0f} s"])
            continue
        sizes = [f"{run[key] / 1e9:.2f}" for key in ("argument_bytes", "temporary_bytes", "code_bytes")]
        sent = run["collectives"]
        others = {kind: sent[kind] for kind in ("all-gather", "all-to-all", "reduce-scatter") if kind in sent}
        others_text = ", ".join(
            f"{total['count']} {kind} ({total['largest'] / 1e6:.2f} MB)" for kind, total in others.items()
        )
        rows.append(
            [
                *head,
                f"{run['peak_bytes'] / 1e9:.1f}",
                f"{run['chip_bytes'] / 1e9:.1f}",
                *sizes,
                None if run["flops"] is None else f"{run['flops'] / 1e12:.2f}",
                *(_sent(sent.get(kind)) for kind in ("collective-permute", "all-reduce")),
                others_text or "none",
                f"{run['compile_seconds']:.0f} s",
            ]
        )
    return record.table(header, rows)


def _sent(total: dict[str, int] | None) -> str:
    return "none" if total is None else f"{total['count']}, {total['bytes'] / 1e6:.1f} MB"


def _environment() -> dict[str, str]:
    # Otherwise libtpu queries a metadata server that does not exist, and allows only one process at a time.
    libtpu = {"TPU_ACCELERATOR_TYPE": "v5litepod-1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_SKIP_MDS_QUERY": "1"}
    return os.environ | libtpu | {"JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("tpu_aot", __doc__)
    parser.add_argument("--only", default="", help="compile only cases whose name contains this, such as 'v5e 1x1'")
    parser.add_argument("--limit", type=arguments.positive, default=3600, help="seconds per case (default: 3600)")
    options = parser.parse_args(argv)
    if not options.plot:
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    run = compile_case(CASES[int(sys.argv[1])])
    print(record.json.dumps(run | {"machine": record.machine()}))
