"""Checkpoint files: what goes in comes out, and nothing else is taken for one."""

import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

import jaxstyle as js
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.checkpoint_file import Contents, check_layout, check_types, layout_of, named_leaves, read, write

TYPES = st.sampled_from([np.float32, np.float64, np.int32, np.uint32, np.uint8, np.bool_])
CONTENTS = Contents({"a": np.arange(5, dtype=np.float32), "b": np.array(7, np.int32)}, {"run": {"scale": 1}})


def host_arrays(state):
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state, "state").items()}


@given(
    st.dictionaries(st.text(max_size=5), arrays.arrays(TYPES, arrays.array_shapes(min_dims=0)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False) | st.text(max_size=5) | st.integers()),
)
def test_what_goes_in_comes_out(tmp_path_factory, tensors, metadata):
    tensors.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    write(path, Contents(tensors, metadata))
    found = read(path)
    assert found.metadata == metadata
    assert set(found.tensors) == set(tensors)
    for name, array in tensors.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)
    assert os.listdir(path.parent) == ["run"]


def test_every_altered_byte_and_every_cut_is_refused(tmp_path):
    path = tmp_path / "run"
    write(path, CONTENTS)
    good = path.read_bytes()
    for k in range(len(good)):
        path.write_bytes(good[:k] + bytes([good[k] ^ 0x11]) + good[k + 1 :])
        with pytest.raises(js.InputError, match=re.escape(str(path))):
            read(path)
    for k in range(len(good)):
        path.write_bytes(good[:k])
        with pytest.raises(js.InputError, match=re.escape(str(path))):
            read(path)


def test_what_is_no_checkpoint_is_refused_in_one_sentence(tmp_path, tiny_weights):
    newer = tmp_path / "newer"
    save_file({"a": np.zeros(1, np.float32)}, newer, {"format": "jaxstyle-checkpoint", "version": "8"})
    older = tmp_path / "older"
    save_file({"a": np.zeros(1, np.float32)}, older, {"format": "jaxstyle-checkpoint", "version": "1"})
    bare = tmp_path / "bare"
    save_file({"a": np.zeros(1, np.float32)}, bare, {"format": "jaxstyle-checkpoint", "version": "7"})
    text = tmp_path / "text"
    text.write_text("nothing")
    for path, message in (
        (tmp_path / "missing", "cannot read the checkpoint"),
        (tmp_path, "cannot read the checkpoint|is no checkpoint"),
        (tiny_weights, "^[^ ]* is no checkpoint of jaxstyle"),
        (newer, "^the checkpoint .* has format version '8', this release reads '7'"),
        (older, "^the checkpoint .* has format version '1', this release reads '7': resume it with the release"),
        (bare, "do not match its checksum"),
        (text, "is no checkpoint, or is cut short or damaged"),
    ):
        with pytest.raises(js.InputError, match=message):
            read(path)


def test_a_write_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run"
    write(path, CONTENTS)

    def full(tensors, name, header):
        with open(name, "wb") as file:
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, CONTENTS._replace(metadata={"run": 2}))
    assert read(path).metadata == CONTENTS.metadata
    assert os.listdir(tmp_path) == ["run"]


def test_it_has_the_permissions_of_new_files(tmp_path):
    """And not those of the temporary file that it was: others of a group may go on with it."""
    (tmp_path / "new").write_bytes(b"")
    write(tmp_path / "run", CONTENTS)
    assert (tmp_path / "run").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_trees_are_taken_apart_by_name(tmp_path, china):
    state = js.lbfgs(memory_size=2).init(china)
    tensors = host_arrays(state)
    assert {"state.image", "state.s_history", "state.pairs"} <= set(tensors)
    write(tmp_path / "run", Contents(tensors, {}))
    found = read(tmp_path / "run").tensors
    check_layout(layout_of(named_leaves(state, "state")), layout_of(found))
    for name, leaf in named_leaves(state, "state").items():
        np.testing.assert_array_equal(found[name], leaf, strict=True)


def test_trees_that_do_not_fit_are_refused(china):
    def layout(optimizer):
        return layout_of(named_leaves(optimizer.init(china), "state"))

    stored = layout(js.lbfgs(memory_size=2))
    with pytest.raises(js.InputError, match=r"lacks state\[0\]|has state\.accepted"):
        check_layout(layout(js.adam()), stored)
    with pytest.raises(js.InputError, match=r"state.s_history as float32 \(2, 64, 96, 3\), expected float32 \(3, 64"):
        check_layout(layout(js.lbfgs(memory_size=3)), stored)
    for leaf in (jax.random.key(0), jnp.zeros(2, jnp.bfloat16)):
        with pytest.raises(js.InputError, match="which no checkpoint can hold"):
            check_types({"leaf": leaf}, "state")


def test_nothing_in_it_is_more_than_arrays_and_json(tmp_path):
    """So nothing can be run by reading one: no pickle, no names of classes."""
    write(tmp_path / "run", CONTENTS)
    data = (tmp_path / "run").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert set(header) == {"a", "b", "__metadata__"}
    assert set(header["__metadata__"]) == {"format", "version", "metadata", "sha256"}
    assert all(set(header[name]) == {"dtype", "shape", "data_offsets"} for name in ("a", "b"))
