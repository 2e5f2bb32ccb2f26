"""Images on a mesh of devices: one image sharded over `rows` and `columns`, or many over `batch`.

Nothing here communicates. The arrays of a run are put on the mesh, and XLA's partitioner divides the same compiled
programs that one device runs: each device computes its part of every feature map, fetches a row or column from its
neighbors before a convolution, and adds its Gram sums to theirs. See `distributed.py` for meshes over several hosts.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from jaxstyle.errors import InputError, check_integer, quote
from jaxstyle.guards import permissive
from jaxstyle.image.canvas import Canvas
from jaxstyle.image.ops import check_image
from jaxstyle.objective.base import MAX_SHARDS, Objective, check_objective, segments_of
from jaxstyle.typing import AnyImage

AXES = ("batch", "rows", "columns")

Tree = TypeVar("Tree")


def make_mesh(rows: int = 1, columns: int = 1, batch: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Make a mesh of `batch * rows * columns` devices whose axes the partitioner handles.

    One large image is sharded over rows and columns: similar numbers of both keep what neighbors exchange small. Many
    images are sharded over `batch`.

    Args:
        rows: number of devices that share the rows of an image.
        columns: number of devices that share its columns.
        batch: number of devices, or groups of them, that have images of their own.
        devices: devices of the mesh; the first of `jax.devices()`, those of other hosts included, if None.

    Returns:
        The mesh.

    Raises:
        InputError: for numbers below 1, or more devices than there are.

    Example:
        >>> dict(make_mesh(rows=1).shape)
        {'batch': 1, 'rows': 1, 'columns': 1}
    """
    for name, count in (("rows", rows), ("columns", columns), ("batch", batch)):
        check_integer(count, name, 1, MAX_SHARDS)
    shape = batch, rows, columns
    devices = jax.devices() if devices is None else devices
    listed = isinstance(devices, Sequence | np.ndarray) and all(hasattr(device, "device_kind") for device in devices)
    if not listed:
        raise InputError(f"devices is {quote(devices)}, expected a list of devices such as jax.devices()")
    if math.prod(shape) > len(devices):
        raise InputError(
            f"a mesh of {batch} x {rows} x {columns} needs {math.prod(shape)} devices, there are {len(devices)}: on a "
            "CPU, XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight"
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[: math.prod(shape)])


def check_mesh(mesh: Any) -> None:
    """Raise InputError unless `mesh` is a mesh of the axes `AXES`, or some of them, that the partitioner handles."""
    if not isinstance(mesh, Mesh):
        raise InputError(f"mesh is {quote(mesh)}, expected a jax.sharding.Mesh: make_mesh makes one")
    if not set(mesh.axis_names) <= set(AXES):
        raise InputError(f"the mesh has axes {mesh.axis_names}, expected some of {AXES}: make_mesh makes one")
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise InputError(f"the mesh's axes are {mesh.axis_types}, expected AxisType.Auto: make_mesh makes such ones")
    hosts = {device.process_index for device in mesh.devices.flat}
    # Devices of a TPU that is only described belong to hosts that do not exist.
    if jax.process_count() > 1 and len(hosts) < jax.process_count():
        raise InputError(
            f"the mesh has devices of {len(hosts)} of {jax.process_count()} hosts, expected some of every host: they "
            "work together or not at all"
        )


def on_mesh(objective: Objective, mesh: Mesh) -> Objective:
    """Return the objective for images on this mesh: its `shards` are the mesh's rows and columns.

    Args:
        objective: everything but its `shards` stays.
        mesh: see `make_mesh`.

    Returns:
        The objective.

    Raises:
        InputError: for wrong types, or a mesh of other axes.

    Example:
        >>> import jaxstyle as js
        >>> on_mesh(js.Objective(), js.make_mesh(1, 1)).shards
        (1, 1)
    """
    check_objective(objective)
    check_mesh(mesh)
    return dataclasses.replace(objective, shards=shards_of(mesh))


def shards_of(mesh: Mesh | None) -> tuple[int, int]:
    """Numbers of devices that share an image's rows, and its columns."""
    sizes = {} if mesh is None else mesh.shape
    return sizes.get("rows", 1), sizes.get("columns", 1)


