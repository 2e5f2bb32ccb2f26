"""Checkpoint files: named arrays and JSON metadata in safetensors, written atomically, checksummed.

Reading one runs nothing that is in it. The checksum covers every array and all metadata, so a truncated or altered
file, or one of another program, is refused; it does not prove who wrote the file.
"""

import json
import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.minimize.fingerprint import bytes_of

# The version counts changes of the layout and of the fingerprint.
FORMAT, VERSION = "jaxstyle-checkpoint", "7"
PathLike = str | os.PathLike[str]


class Contents(NamedTuple):
    """Contents of a checkpoint file.

    Attributes:
        tensors: arrays by name.
        metadata: JSON.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any]


def write(path: PathLike, contents: Contents) -> None:
    """Write a checkpoint file; it replaces an older one atomically, once it is complete.

    Raises:
        OSError: if the file system refuses.
    """
    tensors = {name: np.require(array, requirements="C") for name, array in contents.tensors.items()}
    metadata = json.dumps(contents.metadata)
    header = {"format": FORMAT, "version": VERSION, "metadata": metadata, "sha256": _checksum(tensors, metadata)}
    with files.replacing(path) as file:
        # `save_file` replaces the file by one that only its owner can read. Windows cannot replace an open file.
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        file.close()
        save_file(tensors, file.name, header)
        os.chmod(file.name, mode)
        with open(file.name, "r+b") as replacement:
            os.fsync(replacement.fileno())


def read(path: PathLike) -> Contents:
    """Read a checkpoint file.

    Raises:
        InputError: if it is missing, damaged, no checkpoint, or of another release's format.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise InputError(
                    f"{path} is no checkpoint of jaxstyle: expected a file that a run with checkpoint wrote"
                )
            if header.get("version") != VERSION:
                raise InputError(
                    f"the checkpoint {path} has format version {header.get('version')!r}, this release reads "
                    f"{VERSION!r}: resume it with the release that wrote it, or remove it and start the run again"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror or error}; check its path") from error
    except (SafetensorError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"{path} is no checkpoint, or is cut short or damaged ({error}): expected a file that a run with "
            "checkpoint wrote"
        ) from error
    if header.get("sha256") != _checksum(tensors, header.get("metadata", "")):
        raise InputError(f"the checkpoint {path} is damaged: its contents do not match its checksum; use another one")
    return Contents(tensors, json.loads(header["metadata"]))


def named_leaves(tree: Any, name: str) -> dict[str, Any]:
    """Return the leaves of a tree by their paths, such as `{"state.image": ..., "state.optimizer.rho": ...}`."""
    return {name + jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def check_types(tree: Any, name: str) -> None:
    """Refuse, before a run, a state that no checkpoint can hold.

    Raises:
        InputError: for random keys, and types that NumPy lacks.
    """
    for path, leaf in named_leaves(tree, name).items():
        if not isinstance(leaf.dtype, np.dtype) or leaf.dtype.kind not in "biuf":
            raise InputError(f"{path} is {leaf.dtype}, which no checkpoint can hold: use an optimizer without it")


def layout_of(leaves: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the shape and the type of each array, as JSON."""
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves.items()}


def check_layout(expected: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Refuse stored arrays that are not those of the run's state; both are from `layout_of`.

    Raises:
        InputError: naming the first difference.
    """
    for path in sorted({*expected} ^ {*stored}):
        state = "lacks" if path in expected else "has"
        raise InputError(f"the checkpoint {state} {path}: it is of another optimizer")
    for path, (shape, dtype) in expected.items():
        if stored[path] != [shape, dtype]:
            raise InputError(
                f"the checkpoint has {path} as {stored[path][1]} {tuple(stored[path][0])}, expected {dtype} "
                f"{tuple(shape)}: it is of another size or optimizer"
            )


def _checksum(tensors: Mapping[str, np.ndarray], metadata: str) -> str:
    parts: list[files.Buffer] = [metadata.encode()]
    for name, array in sorted(tensors.items()):
        parts += [f"{name} {array.dtype} {array.shape}".encode(), bytes_of(array)]
    return files.sha256(*parts)
