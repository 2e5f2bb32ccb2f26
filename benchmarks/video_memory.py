"""Does the memory of a video depend on the number of its frames?

One video in a process of its own, from frames that are made one by one; the peak of the process's resident memory after
some of them. The first two frames compile all programs.

    python -m benchmarks video_memory
"""

from typing import Any

import jaxstyle as js
from benchmarks import arguments, record
from benchmarks.worker import Worker


def measure(options: Any) -> None:
    request = {"size": options.size, "lengths": options.lengths, "steps": options.steps}
    with Worker("video_memory_worker", request) as worker:
        answer = worker.answer
    result = {"size": options.size, "runs": answer["measured"], "machine": answer["machine"]}
    record.write(options.name, result)


def table(result: dict[str, Any]) -> str:
    rows = ((str(run["frames"]), f"{run['peak_bytes'] / 1e6:.0f}") for run in result["runs"])
    return record.table(("frames", "peak memory of the process, MB"), rows)


def main(argv: list[str] | None = None) -> None:
    parser = arguments.parser("video_memory", __doc__)
    parser.add_argument("--size", type=arguments.positive, default=128, help="width of the frames (%(default)s)")
    parser.add_argument(
        "--lengths", type=arguments.positive, nargs="+", default=[2, 8, 32, 128, 256], help="numbers of frames"
    )
    parser.add_argument("--steps", type=arguments.positive, default=6, help="steps of the first frame (%(default)s)")
    options = parser.parse_args(argv)
    if not options.plot:
        arguments.check_sizes([options.size * 3 // 4], js.preset().min_side)
        measure(options)
    record.report(options.name, table(record.read(options.name)))


if __name__ == "__main__":
    main()
