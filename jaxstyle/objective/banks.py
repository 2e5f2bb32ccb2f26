"""Banks of the styles' features for the neighbor loss: see `neighbors.py`."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstyle.compiler import Compiled
from jaxstyle.image.canvas import Canvas
from jaxstyle.losses.neighbors import Bank, make_bank, resize_bank, spread_positions
from jaxstyle.objective.base import Objective, direct, segments_of
from jaxstyle.objective.mesh import broadcast_from_first_host, mesh_of, replicated, to_host
from jaxstyle.objective.windows import Inputs, compute_statistics
from jaxstyle.typing import AnyFeatures, Params
from jaxstyle.vgg.network import stride


class BankSource(NamedTuple):
    """A style, and the part of the bank that it fills.

    Attributes:
        style: the style image.
        share: fraction of the bank's features; with regions one for each.
        guides: neighbor layer to `(h, w, regions)`, the weights of the style's positions for each region; None where
            all positions have the same weight.
    """

    style: Canvas
    share: Float[np.ndarray, "*regions"]
    guides: Mapping[str, AnyFeatures] | None = None


def style_banks(params: Params, sources: Sequence[BankSource], objective: Objective) -> dict[str, Bank] | None:
    """Make a bank of `bank_size` features of each neighbor layer, or one of each region.

    If the styles have fewer features, some are repeated, which changes no distance.

    Args:
        params: see `load_params`.
        sources: the styles, whose shares have the sum 1.
        objective: determines the layers and the size.

    Returns:
        Neighbor layer to its bank; None if there are no neighbor layers.
    """
    if not objective.neighbor_layers:
        return None
    # The ends are rounded, not the parts, whose sum is then the size.
    shares = np.stack([np.atleast_1d(source.share) for source in sources])
    ends = np.rint(np.cumsum(shares, axis=0) * objective.bank_size).astype(np.int64)
    counts = np.diff(ends, axis=0, prepend=0)
    samples = [_sample_regions(params, source, count, objective) for source, count in zip(sources, counts, strict=True)]
    mesh = mesh_of(samples[0][0][objective.neighbor_layers[0]])
    if mesh is not None:
        samples = jax.tree.map(to_host, samples)
    banks = {}
    for layer in objective.neighbor_layers:
        regions = [
            make_bank(jnp.concatenate([jnp.asarray(sample[r][layer]) for sample in samples]))
            for r in range(shares.shape[1])
        ]
        # One size for all styles: the same program, also for the styles of a batch.
        regions = [resize_bank(bank, objective.bank_size) for bank in regions]
        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *regions)
        banks[layer] = stacked if np.ndim(sources[0].share) else regions[0]
    return banks if mesh is None else replicated(broadcast_from_first_host(banks), mesh)


def _sample_regions(
    params: Params, source: BankSource, counts: Int[np.ndarray, " regions"], objective: Objective
) -> list[dict[str, Float[Array, "_ _"]]]:
    """Features of a style for each region's bank, by layer."""
    style, guides = source.style, source.guides
    size = style.pixels.shape[:2] if style.extent is None else tuple(map(int, to_host(style.extent)))
    positions = {}
    for layer in objective.neighbor_layers:
        if guides is None:
            masks = [np.ones([side // stride(layer) for side in size], bool)] * len(counts)
        else:
            # A position belongs to a region whose mask covers half of it.
            guide = np.asarray(guides[layer])
            masks = list(np.moveaxis(guide >= guide.max(axis=(0, 1)) / 2, 2, 0))
        positions[layer] = [spread_positions(mask, int(count)) for mask, count in zip(masks, counts, strict=True)]
    # A plain image is not sharded over devices, even if the content is.
    structure = direct(objective, sharded=mesh_of(style.pixels) is not None)
    # Where memory is short, the map of one layer at a time.
    layers = objective.neighbor_layers
    features = {}
    for group in [layers] if objective.window is None else [(layer,) for layer in layers]:
        features |= _features_at(params, style, {layer: np.concatenate(positions[layer]) for layer in group}, structure)
    ends = {layer: np.cumsum([len(part) for part in parts]) for layer, parts in positions.items()}
    return [
        {layer: features[layer][ends[layer][r] - len(parts[r]) : ends[layer][r]] for layer, parts in positions.items()}
        for r in range(len(counts))
    ]


@functools.partial(Compiled, static_argnames="objective")
def _features_at(
    params: Params, style: Canvas, positions: Mapping[str, Int[Array | np.ndarray, "_ 2"]], objective: Objective
) -> dict[str, Float[Array, "_ _"]]:
    """Feature vectors at these rows and columns of each layer."""
    pixels, layers = jnp.asarray(style.pixels), tuple(positions)
    segments = segments_of(objective, styles=(), contents=(), maps=layers, neighbors=())
    maps = compute_statistics(pixels, params, Inputs(), segments, style.extent).maps
    return {layer: maps[layer][places[:, 0], places[:, 1]] for layer, places in positions.items()}
