"""Checkpoint files: arrays and the words that belong to them, in safetensors, whole or not at all, checksummed.

Nothing in them is run when they are read. The checksum covers every array and every word, so a file that was cut,
altered, or is another program's is refused; it does not prove who wrote the file.
"""

import json
import os
import stat
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.minimize.fingerprint import bytes_of

FORMAT, VERSION = "jaxstyle-checkpoint", "1"
PathLike = str | os.PathLike[str]


class Contents(NamedTuple):
    """What a checkpoint file holds.

    Attributes:
        tensors: arrays by name.
        words: anything that is JSON.
    """

    tensors: dict[str, np.ndarray]
    words: dict[str, Any]


def write(path: PathLike, contents: Contents) -> None:
    """Write a checkpoint; what was there before is replaced in one step, once the new one is whole.

    Args:
        path: the file.
        contents: what it should hold.

    Raises:
        OSError: as the file system says.
    """
    words = json.dumps(contents.words)
    checksum = _checksum(contents.tensors, words)
    about = {"format": FORMAT, "version": VERSION, "words": words, "sha256": checksum}
    with files.replacing(path) as file:
        # `save_file` replaces the file by one that only its owner can read. Windows cannot replace an open file.
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        file.close()
        save_file(contents.tensors, file.name, about)
        os.chmod(file.name, mode)
        with open(file.name, "r+b") as written:
            os.fsync(written.fileno())


def read(path: PathLike) -> Contents:
    """Read a checkpoint.

    Args:
        path: the file.

    Returns:
        What it holds, as it was written.

    Raises:
        InputError: it is not there, damaged, no checkpoint, or of a later release.
    """
    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            _check_kind(path, about)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror or error}; check its path") from error
    except (SafetensorError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"{path} is no checkpoint, or is cut short or damaged ({error}): expected a file that --checkpoint wrote"
        ) from error
    if about.get("sha256") != _checksum(tensors, about.get("words", "")):
        raise InputError(f"the checkpoint {path} is damaged: its contents do not match its checksum; use another one")
    return Contents(tensors, json.loads(about["words"]))


def flatten(tree: Any, name: str) -> dict[str, np.ndarray]:
    """The arrays of a tree, by their places in it; on the host.

    Args:
        tree: of arrays that this host can see.
        name: of the tree.

    Returns:
        Such as `{"state.image": ..., "state.optimizer.steps": ...}`.

    Raises:
        InputError: for what cannot be stored: random keys, types that NumPy does not have.
    """
    check_types(tree, name)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name + jax.tree_util.keystr(path): np.require(leaf, requirements="C") for path, leaf in leaves}


def check_types(tree: Any, name: str) -> None:
    """Refuse, before a run, a tree that `flatten` could not take apart.

    Args:
        tree: of arrays, or of their shapes and types.
        name: of the tree.

    Raises:
        InputError: for random keys, and types that NumPy does not have.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not isinstance(leaf.dtype, np.dtype) or leaf.dtype.kind not in "biuf":
            place = name + jax.tree_util.keystr(path)
            raise InputError(f"{place} is {leaf.dtype}, which no checkpoint can hold: use an optimizer without it")


def unflatten(like: Any, tensors: MutableMapping[str, np.ndarray], name: str) -> Any:
    """The tree that `flatten` took apart; each array lies where the one in its place lies.

    Args:
        like: a tree of the same structure, shapes and types.
        tensors: of a checkpoint; the tree's are taken out, as there may be no memory for both.
        name: of the tree.

    Returns:
        The tree.

    Raises:
        InputError: where they do not fit.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    places = [name + jax.tree_util.keystr(path) for path, _ in leaves]
    there = {place for place in tensors if place.startswith((f"{name}.", f"{name}["))}
    for place in sorted({*places} ^ there):
        raise InputError(f"the checkpoint {'lacks' if place in places else 'has'} {place}: it is of another optimizer")
    found = []
    for place, (_, leaf) in zip(places, leaves, strict=True):
        array = tensors.pop(place)
        if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
            raise InputError(
                f"the checkpoint has {place} as {array.dtype} {array.shape}, expected {leaf.dtype} {leaf.shape}: it is "
                "of another size or optimizer"
            )
        found.append(jax.make_array_from_callback(array.shape, leaf.sharding, lambda index, array=array: array[index]))
    return jax.tree_util.tree_unflatten(structure, found)


def _check_kind(path: PathLike, about: Mapping[str, str]) -> None:
    if about.get("format") != FORMAT:
        raise InputError(f"{path} is no checkpoint of jaxstyle: expected a file that --checkpoint wrote")
    if about.get("version") != VERSION:
        raise InputError(
            f"the checkpoint {path} has version {about.get('version')!r}, this release reads {VERSION!r}: "
            "use the release that wrote it"
        )


def _checksum(tensors: Mapping[str, np.ndarray], words: str) -> str:
    parts: list[files.Buffer] = [words.encode()]
    for name, array in sorted(tensors.items()):
        parts += [f"{name} {array.dtype} {array.shape}".encode(), bytes_of(array)]
    return files.sha256(*parts)
