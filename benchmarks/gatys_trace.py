"""Is our loss below the one that the authors' notebook prints, on its own images?

The objective, the images, their size (short side 512) and the start (the content) are those of the notebook
(github.com/leongatys/PytorchNeuralStyleTransfer, output of its optimization cell); the optimizer is ours. One
evaluation is one value and gradient. The images are not part of this project; the argument is their folder.

    python -m benchmarks gatys_trace FOLDER            # measure, about 40 minutes on 2 cores
    python -m benchmarks gatys_trace --plot            # regenerate plot and table from the JSON
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image as Pillow

import jaxstyle as js
from benchmarks import arguments, record
from jaxstyle.files import checksum

CONTENT, STYLE = "Tuebingen_Neckarfront.jpg", "vangogh_starry_night.jpg"
PUBLISHED = {
    50: 1388532.5,
    100: 707860.75,
    150: 538045.4375,
    200: 469374.875,
    250: 433804.65625,
    300: 411657.5625,
    350: 395248.3125,
    400: 383885.96875,
    450: 375128.75,
    500: 368493.78125,
}


def load(path: Path, short_side: int) -> jax.Array:
    """Load an image, resized as in the notebook: bilinear, the long side rounded down."""
    with Pillow.open(path) as file:
        image = file.convert("RGB")
    scale = short_side / min(image.size)
    width, height = (short_side if side == min(image.size) else int(side * scale) for side in image.size)
    return jnp.asarray(
        np.asarray(image.resize((width, height), Pillow.Resampling.BILINEAR), np.float32) / np.float32(255)
    )


def reached_after(losses: list[float], target: float) -> int | None:
    """Return the number of evaluations until the loss is at most `target`, or None."""
    return next((k for k, loss in enumerate(losses, 1) if loss <= target), None)


def measure(folder: Path, short_side: int, steps: int, name: str, save_path: Path | None) -> None:
    machine = record.machine()
    params = js.load_params()
    settings = js.preset("gatys-notebook")
    content, style = load(folder / CONTENT, short_side), load(folder / STYLE, short_side)
    targets = js.make_targets(params, content, [style], settings.objective)
    marks = sorted({*(k for k in PUBLISHED if k <= steps), steps})
    seconds: list[float] = []
    saved: dict[int, float] = {}

    def callback(progress: js.Progress) -> None:
        if progress.evaluations <= len(seconds):
            return
        seconds.extend([progress.seconds] * (progress.evaluations - len(seconds)))
        if progress.evaluations in marks:
            eight_bits = jnp.round(jnp.clip(progress.image, 0.0, 1.0) * 255) / 255
            inputs = (eight_bits, params, targets, settings.weights, settings.objective)
            saved[progress.evaluations] = float(js.value_and_grad(*inputs)[0].total)
            if save_path is not None:
                Pillow.fromarray(np.asarray(eight_bits * 255).round().astype(np.uint8)).save(save_path)
            print(progress.evaluations, f"{progress.losses.total:.1f}", flush=True)

    result = js.stylize(
        content,
        style,
        params=params,
        preset="gatys-notebook",
        steps=steps,
        tolerance=0.0,
        callback=callback,
        callback_every=50,
    )
    losses = [float(loss) for loss in result.losses.total]
    record.write(
        name,
        {
            "question": "loss of the notebook's objective on its own images after k evaluations",
            "pictures": {file: checksum(folder / file) for file in (CONTENT, STYLE)},
            "content_shape": list(content.shape),
            "style_shape": list(style.shape),
            "optimizer": "stylize: lbfgs, all defaults, whitened style residuals",
            # The first includes compilation; the others include the evaluation of the saved pictures.
            "seconds_until_first_evaluation": round(seconds[0], 2),
            "mean_seconds_per_evaluation": round((seconds[-1] - seconds[0]) / max(1, steps - 1), 3),
            "published": PUBLISHED,
            "published_500_reached_after": reached_after(losses, PUBLISHED[500]),
            "best_so_far": {n: min(losses[:n]) for n in PUBLISHED if n <= steps},
            "saved_picture": saved,
            "losses": losses,
            "machine": machine,
        },
    )


def table(result: dict[str, Any]) -> str:
    """Return the published losses beside ours, up to the evaluations of the run."""
    header = ("evaluations", "published", "jaxstyle", "ratio", "jaxstyle, saved 8-bit picture")
    rows = [
        (k, f"{published:,.0f}", f"{ours:,.0f}", f"{ours / published:.2f}", f"{result['saved_picture'][k]:,.0f}")
        for k, published in result["published"].items()
        if (ours := result["best_so_far"].get(k)) is not None
    ]
    return record.table(header, rows)


def plot(result: dict[str, Any], name: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    best = np.minimum.accumulate(result["losses"])
    axes.semilogy(np.arange(1, len(best) + 1), best, label="jaxstyle: the default optimizer, best so far", color="C0")
    axes.plot(
        *zip(*((int(k), v) for k, v in result["saved_picture"].items()), strict=True),
        "o",
        color="C0",
        mfc="none",
        label="jaxstyle: the saved picture (8 bits)",
    )
    axes.plot(
        *zip(*((int(k), v) for k, v in result["published"].items()), strict=True),
        "s--",
        color="C1",
        label="published: the authors' notebook, torch L-BFGS",
    )
    axes.set(
        xlabel="evaluations of loss and gradient",
        ylabel="loss",
        ylim=(3e5, 1e7),
        title="Neckarfront + The Starry Night, short side 512, from the content",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(record.plot_path(name), dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("gatys_trace", __doc__)
    parser.add_argument("folder", type=Path, nargs="?", help=f"folder with {CONTENT} and {STYLE}")
    parser.add_argument(
        "--short-side",
        type=arguments.positive,
        default=512,
        help="short side in pixels; the published losses are for 512",
    )
    parser.add_argument("--steps", type=arguments.positive, default=500, help="evaluations (default: %(default)s)")
    parser.add_argument("--save", type=Path, help="file for the picture; the content image is not part of this project")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.folder is None or not all((options.folder / file).is_file() for file in (CONTENT, STYLE)):
            parser.error(f"expected a folder with {CONTENT} and {STYLE}")
        measure(options.folder, options.short_side, options.steps, options.name, options.save)
    result = record.read(options.name)
    record.write_tables(options.name, [table(result)])
    plot(result, options.name)


if __name__ == "__main__":
    main()
