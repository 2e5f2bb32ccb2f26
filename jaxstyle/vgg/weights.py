"""VGG-19's parameters: the embedded Oxford weights, torchvision's from the Hub, or a file.

Params are a plain nested dict of float32 arrays, HWIO, with the pixels' scale and shift under "input", so that they
know how to read a picture in RGB and [0, 1]. Every file is checked before it is used: its checksum where one is known,
then every name, type, shape and range of values; all mistakes come in one message.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.typing import Params
from jaxstyle.vgg import hub
from jaxstyle.vgg import tensors as layout

OXFORD_SHA256 = "5bea7c420280edc27ae9e3d267bad994018e51669b2d5e188555b2c8a0a43dae"
OXFORD_BYTES = 20_061_632
TORCHVISION = hub.HubFile("timm/vgg19.tv_in1k", "model.safetensors", "128d4708565b3a414bcbb9bbad440b2fe37b9f18")

_OXFORD_FILE = "vgg19_oxford.safetensors"
NAMES = ("oxford", "torchvision")


class Weights(NamedTuple):
    """Weights that `load_params` knows by name."""

    name: str
    """What to pass to `load_params`."""
    description: str
    """One line for a list."""
    path: Path | None
    """The file on this machine; None if it has to be downloaded first."""
    size: int
    """Bytes, on disk or to download."""
    sha256: str | None
    """Checksum of the file; None if it is not on this machine."""


def load_params(source: str | os.PathLike[str] = "oxford") -> Params:
    """Load the parameters of VGG-19's sixteen convolutions.

    Args:
        source: "oxford", the original weights that come with jaxstyle; "torchvision", retrained ones that are
            downloaded once (80 MB) from the Hugging Face Hub; or the path of a `.safetensors` file in the layout of
            jaxstyle (`weights/README.md`), torchvision or timm. A file of one's own may have fewer channels.

    Returns:
        float32 arrays: `["input"]["scale"]` and `["shift"]`, shape (3,), the network's input being
        pixels * scale + shift; `["conv1_1"]["kernel"]`, shape (3, 3, in, out), and `["bias"]`, shape (out,); up to
        `["conv5_4"]`.

    Raises:
        InputError: The file is missing, damaged or not VGG-19, or the download failed.

    Example:
        >>> params = load_params()
        >>> params["conv1_1"]["kernel"].shape
        (3, 3, 3, 64)

    Source:
        K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.
    """
    if source == "oxford":
        tensors = _read(_oxford(), layout.WIDTHS, OXFORD_SHA256)
    elif source == "torchvision":
        tensors = _torchvision()
    else:
        tensors = _read(_own_path(source))
    # All at once: five times as fast as `jnp.asarray` for each.
    return jax.device_put(layout.to_params(tensors))


def weights_sha256(source: str | os.PathLike[str] = "oxford") -> str:
    """The SHA-256 of the file that `load_params` reads for a source, to note which weights made a picture.

    Args:
        source: As for `load_params`; "torchvision" is downloaded if it is not there yet.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: There is no such file.

    Example:
        >>> weights_sha256("oxford") == OXFORD_SHA256
        True
    """
    if source == "oxford":
        return files.checksum(_oxford())
    if source == "torchvision":
        return files.checksum(_cache_path() if _cache_path().is_file() else fetch_weights("torchvision"))
    return files.checksum(_own_path(source))


def list_weights() -> list[Weights]:
    """The weights that have a name, and whether they are on this machine.

    Returns:
        One record for each; nothing is downloaded.

    Example:
        >>> [weights.name for weights in list_weights()]
        ['oxford', 'torchvision']
    """
    oxford = Weights(
        "oxford",
        "the original VGG-19 of the Oxford group, 8 bits a weight; embedded, the default",
        _find_oxford(),
        OXFORD_BYTES,
        OXFORD_SHA256,
    )
    path = _cache_path()
    there = path.is_file()
    torchvision = Weights(
        "torchvision",
        f"VGG-19 as retrained by torchvision, float32; from the Hugging Face Hub, {TORCHVISION.repo}",
        path if there else None,
        path.stat().st_size if there else _float32_bytes(layout.WIDTHS),
        files.checksum(path) if there else None,
    )
    return [oxford, torchvision]


def verify_weights(name: str) -> Weights:
    """Check weights that are on this machine: checksum, names, types, shapes and values.

    Args:
        name: "oxford" or "torchvision".

    Returns:
        Their record.

    Raises:
        InputError: They are damaged, not there, or the name is unknown.

    Example:
        >>> verify_weights("oxford").name
        'oxford'
    """
    _check_name(name)
    weights = {record.name: record for record in list_weights()}[name]
    if name == "oxford":
        _read(_oxford(), layout.WIDTHS, OXFORD_SHA256)
    elif weights.path is None:
        raise InputError(f"the weights {name!r} are not on this machine yet; run `jaxstyle weights get {name}` first")
    else:
        _read(weights.path, layout.WIDTHS)
    return weights


def fetch_weights(name: str) -> Path:
    """Make sure that weights are on this machine, downloading them if needed.

    Args:
        name: "oxford" or "torchvision".

    Returns:
        The file.

    Raises:
        InputError: The download failed, it cannot be stored, or the name is unknown.
    """
    _check_name(name)
    if name == "oxford":
        return _oxford()
    _torchvision()
    return _cache_path()


def _check_name(name: str) -> None:
    """Refuse a name that no weights have."""
    if name not in NAMES:
        raise InputError(f"there are no weights named {name!r}; expected {' or '.join(map(repr, NAMES))}")


def _find_oxford() -> Path | None:
    """The embedded weights: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).parents[1]
    places = (here / "data" / _OXFORD_FILE, here.parent / "weights" / _OXFORD_FILE)
    return next((path for path in places if path.is_file()), None)


