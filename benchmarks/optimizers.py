"""Which optimizer makes the loss fall most for the same number of evaluations?

The objective is the notebook's (preset "gatys-notebook"). One evaluation is one value and gradient, which every
contestant of `contestants.py` gets from the same compiled function. From the content, our optimizers start as `stylize`
does, with a mosaic of the style blended in; `torch-mosaic` and `jaxstyle-no-mosaic` isolate its effect. All images are
cropped to 3:2, so that each program is compiled once per size, before the timed section. The reported loss is that of
the picture as it would be saved (the best so far, clipped to [0, 1], 8 bits), evaluated outside of the timed section.

`FOLDER` contains `content_NAME.jpg` and `style_NAME.jpg`; a pair is written `CONTENT+STYLE`.

    pip install -e ".[bench,peers]"
    python -m benchmarks optimizers --images FOLDER              # 6 pairs, 2 sizes, 2 starts: hours on 2 cores
    python -m benchmarks optimizers --images FOLDER --resume     # only missing runs
    python -m benchmarks optimizers --images FOLDER --quick      # minutes
    python -m benchmarks optimizers --compare optimizers optimizers_quick
"""

import argparse
import bisect
import functools
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

import jaxstyle as js
from benchmarks import arguments, optimizers_report, record
from benchmarks.contestants import CONTESTANTS, Meter, Pixels, Trace, measure
from jaxstyle.files import checksum
from jaxstyle.image.mosaic import initial_image

MARKS = (10, 25, 50, 75, 100, 150, 200, 300)
# Seed of the noise and of the mosaic.
SEED = 1
# The other runs are compared with this optimizer.
REFERENCE = "torch"
FULL: dict[str, Any] = {
    "pairs": [
        "china+vangogh_starry_night",
        "astronaut+klimt_mada_primavesi",
        "chelsea+seurat_grande_jatte_study",
        "coffee+cezanne_trees_houses",
        "raccoon_1024x768+vangogh_wheat_field_cypresses",
        "china+vangogh_self_portrait",
    ],
    "sizes": [96, 144],
    "evaluations": 100,
    # More evaluations for the reference and for ours, which is to reach it.
    "evaluations_by_optimizer": {REFERENCE: 300, "jaxstyle": 200},
    "optimizers": list(CONTESTANTS),
}
QUICK: dict[str, Any] = {
    "pairs": ["china+vangogh_starry_night", "coffee+cezanne_trees_houses"],
    "sizes": [72],
    "evaluations": 75,
    "evaluations_by_optimizer": {},
    "optimizers": ["torch", "jaxstyle", "jaxstyle-no-mosaic", "jaxstyle-plain", "scipy", "optax-none", "adam-5"],
}
# These differ from `torch` and `jaxstyle` only in the mosaic of a start from the content.
CONTENT_ONLY = ("torch-mosaic", "jaxstyle-no-mosaic")
Run = dict[str, Any]


def marks(evaluations: int) -> list[int]:
    """Return the evaluations after which the loss of the saved picture is recorded."""
    return [*(mark for mark in MARKS if mark < evaluations), evaluations]


def load(path: Path, size: int) -> Pixels:
    """Load the center of an image, cropped to 3:2 and resized to a long side of `size` pixels."""
    with Pillow.open(path) as file:
        fitted = ImageOps.fit(file.convert("RGB"), (size, round(size * 2 / 3)), Pillow.Resampling.LANCZOS)
    return jnp.asarray(np.asarray(fitted, np.float32) / np.float32(255))


def files(folder: Path, pair: str) -> tuple[Path, Path]:
    """Return the content and style paths of a pair."""
    content, plus, style = pair.partition("+")
    if not plus:
        raise js.InputError(f"got the pair {pair!r}, expected CONTENT+STYLE, such as {FULL['pairs'][0]}")
    paths = folder / f"content_{content}.jpg", folder / f"style_{style}.jpg"
    for path in paths:
        if not path.is_file():
            raise js.InputError(f"there is no {path}, expected a folder with content_NAME.jpg and style_NAME.jpg")
    return paths


def best_index(improved_at: Sequence[int], evaluation: int) -> int:
    """Return the index of the picture that is the best after `evaluation`."""
    return bisect.bisect_right(improved_at, evaluation) - 1


