"""How close is one evaluation to the hardware's limit, and how does it compare with PyTorch?

Value and gradient alternate with eager and compiled PyTorch, if installed: the same work, precision and images. The
limit is the roofline: the larger of operations divided by the rate of the fastest matrix product, and bytes divided by
memory bandwidth, both measured in the same run. Also measured: the difference of each gradient from that of direct
convolutions in float64 (by PyTorch), and the float32 loss of the saved picture after a whole run.

    python -m benchmarks step
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import DATA, arguments, rates, record, step_report, worker
from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.objective.evaluate import compiled_value_and_grad
from jaxstyle.typing import Image, Params
from jaxstyle.vgg.layers import Algorithm, Precision

# Side of the images whose gradients are compared, in pixels; a multiple of the deepest layer's stride.
GRADIENT_SIDE = 96
Run = dict[str, Any]


class Variant(NamedTuple):
    """Precision and convolution algorithm of jaxstyle."""

    precision: Precision
    algorithm: Algorithm

    @property
    def name(self) -> str:
        return f"jaxstyle {self.precision} {self.algorithm}"

    @property
    def objective(self) -> js.Objective:
        return js.Objective(precision=self.precision, algorithm=self.algorithm)


def measure(options: argparse.Namespace) -> None:
    # A cached program would hide the compilation time.
    jax.config.update("jax_enable_compilation_cache", False)
    algorithms = ("direct", "auto") if jax.devices()[0].platform == "cpu" else ("direct",)
    variants = [Variant(precision, algorithm) for precision in options.precisions for algorithm in algorithms]
    torch = importlib.util.find_spec("torch") is not None
    result: Run = {"question": "how close one evaluation is to the hardware's limit", "machine": record.machine()}
    result |= {"peaks": {p: rates.peaks(precision=p) for p in options.precisions}}
    result |= {"runs": [], "accuracy": [], "finals": []}
    params = js.load_params()
    for size in options.sizes:
        result["runs"].append(speeds(size, variants, params, options, torch))
        record.write(options.name, result)
        print(step_report.seconds(result), flush=True)
    if torch:
        result["accuracy"] = accuracy(variants, params)
        record.write(options.name, result)
    for variant in variants if options.steps else ():
        result["finals"].append(final_loss(variant, params, options.steps))
        record.write(options.name, result)


def speeds(size: int, variants: Sequence[Variant], params: Params, options: argparse.Namespace, torch: bool) -> Run:
    """Time all contestants alternately at one size, and measure the memory of each in a separate process."""
    content, style, image = (js.white_noise(seed, size, size) for seed in (1, 2, 3))
    evaluations: dict[str, Callable[[], Any]] = {}
    contestants: dict[str, Run] = {}
    for variant in variants:
        program, inputs, seconds = compiled(variant.objective, content, style, image, params)
        contestants[variant.name] = {
            "compile_seconds": seconds,
            "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        }
        evaluations[variant.name] = lambda program=program, inputs=inputs: jax.block_until_ready(program(*inputs))
    if torch:
        from benchmarks.step_torch import Evaluation

        evaluation = Evaluation(np.asarray(content), np.asarray(style))
        for precision in dict.fromkeys(variant.precision for variant in variants):
            for kind in ("eager", "compiled") if options.compile else ("eager",):
                start = time.perf_counter()
                name = f"torch {precision} {kind}"
                evaluations[name] = evaluation.timed(np.asarray(image), precision, kind == "compiled")
                contestants[name] = {"compile_seconds": time.perf_counter() - start if kind == "compiled" else None}
    for name, seconds in rates.alternate(evaluations, options.repeats).items():
        contestants[name]["seconds"] = seconds
    if options.memory and jax.devices()[0].platform == "cpu":
        for variant in variants:
            contestants[variant.name]["peak_resident_bytes"] = _peak_of_process(
                "step", "--alone", *variant, "--sizes", str(size)
            )
        if torch:
            for precision in dict.fromkeys(variant.precision for variant in variants):
                contestants[f"torch {precision} eager"]["peak_resident_bytes"] = _peak_of_process(
                    "step_torch", str(size), precision
                )
    shapes = rates.convolutions(size, size).values()
    return {
        "size": size,
        "flops": sum(rates.operations(*shape) for shape in shapes),
        "bytes": sum(rates.traffic(*shape) for shape in shapes),
        "contestants": contestants,
    }


def compiled(
    objective: js.Objective, content: Image, style: Image, image: Image, params: Params
) -> tuple[Any, tuple[Any, ...], float]:
    """Compile `value_and_grad` as in a run; return it, its inputs, and the seconds of tracing and compilation."""
    targets = js.make_targets(params, content, [style], objective)
    inputs = (image, params, targets, js.LossWeights())
    start = time.perf_counter()
    program = compiled_value_and_grad.lower(*inputs, objective).compile(COMPILER_OPTIONS)
    return program, inputs, time.perf_counter() - start


def accuracy(variants: Sequence[Variant], params: Params) -> list[Run]:
    """Compute relative differences of gradients from float64, for noise and for a photo with noise."""
    from benchmarks.step_torch import Evaluation, torch

    side = GRADIENT_SIDE
    content, style = (js.load_image(DATA / file, size=256) for file in ("china.jpg", "starry_night.jpg"))
    content, style = content[40 : 40 + side, 40 : 40 + side], style[40 : 40 + side, 40 : 40 + side]
    inputs = np.asarray(content), np.asarray(style)
    exact, single = Evaluation(*inputs, torch.float64), Evaluation(*inputs)
    errors = []
    for picture in ("noise", "mixed"):
        for seed in range(6):
            noise = js.white_noise(seed, side, side)
            pixels = noise if picture == "noise" else 0.7 * content + 0.3 * noise
            expected = exact.gradient(np.asarray(pixels))
            gradients = {"torch highest eager": single.gradient(np.asarray(pixels))}
            for variant in variants:
                targets = js.make_targets(params, content, [style], variant.objective)
                _, gradient = js.value_and_grad(pixels, params, targets, js.LossWeights(), variant.objective)
                gradients[variant.name] = np.asarray(gradient)
            for name, gradient in gradients.items():
                error = float(np.linalg.norm(gradient - expected) / np.linalg.norm(expected))
                errors.append({"picture": picture, "seed": seed, "name": name, "error": error})
    return errors


def final_loss(variant: Variant, params: Params, steps: int) -> Run:
    """Compute the loss of the picture saved by a whole run, in direct float32."""
    content, style = (js.load_image(DATA / file, size=256) for file in ("china.jpg", "starry_night.jpg"))
    result = js.stylize(
        content, style, params=params, preset="gram", objective=variant.objective, steps=steps, tolerance=0.0
    )
    saved = jnp.round(255 * result.image) / 255
    reference = js.Objective(algorithm="direct")
    targets = js.make_targets(params, content, [style], reference)
    losses, _ = js.value_and_grad(saved, params, targets, js.LossWeights(), reference)
    return {"name": variant.name, "steps": steps, "loss": float(losses.total)}


def peak_bytes(size: int, variant: Variant) -> int:
    """Return the peak bytes of this process, which only evaluates an image."""
    content, style, image = (js.white_noise(seed, size, size) for seed in (1, 2, 3))
    program, inputs, _ = compiled(variant.objective, content, style, image, js.load_params())
    for _ in range(3):
        jax.block_until_ready(program(*inputs))
    return worker.peak_resident_bytes()


def _peak_of_process(module: str, *arguments_: str) -> int:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments_]
    process = subprocess.run(command, capture_output=True, text=True, cwd=worker.ROOT, env=worker.environment())
    if process.returncode:
        raise worker.WorkerError(
            f"{' '.join(command[1:])} exited with status {process.returncode}: {process.stderr[-500:]}"
        )
    return int(process.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("step", __doc__)
    parser.add_argument(
        "--sizes", type=arguments.positive, nargs="+", default=[128, 256, 512], help="sides of the images in pixels"
    )
    parser.add_argument("--repeats", type=arguments.positive, default=7, help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=100, help="steps of the whole runs, 0 to skip them (default: %(default)s)"
    )
    parser.add_argument("--precisions", nargs="+", choices=("highest", "default", "bfloat16"), default=["highest"])
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="skip torch.compile")
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="skip the memory of separate processes"
    )
    parser.add_argument(
        "--alone", nargs=2, metavar=("PRECISION", "ALGORITHM"), help="print the peak bytes of one process"
    )
    options = parser.parse_args(argv)
    if options.plot:
        step_report.write(options.name)
        return
    arguments.check_sizes(options.sizes, js.Objective().min_side)
    if options.alone:
        print(peak_bytes(options.sizes[0], Variant(*options.alone)))
        return
    measure(options)
    step_report.write(options.name)


if __name__ == "__main__":
    main()
