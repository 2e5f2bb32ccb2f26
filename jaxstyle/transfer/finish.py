"""The finish of a run: an objective that replaces specks and double contours by strokes of the style.

Each feature of the image moves to the nearest one of the style: the last pass of Kolkin et al., "Neural Neighbor Style
Transfer" (2022), with our optimizer, content loss and weights.
"""

import dataclasses

from jaxstyle.objective.base import LossWeights, Objective

# Content, Gram matrices and nearest neighbors. Without the Gram matrices of the two deepest layers, flat areas of the
# content stay flat: their nearest neighbors are flat areas of the style.
CONTENT_LAYERS = ("relu4_2",)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
NEIGHBOR_LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
    *("relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
)
# A smaller content weight loses small parts of the content; without the smoothness term a hatching of one pixel appears
# in flat areas.
CONTENT, STYLE, SMOOTHNESS, NEIGHBORS = 2.0, 2.0, 5.0, 1.0
# For a run with an edge weight of 1. Without it, faces of 100 pixels break into patches.
EDGES = 4.0
MIDDLE_STRENGTH = 0.5


def finish_weights(strength: float | None, edge_weight: float) -> LossWeights:
    """Return the weights of the finish, in the units of `relative_weights`.

    Those of content and edges are `1 - s` and all others `s` times twice those of strength 0.5, which runs without a
    strength have.

    Args:
        strength: from 0 to 1; None for a run without one.
        edge_weight: that of the run, relative to the content term. Without a strength it has other units, and the
            finish no edge term.
    """
    style = 2 * (MIDDLE_STRENGTH if strength is None else strength)
    content = 2 - style
    edges = 0.0 if strength is None else content * EDGES * edge_weight
    smoothness, neighbors = style * SMOOTHNESS, style * NEIGHBORS
    return LossWeights(content * CONTENT, style * STYLE, smoothness, neighbors=neighbors, edges=edges)


def finish_objective(objective: Objective) -> Objective:
    """Return the objective of the finish of a run with this objective."""
    return dataclasses.replace(
        objective,
        content_layers=CONTENT_LAYERS,
        style_layers=STYLE_LAYERS,
        style_loss="gram",
        variation="squared",
        pooling="avg",
        neighbor_layers=NEIGHBOR_LAYERS,
    )
