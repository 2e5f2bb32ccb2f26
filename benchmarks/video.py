"""How much does a stylized video flicker, compared with its frames stylized one by one?

Clips move pictures along known paths, so it is known which pixels two frames share. The warping error is the mean over
these pixels of the squared difference between a frame and another one moved along the known motion: the frame before
(short) or the first frame (long). Beside it the error of the clip itself, which interpolation causes, and the style and
content errors of `strength`, since gray pictures would not flicker either. Evaluations and seconds are those of a later
frame.

    python -m benchmarks video
"""

import argparse
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.strength import errors
from benchmarks.video_scenes import CLIPS, Clip, clips
from jaxstyle.typing import Params
from jaxstyle.video.flow import estimate_flow, warp
from jaxstyle.video.masks import disoccluded

DATA = Path(js.__file__).parent / "data"
METHODS: dict[str, dict[str, Any] | None] = {
    "frame by frame": None,
    "stability 0.3": {"stability": 0.3},
    "stability 0.5": {"stability": 0.5},
    "stability 0.8": {"stability": 0.8},
    "without flow": {"flow": "none"},
}


def warping_error(images: Sequence[np.ndarray], clip: Clip, long: bool = False) -> float:
    """Return the mean over frames of the mean squared difference from an earlier frame, where both show the same."""
    found = []
    for number in range(1, len(images)):
        other = 0 if long else number - 1
        flow, shown = clip.motion(number, other)
        difference = np.square(images[number] - warp(images[other], flow)).mean(axis=2)
        found.append(float(difference[shown].mean()))
    return statistics.mean(found)


def flow_scores(clip: Clip, count: int) -> dict[str, float]:
    """Return the endpoint error of the estimated flow where both frames show the same, and the F-score of the mask."""
    ends, scores = [], []
    for number in range(1, count):
        before, after = clip.frame(number - 1), clip.frame(number)
        (flow, shown), backward = clip.motion(number, number - 1), estimate_flow(after, before)
        ends.append(float(np.linalg.norm(backward - flow, axis=2)[shown].mean()))
        left = (np.indices(clip.size).transpose(1, 2, 0)[:, :, ::-1] + flow).round()
        inside = np.all((left >= 0) & (left < np.array(clip.size)[::-1]), axis=2)
        hidden, found = inside & ~shown, inside & disoccluded(backward, estimate_flow(before, after))
        if hidden.any():
            scores.append(2 * float((hidden & found).sum() / (hidden.sum() + found.sum())))
    return {"endpoint error": statistics.mean(ends)} | ({"f-score": statistics.mean(scores)} if scores else {})


def stylized(frames: Sequence[np.ndarray], style: Any, params: Params, method: dict | None, options: dict) -> list:
    """Return results and their seconds."""
    results: Iterable[js.Result]
    if method is None:
        results = (js.stylize(jnp.asarray(frame), style, params=params, **options) for frame in frames)
    else:
        results = js.stylize_video(map(jnp.asarray, frames), style, params=params, **method, **options)
    timed, start = [], time.perf_counter()
    for result in results:
        timed.append((result, time.perf_counter() - start))
        start = time.perf_counter()
    return timed


def measure(options: argparse.Namespace) -> None:
    params, objective = js.load_params(), js.Objective()
    width, height = options.size, options.size * 3 // 4
    photo = np.asarray(js.load_image(DATA / "china.jpg", size=2 * width))
    painting = js.load_image(DATA / "starry_night.jpg", size=width)
    object_ = np.asarray(painting)[: height // 3, : width // 3]
    result: dict[str, Any] = {"size": [width, height], "frames": options.frames, "machine": record.machine()}
    result |= {"clips": {}, "runs": []}
    overrides = {name: getattr(options, name) for name in ("steps", "finish") if getattr(options, name) is not None}
    result["settings"] = overrides
    known = clips(photo, object_, (height, width))
    for name, clip in ((name, known[name]) for name in options.clips or known):
        frames = [clip.frame(number) for number in range(options.frames)]
        own = {"short": warping_error(frames, clip), "long": warping_error(frames, clip, long=True)}
        result["clips"][name] = own | flow_scores(clip, options.frames)
        for method in options.methods:
            timed = stylized(frames, painting, params, METHODS[method], overrides)
            images = [np.asarray(one.image) for one, _ in timed]
            both = [
                errors(jnp.asarray(image), jnp.asarray(frame), painting, params, objective)
                for image, frame in zip(images, frames, strict=True)
            ]
            later = timed[1:]
            run = {
                "clip": name,
                "method": method,
                "short": warping_error(images, clip),
                "long": warping_error(images, clip, long=True),
                "content error": statistics.mean(content for content, _ in both),
                "style error": statistics.mean(style for _, style in both),
                "first evaluations": timed[0][0].evaluations,
                "evaluations": statistics.mean(one.evaluations for one, _ in later),
                "seconds": [round(seconds, 2) for _, seconds in timed],
            }
            result["runs"].append(run)
            record.write(options.name, result)
            print(f"{name}, {method}: {run['short']:.5f} {run['long']:.5f} {run['style error']:.4f}", flush=True)


def table(result: dict[str, Any]) -> str:
    header = (
        "clip",
        "frames",
        "warping error: short",
        "long",
        "style error",
        "content error",
        "evaluations",
        "seconds",
    )
    rows = []
    for name, own in result["clips"].items():
        rows.append((name, "input", f"{own['short']:.5f}", f"{own['long']:.5f}", *[None] * 4))
        runs = [run for run in result["runs"] if run["clip"] == name]
        alone = next((run for run in runs if run["method"] == "frame by frame"), None)
        for run in runs:
            numbers = [f"{run[key]:.5f}" for key in ("short", "long")]
            if alone is not None and run is not alone:
                numbers = [
                    f"{text} ({run[key] / alone[key]:.2f})"
                    for text, key in zip(numbers, ("short", "long"), strict=True)
                ]
            style, content = f"{run['style error']:.4f}", f"{run['content error']:.3f}"
            # The first two frames compile.
            seconds = f"{statistics.median(run['seconds'][2:] or run['seconds'][1:]):.2f}"
            rows.append((name, run["method"], *numbers, style, content, f"{run['evaluations']:.0f}", seconds))
    return record.table(header, rows)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("video", __doc__)
    parser.add_argument(
        "--size", type=arguments.positive, default=96, help="width of the frames (default: %(default)s)"
    )
    parser.add_argument("--frames", type=arguments.positive, default=5, help="frames a clip (default: %(default)s)")
    parser.add_argument("--steps", type=arguments.positive, help="steps of a picture (default: the preset's)")
    parser.add_argument("--finish", type=int, help="evaluations of the finish (default: the preset's)")
    parser.add_argument("--clips", nargs="+", choices=CLIPS, help="default: all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args(argv)
    if not options.plot:
        if options.frames < 2:
            raise js.InputError(f"got {options.frames} frame, expected at least 2: one frame cannot flicker")
        arguments.check_sizes([options.size * 3 // 4], js.preset().min_side)
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