def first_reaching(
    improved_at: Sequence[int], loss: Callable[[int], float], target: float, judged_at: Iterable[int], box: bool
) -> int | None:
    """Return the first evaluation after which the saved picture reaches the target loss, or None.

    Args:
        improved_at: evaluation that produced each successive best picture.
        loss: function from the index of a picture to its saved loss.
        target: loss to reach.
        judged_at: evaluations at which the saved loss is known.
        box: True if the saved losses decrease monotonically, as with pixels in [0, 1]; then bisection is used.
            Otherwise every picture is tried between the last of `judged_at` above the target and the first below.
    """
    if box:
        first = bisect.bisect_left(range(len(improved_at)), True, key=lambda i: loss(i) <= target)
        return improved_at[first] if first < len(improved_at) else None
    for low, high in itertools.pairwise([0, *(best_index(improved_at, evaluation) for evaluation in judged_at)]):
        if loss(high) <= target:
            return next(improved_at[i] for i in range(low, high + 1) if loss(i) <= target)
    return None


def summarize(trace: Trace, loss: Callable[[int], float], evaluations: int, reference: Run | None, box: bool) -> Run:
    """Return the JSON record of a run; `reference` is the reference's run on the same images."""
    judged_at = marks(evaluations)
    search = functools.partial(first_reaching, trace.improved_at, loss, judged_at=judged_at, box=box)
    return {
        "evaluations": evaluations,
        "stopped": trace.stopped,
        "saved": {str(mark): float(f"{loss(best_index(trace.improved_at, mark)):.6g}") for mark in judged_at},
        # Both by the saved picture; "unclamped" is the reference's best loss with pixels outside of [0, 1].
        "reached": {}
        if reference is None
        else {
            "evaluations": reference["evaluations"],
            "saved": search(list(reference["saved"].values())[-1]),
            "unclamped": search(min(optimizers_report.numbers(reference["losses"]))),
        },
        # One string, because the JSON writer would put each of thousands of numbers on its own line.
        "losses": " ".join(f"{value:.6g}" for value in trace.losses),
        "seconds": " ".join(f"{value:.3f}" for value in trace.seconds),
    }


def run_key(run: Run) -> tuple[Any, ...]:
    """Return the settings that identify a run."""
    return tuple(run[name] for name in ("pair", "size", "init", "optimizer"))


class Study:
    """Runs of a result, written to the JSON after each run."""

    def __init__(self, name: str, images: Path, resume: bool):
        settings = js.preset("gatys-notebook")
        self.name, self.images, self.objective = name, images, settings.objective
        self.meter = Meter(js.load_params(), settings.weights, settings.objective)
        self.targets = functools.lru_cache(maxsize=4)(self._targets)
        self.compiled: set[tuple[str, int]] = set()
        self.result: Run = {
            "question": "loss of the saved picture after k evaluations, by optimizer",
            "reference": REFERENCE,
            "seed": SEED,
            "pictures": {},
            "machine": record.machine(),
            "runs": [],
        }
        if resume and (record.RESULTS / f"{name}.json").is_file():
            self.result = record.read(name)
        self.runs = {run_key(run): run for run in self.result["runs"]}

    def measure_run(self, pair: str, size: int, init: str, optimizer: str, evaluations: int) -> Run | None:
        """Measure one run and return it, or None if the result has it already."""
        key = (pair, size, init, optimizer)
        if key in self.runs and self.runs[key]["evaluations"] >= evaluations:
            return None
        content, style, targets = self.targets(pair, size)
        contestant = CONTESTANTS[optimizer]
        start = initial_image(init, content, [style], mosaic=contestant.mosaic, seed=SEED)
        if (optimizer, size) not in self.compiled:
            # A short run that is discarded compiles everything.
            measure(contestant, self.meter, targets, start, 3)
            self.compiled.add((optimizer, size))
        trace = measure(contestant, self.meter, targets, start, evaluations)
        loss = functools.cache(lambda i: self.meter.saved_loss(trace.pictures[i]))
        reference = None if optimizer == REFERENCE else self.runs.get((pair, size, init, REFERENCE))
        run = {"pair": pair, "size": size, "init": init, "optimizer": optimizer}
        run |= summarize(trace, loss, evaluations, reference, contestant.box)
        self.runs[key] = run
        self.result["runs"] = list(self.runs.values())
        for path in files(self.images, pair):
            self.result["pictures"][path.name] = checksum(path)
        record.write(self.name, self.result)
        return run

    def _targets(self, pair: str, size: int) -> tuple[Pixels, Pixels, js.Targets]:
        content, style = (load(path, size) for path in files(self.images, pair))
        return content, style, js.make_targets(self.meter.params, content, [style], self.objective)


