"""Count the collective operations in the text of a compiled program, and their bytes."""

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
    """Count the collective operations in a program's text, by kind.

    An operation in a loop counts once, although those of the L-BFGS recursion run once per history pair.

    Args:
        text: HLO text of a compiled program.

    Returns:
        For each kind: `count`, `bytes` (all results on one device) and `largest` (bytes of the largest result).
    """
    totals: dict[str, dict[str, int]] = {}
    for match in OPERATION.finditer(text):
        sizes = [_bytes(*array) for array in ARRAY.findall(match[1])]
        # The type of an asynchronous start also lists the operand and counters.
        size = max(sizes) if match[3] and match[2] != "all-reduce" else sum(sizes)
        kind = totals.setdefault(match[2], {"count": 0, "bytes": 0, "largest": 0})
        kind["count"] += 1
        kind["bytes"] += size
        kind["largest"] = max(kind["largest"], size)
    return totals


def lowered(height: int, width: int, objective: Objective, optimizer: Any, mesh: Mesh) -> Any:
    """Lower a loop of optimizer steps on a mesh from shapes alone; the devices may be absent.

    Returns:
        A lowered program with a `compile` method.
    """
    objective = on_mesh(objective, mesh)
    replicated_sharding = NamedSharding(mesh, PartitionSpec())

    def sharded(tree: Any, shardings: Any) -> Any:
        def struct(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(struct, tree, shardings)

    def replicated(tree: Any) -> Any:
        return sharded(tree, jax.tree.map(lambda leaf: replicated_sharding, tree))

    params, targets, state = step_shapes(height, width, objective, optimizer)
    image = jax.ShapeDtypeStruct(state.image.shape, state.image.dtype, sharding=NamedSharding(mesh, image_spec(mesh)))
    content = {layer: sharded(leaf, NamedSharding(mesh, image_spec(mesh))) for layer, leaf in targets.content.items()}
    targets = replicated(targets._replace(content={}))._replace(content=content)
    weights = replicated(jax.eval_shape(lambda: broadcast_weights(LossWeights(), objective)))
    length = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated_sharding)
    state = sharded(state, shardings_like(state, image))
    return run.lower(state, replicated(params), targets, weights, objective, optimizer, length)


def _bytes(kind: str, bits: str, shape: str) -> int:
    count = 1
    for side in filter(None, shape.split(",")):
        count *= int(side)
    return count * max(1, int(bits or 8) // 8)
