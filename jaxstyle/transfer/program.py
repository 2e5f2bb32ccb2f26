"""The compiled steps of a stage, from the shapes of their arguments: the program that the stage then runs.

JAX compiles a program once for each set of shapes, so compiling it here, to learn its memory, costs a run nothing.
"""

import dataclasses
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxstyle.image.canvas import Canvas
from jaxstyle.losses.guides import make_guides
from jaxstyle.losses.neighbors import Bank
from jaxstyle.losses.temporal import Warped
from jaxstyle.minimize.loop import run
from jaxstyle.minimize.step import State, init_unchecked
from jaxstyle.objective.base import LossWeights, Objective, broadcast_weights
from jaxstyle.objective.mesh import canvas_size, image_spec, shardings_like
from jaxstyle.objective.targets import Targets, compiled_style_statistics, content_edges, content_features, whiten
from jaxstyle.optim.lbfgs import uses_lbfgs
from jaxstyle.typing import Params
from jaxstyle.vgg import network

Tree = TypeVar("Tree")
Size = tuple[int, int]
StepArguments = tuple[State, Any, Targets, LossWeights]


class StageShape(NamedTuple):
    """Everything that determines the compiled programs of a stage.

    Attributes:
        size: height and width of the images; of several the largest of each.
        objective: static.
        optimizer: static.
        styles: height and width of each style of an image.
        batch: number of images.
        whitening: exponent of the whitening in the surrogate loss; None is 1 for `lbfgs` and 0 for other optimizers.
        regions: number of regions with styles of their own; 0 for none.
        padded: True for a canvas that is larger than some of the images, in addition to what a mesh requires.
        mesh: devices; None for the default device.
        params: parameters of the network, or their shapes; those of VGG-19 if None.
    """

    size: Size
    objective: Objective
    optimizer: optax.GradientTransformation
    styles: tuple[Size, ...] = ()
    batch: int = 1
    whitening: float | None = None
    regions: int = 0
    padded: bool = False
    mesh: Mesh | AbstractMesh | None = None
    params: Params | None = None

    def in_windows(self, window: int | None) -> "StageShape":
        """Return the shape with another window."""
        return self._replace(objective=dataclasses.replace(self.objective, window=window))


def step_arguments(stage: StageShape) -> StepArguments:
    """Return the arguments of a stage's steps as `jax.ShapeDtypeStruct`, with their shardings on a mesh."""
    objective, optimizer = stage.objective, stage.optimizer
    size = canvas_size(*stage.size, objective)
    image = _struct(*size, 3)
    extent = jax.ShapeDtypeStruct((2,), jnp.int32) if stage.padded or size != stage.size else None
    whitens = uses_lbfgs(optimizer) if stage.whitening is None else stage.whitening > 0
    whitens = whitens and objective.can_whiten
    # The size of a style does not matter to a step.
    style, masks = _struct(objective.min_side, objective.min_side, 3), _struct(*size, stage.regions)
    unsharded = dataclasses.replace(objective, shards=(1, 1))

    def targets_of(params: Params, image: Any, extent: Any, style: Any, masks: Any) -> Targets:
        statistics = compiled_style_statistics(params, Canvas(style), unsharded, None)
        canvas, banks = Canvas(image, extent), _banks_of(params, stage)
        features, edges = content_features(params, canvas, objective), content_edges(canvas, objective)
        targets = Targets(features, statistics.grams, statistics.means, extent=extent, banks=banks, edges=edges)
        if objective.temporal:
            targets = targets._replace(previous=Warped(image, image[:, :, :1]))
        if stage.regions:
            statistics = targets.style, targets.means
            grams, means = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], stage.regions, axis=0), statistics)
            guides = make_guides(masks, objective.guided_layers, extent=extent)
            targets = targets._replace(style=grams, means=means, guides=guides)
        return whiten(targets) if whitens else targets

    params = _params_of(stage)
    own = (
        jax.eval_shape(lambda image: init_unchecked(image, optimizer), image),
        jax.eval_shape(targets_of, params, image, extent, style, masks),
        jax.eval_shape(lambda: broadcast_weights(LossWeights(), objective, stage.regions or None)),
    )
    if stage.batch > 1:
        own = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((stage.batch, *leaf.shape), leaf.dtype), own)
    state, targets, weights = own
    arguments = state, params, targets, weights
    return arguments if stage.mesh is None else _on_mesh(arguments, stage.mesh, stage.batch > 1)


def lower_steps(stage: StageShape) -> Any:
    """Lower the steps of a stage; the devices of its mesh may be absent."""
    length = jax.ShapeDtypeStruct((), jnp.int32)
    return run.lower(*step_arguments(stage), stage.objective, stage.optimizer, length)


def lower_style(stage: StageShape, size: Size) -> Any:
    """Lower the forward pass of a style of this height and width."""
    pixels: Any = _struct(*size, 3)
    unsharded = dataclasses.replace(stage.objective, shards=(1, 1))
    return compiled_style_statistics.lower(_params_of(stage), Canvas(pixels), unsharded, None)


def _on_mesh(arguments: StepArguments, mesh: Mesh | AbstractMesh, batched: bool) -> StepArguments:
    """Add the shardings of `make_problem` and `init_unchecked`."""
    first = PartitionSpec("batch") if batched and "batch" in mesh.axis_names else PartitionSpec()
    spatial = image_spec(mesh, batched=batched)

    def put(tree: Tree, spec: PartitionSpec) -> Tree:
        return jax.tree.map(lambda leaf: _sharded(leaf, NamedSharding(mesh, spec)), tree)

    state, params, targets, weights = arguments
    image, guides = put(state.image, spatial), targets.guides
    maps, edges, previous = put((targets.content, targets.edges, targets.previous), spatial)
    if guides is not None:
        guides = put(guides, spatial)._replace(shares=put(guides.shares, first))
    targets = put(targets._replace(content={}, guides=None, edges=None, previous=None), first)
    targets = targets._replace(content=maps, guides=guides, edges=edges, previous=previous)
    state = jax.tree.map(_sharded, state, shardings_like(state, image, batched))
    return state, put(params, PartitionSpec()), targets, put(weights, first)


def _sharded(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _banks_of(params: Params, stage: StageShape) -> dict[str, Bank] | None:
    """Return banks of zeros, of the shapes that `style_banks` returns."""
    leading = (stage.regions,) if stage.regions else ()

    def bank(layer: str) -> Bank:
        channels = params[f"conv{layer[4]}_1"]["kernel"].shape[-1]
        shapes = (*leading, stage.objective.bank_size, channels), (*leading, channels)
        return Bank(*(jnp.zeros(shape, jnp.float32) for shape in shapes))

    return {layer: bank(layer) for layer in stage.objective.neighbor_layers} or None


def _params_of(stage: StageShape) -> Any:
    params = jax.eval_shape(network.init_params, jax.random.key(0)) if stage.params is None else stage.params
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)


def _struct(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
