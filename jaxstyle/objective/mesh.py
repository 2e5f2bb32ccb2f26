"""Pictures on a mesh of devices: one picture spread over `rows` and `columns`, or many over `batch`.

Nothing here communicates. The arrays of a run are placed on the mesh, and XLA's partitioner divides the same compiled
programs that one device runs: each device computes its part of every feature map, fetches a row or column of its
neighbors' before a convolution, and adds its Gram sums to theirs. See `distributed.py` for meshes over several hosts.
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
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Canvas
from jaxstyle.image.ops import check_image
from jaxstyle.objective.base import Objective, stages
from jaxstyle.typing import AnyImage

AXES = ("batch", "rows", "columns")

Tree = TypeVar("Tree")


def make_mesh(rows: int = 1, columns: int = 1, batch: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of `batch * rows * columns` devices, whose axes the partitioner handles by itself.

    One large picture goes over rows and columns: about as many of either keeps what neighbors exchange small. Many
    pictures go over `batch`.

    Args:
        rows: devices that share a picture's rows.
        columns: devices that share its columns.
        batch: devices, or groups of them, that have pictures of their own.
        devices: which ones; the first of `jax.devices()` if None, those of other hosts included.

    Returns:
        The mesh.

    Raises:
        InputError: for numbers below 1, or more devices than there are.

    Example:
        >>> dict(make_mesh(rows=1).shape)
        {'batch': 1, 'rows': 1, 'columns': 1}
    """
    shape = batch, rows, columns
    if min(shape) < 1:
        raise InputError(f"the mesh is {batch} x {rows} x {columns}, expected 1 or more each")
    devices = jax.devices() if devices is None else devices
    if math.prod(shape) > len(devices):
        raise InputError(
            f"a mesh of {batch} x {rows} x {columns} needs {math.prod(shape)} devices, there are {len(devices)}: on a "
            "CPU, XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight"
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[: math.prod(shape)])


def check_mesh(mesh: Any) -> None:
    """Refuse what is no mesh with axes that this module knows, all handled by the partitioner.

    Raises:
        InputError: saying what was got.
    """
    if not isinstance(mesh, Mesh):
        raise InputError(f"mesh is {str(mesh)[:80]!r}, expected a jax.sharding.Mesh: make_mesh makes one")
    if not set(mesh.axis_names) <= set(AXES):
        raise InputError(f"the mesh has axes {mesh.axis_names}, expected some of {AXES}: make_mesh makes one")
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise InputError(f"the mesh's axes are {mesh.axis_types}, expected AxisType.Auto: make_mesh makes such ones")
    hosts = {device.process_index for device in mesh.devices.flat}
    # Devices of a TPU that is only described belong to hosts that are not there.
    if jax.process_count() > 1 and len(hosts) < jax.process_count():
        raise InputError(
            f"the mesh has devices of {len(hosts)} of {jax.process_count()} hosts, expected some of every host: they "
            "work together or not at all"
        )


def on_mesh(objective: Objective, mesh: Mesh) -> Objective:
    """The objective for pictures on this mesh: its `shards` are the mesh's rows and columns.

    Args:
        objective: anything else stays.
        mesh: see `make_mesh`.

    Returns:
        The objective.
    """
    check_mesh(mesh)
    return dataclasses.replace(objective, shards=shards_of(mesh))


def shards_of(mesh: Mesh | None) -> tuple[int, int]:
    """How many devices share a picture's rows, and its columns."""
    sizes = {} if mesh is None else mesh.shape
    return sizes.get("rows", 1), sizes.get("columns", 1)


def canvas_sides(height: int, width: int, objective: Objective) -> tuple[int, int]:
    """The smallest canvas for a picture that divides evenly over the objective's shards, at every layer.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        objective: says the shards and the deepest layer.

    Returns:
        Height and width, in pixels.

    Example:
        >>> canvas_sides(250, 203, Objective(shards=(8, 1)))
        (256, 203)
    """
    unit = objective.min_side // 2
    # In windows a part has to be as wide as what its neighbors need of it.
    halo = 0 if objective.window is None else max(stage.halo * stage.stride for stage in stages(objective))

    def canvas(side: int, count: int) -> int:
        # A side that nothing divides needs no canvas.
        return side if count == 1 else count * unit * math.ceil(max(side / count, halo) / unit)

    return canvas(height, objective.shards[0]), canvas(width, objective.shards[1])


