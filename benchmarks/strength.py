"""Does a strength give the same balance of content and style for every pair and every size?

The balance is the base-10 logarithm of content error divided by style error. The content error is the squared distance
between the features of the result and the content, relative to that of a mosaic of the style. The style error is the
mean over the layers of the squared distance between the Gram matrices of the result and the style, relative to that of
the content. The runs differ only in their weights: fixed ones, or those of a strength. The less the balance varies over
pairs and sizes, the more predictable is the result of a strength.

`FOLDER` contains `content_NAME.jpg` and `style_NAME.jpg`; a pair is written `CONTENT+STYLE`.

    python -m benchmarks strength --images FOLDER
"""

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.optimizers import FULL, Run, files
from jaxstyle.typing import Image, Params

STRENGTHS = (0.25, 0.5, 0.75)


def errors(image: Image, content: Image, style: Image, params: Params, objective: js.Objective) -> tuple[float, float]:
    """Compute the content error, 1 for a mosaic of the style, and the style error, 1 for the content."""
    unit_weights = js.LossWeights(1.0, 1.0)
    targets = js.make_targets(params, content, [style], objective)
    images = {
        "result": image,
        "content": content,
        "mosaic": js.style_mosaic(0, [style], content.shape[0], content.shape[1]),
    }
    layers = objective.style_layers
    distances: dict[str, Any] = {}
    for name, pixels in images.items():
        grams = js.make_targets(params, pixels, [pixels], objective).style
        losses, _ = js.value_and_grad(pixels, params, targets, unit_weights, objective)
        gram_distances = [float(jnp.sum(jnp.square(grams[layer] - targets.style[layer]))) for layer in layers]
        distances[name] = float(losses.content), gram_distances
    content_error = distances["result"][0] / distances["mosaic"][0]
    style_error = statistics.mean(
        distance / unit for distance, unit in zip(distances["result"][1], distances["content"][1], strict=True)
    )
    return content_error, style_error


def measure(images: Path, pairs: list[str], sizes: list[int], steps: int, name: str) -> None:
    settings, params = js.preset("gram"), js.load_params()
    result: Run = {
        "question": "log10 of content error over style error, for fixed weights and for strengths",
        "steps": steps,
        "machine": record.machine(),
        "runs": [],
    }
    for size, pair in itertools.product(sizes, pairs):
        content, style = (js.load_image(path, size=size, enlarge=False) for path in files(images, pair))
        for strength in (None, *STRENGTHS):
            weights = settings.weights if strength is None else None
            stylized = js.stylize(
                content, style, settings, params=params, weights=weights, strength=strength, steps=steps, tolerance=0.0
            )
            content_error, style_error = errors(stylized.image, content, style, params, settings.objective)
            run = {
                "pair": pair,
                "size": size,
                "strength": strength,
                "content error": content_error,
                "style error": style_error,
                "balance": math.log10(content_error / style_error),
                "weights": [
                    np.asarray(weight).tolist() for weight in (stylized.weights.content, stylized.weights.style)
                ],
                "seconds": round(stylized.seconds, 1),
            }
            result["runs"].append(run)
            record.write(name, result)
            print(f"{pair} {size} {strength}: {run['balance']:.2f}", flush=True)


def balances(result: Run, strength: float | None, size: int | None = None) -> list[float]:
    """Return the balances of all runs with this strength; None selects fixed weights."""
    return [run["balance"] for run in result["runs"] if run["strength"] == strength and size in (None, run["size"])]


def table(result: Run) -> str:
    sizes = sorted({run["size"] for run in result["runs"]})
    header = ("weights", *(f"mean balance at {size}" for size in sizes), "standard deviation, all", "range")
    rows = []
    for strength in (None, *STRENGTHS):
        values = balances(result, strength)
        rows.append(
            (
                "fixed: 1, 1000" if strength is None else f"strength {strength}",
                *(f"{statistics.mean(balances(result, strength, size)):.2f}" for size in sizes),
                f"{statistics.stdev(values):.2f}",
                f"{min(values):.2f} to {max(values):.2f}",
            )
        )
    return record.table(header, rows)


def plot(result: Run, name: str) -> None:
    """Plot one column of points for each kind of weights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    sizes = sorted({run["size"] for run in result["runs"]})
    for k, strength in enumerate((None, *STRENGTHS)):
        for size, marker in zip(sizes, "o^s", strict=False):
            values = balances(result, strength, size)
            axes.plot([k] * len(values), values, marker, color=f"C{k}", alpha=0.6)
    for size, marker in zip(sizes, "o^s", strict=False):
        axes.plot([], [], marker, color="gray", label=f"{size} pixels")
    axes.set_xticks(range(1 + len(STRENGTHS)), ["fixed weights", *(f"strength {strength}" for strength in STRENGTHS)])
    axes.set_ylabel("balance: log10 of content error over style error")
    axes.legend()
    figure.savefig(record.plot_path(name), dpi=110)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("strength", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder with content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pairs", nargs="+", default=FULL["pairs"], metavar="CONTENT+STYLE")
    parser.add_argument(
        "--sizes", type=arguments.positive, nargs="+", default=[96, 144, 208], help="long sides in pixels"
    )
    parser.add_argument("--steps", type=arguments.positive, default=50, help="evaluations of each run (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.images is None:
            raise js.InputError("no images, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
        for pair in options.pairs:
            files(options.images, pair)
        measure(options.images, options.pairs, options.sizes, options.steps, options.name)
    result = record.read(options.name)
    record.report(options.name, table(result))
    plot(result, options.name)


if __name__ == "__main__":
    main()
