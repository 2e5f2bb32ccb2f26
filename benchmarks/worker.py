"""Separate processes for measurements, connected by pipes with one JSON object per line.

`Worker` is the parent's end; `serve` is the child's end, which answers requests by a function. An idle child waits in a
blocking read and uses no processor time. It ends with its parent.
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
    """A worker ended too early; the message contains the end of its stderr."""


def environment() -> dict[str, str]:
    """Return the environment variables of a worker."""
    # PyTorch's OpenMP threads spin while they wait for each other; if another program used a core, a step took up to
    # ten times as long. With sleeping threads even the fastest steps were no slower.
    # A program in JAX's compilation cache would hide the compilation time.
    return {"OMP_WAIT_POLICY": "passive", **os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}


class Worker:
    """Start `python -m benchmarks.MODULE`, send requests, and kill it at the end of the `with` block.

    The first request is `options`, its reply `answer`; `start_up_seconds` is the time from the start of the process to
    that reply.
    """

    def __init__(self, module: str, options: Message):
        self.module = module
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by `close`
        start = time.perf_counter()
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
            self.answer = self.request(**options)
        except BaseException:  # Including Ctrl-C: no one else can close the process yet.
            self.close()
            raise
        self.start_up_seconds = time.perf_counter() - start

    def request(self, **message: Any) -> Message:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None
        answer = self._process.stdout.readline()
        if not answer:
            raise self._crash()
        return json.loads(answer)

    def close(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        self._stderr.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            # Closing flushes the buffer, which cannot be delivered any more.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _crash(self) -> WorkerError:
        code = self._process.wait()
        self._stderr.seek(0)
        stderr = "".join(self._stderr.readlines()[-20:]).rstrip()
        ending = f"was killed by signal {-code} (9: often out of memory)" if code < 0 else f"ended with status {code}"
        return WorkerError(f"the worker {self.module} {ending}" + (f" and wrote:\n{stderr}" if stderr else ""))


def serve(prepare: Callable[[Message], tuple[Message, Callable[[Message], Message]]]) -> None:
    """Answer the first request by `prepare`, and the following ones by the function that it also returns."""
    # Output that libraries print must not mix with the replies.
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
        pass  # Ctrl-C reaches every process of the terminal; the parent reports it.


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss is not used, because it starts at the size of the parent process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource  # Not available on Windows.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