def spread(image: AnyImage, mesh: Mesh, objective: Objective) -> Canvas:
    """A picture spread over the mesh's rows and columns, on a canvas where its sides don't divide.

    Args:
        image: `(H, W, 3)`.
        mesh: see `make_mesh`.
        objective: one for this mesh: see `on_mesh`.

    Returns:
        The canvas, for `make_targets`; its `pixels` are for `init` and `value_and_grad`.

    Raises:
        InputError: for an objective of another mesh, or what is no picture.
    """
    check_mesh(mesh)
    check_image(image)
    if objective.shards != shards_of(mesh):
        raise InputError(f"the objective has shards {objective.shards}, the mesh {shards_of(mesh)}: use on_mesh")
    height, width = canvas_sides(image.shape[0], image.shape[1], objective)
    pixels = np.zeros((height, width, 3), np.float32)
    pixels[: image.shape[0], : image.shape[1]] = image
    extent = None if pixels.shape == image.shape else replicated(jnp.array(image.shape[:2], jnp.int32), mesh)
    return Canvas(put(pixels, NamedSharding(mesh, spec(mesh))), extent)


def spec(mesh: Mesh | AbstractMesh, leading: int = 0, batched: bool = False) -> PartitionSpec:
    """How an array with the picture's rows, columns and channels as its last axes lies on a mesh.

    Args:
        mesh: see `make_mesh`.
        leading: axes before these, each device having all of them.
        batched: whether an axis of pictures comes first.

    Returns:
        The specification.
    """
    batch, rows, columns = (name if name in mesh.axis_names else None for name in AXES)
    return PartitionSpec(*([batch] if batched else []), *[None] * leading, rows, columns, None)


def replicated(tree: Tree, mesh: Mesh | AbstractMesh) -> Tree:
    """The same arrays on every device of the mesh: params, weights.

    Args:
        tree: of arrays.
        mesh: see `make_mesh`.

    Returns:
        The same tree.
    """
    return jax.tree.map(lambda leaf: put(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def put(array: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every host has, as one array over all their devices: each host copies its own devices' parts."""
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def shard_batch(array: np.ndarray, mesh: Mesh | None, spatial: bool = False) -> jax.Array:
    """An array with a leading axis of pictures on the mesh's `batch` axis.

    Args:
        array: `(batch, ...)`.
        mesh: see `make_mesh`; the default device if None.
        spatial: whether its other axes are a picture's, to spread over rows and columns.

    Returns:
        The array.
    """
    if mesh is None:
        return jnp.asarray(array)
    batch = "batch" if "batch" in mesh.axis_names else None
    return put(array, NamedSharding(mesh, spec(mesh, batched=True) if spatial else PartitionSpec(batch)))


def gather(image: jax.Array, height: int | None = None, width: int | None = None) -> jax.Array:
    """A picture on a mesh as an ordinary array, without its canvas. Every host has to call this.

    Args:
        image: `(H, W, 3)`, or with a leading axis of pictures.
        height: of the picture; the canvas's if None.
        width: of the picture, likewise.

    Returns:
        The array, on the default device of each host.
    """
    return jnp.asarray(to_host(image)[..., :height, :width, :])


def to_host(array: jax.Array) -> np.ndarray:
    """All of an array, wherever its parts are, on every host. Every host has to call this."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def allreduce_max(numbers: Any, mesh: Any) -> Any:
    """The same whole numbers on all hosts that share a mesh: of each the largest that one of them has.

    Hosts have clocks, and Ctrl-C, of their own, but what one does all have to do: one that took fewer steps than
    another would leave it waiting for ever.

    Args:
        numbers: this host's, one or an array.
        mesh: see `make_mesh`; None is a single device.

    Returns:
        The numbers; this host's own where it is the only one.
    """
    if mesh is None or jax.process_count() == 1:
        return numbers
    return np.max(np.asarray(multihost_utils.process_allgather(np.asarray(numbers, np.int32))), axis=0)


def broadcast_from_first_host(tree: Tree) -> Tree:
    """The arrays that the first host has: what each computes by itself may differ in the last digit."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def mesh_of(array: Any) -> Mesh | AbstractMesh | None:
    """The mesh that an array lies on; None for a single device, and inside of compiled functions."""
    sharding = None if isinstance(array, Tracer) else getattr(array, "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) else None


def shardings_like(tree: Any, image: jax.Array | jax.ShapeDtypeStruct, batched: bool = False) -> Any:
    """How the arrays of a state lie on a mesh: what has the picture's shape lies as the picture does.

    Args:
        tree: of arrays or of their shapes.
        image: the picture, or pictures.
        batched: whether everything has a leading axis of pictures.

    Returns:
        A tree of shardings; None if the picture lies on a single device.
    """
    mesh, first = mesh_of(image), int(batched)
    if mesh is None:
        return None
    others = PartitionSpec("batch") if batched and "batch" in mesh.axis_names else PartitionSpec()

    def of(leaf: Any) -> NamedSharding:
        alike = leaf.ndim >= 3 + first and leaf.shape[-3:] == image.shape[-3:]
        return NamedSharding(mesh, spec(mesh, leaf.ndim - 3 - first, batched) if alike else others)

    return jax.tree.map(of, tree)
