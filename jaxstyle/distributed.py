"""Several hosts as one machine: after `initialize`, `jax.devices()` are the devices of all hosts.

Every host runs the same program with the same images; `make_mesh` takes devices of all hosts, and the partitioner's
exchanges use the network between them. Only the first host writes files.

All hosts have to take part in every step, so if one fails, the others would wait for it. Therefore a host that fails
reports it, and all hosts end within seconds: see `abort`.
"""

import atexit
import contextlib
import logging
import os
import re
import sys
import threading
import time
from types import TracebackType
from typing import Any

import jax
from jax._src.distributed import global_state

from jaxstyle.errors import InputError, check_integer, quote

START_TIMEOUT_SECONDS = 300
# The hosts that finish first wait this long for the others, such as the first host, which writes the files.
END_TIMEOUT_SECONDS = 60
# A host without any sign of life for this long has failed: its process was killed, or it lost power or the network.
HEARTBEAT_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.5
MAX_PROCESSES = 999_999
# Prefix of the failures in JAX's key-value store, which all hosts share.
FAILURES = "jaxstyle/failures/"


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    timeout: int = START_TIMEOUT_SECONDS,
) -> None:
    """Join the other hosts. Call it on every host, before anything else uses JAX.

    Without arguments, they come from the cluster: on TPU pods, Slurm, Open MPI and Kubernetes. Otherwise pass the
    first process's address with a free port, the number of processes, and the index of this process.

    After an uncaught exception in one process all processes end within seconds. If a process is killed, the others end
    after 30 seconds; if one leaves by `sys.exit` or at its normal end, they have 60 seconds to finish.

    Args:
        coordinator: `"address:port"` of the first process.
        processes: number of processes.
        index: index of this process, 0 for the first.
        timeout: seconds to wait for the other processes at the start.

    Raises:
        InputError: for incomplete or wrong arguments, without a known cluster, or if JAX is in use already.

    References:
        https://docs.jax.dev/en/latest/multi_process.html
    """
    _check(coordinator, processes, index, timeout)
    if jax.distributed.is_initialized():
        raise InputError("the hosts have joined already, expected one call of initialize")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            index,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
            shutdown_timeout_seconds=END_TIMEOUT_SECONDS,
        )
    except ValueError as error:
        raise InputError(
            f"JAX knows no cluster here ({error}), expected a TPU pod, Slurm, Open MPI or Kubernetes: elsewhere pass "
            "the first process's address, the number of processes, and the index of this one"
        ) from error
    except RuntimeError as error:
        raise InputError(
            "cannot join the other hosts, expected a call before anything else uses JAX, the same numbers on all "
            f"hosts, and an address that all of them reach: {str(error).splitlines()[0]}"
        ) from error
    _end_together()


def _check(coordinator: Any, processes: Any, index: Any, timeout: Any) -> None:
    check_integer(timeout, "timeout", 1, 86400)
    missing = [value is None for value in (coordinator, processes, index)]
    if all(missing):
        return
    if any(missing):
        raise InputError(
            f"coordinator is {quote(coordinator)}, processes {quote(processes)} and index {quote(index)}, expected all "
            "three, or none on a known cluster"
        )
    if not isinstance(coordinator, str) or not re.fullmatch(r"\S+:[0-9]{1,5}", coordinator):
        raise InputError(f"coordinator is {quote(coordinator)}, expected address:port such as 10.0.0.1:1234")
    check_integer(processes, "processes", 1, MAX_PROCESSES)
    check_integer(index, "index", 0, processes - 1)


