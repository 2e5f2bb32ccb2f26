"""Files of feed-forward networks."""

import jax
import numpy as np
import pytest
import safetensors.numpy

import jaxstyle as js
from jaxstyle.feed_forward.network import flat


@pytest.fixture(scope="module")
def network():
    return js.init_network(jax.random.key(0), width=3, blocks=1)


def test_a_file_holds_the_network(network, tmp_path):
    path = tmp_path / "net.safetensors"
    js.save_network(path, network, note="style of a test")
    loaded = js.load_network(path)
    assert jax.tree.structure(loaded) == jax.tree.structure(network)
    jax.tree.map(np.testing.assert_array_equal, loaded, network)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_read_or_written(network, tmp_path):
    path = tmp_path / "net.safetensors"
    for function, message in (
        (lambda: js.save_network(path, {"first": 1}), "network has"),
        (lambda: js.save_network(path, None), "network is None"),
        (lambda: js.save_network(tmp_path / "none" / "net.safetensors", network), "cannot write"),
        (lambda: js.load_network(path), "No such file"),
        (lambda: js.load_network(tmp_path), "expected the file of a network"),
    ):
        with pytest.raises(js.InputError, match=message) as error:
            function()
        assert "\n" not in str(error.value)
    assert not path.exists()


DAMAGE = {
    "text": (lambda arrays, meta: b"no network", "no safetensors file"),
    "other": (lambda arrays, meta: safetensors.numpy.save(arrays, {}), "holds no feed-forward network"),
    "version": (lambda arrays, meta: safetensors.numpy.save(arrays, meta | {"version": "9"}), "upgrade jaxstyle"),
    "nan": (lambda arrays, meta: safetensors.numpy.save(arrays | {"bias": arrays["bias"] * np.nan}, meta), "bias"),
    "missing": (lambda arrays, meta: safetensors.numpy.save({"bias": arrays["bias"]}, meta), "net.safetensors has"),
    "names": (lambda arrays, meta: safetensors.numpy.save(arrays | {"bias.a": arrays["bias"]}, meta), "bias"),
    "cut": (lambda arrays, meta: safetensors.numpy.save(arrays, meta)[:-9], "damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused(network, tmp_path, case):
    make, message = DAMAGE[case]
    path = tmp_path / "net.safetensors"
    arrays = {name: np.asarray(array) for name, array in flat(network).items()}
    path.write_bytes(make(arrays, {"format": "jaxstyle-feed-forward", "version": "1"}))
    with pytest.raises(js.InputError, match=message):
        js.load_network(path)
