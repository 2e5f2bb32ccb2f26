"""Twelve photos of six sizes: as one folder, and one by one. Pictures a minute, everything included.

Three ways, each in processes of its own: one command for the folder; one command for each photo; and one process that
calls `stylize` for each photo, which starts once but compiles each size.

    python -m benchmarks folder
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import PIL.Image

from benchmarks import arguments, record
from jaxstyle.errors import InputError

DATA = Path(__file__).parent.parent / "jaxstyle" / "data"
# Shorter side for a long one of 1.
ASPECTS = (3 / 4, 2 / 3, 9 / 16)
Run = dict[str, Any]

ONE_PROCESS = """
import sys
from pathlib import Path
import jaxstyle as js
photos, painting, out, size, steps = sys.argv[1:]
style, params = js.load_image(painting, size=int(size), enlarge=False), js.load_params()
for path in sorted(Path(photos).iterdir()):
    result = js.stylize(js.load_image(path, size=int(size)), style, params=params, steps=int(steps))
    js.save_image(Path(out) / path.name, result.image)
"""
MACHINE = "import json; from benchmarks import record; print(json.dumps(record.machine()))"


def photos(folder: Path, size: int) -> int:
    """Twelve photos of six sizes, with the long side twice as long as the pictures'; how many."""
    sizes = [(2 * size, round(2 * size * aspect)) for aspect in ASPECTS]
    sizes += [(short, long) for long, short in sizes]
    with PIL.Image.open(DATA / "china.jpg") as picture:
        for k in range(12):
            turned = picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if k >= 6 else picture
            turned.resize(sizes[k % 6]).save(folder / f"{k:02d}.png")
    return 12


def measure(options: argparse.Namespace) -> None:
    result: Run = {"question": "pictures a minute, as a folder and one by one", "runs": []}
    result |= {"size": options.size, "steps": options.steps, "machine": record.json.loads(_run("-c", MACHINE))}
    painting = str(DATA / "starry_night.jpg")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        count = photos(source, options.size)
        numbers = ["--size", str(options.size), "--steps", str(options.steps)]
        for repeat in range(options.repeats):
            out = [Path(folder) / f"{way}{repeat}" for way in ("folder", "commands", "process")]
            for each in out:
                each.mkdir()
            ways = {
                "one folder": [
                    ("-m", "jaxstyle", "stylize", str(source), painting, "-o", str(out[0]), *numbers, "--batch", batch)
                    for batch in [str(options.batch)]
                ],
                "a command for each": [
                    ("-m", "jaxstyle", "stylize", str(path), painting, "-o", str(out[1] / path.name), *numbers)
                    for path in sorted(source.iterdir())
                ],
                "stylize for each, in one process": [
                    ("-c", ONE_PROCESS, str(source), painting, str(out[2]), str(options.size), str(options.steps))
                ],
            }
            for (way, commands), made in zip(ways.items(), out, strict=True):
                start = time.perf_counter()
                for command in commands:
                    _run(*command)
                seconds = time.perf_counter() - start
                if len(list(made.iterdir())) != count:
                    raise InputError(f"{way} made {len(list(made.iterdir()))} of {count} pictures")
                batch = options.batch if way == "one folder" else 1
                result["runs"].append({"way": way, "batch": batch, "pictures": count, "seconds": seconds})
                record.write(options.name, result)
                print(f"{way}: {seconds:.1f} s, {60 * count / seconds:.2f} a minute", flush=True)


def _run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{' '.join(words)[:200]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def table(result: Run) -> str:
    first = result["runs"][0]["seconds"]
    rows = []
    for run in result["runs"]:
        count, seconds = run["pictures"], run["seconds"]
        rows.append((run["way"], count, f"{seconds:.1f}", f"{60 * count / seconds:.2f}", f"{seconds / first:.2f}"))
    return record.table(("way", "pictures", "seconds", "pictures a minute", "time / folder"), rows)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("folder", __doc__)
    parser.add_argument("--size", type=arguments.positive, default=192, help="long side (default: %(default)s)")
    parser.add_argument("--steps", type=arguments.positive, default=20, help="evaluations (default: %(default)s)")
    parser.add_argument("--batch", type=arguments.positive, default=1, help="photos at once (default: %(default)s)")
    parser.add_argument("--repeats", type=arguments.positive, default=1, help="rounds (default: %(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        measure(options)
    record.report(options.name, table(record.read(options.name)))
