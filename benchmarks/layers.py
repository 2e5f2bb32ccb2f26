"""How fast is each convolution, by each algorithm? Forward pass and input gradient, with bias and ReLU.

Alternates with PyTorch, if installed. The machine's peak rate is that of the fastest matrix product, measured in the
same run.

    python -m benchmarks layers
"""

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import arguments, rates, record
from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.objective.base import Objective
from jaxstyle.vgg.layers import MIN_CHANNELS, Algorithm, Precision, convolution

Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    result: Run = {"question": "seconds of each layer, forward and backward", "size": options.size, "runs": []}
    result |= {"machine": record.machine(), "peaks": rates.peaks(precision=options.precision)}
    result["precision"] = options.precision
    measured: dict[tuple[int, ...], Run] = {}
    for layer, shape in rates.convolutions(options.size, options.size).items():
        # Layers of the same shape take the same time.
        if shape not in measured:
            seconds = rates.alternate(contestants(*shape, options.precision), options.repeats)
            measured[shape] = {"shape": shape, "seconds": seconds}
            print(
                layer, {name: f"{1e3 * statistics.median(times):.1f} ms" for name, times in seconds.items()}, flush=True
            )
        result["runs"].append({"layer": layer, **measured[shape]})
        record.write(options.name, result)


def contestants(
    height: int, width: int, channels: int, out: int, precision: Precision = "highest"
) -> dict[str, Callable[[], Any]]:
    """Return the layer of each algorithm: forward pass and input gradient, compiled."""
    random = np.random.default_rng(0)
    x, cotangent = (random.standard_normal((height, width, size), np.float32) for size in (channels, out))
    kernel = random.standard_normal((3, 3, channels, out), np.float32) / np.float32(3 * channels**0.5)
    bias = np.zeros(out, np.float32)
    inputs = tuple(map(jnp.asarray, (x, cotangent, kernel, bias)))

    def compile_layer(algorithm: Algorithm) -> Callable[[], Any]:
        def layer(x, cotangent, kernel, bias):
            y, vjp = jax.vjp(lambda x: convolution(x, kernel, bias, True, precision, algorithm), x)
            return y, vjp(cotangent)[0]

        program = jax.jit(layer).lower(*inputs).compile(COMPILER_OPTIONS)
        return lambda: jax.block_until_ready(program(*inputs))

    functions = {"direct": compile_layer("direct")}
    # Winograd convolutions are float32 only.
    if jax.devices()[0].platform == "cpu" and min(channels, out) >= MIN_CHANNELS and precision == "highest":
        functions["winograd"] = compile_layer("winograd")
    if importlib.util.find_spec("torch"):
        from benchmarks import step_torch

        functions["torch"] = step_torch.layer(x, cotangent, kernel, bias, precision)
    return functions


def table(result: Run) -> str:
    """Return milliseconds, operations per second of direct convolution, and their share of the measured peak."""
    names = sorted({name for run in result["runs"] for name in run["seconds"]})
    header = ["layer", "map", "channels", *(f"{name}, ms" for name in names)]
    header += [f"{name}, GFLOP/s" for name in names] + [f"{name}, share of peak" for name in names]
    rows, total = [], dict.fromkeys(names, 0.0)
    for run in result["runs"]:
        height, width, channels, out = run["shape"]
        seconds = {name: statistics.median(run["seconds"][name]) for name in run["seconds"]}
        speeds = {name: rates.operations(*run["shape"]) / time for name, time in seconds.items()}
        for name in names:
            # The direct algorithm replaces one that does not support the layer.
            total[name] += seconds.get(name, seconds["direct"])
        rows.append(
            [run["layer"], f"{width}x{height}", f"{channels} to {out}"]
            + [f"{1e3 * seconds[name]:.1f}" if name in seconds else None for name in names]
            + [f"{speeds[name] / 1e9:.0f}" if name in speeds else None for name in names]
            + [f"{speeds[name] / result['peaks']['flops']:.2f}" if name in speeds else None for name in names]
        )
    operations = sum(rates.operations(*run["shape"]) for run in result["runs"])
    rows.append(
        ["all", None, None, *(f"{1e3 * total[name]:.0f}" for name in names)]
        + [f"{operations / total[name] / 1e9:.0f}" for name in names]
        + [f"{operations / total[name] / result['peaks']['flops']:.2f}" for name in names]
    )
    return record.table(header, rows)


def plot(result: Run, path: Any) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
    names = sorted({name for run in result["runs"] for name in run["seconds"]})
    for k, name in enumerate(names):
        speeds = [
            rates.operations(*run["shape"]) / statistics.median(run["seconds"][name]) / 1e9
            if name in run["seconds"]
            else 0
            for run in result["runs"]
        ]
        axis.bar(np.arange(len(speeds)) + (k - (len(names) - 1) / 2) * 0.8 / len(names), speeds, 0.25, label=name)
    axis.axhline(result["peaks"]["flops"] / 1e9, color="k", linestyle=":", label="fastest matrix product")
    axis.set_xticks(range(len(result["runs"])), [run["layer"] for run in result["runs"]], rotation=45)
    axis.set(
        ylabel="GFLOP/s of direct convolution", title=f"forward and backward, {result['size']}x{result['size']} pixels"
    )
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("layers", __doc__)
    parser.add_argument(
        "--size", type=arguments.positive, default=512, help="side of the image in pixels (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=arguments.positive, default=7, help="timed rounds (default: %(default)s)")
    parser.add_argument("--precision", choices=("highest", "default", "bfloat16"), default="highest")
    options = parser.parse_args(argv)
    arguments.check_sizes([options.size], Objective().min_side)
    if not options.plot:
        measure(options)
    result = record.read(options.name)
    plot(result, record.plot_path(options.name))
    record.report(options.name, table(result))
