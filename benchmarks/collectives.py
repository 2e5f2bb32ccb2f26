"""What a compiled program sends between devices, read from its text: how often, and how many bytes, by kind."""

import re
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle.minimize.loop import run
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights
from jaxstyle.objective.mesh import image_spec, on_mesh, shardings_like
from jaxstyle.transfer.memory import step_shapes

KINDS = ("collective-permute", "all-reduce", "all-gather", "all-to-all", "reduce-scatter")
OPERATION = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(-start)?\(")
ARRAY = re.compile(r"\b(pred|[a-z]+)(\d*)\[([\d,]*)\]")


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Kinds of collective operations in a program's text.

    An operation in a loop counts once: those of the optimizer's recursion run once for each pair that it remembers.

    Args:
        text: of a compiled program, as XLA writes it.

    Returns:
        Kind to `count`, `bytes` (of all results on one device) and `largest` (bytes of the largest one).
    """
    found: dict[str, dict[str, int]] = {}
    for match in OPERATION.finditer(text):
        sizes = [_bytes(*array) for array in ARRAY.findall(match[1])]
        # An asynchronous one gives its operand, its result, and counters.
        size = max(sizes) if match[3] and match[2] != "all-reduce" else sum(sizes)
        kind = found.setdefault(match[2], {"count": 0, "bytes": 0, "largest": 0})
        kind["count"] += 1
        kind["bytes"] += size
        kind["largest"] = max(kind["largest"], size)
    return found


def lowered(height: int, width: int, objective: Objective, optimizer: Any, mesh: Mesh) -> Any:
    """A loop of whole optimizer steps on a mesh, traced for shapes alone: nothing is in memory.

    Args:
        height: of the picture, in pixels.
        width: likewise.
        objective: says the window.
        optimizer: static.
        mesh: of devices that may be absent.

    Returns:
        What `compile` can be called on.
    """
    objective = on_mesh(objective, mesh)
    everywhere = NamedSharding(mesh, PartitionSpec())

    def on(tree: Any, shardings: Any) -> Any:
        def struct(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(struct, tree, shardings)

    def copied(tree: Any) -> Any:
        return on(tree, jax.tree.map(lambda leaf: everywhere, tree))

    params, targets, state = step_shapes(height, width, objective, optimizer)
    image = jax.ShapeDtypeStruct(state.image.shape, state.image.dtype, sharding=NamedSharding(mesh, image_spec(mesh)))
    content = {layer: on(leaf, NamedSharding(mesh, image_spec(mesh))) for layer, leaf in targets.content.items()}
    targets = copied(targets._replace(content={}))._replace(content=content)
    weights = copied(jax.eval_shape(lambda: broadcast_weights(LossWeights(), objective)))
    length = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    state = on(state, shardings_like(state, image))
    return run.lower(state, copied(params), targets, weights, objective, optimizer, length)


def _bytes(kind: str, bits: str, shape: str) -> int:
    count = 1
    for side in filter(None, shape.split(",")):
        count *= int(side)
    return count * max(1, int(bits or 8) // 8)
