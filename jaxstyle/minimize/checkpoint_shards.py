"""The optimization state of a run on a mesh, as a folder of shards: each host writes its own, nothing is gathered.

The folder lies in `FILE.shards` beside the checkpoint file, which names it: a new folder is complete before the file
that names it replaces the older one. Orbax writes the shards, as arrays of TensorStore; the first save or restore
imports them.
"""

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

from jaxstyle.errors import InputError
from jaxstyle.minimize.checkpoint_file import PathLike
from jaxstyle.objective.mesh import broadcast_from_first_host


class Shards(NamedTuple):
    """Arrays in a folder of shards.

    Attributes:
        folder: the folder.
        layout: shape and type of each array by name, see `layout_of`.
        sums: `bit_sums` of the arrays.
    """

    folder: Path
    layout: Mapping[str, Any]
    sums: Mapping[str, int]


def shards_folder(path: PathLike, name: str = "") -> Path:
    """Return the folder of a checkpoint file's shards, or a save's folder in it."""
    return Path(f"{os.path.realpath(path)}.shards", name)


def new_name() -> str:
    """Return a random name of a save's folder, the same on all hosts. All of them must call this."""
    return f"{int(broadcast_from_first_host(np.int32(secrets.randbits(31)))):08x}"


def make_folder(folder: Path, arrays: Mapping[str, jax.Array]) -> None:
    """Make the folder of a save; to be called by the first host.

    Raises:
        OSError: if the file system refuses, or has no space for the arrays of all hosts.
    """
    folder.mkdir(parents=True)
    usage = shutil.disk_usage(folder)
    # Some network file systems do not know.
    if usage.total and usage.free < sum(array.nbytes for array in arrays.values()):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def write_shards(folder: Path, arrays: Mapping[str, jax.Array]) -> None:
    """Write this host's shards into a folder that all hosts see. All of them must call this.

    Raises:
        OSError: if the file system refuses.
    """
    import orbax.checkpoint as ocp

    with _handler() as handler, _OneLineErrors():
        handler.save(_epath(folder), args=ocp.args.PyTreeSave(dict(arrays)))


def complete_shards(folder: Path) -> None:
    """Join what the hosts wrote; to be called by the first host after all have written.

    Raises:
        OSError: if the file system refuses.
    """
    with _handler() as handler, _OneLineErrors():
        handler.finalize(_epath(folder))


def read_shards(shards: Shards, like: Mapping[str, Any]) -> dict[str, Any]:
    """Read arrays of a checkpoint, each host only the shards that its devices need.

    Args:
        shards: the checkpoint's.
        like: `jax.ShapeDtypeStruct` with a sharding by name, of the shapes and types of `shards.layout`; one without a
            sharding returns a NumPy array.

    Returns:
        The arrays by name.

    Raises:
        InputError: if the shards are missing or damaged.
    """
    try:
        with _OneLineErrors():
            arrays = {name: _read_array(shards.folder, name, leaf) for name, leaf in like.items()}
        if bit_sums(arrays) == {name: shards.sums[name] for name in like}:
            return arrays
    except (OSError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read the checkpoint's shards in {shards.folder} ({error}): expected all files that the run's "
            "hosts wrote; use another checkpoint"
        ) from error
    raise InputError(f"the shards in {shards.folder} do not match their checksums: use another checkpoint")


def remove_shards(path: PathLike, keep: str | None = None) -> None:
    """Remove the saves beside a checkpoint file, except for one; leftovers of killed runs too."""
    for folder in shards_folder(path).glob("[0-9a-f]" * 8):
        if folder.name != keep:
            _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    """Remove the folder of a save, and the one around it if it is empty then."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def remove_failed_save(folder: Path) -> None:
    """Remove the folder of a save that failed. For a moment, threads of TensorStore may still add files to it."""
    for pause in (0.0, 0.1, 0.4, 1.0):
        time.sleep(pause)
        _remove_folder(folder)


def bit_sums(arrays: Mapping[str, Any]) -> dict[str, int]:
    """Compute a checksum of each array, `sum_k (2 k + 1) word_k` modulo 2^32: equal however the array is sharded."""
    return {name: int(total) for name, total in jax.device_get(_bit_sums(dict(arrays))).items()}


@jax.jit
def _bit_sums(arrays: dict[str, Array]) -> dict[str, UInt32[Array, ""]]:
    return {name: _bit_sum(array) for name, array in arrays.items()}


def _bit_sum(array: Array) -> UInt32[Array, ""]:
    if array.dtype == jnp.bool_:
        words = array.astype(jnp.uint32)
    else:
        # Two words for types of 64 bits.
        words = jax.lax.bitcast_convert_type(array, f"uint{min(8 * array.dtype.itemsize, 32)}").astype(jnp.uint32)
    # Odd factors are invertible: no change of a single word goes unnoticed.
    factor, stride = jnp.uint32(1), 2
    for axis in reversed(range(words.ndim)):
        factor += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * np.uint32(stride % 2**32)
        stride *= words.shape[axis]
    return jnp.sum(words * factor, dtype=jnp.uint32)


@contextlib.contextmanager
def _handler() -> Iterator[Any]:
    import orbax.checkpoint as ocp

    # Without `Checkpointer`, whose barriers would leave the other hosts waiting where one fails.
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True, use_compression=False)
    with contextlib.closing(handler):
        yield handler


class _OneLineErrors(contextlib.AbstractContextManager):
    """Raise errors of Orbax and TensorStore, of many lines, as an OSError of one."""

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        # Orbax raises `Exception` itself where TensorStore cannot write an array.
        if error is not None and (
            kind is Exception or isinstance(error, ValueError | IndexError | NotImplementedError)
        ):
            raise OSError(str(error.__cause__ or error).strip().split("\n")[0][:300]) from error


def _read_array(folder: Path, name: str, like: Any) -> Any:
    # Without Orbax, which leaves tasks of the other shards behind where one cannot be read.
    import tensorstore

    kvstore = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}, "path": f"{name}/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, open=True, read=True).result()
    if like.sharding is None:
        return array.read().result()
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: array[index].read().result())


def _epath(folder: Path) -> Any:
    from etils import epath

    return epath.Path(folder)
