"""How much of the loss does a feed-forward network reach, and how many evaluations does a start from it save?

For each photo two runs minimize a loss of the layers and the strength that the network was trained by: one begins with
the photo, the other one, without the whitened surrogate, with the network's picture. Compared is the loss of the
network's picture with that of the first run at every evaluation, and the number of evaluations after which the second
run is where the first one was after a third, half and all of its evaluations.

    python -m benchmarks feed_forward --network starry.safetensors --painting starry_night.jpg --photos PHOTO ...
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxstyle as js
from benchmarks import arguments, record

Run = dict[str, Any]


def measure(options: argparse.Namespace) -> None:
    params, network = js.load_params(), js.load_network(options.network)
    apply = jax.jit(js.apply_network, static_argnames="precision")
    painting = js.load_image(options.painting, size=options.style_size)
    settings = js.preset("gram").override(
        content_layers=tuple(options.content_layers),
        style_layers=tuple(options.style_layers),
        strength=options.strength,
        steps=options.steps,
        tolerance=0.0,
        mosaic=0.0,
    )
    result: Run = {"question": "loss of a network's picture", "steps": options.steps, "size": options.size, "runs": []}
    result |= {"strength": options.strength, "machine": record.machine()}
    for path in options.photos:
        photo = js.load_image(path, size=options.size)
        picture = apply(network, photo, precision="default")
        # The surrogate is for starts that are far from the style.
        starts: list[Run] = [{"init": "content"}, {"init": picture, "whitening": 0.0}]
        plain, started = (
            np.asarray(js.stylize(photo, painting, settings, params=params, **start).losses.total) for start in starts
        )
        result["runs"].append({"photo": path.stem, "plain": plain.tolist(), "started": started.tolist()})
        record.write(options.name, result)
        print(f"{path.stem}: {plain[0]:.4g} -> {plain.min():.4g}, from the network {started[0]:.4g}", flush=True)
    large = js.white_noise(0, 384, 512)
    seconds = []
    # The first pass compiles.
    for _ in range(8):
        begin = time.perf_counter()
        apply(network, large, precision="default").block_until_ready()
        seconds.append(time.perf_counter() - begin)
    result["apply_512_seconds"], result["compile_seconds"] = statistics.median(seconds[1:]), seconds[0]
    record.write(options.name, result)


def table(result: Run) -> str:
    rows, reached = [], []
    for run in result["runs"]:
        plain, started = (np.minimum.accumulate(run[name]) for name in ("plain", "started"))
        reached.append(float((plain[0] - started[0]) / (plain[0] - plain[-1])))
        row = f"{plain[0] / plain[-1]:.1f}", f"{started[0] / plain[-1]:.2f}", f"{reached[-1]:.1%}"
        marks = (result["steps"] // 3, result["steps"] // 2, result["steps"])
        needed = [evaluations_to(started, float(plain[mark - 1])) or f"> {len(started)}" for mark in marks]
        rows.append((run["photo"], *row, evaluations_to(plain, float(started[0])) or f"> {len(plain)}", *needed))
    rows.append(("mean", None, None, f"{statistics.mean(reached):.1%}", None, None, None, None))
    columns = (
        "photo",
        "loss of the photo",
        "loss of the network's picture",
        "part of the way",
        "evaluations that equal it",
    )
    marks = [f"from it, to where {result['steps'] // part} lead" for part in (3, 2, 1)]
    return record.table((*columns, *marks), rows) + (
        f"\n\nLosses relative to the end of a run of {result['steps']} evaluations from the photo, at a long side of "
        f"{result['size']} pixels. One pass at 512x384: {result['apply_512_seconds'] * 1000:.0f} ms.\n"
    )


def evaluations_to(losses: np.ndarray, loss: float) -> int | None:
    """Return the number of evaluations until a loss is reached; None if it is not."""
    below = np.flatnonzero(losses <= loss)
    return int(below[0]) + 1 if below.size else None


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("feed_forward", __doc__)
    parser.add_argument("--network", type=Path, help="file of the network")
    parser.add_argument("--painting", type=Path, help="that it was trained for")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="photos that it was not trained on")
    parser.add_argument("--size", type=arguments.positive, default=192, help="long side (default: %(default)s)")
    parser.add_argument(
        "--style-size",
        type=arguments.positive,
        default=256,
        help="long side of the painting, as in training (default: %(default)s)",
    )
    parser.add_argument("--steps", type=arguments.positive, default=100, help="evaluations (default: %(default)s)")
    parser.add_argument("--strength", type=float, default=0.35, help="as in training (default: %(default)s)")
    parser.add_argument("--content-layers", nargs="+", default=["relu3_3"])
    parser.add_argument("--style-layers", nargs="+", default=["relu1_1", "relu2_1", "relu3_1", "relu4_1"])
    options = parser.parse_args(argv)
    if not options.plot:
        if options.network is None or options.painting is None or not options.photos:
            raise js.InputError("no network, painting or photos, expected --network, --painting and --photos")
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
