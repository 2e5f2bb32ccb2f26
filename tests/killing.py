"""SIGKILL at any moment: afterwards the output is absent, the old one or a new one, and the checkpoint loads.

The tests kill some writers. A campaign, whose summary is committed, kills whole runs of the command line, too:

    python tests/killing.py --writers 200 --runs 30 --json benchmarks/results/killing.json
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file

DATA = Path(io.__file__).parents[1] / "data"
# Colors of the picture that is there before, and of those that a writer puts in its place.
OLD, NEW = 0.25, (0.5, 0.75)


def write_for_ever(folder: str, ready) -> None:
    """Write the output and the checkpoint again and again."""
    out, checkpoint = Path(folder) / "out.png", Path(folder) / "run.ckpt"
    pixels = np.random.default_rng(0).random((128, 128, 3), np.float32)
    ready.set()
    for k in range(10**9):
        image = np.full((256, 256, 3), NEW[k % 2], np.float32)
        io.save_image(out, image, recipe={"k": k})
        contents = checkpoint_file.Contents({"image": pixels + np.float32(k), "k": np.array(k)}, {"k": k})
        checkpoint_file.write(checkpoint, contents)


def kill_a_writer(rng: random.Random, folder: Path) -> str:
    """Kill a process that writes, at some moment; returns what is there afterwards."""
    context = multiprocessing.get_context("forkserver")
    # What takes long to import; this file itself is not found from there.
    context.set_forkserver_preload(["jaxstyle.image.io", "jaxstyle.minimize.checkpoint_file"])
    old = rng.random() < 0.5
    if old:
        io.save_image(folder / "out.png", np.full((256, 256, 3), OLD, np.float32))
    ready = context.Event()
    process = context.Process(target=write_for_ever, args=(str(folder), ready))
    process.start()
    assert ready.wait(60)
    time.sleep(rng.random() * 0.08)
    process.kill()
    process.join()
    return what_is_there(folder, old)


def what_is_there(folder: Path, old: bool) -> str:
    """Check the files after a kill."""
    out, checkpoint = folder / "out.png", folder / "run.ckpt"
    if checkpoint.exists():
        contents = checkpoint_file.read(checkpoint)
        assert int(contents.tensors["k"]) == contents.metadata["k"]
    if not out.exists():
        assert not old, "the old picture is gone"
        return "absent"
    shade = {float(each) for each in np.unique(np.asarray(io.load_image(out)))}
    assert len(shade) == 1, "a mixture"
    if abs(shade.pop() - OLD) < 0.01:
        assert old
        return "the old one"
    assert io.read_recipe(out) is not None
    return "a new one"


def command(folder: Path, *words: str) -> list[str]:
    """A run of the command line, short and with the real network."""
    pictures = [str(DATA / "china.jpg"), str(DATA / "starry_night.jpg")]
    words = ("stylize", *pictures, "-o", str(folder / "out.png"), "--preset", "gram", *words)
    return [sys.executable, "-m", "jaxstyle", *words]


OPTIONS = (
    ("lbfgs, one scale, whole", ("--scales", "1", "--window", "whole")),
    ("lbfgs, pyramid, whole", ("--scales", "2", "--window", "whole")),
    ("lbfgs, pyramid, windows", ("--scales", "2", "--window", "64")),
    ("adam, one scale, windows", ("--scales", "1", "--window", "64", "--optimizer", "adam")),
    ("adam, pyramid, whole", ("--scales", "2", "--window", "whole", "--optimizer", "adam")),
)


def wait_for_a_moment(process: subprocess.Popen, checkpoint: Path, rng: random.Random) -> None:
    """Any moment of its first seconds, or one after it has saved."""
    start, before = time.monotonic(), checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    if rng.random() < 0.3:
        time.sleep(rng.uniform(0.5, 12.0))
        return
    while process.poll() is None and time.monotonic() - start < 300:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            break
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 4.0))


def kill_a_run(name: str, options: tuple[str, ...], rng: random.Random, kills: int, expected: bytes) -> dict:
    """Kill a run and resume it, so many times; then let it end, and compare its picture with the unstopped one's."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = 0
    moments = []
    with tempfile.TemporaryDirectory() as here:
        folder = Path(here)
        checkpoint = folder / "run.ckpt"
        words = (*RUN, *options, "--checkpoint", str(checkpoint), "--checkpoint-every", "0")
        while True:
            resume = [sys.executable, "-m", "jaxstyle", "resume", str(checkpoint), "-q"]
            begin = time.monotonic()
            with (folder / "output.txt").open("w") as output:
                process = subprocess.Popen(
                    resume if checkpoint.exists() else command(folder, *words),
                    stderr=output,
                    stdout=output,
                    env=environment,
                )
                if done < kills:
                    wait_for_a_moment(process, checkpoint, rng)
                    process.send_signal(signal.SIGKILL)
                process.wait(600)
            text = (folder / "output.txt").read_text()
            assert "Traceback" not in text, text
            assert not (folder / "out.png").exists() or process.returncode == 0, "a picture of a run that was killed"
            if checkpoint.exists():
                contents = checkpoint_file.read(checkpoint)
                taken = len(contents.tensors[f"history.{contents.metadata['run']['stage']}.0"])
            else:
                taken = None
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL, text
            done += 1
            moments.append({"seconds": round(time.monotonic() - begin, 1), "evaluations_saved": taken})
        assert (folder / "out.png").read_bytes() == expected, "another picture than that of an unstopped run"
        assert not checkpoint.exists()
    return {"options": name, "kills": done, "moments": moments, "identical": True}


RUN = ("--size", "96", "--steps", "200", "--tolerance", "0", "-q")


def main() -> None:
    """Run a campaign, print what came of it, write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=100)
    parser.add_argument("--runs", type=int, default=25, help="kills of whole runs, over all kinds of them")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    rng, ends = random.Random(0), {}
    for _ in range(arguments.writers):
        with tempfile.TemporaryDirectory() as folder:
            end = kill_a_writer(rng, Path(folder))
        ends[end] = ends.get(end, 0) + 1
    print("writers", ends, flush=True)
    runs = []
    for name, options in OPTIONS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(command(Path(folder), *RUN, *options), check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
            expected = (Path(folder) / "out.png").read_bytes()
        runs.append(kill_a_run(name, options, rng, -(-arguments.runs // len(OPTIONS)), expected))
        print(runs[-1], flush=True)
    if arguments.json:
        summary = {"writers": {"kills": arguments.writers, "afterwards": ends}, "runs": runs, "software": io.software()}
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
