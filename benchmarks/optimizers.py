"""Which optimizer makes the loss fall most for the same number of evaluations?

The objective is the notebook's (preset "gatys-notebook"); one evaluation is one value and gradient, and every
contestant of `contestants.py` gets them from the same compiled function. From the content, ours start as `stylize`
does, with a mosaic of the style mixed in; `torch-mosaic` and `jaxstyle-no-mosaic` tell what that does. All pictures of
a size are cropped to 3:2, so that each program is compiled once for each size, before the clock starts. What counts is
the picture as it would be saved (the best so far, clipped to [0, 1], 8 bits); its loss is evaluated outside of the
count and of the time.

`FOLDER` holds `content_NAME.jpg` and `style_NAME.jpg`; a pair is called `CONTENT+STYLE`.

    pip install -e ".[bench,peers]"
    python -m benchmarks optimizers --images FOLDER              # 6 pairs, 2 sizes, 2 starts: hours on 2 cores
    python -m benchmarks optimizers --images FOLDER --resume     # the runs that are missing
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
# Of the noise and of the mosaic.
SEED = 1
# What the others' runs are compared with.
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
    # What the others are compared with, for as long as they could need to get there.
    "longer": {REFERENCE: 300, "jaxstyle": 200},
    "optimizers": list(CONTESTANTS),
}
QUICK: dict[str, Any] = {
    "pairs": ["china+vangogh_starry_night", "coffee+cezanne_trees_houses"],
    "sizes": [72],
    "evaluations": 75,
    "longer": {},
    "optimizers": ["torch", "jaxstyle", "jaxstyle-no-mosaic", "jaxstyle-plain", "scipy", "optax-none", "adam-5"],
}
# They differ from `torch` and `jaxstyle` in how much mosaic a start from the content has.
ONLY_CONTENT = ("torch-mosaic", "jaxstyle-no-mosaic")
Run = dict[str, Any]


def marks(evaluations: int) -> list[int]:
    """Evaluations after which the saved picture is judged."""
    return [*(mark for mark in MARKS if mark < evaluations), evaluations]


def load(path: Path, size: int) -> Pixels:
    """A picture of `size` pixels by two thirds of it, the middle of the file's."""
    with Pillow.open(path) as file:
        fitted = ImageOps.fit(file.convert("RGB"), (size, round(size * 2 / 3)), Pillow.Resampling.LANCZOS)
    return jnp.asarray(np.asarray(fitted, np.float32) / np.float32(255))


def files(folder: Path, pair: str) -> tuple[Path, Path]:
    """Content and style."""
    content, plus, style = pair.partition("+")
    if not plus:
        raise js.InputError(f"the pair is {pair!r}, expected CONTENT+STYLE, such as {FULL['pairs'][0]}")
    paths = folder / f"content_{content}.jpg", folder / f"style_{style}.jpg"
    for path in paths:
        if not path.is_file():
            raise js.InputError(f"there is no {path}, expected a folder with content_NAME.jpg and style_NAME.jpg")
    return paths


def best_at(found: Sequence[int], evaluation: int) -> int:
    """Which of the pictures found after so many evaluations is the best after `evaluation`."""
    return bisect.bisect_right(found, evaluation) - 1


def reached(
    found: Sequence[int], loss: Callable[[int], float], target: float, stops: Iterable[int], box: bool
) -> int | None:
    """The first evaluation after which the saved picture is as good as the target; None if none is.

    Args:
        found: after how many evaluations each better picture was found.
        loss: of the i-th of them, saved.
        target: a loss.
        stops: evaluations after which the saved picture is known.
        box: whether the saved loss falls as the evaluated one does; then bisection finds it. Otherwise every picture
            is tried between the last stop where the target is missed and the first where it is met.

    Returns:
        The evaluation or None.
    """
    if box:
        first = bisect.bisect_left(range(len(found)), True, key=lambda i: loss(i) <= target)
        return found[first] if first < len(found) else None
    for low, high in itertools.pairwise([0, *(best_at(found, stop) for stop in stops)]):
        if loss(high) <= target:
            return next(found[i] for i in range(low, high + 1) if loss(i) <= target)
    return None


def summarize(trace: Trace, loss: Callable[[int], float], evaluations: int, target: Run | None, box: bool) -> Run:
    """What the result keeps of a run; `target` is the reference's run on the same pictures."""
    stops = marks(evaluations)
    search = functools.partial(reached, trace.found, loss, stops=stops, box=box)
    return {
        "evaluations": evaluations,
        "stopped": trace.stopped,
        "saved": {str(mark): float(f"{loss(best_at(trace.found, mark)):.6g}") for mark in stops},
        # By the saved picture both times; the reference's own evaluated pictures leave [0, 1].
        "reached": {}
        if target is None
        else {
            # The reference's.
            "evaluations": target["evaluations"],
            "saved": search(list(target["saved"].values())[-1]),
            "unclamped": search(min(optimizers_report.numbers(target["losses"]))),
        },
        # Text, because thousands of numbers, each on a line of its own, are no file to look at.
        "losses": " ".join(f"{value:.6g}" for value in trace.losses),
        "seconds": " ".join(f"{value:.3f}" for value in trace.seconds),
    }


def key(run: Run) -> tuple[Any, ...]:
    return tuple(run[name] for name in ("pair", "size", "init", "optimizer"))


