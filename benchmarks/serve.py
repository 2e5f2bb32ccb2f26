"""Cost of a page that watches: evaluations per second of a run of `jaxstyle serve`, with a watching client and without.

In turn, in one run, so that nothing is compiled between them. The client is a process of its own, which follows the
events and fetches every picture, as the page does.

    python -m benchmarks serve
"""

import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import uvicorn

import jaxstyle as js
from benchmarks import arguments, record
from jaxstyle.serve.app import Site, make_app, make_site
from jaxstyle.serve.options import parse
from jaxstyle.serve.run import Run
from jaxstyle.serve.security import address, new_token
from jaxstyle.serve.segment import Inputs, Segment
from jaxstyle.transfer.result import Progress
from jaxstyle.vgg import tensors

TINY_WIDTHS = (4, 4, 8, 8, 8)
# Evaluations after which a run goes back to its first picture.
SEGMENT = 200


class Timed(Run):
    """A run that notes when each chunk of steps ended, and begins again before it converges."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Time and number of evaluations, for each segment.
        self.times: list[list[tuple[float, int]]] = []

    def begin(self) -> bool:
        self.times.append([])
        return super().begin()

    def on_progress(self, progress: Progress, scales: Sequence[float]) -> Any:
        answer = super().on_progress(progress, scales)
        self.times[-1].append((time.perf_counter(), progress.evaluations))
        if progress.evaluations >= SEGMENT:
            self.back(self.snapshots[0].id)
            return True
        return answer

    def rate(self, seconds: float) -> float:
        """Return the evaluations per second of the next seconds; preparations do not count."""
        begin = time.perf_counter()
        time.sleep(seconds)
        segments = [[at for at in segment if at[0] >= begin] for segment in list(self.times)]
        spans = [(segment[0], segment[-1]) for segment in segments if len(segment) > 1]
        evaluations = sum(last[1] - first[1] for first, last in spans)
        return evaluations / sum(last[0] - first[0] for first, last in spans)


def measure(networks: list[str], size: int, seconds: float, rounds: int, name: str) -> None:
    result: dict[str, Any] = {
        "question": "evaluations per second with a watching page, and without",
        "machine": record.machine(),
        "size": size,
        "seconds": seconds,
        "runs": [],
    }
    for network in networks:
        with tempfile.TemporaryDirectory() as folder, _served(network, Path(folder)) as (site, where):
            run = Timed(_bundled(site), Segment(parse({"size": size, "steps": 2 * SEGMENT, "scales": 1})))
            site.runs.submit(run)
            with _watcher(where) as watch:
                while len(run.times) < 2 and not run.ended:
                    time.sleep(0.1)
                rates: dict[str, list[float]] = {"without": [], "with": []}
                # Each way first in turn.
                for way in itertools.islice(itertools.cycle(("without", "with", "with", "without")), 2 * rounds):
                    watch(way == "with")
                    rates[way].append(run.rate(seconds))
                    print(network, way, f"{rates[way][-1]:.2f} evaluations/s", flush=True)
            result["runs"].append({"network": network} | rates)
            record.write(name, result)


def _bundled(site: Site) -> Inputs:
    return Inputs(site.pictures.bundled["photo"], (site.pictures.bundled["painting"],))


@contextlib.contextmanager
def _served(network: str, folder: Path) -> Iterator[tuple[Site, str]]:
    """Serve in a thread; yield the state of the server, and its address."""
    weights = str(_tiny(folder)) if network == "tiny" else network
    site = make_site(folder / "gallery", None, weights)
    config = uvicorn.Config(lambda *_: None, log_level="warning", port=0, ws="none")
    with contextlib.closing(config.bind_socket()) as listening:
        port, token = listening.getsockname()[1], new_token()
        config.app = make_app(site, token, port)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield site, address("127.0.0.1", port, token)
        finally:
            site.events.close()
            server.should_exit = True
            thread.join()
            site.runs.close()


@contextlib.contextmanager
def _watcher(where: str) -> Iterator[Any]:
    """Start the client; yield a function that lets it watch, or rest."""
    command = [sys.executable, "-m", "benchmarks.serve_watcher", where]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def watch(watching: bool) -> None:
            process.stdin.write("watch\n" if watching else "rest\n")  # pyright: ignore[reportOptionalMemberAccess]
            process.stdout.readline()  # pyright: ignore[reportOptionalMemberAccess]

        try:
            yield watch
        finally:
            process.terminate()


def _tiny(folder: Path) -> Path:
    params = js.init_params(jax.random.key(0), widths=TINY_WIDTHS)
    arrays = {f"{layer}.{part}": np.asarray(array) for layer, parts in params.items() for part, array in parts.items()}
    path = folder / "tiny.safetensors"
    path.write_bytes(tensors.encode(arrays, {}))
    return path


def table(result: dict[str, Any]) -> str:
    header = ("network", "long side", "without, evaluations/s", "with", "ratio")
    rows = []
    for run in result["runs"]:
        without, watched = (statistics.median(run[way]) for way in ("without", "with"))
        ratio = statistics.median(b / a for a, b in zip(run["without"], run["with"], strict=True))
        rows.append((run["network"], result["size"], f"{without:.2f}", f"{watched:.2f}", f"{ratio:.3f}"))
    return record.table(header, rows)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("serve", __doc__)
    parser.add_argument("--networks", nargs="+", choices=("tiny", "oxford"), default=["tiny", "oxford"])
    parser.add_argument("--size", type=arguments.positive, default=128, metavar="PIXELS")
    parser.add_argument("--seconds", type=arguments.positive, default=15, help="of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=arguments.positive, default=6, help="with and without (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        measure(options.networks, options.size, options.seconds, options.rounds, options.name)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
