"""The shapes of a stage's arguments, from which its program is compiled before there are any arrays."""

import dataclasses
import math

import jax
import pytest

import jaxstyle as js
from jaxstyle.objective.mesh import image_spec
from jaxstyle.transfer.program import StageShape, step_arguments

SHALLOW = js.Objective(("relu1_1",), ("relu1_1",))


@pytest.mark.parametrize("shards", [None, (2, 1)])
def test_a_temporal_term_adds_the_previous_frame(shards):
    """Three colors and a weight for each pixel, divided over devices like the image."""
    mesh = None if shards is None else js.make_mesh(*shards)
    shape = StageShape((64, 96), SHALLOW if mesh is None else js.on_mesh(SHALLOW, mesh), js.lbfgs(2), mesh=mesh)
    temporal = shape._replace(objective=dataclasses.replace(shape.objective, temporal=True))
    plain, added = (
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(step_arguments(stage)[2])) for stage in (shape, temporal)
    )
    assert added - plain == 64 * 96 * 4
    previous = step_arguments(temporal)[2].previous
    assert (previous.pixels.shape, previous.weights.shape) == ((64, 96, 3), (64, 96, 1))
    if mesh is not None:
        assert previous.weights.sharding.spec == image_spec(mesh)
