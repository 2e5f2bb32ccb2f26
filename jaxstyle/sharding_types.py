"""Array types inside `jax.shard_map`, where each is marked as varying over some axes of the mesh, or as one value.

Operations of arrays find the type of their result by themselves. A custom derivative and the carry of a loop do not:
their inputs and outputs need one type.
"""

from typing import Any, TypeVar

import jax

Tree = TypeVar("Tree")


def vary_like(tree: Tree, *others: Any) -> Tree:
    """Mark all arrays as varying over every axis that they or the arrays of `others` vary over.

    Outside of `jax.shard_map` the tree is returned unchanged; values never change.
    """
    axes = frozenset().union(*map(_varying, jax.tree.leaves((tree, others))))
    if not axes:
        return tree

    def mark(leaf: Any) -> Any:
        missing = tuple(axes - _varying(leaf))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def _varying(array: Any) -> frozenset[Any]:
    """Axes of the mesh that an array varies over."""
    return jax.typeof(array).manual_axis_type.varying  # pyright: ignore[reportAttributeAccessIssue]
