"""Several hosts as one machine: after `initialize`, `jax.devices()` are the devices of all of them.

Every host runs the same program with the same pictures; `make_mesh` takes devices of all hosts, and the partitioner's
exchanges go over the network between them. The first host alone writes files.
"""

import re

import jax

from jaxstyle.errors import InputError

# Seconds: for the hosts to find each other, and at the end for the others to come to it.
START, END = 300, 60


def initialize(
    coordinator: str | None = None, processes: int | None = None, index: int | None = None, timeout: int = START
) -> None:
    """Join the other hosts. To be called on each of them, before anything else uses JAX.

    Without arguments they come from the cluster: on TPU pods, Slurm, Open MPI and Kubernetes. Otherwise the first
    host's address and a free port there, how many processes there are, and which one this is, all three.

    A process that waits for one which has failed is ended by JAX: after `timeout` seconds at the start, 100 seconds
    between, and 60 at the end.

    Args:
        coordinator: `"address:port"` of the first process.
        processes: how many there are.
        index: of this one, 0 for the first.
        timeout: seconds to wait for the others.

    Raises:
        InputError: if the arguments are not all there, and no cluster says them; or if JAX is in use already.

    References:
        https://docs.jax.dev/en/latest/multi_process.html
    """
    given = [value is not None for value in (coordinator, processes, index)]
    if any(given) and not all(given):
        raise InputError(
            f"coordinator is {coordinator!r}, processes {processes} and index {index}, expected all three, or none "
            "where the cluster says them"
        )
    if processes is not None and index is not None and not 0 <= index < processes:
        raise InputError(f"index is {index}, expected 0 to {processes - 1} for {processes} processes")
    if jax.distributed.is_initialized():
        raise InputError("the hosts have joined already, expected one call of initialize")
    try:
        jax.distributed.initialize(
            coordinator, processes, index, initialization_timeout=timeout, shutdown_timeout_seconds=END
        )
    except ValueError as error:
        raise InputError(
            f"no cluster that JAX knows of ({error}), expected a TPU pod, Slurm, Open MPI or Kubernetes: elsewhere "
            "give the first process's address, the number of processes, and the index of this one"
        ) from error
    except RuntimeError as error:
        raise InputError(
            "cannot join the other hosts, expected a call before anything else uses JAX, the same numbers on all of "
            f"them, and an address that they reach: {str(error).splitlines()[0]}"
        ) from error


def parse(text: str) -> tuple[str | None, int | None, int | None]:
    """What `--distributed` says: `auto`, or `ADDRESS:PORT,PROCESSES,INDEX`.

    Args:
        text: as given.

    Returns:
        Arguments of `initialize`.

    Raises:
        InputError: for anything else.

    Example:
        >>> parse("10.0.0.1:1234,2,0")
        ('10.0.0.1:1234', 2, 0)
    """
    if text == "auto":
        return None, None, None
    match = re.fullmatch(r"(\S+:[0-9]{1,5}),([1-9][0-9]{0,5}),([0-9]{1,6})", text)
    if match:
        return match[1], int(match[2]), int(match[3])
    raise InputError(
        f"--distributed is {text!r}, expected auto or ADDRESS:PORT,PROCESSES,INDEX such as 10.0.0.1:1234,2,0"
    )


def is_first() -> bool:
    """Whether this process writes the files: the first, or the only one."""
    return jax.process_index() == 0
