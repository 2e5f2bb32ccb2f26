"""A process of its own for everything that is measured, and the pipe between: one JSON object a line, each way.

The parent's end is `Worker`; the child's end is `serve`, which hands requests to a function and returns what it says. A
child waits in a blocking read, so it costs nothing while another one works; it ends when its parent is gone.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
Message = dict[str, Any]


class WorkerError(RuntimeError):
    """A worker ended too early; the message has what it wrote to stderr."""


def environment() -> dict[str, str]:
    """The environment variables of a worker."""
    # OpenMP's threads, which PyTorch works with, spin where they wait for each other: with anything else running on a
    # core, a step was seen to take ten times as long. With sleeping threads even its fastest steps were no slower.
    # And a program that JAX compiled in an earlier run would hide the time to compile.
    return {"OMP_WAIT_POLICY": "passive", **os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}


class Worker:
    """The parent's end: starts `python -m benchmarks.MODULE`, asks, and kills it when the `with` block ends.

    The first request is `options`; `start_up_seconds` is the time from starting the process to its answer, which is in
    `answer`.
    """

    def __init__(self, module: str, options: Message):
        self.module = module
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by `close`
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        try:
            self.answer = self.ask(**options)
        except BaseException:  # Ctrl-C too: nobody else knows of the process yet.
            self.close()
            raise
        self.start_up_seconds = time.perf_counter() - begin

    def ask(self, **request: Any) -> Message:
        """Send one request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None
        answer = self._process.stdout.readline()
        if not answer:
            raise self._crash()
        return json.loads(answer)

    def close(self) -> None:
        """End the process, whatever it is doing, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._stderr.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            # What is left in the buffer cannot be delivered any more.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _crash(self) -> WorkerError:
        code = self._process.wait()
        self._stderr.seek(0)
        said = "".join(self._stderr.readlines()[-20:]).rstrip()
        how = f"was killed by signal {-code} (9: often too little memory)" if code < 0 else f"ended with status {code}"
        return WorkerError(f"the worker {self.module} {how}" + (f" and wrote:\n{said}" if said else ""))


def serve(prepare: Callable[[Message], tuple[Message, Callable[[Message], Message]]]) -> None:
    """The child's end: answer the first request by `prepare`, the others by the function that it returns as well."""
    # What a library prints must not come between the answers.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: Message) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        answer, handle = prepare(json.loads(sys.stdin.readline()))
        reply(answer)
        while line := sys.stdin.readline():
            reply(handle(json.loads(line)))
    except KeyboardInterrupt:
        pass  # Ctrl-C reaches every process of the terminal; the parent is the one to say so.


def peak_resident_bytes() -> int:
    """The most memory that this process ever had in RAM."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that starts from the size of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource  # Not there on Windows, where nothing but this function needs it.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
