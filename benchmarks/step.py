"""How close to the hardware's limit is one evaluation, the objective's value and gradient?

In turn with PyTorch, eager and compiled, where it is installed: the same work, the same precision, the same pictures.
The limit is the roofline, the longer of the operations at the rate of the fastest matrix product and the bytes at the
rate of a stream through memory, both measured in the same run. Beside the speeds: how far each gradient is from that of
direct convolutions in float64 (by PyTorch), and the loss of the picture after a whole run, judged in float32.

    python -m benchmarks step
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import arguments, rates, record, step_report, worker
from jaxstyle.compiler import COMPILER_OPTIONS
from jaxstyle.objective.evaluate import compiled_value_and_grad
from jaxstyle.typing import Image, Params
from jaxstyle.vgg.layers import Algorithm, Precision

DATA = Path(js.__file__).parent / "data"
# Pixels a side of the pictures whose gradients are compared; a whole number of the deepest layer's strides.
EXACT = 96
Run = dict[str, Any]


class Way(NamedTuple):
    """How jaxstyle evaluates."""

    precision: Precision
    algorithm: Algorithm

    @property
    def name(self) -> str:
        return f"jaxstyle {self.precision} {self.algorithm}"

    @property
    def objective(self) -> js.Objective:
        return js.Objective(precision=self.precision, algorithm=self.algorithm)


def measure(options: argparse.Namespace) -> None:
    # A program that an earlier run compiled would hide the time to compile.
    jax.config.update("jax_enable_compilation_cache", False)
    algorithms = ("direct", "auto") if jax.devices()[0].platform == "cpu" else ("direct",)
    ways = [Way(precision, algorithm) for precision in options.precisions for algorithm in algorithms]
    torch = importlib.util.find_spec("torch") is not None
    result: Run = {"question": "how close one evaluation is to the hardware's limit", "machine": record.machine()}
    result |= {"peaks": {p: rates.peaks(precision=p) for p in options.precisions}}
    result |= {"runs": [], "accuracy": [], "finals": []}
    params = js.load_params()
    for size in options.sizes:
        result["runs"].append(speeds(size, ways, params, options, torch))
        record.write(options.name, result)
        print(step_report.seconds(result), flush=True)
    if torch:
        result["accuracy"] = accuracy(ways, params)
        record.write(options.name, result)
    for way in ways if options.steps else ():
        result["finals"].append(final(way, params, options.steps))
        record.write(options.name, result)


def speeds(size: int, ways: Sequence[Way], params: Params, options: argparse.Namespace, torch: bool) -> Run:
    """One size: seconds of every contestant, in turn, and what each needs alone."""
    photo, painting, picture = (js.white_noise(seed, size, size) for seed in (1, 2, 3))
    works: dict[str, Callable[[], Any]] = {}
    about: dict[str, Run] = {}
    for way in ways:
        program, given, seconds = compiled(way.objective, photo, painting, picture, params)
        about[way.name] = {
            "compile_seconds": seconds,
            "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        }
        works[way.name] = lambda program=program, given=given: jax.block_until_ready(program(*given))
    if torch:
        from benchmarks.step_torch import Evaluation

        evaluation = Evaluation(np.asarray(photo), np.asarray(painting))
        for precision in dict.fromkeys(way.precision for way in ways):
            for kind in ("eager", "compiled") if options.compile else ("eager",):
                start = time.perf_counter()
                name = f"torch {precision} {kind}"
                works[name] = evaluation.work(np.asarray(picture), precision, kind == "compiled")
                about[name] = {"compile_seconds": time.perf_counter() - start if kind == "compiled" else None}
    for name, seconds in rates.in_turn(works, options.repeats).items():
        about[name]["seconds"] = seconds
    if options.memory and jax.devices()[0].platform == "cpu":
        for way in ways:
            about[way.name]["peak_resident_bytes"] = _alone("step", "--alone", *way, "--sizes", str(size))
        if torch:
            for precision in dict.fromkeys(way.precision for way in ways):
                about[f"torch {precision} eager"]["peak_resident_bytes"] = _alone("step_torch", str(size), precision)
    shapes = rates.convolutions(size, size).values()
    return {
        "size": size,
        "flops": sum(rates.operations(*shape) for shape in shapes),
        "bytes": sum(rates.traffic(*shape) for shape in shapes),
        "contestants": about,
    }


def compiled(
    objective: js.Objective, photo: Image, painting: Image, picture: Image, params: Params
) -> tuple[Any, tuple[Any, ...], float]:
    """`value_and_grad` as runs compile it, what it is given, and the seconds of tracing and compiling it."""
    targets = js.make_targets(params, photo, [painting], objective)
    given = (picture, params, targets, js.LossWeights())
    start = time.perf_counter()
    program = compiled_value_and_grad.lower(*given, objective).compile(COMPILER_OPTIONS)
    return program, given, time.perf_counter() - start


def accuracy(ways: Sequence[Way], params: Params) -> list[Run]:
    """Relative distances of gradients from float64's, for noise, and for a photo with noise, as runs see them."""
    from benchmarks.step_torch import Evaluation, torch

    side = EXACT
    photo, painting = (js.load_image(DATA / file, size=256) for file in ("china.jpg", "starry_night.jpg"))
    photo, painting = photo[40 : 40 + side, 40 : 40 + side], painting[40 : 40 + side, 40 : 40 + side]
    given = np.asarray(photo), np.asarray(painting)
    exact, single = Evaluation(*given, torch.float64), Evaluation(*given)
    found = []
    for picture in ("noise", "mixed"):
        for seed in range(6):
            noise = js.white_noise(seed, side, side)
            pixels = noise if picture == "noise" else 0.7 * photo + 0.3 * noise
            truth = exact.gradient(np.asarray(pixels))
            gradients = {"torch highest eager": single.gradient(np.asarray(pixels))}
            for way in ways:
                targets = js.make_targets(params, photo, [painting], way.objective)
                _, gradient = js.value_and_grad(pixels, params, targets, js.LossWeights(), way.objective)
                gradients[way.name] = np.asarray(gradient)
            for name, gradient in gradients.items():
                error = float(np.linalg.norm(gradient - truth) / np.linalg.norm(truth))
                found.append({"picture": picture, "seed": seed, "name": name, "error": error})
    return found