def canvas_size(height: int, width: int, objective: Objective) -> tuple[int, int]:
    """Height and width of the smallest canvas whose shards are equal at every layer.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        objective: determines the shards and the deepest layer.

    Example:
        >>> canvas_size(250, 203, Objective(shards=(8, 1)))
        (256, 203)
    """
    unit = objective.min_side // 2
    # In windows a shard has to be as wide as the halo that its neighbors need from it.
    halo = 0 if objective.window is None else max(part.halo * part.stride for part in segments_of(objective))

    def padded(side: int, count: int) -> int:
        # A side that is not divided needs no padding.
        return side if count == 1 else count * unit * math.ceil(max(side / count, halo) / unit)

    return padded(height, objective.shards[0]), padded(width, objective.shards[1])


@permissive()
def shard(image: AnyImage, mesh: Mesh, objective: Objective) -> Canvas:
    """Shard an image over the mesh's rows and columns, on a canvas where its sides do not divide evenly.

    `spread` is an alias.

    Args:
        image: `(H, W, 3)`.
        mesh: see `make_mesh`.
        objective: an objective for this mesh: see `on_mesh`.

    Returns:
        The canvas, for `make_targets`; its `pixels` are for `init` and `value_and_grad`.

    Raises:
        InputError: for an objective of another mesh, or anything but an image.

    Example:
        >>> import jaxstyle as js
        >>> mesh = js.make_mesh(rows=1)
        >>> js.shard(js.white_noise(0, 32, 48), mesh, js.on_mesh(js.Objective(), mesh)).pixels.shape
        (32, 48, 3)
    """
    check_mesh(mesh)
    check_objective(objective)
    check_image(image)
    if objective.shards != shards_of(mesh):
        raise InputError(f"the objective has shards {objective.shards}, the mesh {shards_of(mesh)}: use on_mesh")
    return place([image], canvas_size(image.shape[0], image.shape[1], objective), mesh)


