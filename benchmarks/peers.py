"""How long does jaxstyle take to match the final picture of another program?

Every program gets the same images, pixel for pixel, weights and objective (verified by the loss of the content image).
Each runs in a separate process. They alternate, a few evaluations at a time, while the others sleep, so that
disturbances of the machine affect all of them. Quality is the loss of the picture as it would be saved, with 8 bits per
channel, evaluated for all programs by jaxstyle's float32 notebook objective outside of the timed section.

    pip install -e ".[bench,peers]" && pip install --no-deps pastiche==1.6.0
    python -m benchmarks peers --sizes 256 512
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import DATA, arguments, peers_report, record
from benchmarks.worker import Worker, environment
from jaxstyle import files

OURS = "jaxstyle"
# Each program's loss divided by the notebook's; pastiche: content 0.01, style 10/C^2.
LOSS_SCALE = {OURS: 1.0, "pastiche": 0.01, "torch": 1.0}
INSTALL = {
    "torch": "all peers require PyTorch: pip install -e '.[bench,peers]'",
    "pastiche": "the peer pastiche is not installed: pip install --no-deps pastiche==1.6.0",
}


def marks(limit: int) -> list[int]:
    """Return the evaluations after which the saved loss is recorded."""
    return sorted({*(k for k in (10, 25, 75, *range(50, limit, 50)) if k < limit), limit})


def next_count(done: int, limit: int, chunk: int) -> int:
    """Return the number of evaluations of the next request: a chunk, but not beyond a mark."""
    return min(mark for mark in (done + chunk, *marks(limit)) if mark > done) - done if done < limit else 0


def first_true(count: int, predicate: Callable[[int], bool]) -> int | None:
    """Return the first of 1..count that satisfies a monotonic predicate, or None, by bisection."""
    if not predicate(count):
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if predicate(middle) else (middle, high)
    return high


def summary(seconds: list[float]) -> dict[str, float]:
    """Summarize the times of all evaluations.

    The first one may be slower, because kernels are selected in it. `fast_seconds` is the 10 % quantile, the least
    disturbed time on a busy machine.
    """
    median = statistics.median(seconds[1:] or seconds)
    return {
        "first_call_extra_seconds": max(0.0, seconds[0] - median),
        "median_seconds": median,
        "fast_seconds": sorted(seconds)[(len(seconds) - 1) // 10],
        "total_seconds": sum(seconds),
    }


def compare_times(ours: dict[str, Any], peer: dict[str, Any], evaluation: int | None) -> dict[str, Any]:
    """Compare our seconds up to an evaluation with the peer's total, with and without compilation and start-up."""
    peer_seconds = peer["total_seconds"], peer["total_seconds"], peer["start_up_seconds"] + peer["total_seconds"]
    extra = itertools.accumulate((0.0, ours["compile_seconds"], ours["start_up_seconds"]))
    times: dict[str, Any] = {"peer_loss": list(peer["saved"].values())[-1], "evaluation": evaluation}
    for name, added, theirs in zip(("", "_with_compile", "_with_start_up"), extra, peer_seconds, strict=True):
        seconds = None if evaluation is None else sum(ours["seconds"][:evaluation]) + added
        times[f"seconds{name}"], times[f"peer_seconds{name}"] = seconds, theirs
        times[f"ratio{name}"] = None if seconds is None else seconds / theirs
    undisturbed = None if evaluation is None else evaluation * ours["fast_seconds"]
    times["ratio_undisturbed"] = undisturbed and undisturbed / (len(peer["seconds"]) * peer["fast_seconds"])
    return times


def make_referee(content: Path, style: Path) -> Callable[[Path], float]:
    """Return a function that computes the notebook's loss of the content or a stored picture in float32."""
    settings = js.preset("gatys-notebook")
    params, content_image = js.load_params(), js.load_image(content)
    targets = js.make_targets(params, content_image, [js.load_image(style)], settings.objective)
    # XLA removes the unused gradient.
    total = jax.jit(
        lambda image, params, targets, weights: (
            js.value_and_grad(image, params, targets, weights, settings.objective)[0].total
        )
    )

    @functools.cache
    def loss(path: Path) -> float:
        image = content_image if path == content else jnp.asarray(np.load(path).astype(np.float32) / np.float32(255))
        return float(total(image, params, targets, settings.weights))

    return loss