def _oxford() -> Path:
    """The embedded weights, which are there unless the installation is broken."""
    path = _find_oxford()
    if path is None:
        raise InputError(f"the embedded weights {_OXFORD_FILE} are missing from this installation; reinstall jaxstyle")
    return path


def _own_path(source: str | os.PathLike[str]) -> Path:
    """The file that a caller named."""
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"weights cannot be loaded from {source!r}; expected a name or the path of a file")
    path = Path(os.path.expanduser(source))
    if os.path.isfile(path):
        return path
    problem = "is not a file" if os.path.exists(path) else "is neither the name of weights nor a file that exists"
    raise InputError(
        f"{os.fspath(source)!r} {problem}; expected 'oxford', 'torchvision' or the path of a .safetensors file"
    )


def _cache_path() -> Path:
    """Where the torchvision weights are kept once they are downloaded."""
    return files.cache_folder() / f"vgg19_torchvision_{TORCHVISION.revision[:12]}.safetensors"


def _read(path: Path, widths: Mapping[str, int] | None = None, sha256: str | None = None) -> layout.Tensors:
    """The tensors of a file, checked; `widths` and `sha256` say what is known about it beforehand."""
    try:
        if sha256 and files.checksum(path) != sha256:
            raise InputError(f"{path} is damaged: its SHA-256 is not {sha256}; reinstall jaxstyle")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            infos = {name: layout.TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
            tensors = {
                name: file.get_tensor(name)
                for name, info in infos.items()
                if layout.is_wanted(name) and info.dtype in ("F32", "U8")
            }
        mistakes = layout.find_mistakes(infos, metadata, widths) + layout.find_bad_values(tensors)
        if not sha256 and metadata.get("body_sha256", (body := layout.hash_body(path))) != body:
            mistakes.insert(0, "its contents do not match the checksum in its header")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the file") from error
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a safetensors file, or is cut short or damaged ({error}); expected weights in the layout "
            "of jaxstyle or torchvision, so download it again (.h5 and .pth files: see weights/convert.py)"
        ) from error
    layout.refuse(str(path), mistakes)
    return tensors


def _torchvision() -> layout.Tensors:
    """The torchvision weights in our own layout, from the cache or else from the Hub."""
    path = _cache_path()
    if path.is_file():
        try:
            return _read(path, layout.WIDTHS)
        except InputError as error:
            warnings.warn(f"downloading the torchvision weights again, because {error}", stacklevel=3)
    metadata = {
        "format": layout.FORMAT,
        "version": layout.VERSION,
        "name": "torchvision",
        "origin": f"huggingface.co/{TORCHVISION.repo}, {TORCHVISION.filename} at {TORCHVISION.revision}",
        "license": "BSD-3-Clause",
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened first, so that a full or read-only disk shows before the download.
        with files.replacing(path) as file:
            tensors = _download()
            file.write(layout.encode(tensors, metadata))
    except OSError as error:
        raise InputError(
            f"the torchvision weights cannot be stored in {path.parent} ({error.strerror or error}); "
            "set JAXSTYLE_CACHE to a directory that can be written, or use the embedded weights 'oxford'"
        ) from error
    return tensors


def _download() -> layout.Tensors:
    """The convolutions of the torchvision weights from the Hub, in our own layout."""
    where = f"{TORCHVISION.filename} of {TORCHVISION.repo}"
    infos = hub.read_header(TORCHVISION)
    # What the header shows is checked before anything else is transferred.
    layout.refuse(where, layout.find_mistakes(infos, {}, layout.WIDTHS))
    tensors = hub.read_tensors(TORCHVISION, infos, filter(layout.is_wanted, infos))
    layout.refuse(where, layout.find_bad_values(tensors))
    params = layout.to_params(tensors)
    return {f"{layer}.{part}": array for layer, arrays in params.items() for part, array in arrays.items()}


def _float32_bytes(widths: Mapping[str, int]) -> int:
    """The bytes of a network's convolutions in float32."""
    outputs = np.array(list(widths.values()))
    inputs = np.array([3, *outputs[:-1]])
    return int(4 * np.sum(outputs * (9 * inputs + 1)))
