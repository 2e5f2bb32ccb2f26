"""Parameters of VGG-19: the embedded Oxford weights, torchvision's from the Hugging Face Hub, or a file.

Params are a nested dict of float32 arrays with HWIO kernels. `params["input"]` holds the scale and shift that the
weights expect of RGB pixels in [0, 1]. Every file is checked before use: its checksum if it is known, then all names,
types, shapes and ranges of values; one message lists all errors.
"""

import importlib.resources
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from safetensors import SafetensorError, safe_open

from jaxstyle import files
from jaxstyle.errors import InputError, check_choice, quote
from jaxstyle.typing import Params
from jaxstyle.vgg import tensors as layout

OXFORD_SHA256 = "5bea7c420280edc27ae9e3d267bad994018e51669b2d5e188555b2c8a0a43dae"
TORCHVISION = layout.HubFile("timm/vgg19.tv_in1k", "model.safetensors", "128d4708565b3a414bcbb9bbad440b2fe37b9f18")
NAMES = ("oxford", "torchvision")
DESCRIPTIONS = {
    "oxford": "the original VGG-19 of the Oxford group, 8 bits a weight; embedded, the default",
    "torchvision": f"VGG-19 as retrained by torchvision, float32; from the Hugging Face Hub, {TORCHVISION.repo}",
}
BYTES = {"oxford": 20_061_632, "torchvision": 80_097_536}

_OXFORD_FILE = "vgg19_oxford.safetensors"


class Weights(NamedTuple):
    """A set of weights that `load_params` knows by name."""

    name: str
    """The source to pass to `load_params`."""
    description: str
    """One line for a list."""
    path: Path | None
    """Local file; None before it is downloaded."""
    size: int
    """Bytes, on disk or to download."""
    sha256: str | None
    """Checksum of the local file; None before it is downloaded."""


def load_params(source: str | os.PathLike[str] = "oxford") -> Params:
    """Load the parameters of VGG-19's sixteen convolutions.

    Args:
        source: `"oxford"`, the original weights, embedded in the package; `"torchvision"`, retrained weights, which
            are downloaded once (80 MB) from the Hugging Face Hub; or the path of a `.safetensors` file in the layout
            of jaxstyle (`weights/README.md`), torchvision or timm. The network of a file may have fewer channels.

    Returns:
        float32 arrays: `["input"]["scale"]` and `["shift"]` of shape (3,), where the first convolution takes
        pixels * scale + shift; `["conv1_1"]["kernel"]` of shape (3, 3, in, out) and `["bias"]` of shape (out,), and
        so on to `["conv5_4"]`.

    Raises:
        InputError: if the file is missing, damaged or not VGG-19, or the download failed.

    Example:
        >>> params = load_params()
        >>> params["conv1_1"]["kernel"].shape
        (3, 3, 3, 64)

    References:
        K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.
    """
    name = _name_of(source)
    tensors = _read(_resolve_path(source)) if name is None else _load(name)
    # One transfer of all arrays is five times as fast as `jnp.asarray` of each.
    return jax.device_put(layout.to_params(tensors))


def weights_sha256(source: str | os.PathLike[str] = "oxford") -> str:
    """SHA-256 of the file that `load_params` reads, to record which weights made an image.

    Args:
        source: see `load_params`; `"torchvision"` is downloaded if it is missing.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: if there is no such file, or the download failed.

    Example:
        >>> weights_sha256("oxford") == OXFORD_SHA256
        True
    """
    name = _name_of(source)
    path = _resolve_path(source) if name is None else _path_of(name)
    return files.checksum(path if path.is_file() else fetch_weights(str(name)))


def list_weights() -> list[Weights]:
    """Return one record for each set of weights that has a name; nothing is downloaded.

    Example:
        >>> [weights.name for weights in list_weights()]
        ['oxford', 'torchvision']
    """
    return [_record(name) for name in NAMES]


def _record(name: str) -> Weights:
    has_place = name == "oxford" or files.cache_folder() is not None
    path = _path_of(name) if has_place else None
    if path is None or not path.is_file():
        return Weights(name, DESCRIPTIONS[name], None, BYTES[name], None)
    return Weights(name, DESCRIPTIONS[name], path, path.stat().st_size, files.checksum(path))


def verify_weights(name: str) -> Weights:
    """Check a local file of weights: checksum, names, types, shapes and values.

    Args:
        name: `"oxford"` or `"torchvision"`.

    Returns:
        The record of the weights.

    Raises:
        InputError: if the file is damaged or missing, or the name is unknown.

    Example:
        >>> verify_weights("oxford").name
        'oxford'
    """
    check_choice(name, "weights", NAMES)
    if name == "torchvision" and not _path_of(name).is_file():
        raise InputError(f"the weights {name!r} are not on this machine yet; run `jaxstyle weights get {name}` first")
    _read_named(name)
    return _record(name)


