"""What does each precision cost and save on a GPU or TPU, beside PyTorch at its best?

One evaluation (value and gradient) of the default objective, in every precision, in alternation with PyTorch where it
is installed: eager, with channels last and cuDNN's search for the fastest algorithm, and compiled. Also measured: the
error of each gradient from stored float64 values, whole runs, and memory layouts that are forced upon the compiler.
Needs no network and no command-line library. What does not fit in the time limit is left out, and listed; the JSON is
written after every measurement.

    python -m benchmarks device --name device_h100
"""

import argparse
import functools
import importlib.util
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import DATA, arguments, device_report, rates, record
from benchmarks.losses import saved_losses
from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.objective.evaluate import compiled_value_and_grad
from jaxstyle.typing import Params
from jaxstyle.vgg.layers import Precision

# Gradients in float64, which `python -m benchmarks.device_reference` writes.
REFERENCE = Path(__file__).parent / "device_reference.npz"
PRECISIONS: tuple[Precision, ...] = ("highest", "default", "bfloat16")
LAYOUTS: dict[str, dict[str, str | bool]] = {
    "nhwc": {"xla_gpu_force_conv_nhwc": True},
    "nchw": {"xla_gpu_force_conv_nchw": True},
}
# PyTorch's forms of the same evaluation: see `Evaluation.form` in `step_torch.py`.
TORCH_FORMS: dict[str, dict[str, Any]] = {
    "eager": {},
    "channels last": {"channels_last": True},
    "max-autotune": {"channels_last": True, "compile_mode": "max-autotune"},
}
# The least seconds of a timed block of evaluations, in which the time of a launch hardly counts.
BLOCK_SECONDS = 0.05
Run = dict[str, Any]


class Contestant(NamedTuple):
    """One way to evaluate; `start` begins an evaluation, and `wait` blocks until all begun ones are done."""

    start: Callable[[], Any]
    wait: Callable[[Any], Any]
    information: Run


def measure(options: argparse.Namespace) -> None:
    # A cached program would hide the compilation time.
    jax.config.update("jax_enable_compilation_cache", False)
    deadline = time.perf_counter() + options.limit
    params, gpu = js.load_params(), jax.devices()[0].platform == "gpu"
    torch = importlib.util.find_spec("torch") is not None
    result: Run = {"question": "what each precision costs and saves on this device", "machine": record.machine()}
    result |= {"left_out": [], "runs": [], "peaks": {}, "accuracy": [], "whole_runs": []}

    def in_time(what: str) -> bool:
        late = time.perf_counter() > deadline
        if late:
            result["left_out"].append(what)
        return not late

    def time_contestants(size: int, makers: Mapping[str, Callable[[], Contestant]]) -> None:
        contestants = {name: make() for name, make in makers.items() if in_time(f"{name} at {size}")}
        if contestants:
            result["runs"].append(timed(size, contestants, options.repeats))
            record.write(options.name, result)
            print(device_report.seconds(result), flush=True)

    for size in options.sizes:
        makers = {f"jaxstyle {p}": functools.partial(ours, size, p, {}, params) for p in options.precisions}
        for precision, form in itertools.product(options.precisions, TORCH_FORMS if torch else ()):
            if form != "max-autotune" or size in options.compile:
                makers[f"torch {precision} {form}"] = functools.partial(peer, size, precision, form)
        time_contestants(size, makers)
    for precision in options.precisions:
        if in_time(f"rates of {precision}"):
            result["peaks"][precision] = rates.peaks(precision=precision)
        if in_time(f"accuracy of {precision}"):
            result["accuracy"].append(accuracy(precision, params))
        for name, run in (("one picture", one_picture), ("batch of 8", batch)):
            if in_time(f"{name}, {precision}"):
                result["whole_runs"].append({"name": name, "precision": precision, **run(precision, params, options)})
        record.write(options.name, result)
    size = options.sizes[0]
    makers = {
        f"jaxstyle {precision} {layout}": functools.partial(ours, size, precision, LAYOUTS[layout], params)
        for precision, layout in itertools.product(options.precisions, LAYOUTS if gpu else ())
    }
    time_contestants(size, makers)
    record.write(options.name, result)


def ours(size: int, precision: Precision, options: dict[str, str | bool], params: Params) -> Contestant:
    """Compile `value_and_grad` as in a run, with further options of the compiler; if that fails, there are no times."""
    content, style, image = (js.white_noise(seed, size, size) for seed in (1, 2, 3))
    objective = js.Objective(precision=precision)
    targets = js.make_targets(params, content, [style], objective)
    inputs = (image, params, targets, js.LossWeights())
    start = time.perf_counter()
    try:
        program = compiled_value_and_grad.lower(*inputs, objective).compile(COMPILER_OPTIONS | options)
    except (RuntimeError, ValueError) as error:
        return _failed(error)
    seconds, memory = time.perf_counter() - start, program.memory_analysis()
    temporary_bytes = None if memory is None else memory.temp_size_in_bytes
    information = {"compile_seconds": seconds, "temporary_bytes": temporary_bytes}
    return Contestant(lambda: program(*inputs), jax.block_until_ready, information)


