"""Cost of checkpoints: seconds of a save, and of whole runs with a save every 30 seconds and without.

A save writes the whole state of the default optimizer, from the device to a synced file.

    python -m benchmarks checkpoint
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

import jaxstyle as js
from benchmarks import DATA, arguments, record
from jaxstyle.minimize import checkpoint
from jaxstyle.minimize.loop import initial_run_state
from jaxstyle.typing import Image, Params

INTERVAL_SECONDS = 30.0


def measure(sizes: list[int], saves: int, rounds: int, steps: int, name: str) -> None:
    result: dict[str, Any] = {
        "question": "seconds of a save, and of runs with and without",
        "every": INTERVAL_SECONDS,
        "machine": record.machine(),
        "saves": [],
        "runs": [],
    }
    params = js.load_params()
    for size in sizes:
        photo, painting = (js.load_image(DATA / file, size=size) for file in ("china.jpg", "starry_night.jpg"))
        result["saves"].append({"size": size} | _saves(photo, painting, params, saves))
        record.write(name, result)
        print(result["saves"][-1], flush=True)
    photo, painting = (js.load_image(DATA / file, size=512) for file in ("china.jpg", "starry_night.jpg"))
    options: dict[str, Any] = {"params": params, "preset": "gram", "tolerance": 0.0, "steps": steps}
    if rounds:
        warm_up: dict[str, Any] = options | {"steps": 2}
        js.stylize(photo, painting, **warm_up)
    for _ in range(rounds):
        seconds = {"without": js.stylize(photo, painting, **options).seconds}
        with tempfile.TemporaryDirectory() as folder:
            saved = js.Checkpoint(Path(folder) / "run", every=INTERVAL_SECONDS)
            seconds["with"] = js.stylize(photo, painting, checkpoint=saved, **options).seconds
        result["runs"].append({"size": 512, "steps": steps} | seconds)
        record.write(name, result)
        print(result["runs"][-1], flush=True)


def _saves(photo: Image, painting: Image, params: Params, count: int) -> dict[str, Any]:
    """Return the seconds of each save, and its bytes."""
    settings = js.preset("default")
    targets = js.make_targets(params, photo, [painting], settings.objective)
    others = params, targets, settings.weights, settings.objective, settings.transform
    state = js.init(photo, *others)
    for _ in range(3):
        state = js.step(state, *others)
    jax.block_until_ready(state)
    snapshot = checkpoint.Snapshot(0, [photo], [], [None], settings.weights, initial_run_state(state), 0.0)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        save = checkpoint.make_saver(js.Checkpoint(path, every=0.0), {})
        for _ in range(count):
            start = time.perf_counter()
            save(snapshot, True)
            seconds.append(time.perf_counter() - start)
        return {"width": photo.shape[1], "height": photo.shape[0], "seconds": seconds, "bytes": path.stat().st_size}


def table(result: dict[str, Any]) -> str:
    header = ("long side", "a save", "file", f"of {result['every']:.0f} seconds")
    rows = []
    for saves in result["saves"]:
        seconds = statistics.median(saves["seconds"])
        share = f"{100 * seconds / result['every']:.2f} %"
        rows.append((saves["size"], f"{seconds:.2f} s", f"{saves['bytes'] / 1e6:.0f} MB", share))
    tables = [record.table(header, rows)]
    if result["runs"]:
        ratio = statistics.median(run["with"] / run["without"] for run in result["runs"])
        medians = [statistics.median(run[way] for run in result["runs"]) for way in ("without", "with")]
        row = 512, result["runs"][0]["steps"], *(f"{median:.1f} s" for median in medians), f"{ratio:.3f}"
        tables.append(record.table(("long side", "evaluations", "without", "with", "ratio"), [row]))
    return "\n".join(tables)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("checkpoint", __doc__)
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[256, 512, 1024], metavar="PIXELS")
    parser.add_argument("--saves", type=arguments.positive, default=7, help="at each size (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of whole runs at 512, in turn (%(default)s)")
    parser.add_argument("--steps", type=arguments.positive, default=24, help="of each run (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        measure(options.sizes, options.saves, options.rounds, options.steps, options.name)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
