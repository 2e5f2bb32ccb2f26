"""Files of feed-forward networks: safetensors, each array by its full name."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.feed_forward.network import NetworkParams, flat, nested, structure
from jaxstyle.guards import permissive

FORMAT, VERSION = "jaxstyle-feed-forward", "1"


@permissive()
def save_network(path: str | os.PathLike[str], network: NetworkParams, note: str = "") -> None:
    """Write the parameters of a feed-forward network to a safetensors file, whole or not at all.

    Args:
        path: the file; an existing one is replaced.
        network: parameters.
        note: any text, such as the painting's title, for the header of the file.

    Raises:
        InputError: for anything but the parameters of a network, or a place where no file can be written.

    Example:
        >>> import jax, pathlib, tempfile
        >>> from jaxstyle.feed_forward.network import init_network
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_network(pathlib.Path(folder, "net.safetensors"), init_network(jax.random.key(0), 4, 1))
        ...     load_network(pathlib.Path(folder, "net.safetensors"))["bias"].shape
        (3,)
    """
    structure(network)
    arrays = {name: np.asarray(array, np.float32) for name, array in flat(network).items()}
    content = safetensors.numpy.save(arrays, {"format": FORMAT, "version": VERSION, "note": note})
    try:
        with files.replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; free space or choose another place") from error


@permissive()
def load_network(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the parameters of a feed-forward network.

    Args:
        path: a file that `save_network` has written.

    Returns:
        Parameters for `apply_network`.

    Raises:
        InputError: for a file that cannot be read, is damaged, or holds something else.

    Example:
        >>> import jax, tempfile, jaxstyle as js
        >>> network = js.init_network(jax.random.key(0), width=4, blocks=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     js.save_network(f"{folder}/network.safetensors", network)
        ...     loaded = load_network(f"{folder}/network.safetensors")
        >>> jax.tree.structure(loaded) == jax.tree.structure(network)
        True
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with safe_open(Path(path), framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(f"{path} holds no feed-forward network, expected a file that save_network has written")
            if metadata.get("version") != VERSION:
                raise InputError(
                    f"{path} has version {metadata.get('version')}, this release reads {VERSION}: upgrade jaxstyle"
                )
            for name in file.keys():  # noqa: SIM118 (not a dict)
                array = file.get_tensor(name)
                if array.dtype != np.float32 or not np.all(np.isfinite(array)):
                    raise InputError(f"{name} in {path} is damaged, expected finite float32 numbers: train it again")
                arrays[name] = array
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; expected the file of a network") from error
    except SafetensorError as error:
        raise InputError(
            f"{path} is no safetensors file, or is damaged ({error}); expected that of a network"
        ) from error
    network = nested(arrays)
    structure(network, str(path))
    return jax.device_put(network)