class Study:
    """The runs of a result, written down one by one."""

    def __init__(self, name: str, images: Path, resume: bool):
        settings = js.preset("gatys-notebook")
        self.name, self.images, self.objective = name, images, settings.objective
        self.meter = Meter(js.load_params(), settings.weights, settings.objective)
        self.targets = functools.lru_cache(maxsize=4)(self._targets)
        self.warm: set[tuple[str, int]] = set()
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
        self.done = {key(run): run for run in self.result["runs"]}

    def add(self, pair: str, size: int, init: str, optimizer: str, evaluations: int) -> Run | None:
        """Measure one run, unless it is there; the run if it is new."""
        which = (pair, size, init, optimizer)
        if which in self.done and self.done[which]["evaluations"] >= evaluations:
            return None
        content, style, targets = self.targets(pair, size)
        contestant = CONTESTANTS[optimizer]
        start = initial_image(init, content, [style], *content.shape[:2], mosaic=contestant.mosaic, seed=SEED)
        if (optimizer, size) not in self.warm:
            # Compiles everything: the first steps of a run that nobody sees.
            measure(contestant, self.meter, targets, start, 3)
            self.warm.add((optimizer, size))
        trace = measure(contestant, self.meter, targets, start, evaluations)
        loss = functools.cache(lambda i: self.meter.saved_loss(trace.pictures[i]))
        target = None if optimizer == REFERENCE else self.done.get((pair, size, init, REFERENCE))
        run = {"pair": pair, "size": size, "init": init, "optimizer": optimizer}
        run |= summarize(trace, loss, evaluations, target, contestant.box)
        self.done[which] = run
        self.result["runs"] = list(self.done.values())
        for path in files(self.images, pair):
            self.result["pictures"][path.name] = checksum(path)
        record.write(self.name, self.result)
        return run

    def _targets(self, pair: str, size: int) -> tuple[Pixels, Pixels, js.Targets]:
        content, style = (load(path, size) for path in files(self.images, pair))
        return content, style, js.make_targets(self.meter.params, content, [style], self.objective)


def merge(names: Sequence[str], name: str) -> None:
    """One result of several; of equal runs the first counts."""
    results = [record.read(each) for each in names]
    runs: dict[tuple[Any, ...], Run] = {}
    for run in itertools.chain.from_iterable(result["runs"] for result in results):
        runs.setdefault(key(run), run)
    pictures = {file: checksum for result in results for file, checksum in result["pictures"].items()}
    if any(pictures[file] != checksum for result in results for file, checksum in result["pictures"].items()):
        raise js.InputError(f"the results {', '.join(names)} are of different pictures, expected the same ones")
    record.write(name, {**results[0], "pictures": pictures, "runs": list(runs.values())})


def available(optimizers: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """The contestants to run, in the order of `CONTESTANTS`: a missing package matters if one was asked for by name."""
    chosen = []
    for name in CONTESTANTS:
        if name not in (optimizers or default):
            continue
        package = CONTESTANTS[name].package
        if not package or importlib.util.find_spec(package) is not None:
            chosen.append(name)
        elif optimizers:
            raise js.InputError(f"{name} needs {package}, which is not installed: pip install {package}")
        else:
            print(f"{name} is left out: pip install {package}", flush=True)
    return chosen


def sentence(run: Run, seconds: float) -> str:
    """The line about a run."""
    took, last = float(run["seconds"].split()[-1]), list(run["saved"].values())[-1]
    goal = ""
    if run["reached"]:
        after = run["reached"]["saved"]
        goal = f", {'never' if after is None else f'from {after} on'} as good as {REFERENCE}'s"
    return (
        f"{run['pair']} {run['size']} {run['init']} {run['optimizer']}: {len(run['losses'].split())} evaluations in "
        f"{took:.1f} s ({seconds:.1f} s with everything), saved {last:.4g}{goal}"
        + (f", stopped: {run['stopped']}" if run["stopped"] else "")
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments.parser("optimizers", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="holds content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pairs", nargs="+", metavar="CONTENT+STYLE", help="default: the six of the study")
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", help="long sides in pixels, 48 or more")
    parser.add_argument("--inits", nargs="+", choices=["content", "noise"], default=["content", "noise"])
    parser.add_argument("--optimizers", nargs="+", choices=CONTESTANTS, metavar="NAME", help=", ".join(CONTESTANTS))
    parser.add_argument(
        "--evaluations", type=arguments.positive, help="of each run, instead of the study's own numbers"
    )
    parser.add_argument("--quick", action="store_true", help="other defaults: a study of minutes, optimizers_quick")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the result has, add what is missing")
    parser.add_argument("--merge", nargs="+", metavar="NAME", help="make the result from others, measure nothing")
    parser.add_argument("--compare", nargs=2, metavar="NAME", help="whether two results rank the contestants alike")
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
        raise js.InputError("no pictures, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
    chosen = available(options.optimizers, default["optimizers"])
    pairs: list[str] = options.pairs or default["pairs"]
    sizes: list[int] = options.sizes or default["sizes"]
    inits: list[str] = options.inits
    least, longer = default["evaluations"], default["longer"]
    evaluations: dict[str, int] = {name: options.evaluations or longer.get(name, least) for name in chosen}
    for pair in pairs:
        files(options.images, pair)
    study = Study(options.name, options.images, options.resume)
    # Without the content there is nothing to mix a mosaic into.
    runs = [
        (pair, size, init, name)
        for pair, size, init, name in itertools.product(pairs, sizes, inits, chosen)
        if init == "content" or name not in ONLY_CONTENT
    ]
    for i, (pair, size, init, optimizer) in enumerate(runs, 1):
        begin = time.perf_counter()
        run = study.add(pair, size, init, optimizer, evaluations[optimizer])
        if run is not None:
            print(f"{i}/{len(runs)} {sentence(run, time.perf_counter() - begin)}", flush=True)


if __name__ == "__main__":
    main()