def _end_together() -> None:
    """From now on, end all processes after an uncaught exception in one of them."""
    stop = threading.Event()
    watch = threading.Thread(target=_watch, args=(global_state.client, global_state.process_id, stop), daemon=True)

    def join() -> None:
        stop.set()
        watch.join()

    show = sys.excepthook

    def show_and_abort(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        show(kind, error, trace)
        # At the prompt of an interactive session, nothing has ended.
        if not hasattr(sys, "ps1"):
            abort(f"{kind.__name__}: {error}", 1)

    sys.excepthook = show_and_abort
    # Runs before JAX leaves the cluster.
    atexit.register(join)
    watch.start()


def _watch(client: Any, index: int, stop: threading.Event) -> None:
    """End this process soon after another one has reported a failure."""
    while not stop.wait(POLL_SECONDS):
        try:
            failures = client.key_value_dir_get(FAILURES)
        except jax.errors.JaxRuntimeError:
            # Disconnected: JAX itself ends this process.
            return
        for key, reason in failures:
            if key != f"{FAILURES}{index}":
                print(f"host {key.rsplit('/')[-1]} has failed, so this one ends: {reason}", file=sys.stderr)
                _exit(index, 1)


def abort(reason: str, code: int) -> None:
    """End this process at once, and all others soon, because of a failure. Has no effect in a single process.

    An ordinary exit would wait for the other hosts, while they wait for this one in the middle of the run.

    Args:
        reason: one sentence for the other hosts to print.
        code: exit code of this process; the others' is 1.
    """
    client, index = global_state.client, global_state.process_id
    if client is None or global_state.num_processes == 1:
        return
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.key_value_set(f"{FAILURES}{index}", reason)
    _exit(index, code)


def _exit(index: int, code: int) -> None:
    if index == 0:
        # JAX's key-value store ends with this process: the others have to read the reason first.
        time.sleep(4 * POLL_SECONDS)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without JAX's exit handler, which waits for all hosts.
    os._exit(code)


def parse(text: str) -> tuple[str | None, int | None, int | None]:
    """Parse `auto` or `ADDRESS:PORT,PROCESSES,INDEX`, as on the command line, to arguments of `initialize`.

    Raises:
        InputError: for another text.

    Example:
        >>> parse("10.0.0.1:1234,2,0")
        ('10.0.0.1:1234', 2, 0)
    """
    if text == "auto":
        return None, None, None
    match = re.fullmatch(r"(\S+:[0-9]{1,5}),([1-9][0-9]{0,5}),([0-9]{1,6})", str(text))
    if match:
        return match[1], int(match[2]), int(match[3])
    raise InputError(
        f"distributed is {quote(text)}, expected auto or ADDRESS:PORT,PROCESSES,INDEX such as 10.0.0.1:1234,2,0"
    )


def share(text: str) -> tuple[int, int]:
    """Return the index of this host and the number of hosts, for work that they divide without joining.

    Args:
        text: `no`, `auto` (Slurm, Open MPI or a TPU pod), or `ADDRESS:PORT,PROCESSES,INDEX`.

    Raises:
        InputError: for another text, or without a known cluster.

    Example:
        >>> share("no"), share("10.0.0.1:1234,4,3")
        ((0, 1), (3, 4))
    """
    if text == "no":
        return 0, 1
    _, processes, index = parse(text)
    if processes is None or index is None:
        processes, index = _cluster()
    check_integer(index, "index", 0, processes - 1)
    return index, processes


def _cluster() -> tuple[int, int]:
    """Number of processes, and index of this one, from the variables that clusters set."""
    environment = os.environ
    for count, index in (("SLURM_NTASKS", "SLURM_PROCID"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")):
        if environment.get(count, "").isdecimal() and environment.get(index, "").isdecimal():
            return int(environment[count]), int(environment[index])
    if environment.get("TPU_WORKER_HOSTNAMES") and environment.get("TPU_WORKER_ID", "").isdecimal():
        return len(environment["TPU_WORKER_HOSTNAMES"].split(",")), int(environment["TPU_WORKER_ID"])
    raise InputError(
        "there is no known cluster here, expected Slurm, Open MPI or a TPU pod: elsewhere use "
        "distributed='ADDRESS:PORT,PROCESSES,INDEX'"
    )


def is_first() -> bool:
    """Return True in the process that writes the files: the first, or the only one."""
    return jax.process_index() == 0
