"""How many pictures per minute does a folder make, compared with running its photos separately?

Twelve photos of six sizes are stylized by three methods, including start-up, compilation, reading and writing: one
command for the folder; one command per photo; and one process that calls `stylize` for each photo, which starts once
but compiles for each size.

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

from benchmarks import DATA, arguments, record
from jaxstyle.errors import InputError

# Short side divided by long side.
ASPECTS = (3 / 4, 2 / 3, 9 / 16)
Run = dict[str, Any]
# Names of the methods in the JSON, and their labels in the table.
LABELS = {
    "one folder": "one folder",
    "a command for each": "one command per photo",
    "stylize for each, in one process": "one call of stylize per photo, in one process",
}

ONE_PROCESS = """
import sys
from pathlib import Path
import jaxstyle as js
photos, style_path, out, size, steps = sys.argv[1:]
style, params = js.load_image(style_path, size=int(size), enlarge=False), js.load_params()
for path in sorted(Path(photos).iterdir()):
    result = js.stylize(js.load_image(path, size=int(size)), style, params=params, preset="gram", steps=int(steps))
    js.save_image(Path(out) / path.name, result.image)
"""
MACHINE = "import json; from benchmarks import record; print(json.dumps(record.machine()))"


def write_photos(folder: Path, size: int) -> int:
    """Write twelve photos of six sizes, with a long side of `2 * size`, and return their number."""
    sizes = [(2 * size, round(2 * size * aspect)) for aspect in ASPECTS]
    sizes += [(short, long) for long, short in sizes]
    with PIL.Image.open(DATA / "china.jpg") as original:
        for k in range(12):
            photo = original.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if k >= 6 else original
            photo.resize(sizes[k % 6]).save(folder / f"{k:02d}.png")
    return 12


def measure(options: argparse.Namespace) -> None:
    result: Run = {"question": "pictures per minute, as a folder and separately", "runs": []}
    result |= {"size": options.size, "steps": options.steps, "machine": record.json.loads(_run("-c", MACHINE))}
    style = str(DATA / "starry_night.jpg")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        count = write_photos(source, options.size)
        numbers = ["--size", str(options.size), "--steps", str(options.steps), "--preset", "gram"]
        for repeat in range(options.repeats):
            out = [Path(folder) / f"{method}{repeat}" for method in ("folder", "commands", "process")]
            for output in out:
                output.mkdir()
            methods = {
                "one folder": [
                    ("-m", "jaxstyle", "stylize", str(source), style, "-o", str(out[0]), *numbers, "--batch", batch)
                    for batch in [str(options.batch)]
                ],
                "a command for each": [
                    ("-m", "jaxstyle", "stylize", str(path), style, "-o", str(out[1] / path.name), *numbers)
                    for path in sorted(source.iterdir())
                ],
                "stylize for each, in one process": [
                    ("-c", ONE_PROCESS, str(source), style, str(out[2]), str(options.size), str(options.steps))
                ],
            }
            for (method, commands), output in zip(methods.items(), out, strict=True):
                start = time.perf_counter()
                for command in commands:
                    _run(*command)
                seconds = time.perf_counter() - start
                if (written := len(list(output.iterdir()))) != count:
                    raise InputError(f"{LABELS[method]}: wrote {written} of {count} pictures")
                batch = options.batch if method == "one folder" else 1
                result["runs"].append({"way": method, "batch": batch, "pictures": count, "seconds": seconds})
                record.write(options.name, result)
                print(f"{LABELS[method]}: {seconds:.1f} s, {60 * count / seconds:.2f} per minute", flush=True)


def _run(*arguments_: str) -> str:
    process = subprocess.run([sys.executable, *arguments_], capture_output=True, text=True, check=False)
    if process.returncode:
        raise InputError(
            f"{' '.join(arguments_)[:200]} exited with status {process.returncode}: {process.stderr[-500:]}"
        )
    return process.stdout


def table(result: Run) -> str:
    first = result["runs"][0]["seconds"]
    rows = []
    for run in result["runs"]:
        count, seconds = run["pictures"], run["seconds"]
        rows.append(
            (LABELS[run["way"]], count, f"{seconds:.1f}", f"{60 * count / seconds:.2f}", f"{seconds / first:.2f}")
        )
    return record.table(("method", "pictures", "seconds", "pictures per minute", "time / folder"), rows)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("folder", __doc__)
    parser.add_argument(
        "--size", type=arguments.positive, default=192, help="long side in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=arguments.positive, default=20, help="evaluations per photo (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=arguments.positive, default=1, help="batch size for the folder (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=arguments.positive, default=1, help="rounds (default: %(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        measure(options)
    record.report(options.name, table(record.read(options.name)))
