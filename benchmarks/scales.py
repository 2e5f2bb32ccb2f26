"""At equal cost, is it better to optimize small copies first?

Compares a run at the full size with a coarse-to-fine run whose steps cost the same in total (the cost of a step is
proportional to its pixels), by the full-size loss of the saved picture and by the pictures side by side.

`FOLDER` contains `content_NAME.jpg` and `style_NAME.jpg`; a pair is written `CONTENT+STYLE`.

    python -m benchmarks scales --images FOLDER --sizes 512
"""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.losses import saved_losses
from benchmarks.optimizers import FULL, Run, files
from jaxstyle.transfer.pyramid import Scale, ScaleCount, pyramid

VARIANTS: tuple[ScaleCount, ...] = (1, "auto")
PAIRS = FULL["pairs"][0], FULL["pairs"][4]


def cost(plan: tuple[Scale, ...]) -> float:
    """Return the cost in steps at the full size."""
    full = plan[-1].height * plan[-1].width
    return sum(scale.steps * scale.height * scale.width / full for scale in plan)


def equal_steps(steps: int, plan: Callable[[int], tuple[Scale, ...]]) -> int:
    """Return the largest number of steps of a plan that costs no more than `steps` at the full size."""
    return next(total - 1 for total in itertools.count(steps + 1) if cost(plan(total)) > steps)


def measure(images: Path, pairs: list[str], sizes: list[int], steps: int, name: str) -> None:
    settings, params = js.preset("gram"), js.load_params()
    result: Run = {
        "question": "loss and picture from coarse to fine, at the cost of a number of steps at the full size",
        "steps": steps,
        "machine": record.machine(),
        "runs": [],
    }
    for size, pair, scales in itertools.product(sizes, pairs, VARIANTS):
        content, style = (js.load_image(path, size=size, enlarge=False) for path in files(images, pair))
        plan = functools.partial(
            pyramid, *content.shape[:2], scales=scales, styles=[style.shape[:2]], min_side=settings.objective.min_side
        )
        total = equal_steps(steps, lambda total, plan=plan: plan(steps=total))
        if scales != 1 and len(plan(steps=total)) == 1:
            raise js.InputError(f"{pair} at {size} pixels has only one scale, expected a larger size or more steps")
        stylized = js.stylize(content, style, settings, params=params, scales=scales, steps=total, tolerance=0.0)
        losses = saved_losses(stylized.image, content, style, params, settings)
        run = {
            "pair": pair,
            "size": size,
            "scales": str(scales),
            "steps": [[f"{scale.width}x{scale.height}", scale.steps] for scale in stylized.scales],
            "cost": round(cost(stylized.scales), 1),
            **{term: round(float(getattr(losses, term))) for term in ("total", "content", "style")},
        }
        result["runs"].append(run)
        record.write(name, result)
        js.save_image(picture_path(name, run), stylized.image, quality=90)
        print(f"{pair} {size} {scales}: {run['total']:,}", flush=True)


def picture_path(name: str, run: Run) -> Path:
    """Return the path of a run's picture."""
    return record.RESULTS / f"{name}_{run['size']}_{run['pair']}_{run['scales']}.jpg"


def table(result: Run) -> str:
    header = ("pair", "long side", "scales", "steps", "saved loss", "content part", "style part")
    rows = [
        (
            run["pair"],
            run["size"],
            run["scales"],
            ", ".join(f"{steps} at {size}" for size, steps in run["steps"]),
            *(f"{run[term]:,}" for term in ("total", "content", "style")),
        )
        for run in result["runs"]
    ]
    return record.table(header, rows)


def plot(result: Run, name: str) -> None:
    """Show the pictures: one row per pair and size, one column per variant."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys((run["pair"], run["size"]) for run in result["runs"]))
    figure = Figure(figsize=(5 * len(VARIANTS), 3.7 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(VARIANTS), squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for run in result["runs"]:
        cell = rows.index((run["pair"], run["size"])), [str(variant) for variant in VARIANTS].index(run["scales"])
        grid[cell].imshow(np.asarray(js.load_image(picture_path(name, run))))
        grid[cell].set_title(f"{run['size']}, scales {run['scales']}: loss {run['total']:,}")
    figure.savefig(record.plot_path(name).with_suffix(".jpg"), dpi=110)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("scales", __doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder with content_NAME.jpg and style_NAME.jpg")
    parser.add_argument(
        "--pairs", nargs="+", default=PAIRS, metavar="CONTENT+STYLE", help=f"default: {' '.join(PAIRS)}"
    )
    parser.add_argument(
        "--sizes", type=arguments.positive, nargs="+", default=[512], help="long sides in pixels (default: 512)"
    )
    parser.add_argument(
        "--steps", type=arguments.positive, default=40, help="steps at the full size (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if not options.plot:
        if options.images is None:
            raise js.InputError("no images, expected --images FOLDER with content_NAME.jpg and style_NAME.jpg")
        for pair in options.pairs:
            files(options.images, pair)
        measure(options.images, options.pairs, options.sizes, options.steps, options.name)
    result = record.read(options.name)
    record.write_tables(options.name, [table(result)])
    plot(result, options.name)


if __name__ == "__main__":
    main()