def measure_size(size: int, content: Path, style: Path, limits: dict[str, int], chunk: int) -> dict[str, Any]:
    """Measure all programs at one size."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = {"content": Path(scratch) / "content.png", "style": Path(scratch) / "style.png"}
        for path, source in zip(paths.values(), (content, style), strict=True):
            js.save_image(path, js.load_image(source, size=size))
        folders = {name: Path(scratch) / name for name in limits}
        measured, other_cpu_share = run_alternately(paths, folders, limits, chunk)
        loss = make_referee(**paths)
        for name, program in measured.items():
            scale = program["content_loss"] / loss(paths["content"])
            if abs(scale / LOSS_SCALE[name] - 1) > 1e-3:
                raise RuntimeError(f"{name}'s content loss is {scale} times the referee's, expected {LOSS_SCALE[name]}")
            program["loss_scale"] = scale
            program["saved"] = {k: loss(folders[name] / f"{k}.npy") for k in marks(limits[name])}
        reached = {}
        for name in [name for name in limits if name != OURS]:
            final = measured[name]["saved"][limits[name]]
            as_good = functools.partial(lambda final, k: loss(folders[OURS] / f"{k}.npy") <= final, final)
            reached[name] = compare_times(measured[OURS], measured[name], first_true(limits[OURS], as_good))
        return {
            "size": size,
            "shapes": {role: list(js.load_image(path).shape) for role, path in paths.items()},
            "foreign_cpu_share": other_cpu_share,
            "programs": measured,
            "reached": reached,
        }


def run_alternately(
    paths: dict[str, Path], folders: dict[str, Path], limits: dict[str, int], chunk: int
) -> tuple[dict[str, Any], float | None]:
    """Run the programs alternately; return their measurements and the share of processor time of other programs."""
    options = {role: str(path) for role, path in paths.items()}
    done, replies = dict.fromkeys(limits, 0), {name: [] for name in limits}
    with contextlib.ExitStack() as stack:
        workers = {}
        # Started one after the other, so that nothing else runs during a start-up.
        for name, folder in folders.items():
            folder.mkdir()
            print(f"  starting {name}", flush=True)
            workers[name] = stack.enter_context(Worker(f"peer_{name}", {**options, "folder": str(folder)}))
        start, busy_start = time.perf_counter(), record.busy_cpu_seconds()
        while done != limits:
            for name, worker in workers.items():
                if count := next_count(done[name], limits[name], chunk):
                    replies[name].append(worker.request(count=count, keep_all=name == OURS))
                    done[name] += count
            progress = (f"{name} {done[name]} ({replies[name][-1]['seconds'][-1]:.3g} s)" for name in done)
            print(f"  evaluations: {', '.join(progress)}", flush=True)
        capacity, busy = (time.perf_counter() - start) * (os.cpu_count() or 1), record.busy_cpu_seconds()
    measured, own_cpu_seconds = {}, 0.0
    for name, worker in workers.items():
        compile_seconds, content_loss = worker.answer["compile_seconds"], worker.answer["content_loss"]
        if content_loss is None:
            content_loss = replies[name][0]["losses"][0]
        seconds = [round(second, 5) for reply in replies[name] for second in reply["seconds"]]
        measured[name] = {
            "start_up_seconds": worker.start_up_seconds - compile_seconds,
            "compile_seconds": compile_seconds,
            **summary(seconds),
            # Of all threads, while evaluating and while waiting; the second should be zero.
            **{kind: sum(reply[kind] for reply in replies[name]) for kind in ("cpu_seconds", "idle_cpu_seconds")},
            "peak_resident_bytes": replies[name][-1]["peak_resident_bytes"],
            "peak_device_bytes": replies[name][-1]["peak_device_bytes"],
            "seconds": seconds,
            "losses": [loss for reply in replies[name] for loss in reply["losses"]],
            "content_loss": content_loss,
        }
        own_cpu_seconds += replies[name][-1]["process_cpu_seconds"] - worker.answer["process_cpu_seconds"]
    other_cpu_share = (
        None if busy is None or busy_start is None else max(0.0, busy - busy_start - own_cpu_seconds) / capacity
    )
    return measured, other_cpu_share


def checksum(path: Path) -> str:
    js.load_image(path)  # Raises a readable error before the workers start.
    return files.checksum(path)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("peers", __doc__)
    parser.add_argument("--content", type=Path, default=DATA / "china.jpg", help="default: the photo in jaxstyle/data")
    parser.add_argument(
        "--style", type=Path, default=DATA / "starry_night.jpg", help="default: the painting in jaxstyle/data"
    )
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[256, 512], help="long sides in pixels")
    parser.add_argument(
        "--evaluations", type=arguments.positive, default=300, help="evaluations of each program (%(default)s)"
    )
    parser.add_argument("--jaxstyle-evaluations", type=arguments.positive, help="evaluations of jaxstyle, if different")
    parser.add_argument("--chunk", type=arguments.positive, default=10, help="evaluations per turn (%(default)s)")
    parser.add_argument("--peers", nargs="+", choices=tuple(INSTALL)[::-1], default=["pastiche", "torch"])
    options = parser.parse_args(argv)
    if not options.plot:
        for package in ("torch", *options.peers):
            if importlib.util.find_spec(package) is None:
                raise js.InputError(INSTALL[package])
        # The programs share an accelerator, of which JAX would reserve most of the memory.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        limits = {OURS: options.jaxstyle_evaluations or options.evaluations}
        limits |= dict.fromkeys(options.peers, options.evaluations)
        result = {
            "question": "seconds until jaxstyle's saved picture is as good as the peer's final one",
            "pictures": {path.name: checksum(path) for path in (options.content, options.style)},
            "evaluations": limits,
            "chunk": options.chunk,
            "omp_wait_policy": environment()["OMP_WAIT_POLICY"],
            "machine": record.machine(),
            "runs": [],
        }
        for size in options.sizes:
            print(f"long side {size}", flush=True)
            result["runs"].append(measure_size(size, options.content, options.style, limits, options.chunk))
            record.write(options.name, result)
    peers_report.report(options.name)


if __name__ == "__main__":
    main()