def final(way: Way, params: Params, steps: int) -> Run:
    """The loss of the picture that a whole run saves, in direct float32."""
    photo, painting = (js.load_image(DATA / file, size=256) for file in ("china.jpg", "starry_night.jpg"))
    result = js.stylize(photo, painting, params=params, objective=way.objective, steps=steps, tolerance=0.0)
    saved = jnp.round(255 * result.image) / 255
    judge = js.Objective(algorithm="direct")
    targets = js.make_targets(params, photo, [painting], judge)
    losses, _ = js.value_and_grad(saved, params, targets, js.LossWeights(), judge)
    return {"name": way.name, "steps": steps, "loss": float(losses.total)}


def alone(size: int, way: Way) -> int:
    """Peak bytes of this process, which evaluates a picture and does nothing else."""
    photo, painting, picture = (js.white_noise(seed, size, size) for seed in (1, 2, 3))
    program, given, _ = compiled(way.objective, photo, painting, picture, js.load_params())
    for _ in range(3):
        jax.block_until_ready(program(*given))
    return worker.peak_resident_bytes()


def _alone(module: str, *arguments_: str) -> int:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments_]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=worker.ROOT, env=worker.environment())
    if answer.returncode:
        raise worker.WorkerError(f"{' '.join(command[1:])} ended with {answer.returncode}: {answer.stderr[-500:]}")
    return int(answer.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("step", __doc__)
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[128, 256, 512], help="pixels a side")
    parser.add_argument("--repeats", type=arguments.positive, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="of the whole runs, 0 for none (default: %(default)s)")
    parser.add_argument("--precisions", nargs="+", choices=("highest", "default", "bfloat16"), default=["highest"])
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the processes' memory out")
    parser.add_argument("--alone", nargs=2, metavar=("PRECISION", "ALGORITHM"), help="print one process's peak bytes")
    options = parser.parse_args(argv)
    if options.plot:
        step_report.write(options.name)
        return
    arguments.check_sizes(options.sizes, js.Objective().min_side)
    if options.alone:
        print(alone(options.sizes[0], Way(*options.alone)))
        return
    measure(options)
    step_report.write(options.name)


if __name__ == "__main__":
    main()