def place(
    images: Sequence[Any], size: tuple[int, int], mesh: Mesh | AbstractMesh | None, any_size: bool = False
) -> Canvas:
    """Put images, or masks, on a mesh, at the top left of canvases of one size; several get a leading axis.

    Args:
        images: `(h, w, channels)`, numbers on the host or on devices.
        size: height and width of the canvases.
        mesh: see `make_mesh`; the default device if None.
        any_size: True for an extent even if the images fill their canvases: the same program serves other sizes.
    """
    fills = not any_size and all(image.shape[:2] == size for image in images)
    batched = len(images) > 1
    if fills and mesh is None and not batched:
        return Canvas(jnp.asarray(images[0]))
    pixels = np.zeros((len(images), *size, images[0].shape[2]), np.float32)
    for canvas, image in zip(pixels, images, strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    extents = np.array([image.shape[:2] for image in images], np.int32)
    pixels, extents = (pixels, extents) if batched else (pixels[0], extents[0])
    extent = None if fills else put_on_mesh(extents, mesh, batched)
    return Canvas(put_on_mesh(pixels, mesh, batched, spatial=True), extent)


def image_spec(mesh: Mesh | AbstractMesh, leading: int = 0, batched: bool = False) -> PartitionSpec:
    """Partition of an array whose last axes are the rows, columns and channels of an image.

    Args:
        mesh: see `make_mesh`.
        leading: number of axes before these that are not divided.
        batched: True if an axis of images comes first.
    """
    batch, rows, columns = (name if name in mesh.axis_names else None for name in AXES)
    return PartitionSpec(*([batch] if batched else []), *[None] * leading, rows, columns, None)


@permissive()
def replicated(tree: Tree, mesh: Mesh | AbstractMesh) -> Tree:
    """Copy arrays to every device of a mesh, such as params and weights.

    Args:
        tree: numbers and arrays, in tuples, dicts and so on.
        mesh: see `make_mesh`.

    Returns:
        The same tree, of arrays on the mesh.

    Raises:
        InputError: for anything but numbers and arrays, or no mesh.

    Example:
        >>> import jaxstyle as js
        >>> replicated(js.LossWeights(), js.make_mesh(1, 1)).style.sharding.is_fully_replicated
        True
    """
    if not isinstance(mesh, AbstractMesh):
        check_mesh(mesh)
    for leaf in jax.tree.leaves(tree):
        if not isinstance(leaf, jax.Array) and np.asarray(leaf).dtype.kind not in "biufcV":
            raise InputError(f"tree has {quote(leaf)}, expected numbers and arrays alone")
    return jax.tree.map(lambda leaf: put_on_mesh(leaf, mesh), tree)


def put(array: Any, sharding: Sharding) -> jax.Array:
    """Put an array that every host has on all their devices: each host copies the parts of its own devices."""
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def put_on_mesh(
    array: Any, mesh: Mesh | AbstractMesh | None, batched: bool = False, spatial: bool = False
) -> jax.Array:
    """Put an array on a mesh.

    Args:
        array: numbers that every host has.
        mesh: see `make_mesh`; the default device if None.
        batched: True if an axis of images comes first, to be sharded over `batch`.
        spatial: True if the other axes are those of an image, to be sharded over rows and columns.
    """
    if mesh is None:
        return jnp.asarray(array)
    return put(array, NamedSharding(mesh, image_spec(mesh, 0, batched) if spatial else _batch_spec(mesh, batched)))


@permissive()
def gather(image: jax.Array, height: int | None = None, width: int | None = None) -> jax.Array:
    """Gather an image from a mesh, without its canvas. Every host has to call this.

    Args:
        image: `(H, W, 3)`, or with a leading axis of images.
        height: height of the image in pixels; the canvas's if None.
        width: width of the image in pixels; the canvas's if None.

    Returns:
        The array, on the default device of each host.

    Raises:
        InputError: for anything but an array of images, or a size beyond the canvas.

    Example:
        >>> import jaxstyle as js
        >>> mesh = js.make_mesh(1, 1)
        >>> canvas = js.shard(js.white_noise(1, 30, 45), mesh, js.Objective())
        >>> js.gather(canvas.pixels, 30, 45).shape
        (30, 45, 3)
    """
    if not isinstance(image, jax.Array) or image.ndim < 3:
        raise InputError(f"image is {quote(image)}, expected an array (height, width, 3): shard puts one on a mesh")
    for name, size, limit in (("height", height, image.shape[-3]), ("width", width, image.shape[-2])):
        if size is not None:
            check_integer(size, name, 1, limit)
    return jnp.asarray(to_host(image)[..., :height, :width, :])


def to_host(array: jax.Array) -> np.ndarray:
    """Copy a whole array, wherever its parts are, to every host. Every host has to call this."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def allreduce_max(numbers: Any, mesh: Any) -> Any:
    """Largest value on all hosts of a mesh, elementwise, so that all of them do the same.

    Hosts have clocks, and Ctrl-C, of their own: a host that took fewer steps than another would leave it waiting
    forever.

    Args:
        numbers: this host's integers, one or an array.
        mesh: see `make_mesh`; None for a single device.

    Returns:
        The numbers; unchanged if there is a single host.
    """
    if mesh is None or jax.process_count() == 1:
        return numbers
    return np.max(np.asarray(multihost_utils.process_allgather(np.asarray(numbers, np.int32))), axis=0)


def broadcast_from_first_host(tree: Tree) -> Tree:
    """Replace arrays by those of the first host, since hosts' own computations may differ in the last digit."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def mesh_of(array: Any) -> Mesh | AbstractMesh | None:
    """The mesh that an array is on; None for a single device, and inside of compiled functions."""
    sharding = None if isinstance(array, Tracer) else getattr(array, "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) else None


def shardings_like(tree: Any, image: jax.Array | jax.ShapeDtypeStruct, batched: bool = False) -> Any:
    """Shardings of the arrays of a state: arrays of the image's shape are sharded like the image.

    Args:
        tree: arrays, or their shapes.
        image: the image, or images.
        batched: True if all arrays have a leading axis of images.

    Returns:
        A tree of shardings; None if the image is on a single device.
    """
    mesh, first = mesh_of(image), int(batched)
    if mesh is None:
        return None

    def sharding(leaf: Any) -> NamedSharding:
        like_image = leaf.ndim >= 3 + first and leaf.shape[-3:] == image.shape[-3:]
        spec = image_spec(mesh, leaf.ndim - 3 - first, batched) if like_image else _batch_spec(mesh, batched)
        return NamedSharding(mesh, spec)

    return jax.tree.map(sharding, tree)


def _batch_spec(mesh: Mesh | AbstractMesh, batched: bool) -> PartitionSpec:
    return PartitionSpec("batch") if batched and "batch" in mesh.axis_names else PartitionSpec()
