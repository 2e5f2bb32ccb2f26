"""Which part of a map each window owns: by arithmetic alone."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxstyle.objective.tiling import Segment, Window, axes
from jaxstyle.vgg import network


@given(
    size=st.integers(16, 700),
    window=st.integers(32, 300),
    case=st.sampled_from(
        [
            (None, ("relu1_1",)),
            (None, ("relu3_1", "pool3")),
            (None, ("relu1_1", "relu3_1", "relu5_1")),
            ("pool3", ("relu4_1", "relu5_1")),
            ("pool3", ("pool5",)),
        ]
    ),
)
def test_every_position_is_owned_once(size, window, case):
    """In each layer, by arithmetic alone; and a window holds its part with the halo, or ends where the map ends."""
    after, layers = case
    settings = Segment(after, layers, (), (), network.Options(), window)
    axis, single = axes((size, 1), settings)
    assert axis.windows == 1 or axis.core % settings.alignment == 0
    for layer in layers:
        spacing, owners = settings.stride_from(layer), np.zeros(size // settings.stride_from(layer), int)
        for k in range(axis.windows):
            place = Window.at(k, (axis, single), settings)
            first, (start, _) = int(place.patch.begin[0]), place.owned(layer)
            start = int(start[0])
            new = np.asarray(place.mask_already_counted(jnp.ones((axis.core // spacing, 1, 1)), layer))[:, 0, 0]
            owners[start : start + len(new)] += new.astype(int)
            assert first % settings.alignment == 0
            assert first == 0 or first + settings.halo <= k * axis.core
            assert first + axis.length >= min(size, (k + 1) * axis.core + settings.halo)
        assert np.all(owners == 1)