def fetch_weights(name: str) -> Path:
    """Return the local file of weights, after downloading it if it is missing or damaged.

    Args:
        name: `"oxford"` or `"torchvision"`.

    Returns:
        Path of the file.

    Raises:
        InputError: if the download failed, the file cannot be stored, or the name is unknown.
    """
    check_choice(name, "weights", NAMES)
    _load(name)
    return _path_of(name)


def _name_of(source: Any) -> str | None:
    """The source if it is the name of weights, else None."""
    return source if isinstance(source, str) and source in NAMES else None


def _path_of(name: str) -> Path:
    """Path of the file of named weights, which may not exist yet."""
    if name == "torchvision":
        folder = files.cache_folder()
        if folder is None:
            raise InputError(
                "the torchvision weights have no place, since this user has no home: set JAXSTYLE_CACHE to a "
                "directory that can be written, or use the embedded weights 'oxford'"
            )
        return folder / f"vgg19_torchvision_{TORCHVISION.revision[:12]}.safetensors"
    package = importlib.resources.files("jaxstyle")
    if not isinstance(package, Path):
        raise InputError(
            f"the embedded weights are inside of a zip ({package}), where they cannot be read: install jaxstyle with "
            "pip, or give the path of a .safetensors file"
        )
    # In the package if it is installed, beside it in a checkout.
    installed = package / "data" / _OXFORD_FILE
    return installed if installed.is_file() else package.parent / "weights" / _OXFORD_FILE


def _resolve_path(source: Any) -> Path:
    """Path of a file of the user's own."""
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"weights cannot be loaded from {quote(source)}; expected a name or the path of a file")
    path = Path(os.path.expanduser(os.fsdecode(source)))
    if os.path.isfile(path):
        return path
    problem = "is not a file" if os.path.exists(path) else "is neither the name of weights nor a file that exists"
    raise InputError(
        f"{os.fsdecode(source)!r} {problem}; expected 'oxford', 'torchvision' or the path of a .safetensors file"
    )


def _read_named(name: str) -> layout.Tensors:
    """Read and check the file of named weights."""
    return _read(_path_of(name), layout.WIDTHS, OXFORD_SHA256 if name == "oxford" else None)


def _read(path: Path, widths: Mapping[str, int] | None = None, sha256: str | None = None) -> layout.Tensors:
    """Read and check the tensors of a file, whose output channels and checksum may be known in advance."""
    try:
        if sha256 and not (path.is_file() and files.checksum(path) == sha256):
            raise InputError(f"{path} is missing or is damaged: its SHA-256 is not {sha256}; reinstall jaxstyle")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            infos = {
                name: layout.TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()
            }
            tensors = {
                name: file.get_tensor(name)
                for name, info in infos.items()
                if not layout.is_classifier(name) and info.dtype in ("F32", "U8")
            }
        errors = layout.find_structure_errors(infos, metadata, widths) + layout.find_value_errors(tensors)
        if not sha256 and metadata.get("body_sha256", (body := layout.hash_body(path))) != body:
            errors.insert(0, "its contents do not match the checksum in its header")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the file") from error
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a safetensors file, or is cut short or damaged ({error}); expected weights in the layout "
            "of jaxstyle or torchvision, so download it again (torchvision's .pth: load it with PyTorch and write it "
            "with safetensors.torch.save_file; other .h5 and .pth files: weights/convert.py)"
        ) from error
    layout.raise_errors(str(path), errors)
    return tensors


def _load(name: str) -> layout.Tensors:
    """Tensors of named weights, torchvision's from the cache or else from the Hub, in jaxstyle's layout."""
    if name == "oxford":
        return _read_named(name)
    path = _path_of(name)
    if path.is_file():
        try:
            return _read_named(name)
        except InputError as error:
            warnings.warn(f"downloading the torchvision weights again, because {error}", stacklevel=3)
    metadata = {
        "name": "torchvision",
        "origin": f"huggingface.co/{TORCHVISION.repo}, {TORCHVISION.filename} at {TORCHVISION.revision}",
        "license": "BSD-3-Clause",
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Open the file before the download, to detect a full or read-only disk.
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
    """Download the convolutions of the torchvision weights; return them in jaxstyle's layout."""
    # Its network libraries take 80 ms to import, and few processes need them.
    from jaxstyle.vgg import hub

    where = f"{TORCHVISION.filename} of {TORCHVISION.repo}"
    infos = hub.read_header(TORCHVISION)
    # Check everything that the header shows before the transfer of the tensors.
    layout.raise_errors(where, layout.find_structure_errors(infos, {}, layout.WIDTHS))
    tensors = hub.read_tensors(TORCHVISION, infos, (name for name in infos if not layout.is_classifier(name)))
    layout.raise_errors(where, layout.find_value_errors(tensors))
    params = layout.to_params(tensors)
    return {f"{layer}.{part}": array for layer, arrays in params.items() for part, array in arrays.items()}
