"""Does a strength give the same balance of content and style for every pair, size, style loss and schedule?

The balance is the base-10 logarithm of content error divided by style error. The content error is the squared distance
between the features of the result and the content, relative to that of a mosaic of the style. The style error is the
mean over the layers of the squared distance between the Gram matrices of the result and the style, relative to that of
the content, whatever the style loss of the run. The less the balance varies, the more predictable is the result of a
strength. For comparison: the fixed weights of the preset `gram`. The last columns are the geometric mean of the content
error alone and the standard deviation of its logarithm.

`FOLDER` contains `content_NAME.jpg` and `style_NAME.jpg`; a pair is written `CONTENT+STYLE`.

    python -m benchmarks strength --images FOLDER
"""

import argparse
import itertools
import math
import statistics
from pathlib import Path
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.optimizers import FULL, Run, files
from jaxstyle.losses.style import StyleLoss
from jaxstyle.transfer.presets import PRESETS
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


def measure(options: argparse.Namespace) -> None:
    params, objective = js.load_params(), js.Objective()
    result: Run = {
        "question": "log10 of content error over style error, for fixed weights and for strengths",
        "preset": options.preset,
        "machine": record.machine(),
        "runs": [],
    }
    fixed = [(None, "gram", 1)]
    ours = list(itertools.product(STRENGTHS, options.losses, options.scales))
    for size, pair in itertools.product(options.sizes, options.pairs):
        content, style = (js.load_image(path, size=size, enlarge=False) for path in files(options.images, pair))
        for strength, loss, scales in (*fixed, *ours):
            settings = js.preset("gram" if strength is None else options.preset)
            changes = {} if strength is None else {"strength": strength, "style_loss": loss, "scales": scales}
            stylized = js.stylize(content, style, settings, params=params, **changes)
            content_error, style_error = errors(stylized.image, content, style, params, objective)
            run = {
                "pair": pair,
                "size": size,
                "strength": strength,
                "loss": loss,
                "scales": scales,
                "content error": content_error,
                "style error": style_error,
                "balance": math.log10(content_error / style_error),
                "weights": [
                    np.asarray(weight).tolist() for weight in (stylized.weights.content, stylized.weights.style)
                ],
                "seconds": round(stylized.seconds, 1),
            }
            result["runs"].append(run)
            record.write(options.name, result)
            print(f"{pair} {size} {loss} {scales} {strength}: {run['balance']:.2f}", flush=True)


def balances(result: Run, strength: float | None, **selected: Any) -> list[float]:
    """Return the balances of all runs with this strength, which for None is that of the fixed weights."""
    selected["strength"] = strength
    return [run["balance"] for run in result["runs"] if all(run[name] == value for name, value in selected.items())]


def table(result: Run) -> str:
    axes = [(name, value) for name in ("size", "loss", "scales") for value in _values(result, name)]
    titles = (f"{name} {value}" if name == "scales" else str(value) for name, value in axes)
    header = ("weights", *titles, "standard deviation, all", "range", "content error", "its standard deviation")
    rows = []
    for strength in (None, *STRENGTHS):
        values = balances(result, strength)
        content_errors = [math.log10(run["content error"]) for run in result["runs"] if run["strength"] == strength]
        rows.append(
            (
                "fixed: 1, 1000" if strength is None else f"strength {strength}",
                *(_mean(balances(result, strength, **{name: value})) for name, value in axes),
                f"{statistics.stdev(values):.2f}",
                f"{min(values):.2f} to {max(values):.2f}",
                f"{10 ** statistics.mean(content_errors):.2f}",
                f"{statistics.stdev(content_errors):.2f}",
            )
        )
    return record.table(header, rows)


def _values(result: Run, name: str) -> list[Any]:
    """Return the values of a key of the runs, in the order of the runs."""
    return list(dict.fromkeys(run[name] for run in result["runs"]))


def _mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f}" if values else "—"


def plot(result: Run, name: str) -> None:
    """Plot one column of points for each kind of weights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    sizes = _values(result, "size")
    for k, strength in enumerate((None, *STRENGTHS)):
        for size, marker in zip(sizes, "o^sv", strict=False):
            values = balances(result, strength, size=size)
            axes.plot([k] * len(values), values, marker, color=f"C{k}", alpha=0.6)
    for size, marker in zip(sizes, "o^sv", strict=False):
        axes.plot([], [], marker, color="gray", label=f"{size} pixels")
    axes.set_xticks(range(1 + len(STRENGTHS)), ["fixed weights", *(f"strength {strength}" for strength in STRENGTHS)])
    axes.set_ylabel("balance: log10 of content error over style error")
    axes.legend()
    figure.savefig(record.plot_path(name), dpi=110)


def _scales(word: str) -> int | str:
    return word if word == "auto" else arguments.positive(word)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("strength", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder with content_NAME.jpg and style_NAME.jpg")
    parser.add_argument("--pairs", nargs="+", default=FULL["pairs"], metavar="CONTENT+STYLE")
    parser.add_argument("--sizes", type=arguments.positive, nargs="+", default=[128, 256, 512, 1024], help="long sides")
    parser.add_argument("--losses", nargs="+", choices=get_args(StyleLoss), default=list(get_args(StyleLoss)))
    parser.add_argument("--scales", type=_scales, nargs="+", default=[1, "auto"], help="default: 1 auto")
    parser.add_argument("--preset", choices=PRESETS, default="default")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.images is None:
            raise js.InputError("no images, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
        for pair in options.pairs:
            files(options.images, pair)
        measure(options)
    result = record.read(options.name)
    record.report(options.name, table(result))
    plot(result, options.name)


if __name__ == "__main__":
    main()