def merge(names: Sequence[str], name: str) -> None:
    """Merge results into one; of runs with equal settings the first is used."""
    results = [record.read(source) for source in names]
    runs: dict[tuple[Any, ...], Run] = {}
    for run in itertools.chain.from_iterable(result["runs"] for result in results):
        runs.setdefault(run_key(run), run)
    pictures = {file: checksum for result in results for file, checksum in result["pictures"].items()}
    if any(pictures[file] != checksum for result in results for file, checksum in result["pictures"].items()):
        raise js.InputError(f"the results {', '.join(names)} are for different images, expected the same ones")
    record.write(name, {**results[0], "pictures": pictures, "runs": list(runs.values())})


def available(optimizers: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """Return the contestants to run, in the order of `CONTESTANTS`; skip those of missing packages unless requested."""
    selected = []
    for name in CONTESTANTS:
        if name not in (optimizers or default):
            continue
        package = CONTESTANTS[name].package
        if not package or importlib.util.find_spec(package) is not None:
            selected.append(name)
        elif optimizers:
            raise js.InputError(f"{name} needs {package}, which is not installed: pip install {package}")
        else:
            print(f"skipping {name}: pip install {package}", flush=True)
    return selected


def describe(run: Run, seconds: float) -> str:
    """Return the progress line of a run."""
    run_seconds, last = float(run["seconds"].split()[-1]), list(run["saved"].values())[-1]
    reached = ""
    if run["reached"]:
        evaluation = run["reached"]["saved"]
        reached = f", {REFERENCE}'s loss {'not reached' if evaluation is None else f'reached after {evaluation}'}"
    return (
        f"{run['pair']} {run['size']} {run['init']} {run['optimizer']}: {len(run['losses'].split())} evaluations in "
        f"{run_seconds:.1f} s ({seconds:.1f} s in total), saved loss {last:.4g}{reached}"
        + (f", stopped: {run['stopped']}" if run["stopped"] else "")
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments.parser("optimizers", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder with content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pairs", nargs="+", metavar="CONTENT+STYLE", help="default: the six pairs of the study")
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", help="long sides in pixels, 48 or more")
    parser.add_argument("--inits", nargs="+", choices=["content", "noise"], default=["content", "noise"])
    parser.add_argument("--optimizers", nargs="+", choices=CONTESTANTS, metavar="NAME", help=", ".join(CONTESTANTS))
    parser.add_argument(
        "--evaluations", type=arguments.positive, help="evaluations of each run (default: those of the study)"
    )
    parser.add_argument("--quick", action="store_true", help="defaults for a study of minutes, named optimizers_quick")
    parser.add_argument("--resume", action="store_true", help="keep existing runs and add missing ones")
    parser.add_argument("--merge", nargs="+", metavar="NAME", help="merge results into one without measuring")
    parser.add_argument("--compare", nargs=2, metavar="NAME", help="compare the rankings of two results")
    options = parser.parse_args(argv)
    if options.quick and options.name == parser.get_default("name"):
        options.name = "optimizers_quick"
    return options


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    if options.compare:
        print(optimizers_report.compare(*map(record.read, options.compare)))
        return
    if options.merge:
        merge(options.merge, options.name)
    elif not options.plot:
        run_all(options, QUICK if options.quick else FULL)
    optimizers_report.report(options.name)


def run_all(options: argparse.Namespace, default: dict[str, Any]) -> None:
    if options.images is None:
        raise js.InputError("no images, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
    selected = available(options.optimizers, default["optimizers"])
    pairs: list[str] = options.pairs or default["pairs"]
    sizes: list[int] = options.sizes or default["sizes"]
    inits: list[str] = options.inits
    evaluations_by_optimizer: dict[str, int] = default["evaluations_by_optimizer"]
    default_evaluations: int = options.evaluations or default["evaluations"]
    evaluations = {
        name: options.evaluations or evaluations_by_optimizer.get(name, default_evaluations) for name in selected
    }
    for pair in pairs:
        files(options.images, pair)
    study = Study(options.name, options.images, options.resume)
    # A start from noise has no mosaic.
    runs = [
        (pair, size, init, name)
        for pair, size, init, name in itertools.product(pairs, sizes, inits, selected)
        if init == "content" or name not in CONTENT_ONLY
    ]
    for i, (pair, size, init, optimizer) in enumerate(runs, 1):
        start = time.perf_counter()
        run = study.measure_run(pair, size, init, optimizer, evaluations[optimizer])
        if run is not None:
            print(f"{i}/{len(runs)} {describe(run, time.perf_counter() - start)}", flush=True)


if __name__ == "__main__":
    main()
