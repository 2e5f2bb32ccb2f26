"""Count the collective operations in the text of a compiled program, and their bytes."""

import re
from typing import Any

from jax.sharding import Mesh

from jaxstyle.objective.base import Objective
from jaxstyle.objective.mesh import on_mesh
from jaxstyle.transfer.program import StageShape, lower_steps

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
    shape = StageShape((height, width), on_mesh(objective, mesh), optimizer, mesh=mesh)
    return lower_steps(shape)


def _bytes(kind: str, bits: str, shape: str) -> int:
    count = 1
    for side in filter(None, shape.split(",")):
        count *= int(side)
    return count * max(1, int(bits or 8) // 8)