def peer(size: int, precision: Precision, form: str) -> Contestant:
    """Prepare PyTorch's evaluation; a form that fails has no times."""
    from benchmarks import step_torch

    content, style, image = (np.asarray(js.white_noise(seed, size, size)) for seed in (1, 2, 3))
    start = time.perf_counter()
    try:
        evaluate, peak = step_torch.Evaluation(content, style).form(image, precision, **TORCH_FORMS[form])
    except RuntimeError as error:
        return _failed(error)
    information = {"compile_seconds": time.perf_counter() - start, "peak_device_bytes": peak}
    return Contestant(evaluate, lambda _: step_torch.wait(), information)


def _failed(error: Exception) -> Contestant:
    return Contestant(lambda: None, lambda _: None, {"failed": str(error)[:300]})


def timed(size: int, contestants: Mapping[str, Contestant], repeats: int) -> Run:
    """Time blocks of evaluations in alternation."""
    functions = {}
    for name, contestant in contestants.items():
        if "failed" not in contestant.information:
            functions[name] = _block(contestant)
    seconds = rates.alternate({name: function for name, (function, _) in functions.items()}, repeats)
    rows = {name: dict(contestant.information) for name, contestant in contestants.items()}
    for name, times in seconds.items():
        rows[name]["seconds"] = [value / functions[name][1] for value in times]
    shapes = rates.convolutions(size, size).values()
    return {
        "size": size,
        "flops": sum(rates.operations(*shape) for shape in shapes),
        "bytes": sum(rates.traffic(*shape) for shape in shapes),
        "contestants": rows,
    }


def _block(contestant: Contestant) -> tuple[Callable[[], Any], int]:
    """Return a function that evaluates a number of times, and that number."""
    contestant.wait(contestant.start())
    start = time.perf_counter()
    contestant.wait(contestant.start())
    count = max(1, round(BLOCK_SECONDS / (time.perf_counter() - start)))

    def evaluate() -> None:
        for _ in range(count - 1):
            contestant.start()
        # Programs run in the order in which they were started.
        contestant.wait(contestant.start())

    return evaluate, count


def accuracy(precision: Precision, params: Params) -> Run:
    """Compare value and gradient with the stored ones in float64."""
    objective = js.Objective(precision=precision)
    with np.load(REFERENCE) as stored:
        reference = dict(stored)
    rows: Run = {"precision": precision}
    for picture in ("noise", "mixed"):
        content, style, image = (jnp.asarray(reference[name]) for name in ("content", "style", picture))
        targets = js.make_targets(params, content, [style], objective)
        losses, gradient = js.value_and_grad(image, params, targets, js.LossWeights(), objective)
        expected = reference[f"{picture}_gradient"].astype(np.float64)
        ours, length = np.asarray(gradient, np.float64), np.linalg.norm(expected)
        rows[f"{picture}_value"] = abs(float(losses.total) / float(reference[f"{picture}_value"]) - 1)
        rows[f"{picture}_gradient"] = float(np.linalg.norm(ours - expected) / length)
        rows[f"{picture}_cosine"] = float(np.sum(ours * expected) / np.linalg.norm(ours) / length)
    return rows


def one_picture(precision: Precision, params: Params, options: argparse.Namespace) -> Run:
    """Measure the authors' number of evaluations, twice: the second time nothing is compiled."""
    size = options.sizes[0]
    content, style = (js.load_image(DATA / file, size=size) for file in ("china.jpg", "starry_night.jpg"))

    def run() -> js.Result:
        return js.stylize(
            content, style, params=params, preset="gatys-notebook", precision=precision, steps=options.steps
        )

    first, second = run(), run()
    return {
        "size": size,
        "evaluations": second.evaluations,
        "first_seconds": first.seconds,
        "seconds": second.seconds,
        "loss": float(saved_losses(second.image, content, style, params, js.preset("gatys-notebook")).total),
    }


def batch(precision: Precision, params: Params, options: argparse.Namespace) -> Run:
    """Measure eight pictures of 256 pixels at once, twice."""
    size, count = min(256, options.sizes[0]), 8
    style = js.load_image(DATA / "starry_night.jpg", size=size)
    contents = [js.white_noise(seed, size, size) for seed in range(count)]

    def run() -> float:
        start = time.perf_counter()
        js.stylize_batch(
            contents, style, params=params, preset="gram", precision=precision, steps=min(100, options.steps)
        )
        return time.perf_counter() - start

    first, second = run(), run()
    return {"size": size, "evaluations": min(100, options.steps), "first_seconds": first, "seconds": second}


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("device", __doc__)
    parser.add_argument(
        "--sizes", type=arguments.positive, nargs="+", default=[512, 1024, 256, 2048], help="sides of the images"
    )
    parser.add_argument(
        "--compile",
        type=arguments.positive,
        nargs="*",
        default=[],
        help="sizes at which torch.compile searches for the fastest kernels, which takes minutes (default: none)",
    )
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--repeats", type=arguments.positive, default=7, help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--steps",
        type=arguments.positive,
        default=500,
        help="evaluations of the whole run (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=arguments.positive,
        default=420,
        help="seconds, after which nothing new begins (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    if not options.plot:
        arguments.check_sizes(options.sizes, js.Objective().min_side)
        measure(options)
    device_report.write(options.name)


if __name__ == "__main__":
    main()
