"""The library as a part of a user's JAX program: programs, transformations, pickling and guards."""

import copy
import dataclasses
import functools
import pickle
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.minimize.step import compiled_step
from jaxstyle.objective.balance import compiled_balance
from jaxstyle.objective.evaluate import compiled_value_and_grad

OBJECTIVE = js.Objective(("relu2_1",), ("relu1_1", "conv2_2"))
OPTIMIZER = js.lbfgs(2, precondition=None)


@pytest.fixture(scope="module")
def problem(tiny_params):
    """`(image, params, targets, weights, objective, optimizer)`, small and shallow."""
    image, style = js.white_noise(0, 8, 12), js.white_noise(1, 10, 9)
    targets = js.make_targets(tiny_params, image, [style], OBJECTIVE)
    return image, tiny_params, targets, js.LossWeights(), OBJECTIVE, OPTIMIZER


PROGRAMS = compiled_value_and_grad, compiled_step, compiled_balance
EQUAL_WEIGHTS = [
    js.LossWeights(1.0, 1000.0),
    js.LossWeights(1, 1000),
    js.LossWeights(1, 1000.0),
    js.LossWeights(1.0, 1000),
    js.LossWeights(np.float64(1), np.int64(1000)),
    js.LossWeights((1,), [1000, 1000.0]),
    js.LossWeights(jnp.float32(1), jnp.array([1000, 1000])),
    js.LossWeights((jnp.float32(1),), jnp.float32(1000)),
]


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_other_types_compile_no_other_program(problem):
    image, params, targets, weights, objective, _ = problem
    images = image, jnp.full((8, 12, 3), 0.5), np.asarray(image), np.asarray(image, np.float64)
    values = [js.value_and_grad(image, params, targets, weights, objective)[0]]
    js.step(js.init(*problem), *problem[1:])
    js.balance(image, image, params, targets, objective, 0.5, weights)
    programs = tuple(program._cache_size() for program in PROGRAMS)
    for equal in EQUAL_WEIGHTS:
        values.append(js.value_and_grad(image, params, targets, equal, objective)[0])
        js.step(js.init(*problem), params, targets, equal, objective, OPTIMIZER)
        js.balance(image, image, params, targets, objective, 0.5, equal)
    for other in images:
        js.value_and_grad(other, params, targets, weights, objective)
        js.step(js.init(other, *problem[1:]), *problem[1:])
    assert tuple(program._cache_size() for program in PROGRAMS) == programs
    for value in values[1:]:
        np.testing.assert_array_equal(value, values[0])


def refused(function, *arguments):
    with pytest.raises(InputError) as error:
        function(*arguments)
    message = str(error.value)
    assert "expected" in message
    assert "\n" not in message
    assert len(message) < 400
    return message


WRONG = {
    "state": (None, 1.0, {}, np.ones((8, 12, 3), np.float32)),
    "params": (None, "oxford", {}),
    "targets": (None, {}, js.Targets({}, {})),
    "weights": (None, (1.0, 1e3, 0.0), js.LossWeights("1"), js.LossWeights(-1)),
    "objective": (None, [OBJECTIVE], js.Objective(("relu3_1",), ())),
    "optimizer": (None, "lbfgs", {}, [OPTIMIZER], js.lbfgs),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_of_init_and_step(problem, name):
    index, name = list(WRONG).index(name), name.rstrip("s")
    wrongs = list(WRONG.values())[index]
    for wrong in wrongs:
        if index:
            assert name in refused(js.init, *(wrong if k == index else part for k, part in enumerate(problem)))
        arguments = js.init(*problem), *problem[1:]
        assert name in refused(js.step, *(wrong if k == index else part for k, part in enumerate(arguments)))
    # A refused state is still usable.
    assert js.step(*arguments).evaluations == 1


@pytest.mark.usefixtures("unchecked")
def test_states_that_do_not_fit(problem):
    state = js.init(*problem)
    assert "another optimizer" in refused(js.step, state, *problem[1:5], js.adam())
    js.step(state, *problem[1:])
    assert "used by an earlier step" in refused(js.step, state, *problem[1:])


@pytest.mark.usefixtures("unchecked")
def test_targets_of_another_network(problem):
    """Gram matrices of one channel would broadcast."""
    image, _, _, weights, objective, _ = problem
    for widths in ((1, 4, 8, 8, 8), (4, 5, 8, 8, 8)):
        params = js.init_params(jax.random.key(0), widths)
        targets = js.make_targets(params, image, [image], objective)
        assert "channels" in refused(js.value_and_grad, image, problem[1], targets, weights, objective)


@pytest.mark.usefixtures("unchecked")
def test_an_optimizer_that_needs_more_than_a_gradient(problem, tiny_params):
    for optimizer in (optax.lbfgs(), optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(5))):
        assert "more than one value and gradient" in refused(
            js.step, js.init(*problem[:5], optimizer), *problem[1:5], optimizer
        )
        with pytest.raises(InputError, match="more than one value and gradient"):
            js.stylize(problem[0], problem[0], params=tiny_params, optimizer=optimizer, **_shallow())


@pytest.mark.usefixtures("unchecked")
def test_optimizers_of_one_array():
    image = jnp.full((2, 3, 3), 0.5)
    for optimizer in (js.lbfgs(2), js.adam(), js.averaged(js.adam())):
        assert "image is {" in refused(optimizer.init, {"image": image})
    for optimizer in (js.lbfgs(2), js.adam()):
        assert "image is None" in refused(optimizer.update, image, optimizer.init(image))
    assert "value=loss" in refused(js.lbfgs(2).update, image, js.lbfgs(2).init(image), image)


@pytest.mark.usefixtures("unchecked")
def test_arrays_that_jax_cannot_read(problem):
    image, params, targets, weights, objective, _ = problem
    pixels = np.asarray(image)
    big_endian, masked = pixels.astype(">f4"), np.ma.masked_array(pixels)
    for function in (
        js.gram_matrix,
        js.total_variation,
        lambda x: js.content_loss(image, x),
        lambda x: js.style_loss(x[0, :3], x[0, :3]),
        lambda x: js.resize(x, 2, 2),
        lambda x: js.features(params, x, ("relu1_1",)),
        lambda x: js.value_and_grad(x, params, targets, weights, objective),
        lambda x: js.make_targets(params, x, [image], objective),
        lambda x: js.style_mosaic(0, [x], 4, 4),
        lambda x: js.make_targets(params, image, [image], objective, None, js.Regions(x[..., :1], (np.ones(1, "f"),))),
        lambda x: js.stylize(x, image, params=params),
    ):
        assert "astype('float32')" in refused(function, big_endian)
        assert "filled" in refused(function, masked)
        refused(function, pixels.astype(object))
    wrong = jax.tree.map(lambda leaf: np.asarray(leaf).astype(">f4"), params)
    assert "byte order" in refused(js.features, wrong, image, ("relu1_1",))


@pytest.mark.usefixtures("unchecked")
def test_params_of_the_needed_layers_are_enough(problem):
    image, params, targets, weights, objective, _ = problem
    few = {layer: params[layer] for layer in ("input", "conv1_1", "conv1_2", "conv2_1", "conv2_2")}
    for some in (params, few):
        np.testing.assert_array_equal(
            js.features(some, image, ("relu2_2",))["relu2_2"], js.features(params, image, ("relu2_2",))["relu2_2"]
        )
    losses, _ = js.value_and_grad(image, few, targets, weights, objective)
    np.testing.assert_array_equal(losses, js.value_and_grad(image, params, targets, weights, objective)[0])
    assert "conv3_1.kernel" in refused(js.features, few, image, ("relu3_1",))
    assert "input.scale" in refused(js.features, {"params": params}, image, ("relu1_1",))


def test_starts_inside_of_transformations(problem):
    _, params, targets, weights, objective, optimizer = problem

    def start(key, weights):
        return js.init(js.white_noise(key, 8, 12), params, targets, weights, objective, optimizer)

    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.jit(jax.vmap(start, (0, None)))(keys, weights)
    for k, key in enumerate(keys):
        one = start(key, weights)
        jax.tree.map(lambda several, leaf, k=k: np.testing.assert_array_equal(several[k], leaf), states, one)
    assert len(np.unique(np.asarray(states.image))) > 100
    stepped = jax.vmap(lambda state: js.step(state, *problem[1:]))(states)
    np.testing.assert_array_equal(stepped.evaluations, 1)


def test_a_mosaic_inside_of_transformations():
    rows, columns = np.indices((20, 30), np.float32)
    places = jnp.asarray(np.stack([rows, columns, np.zeros_like(rows)], axis=2))
    other = jnp.full((5, 6, 3), 100.0)
    keys = jax.random.split(jax.random.key(0), 4)

    def mosaic(key):
        return js.style_mosaic(key, [places, other], 40, 50, shares=[0.75, 0.25], piece=8)

    mosaics = np.asarray(jax.jit(jax.vmap(mosaic))(keys))
    assert mosaics.shape == (4, 40, 50, 3)
    np.testing.assert_array_equal(mosaics[1], mosaic(keys[1]))
    assert not np.array_equal(mosaics[0], mosaics[1])
    is_other = mosaics[..., 0] == 100
    assert is_other.mean() == pytest.approx(0.25, abs=0.1)
    # Most neighbors are neighbors in the style, too: pieces, not single pixels; and all of its pixels are used.
    steps = np.abs(np.diff(mosaics[..., 1], axis=2))[~is_other[:, :, 1:] & ~is_other[:, :, :-1]]
    assert np.mean(steps <= 1) > 0.8
    assert {*np.unique(mosaics[..., 0][~is_other])} == {*map(float, range(20))}


@pytest.mark.usefixtures("unchecked")
def test_a_key_is_a_seed(problem, tiny_params):
    image, key = problem[0], jax.random.key(3)
    runs = [
        js.stylize(image, image, params=tiny_params, init="noise", steps=1, seed=seed, **_shallow())
        for seed in (key, key, jax.random.key(4))
    ]
    np.testing.assert_array_equal(runs[0].losses, runs[1].losses)
    assert not np.array_equal(runs[0].losses, runs[2].losses)
    assert isinstance(js.Settings(seed=key).seed, int)


def _shallow():
    return {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",), "finish": 0, "scales": 1}


@pytest.mark.parametrize(
    "make", [js.lbfgs, lambda: js.adam(0.1), lambda: js.averaged(js.lbfgs(3), 0.5)], ids=["lbfgs", "adam", "averaged"]
)
def test_transforms_are_pickled_as_calls(make):
    """In another process, too, equal arguments make one object: a static argument of compiled functions."""
    assert pickle.loads(pickle.dumps(make())) is make()
    assert copy.deepcopy(make()) is make()
    settings = js.Settings(optimizer=make())
    assert pickle.loads(pickle.dumps(settings)) == settings
    code = "import pickle, sys, jaxstyle; print(pickle.load(sys.stdin.buffer).transform.name)"
    found = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(settings), capture_output=True, check=True)
    assert found.stdout.decode().strip() == settings.transform.name


def test_presets_states_and_targets_are_pickled(problem):
    for name in ("default", "paper", "crowsonkb"):
        assert pickle.loads(pickle.dumps(js.preset(name))) == js.preset(name)
    state = js.init(*problem)
    for tree in (state, problem[2], problem[3], OBJECTIVE):
        copied = pickle.loads(pickle.dumps(tree))
        assert jax.tree.structure(copied) == jax.tree.structure(tree)
    js.step(pickle.loads(pickle.dumps(state)), *problem[1:])


def test_a_guard_against_implicit_transfers(problem):
    image, params, _, weights, objective, optimizer = problem
    gram = js.gram_matrix(image)
    with jax.transfer_guard("disallow"):
        targets = js.whiten(js.make_targets(params, image, [image, image], objective, [1, 2]))
        js.features(params, image, ("relu2_1", "pool2"))
        js.value_and_grad(image, params, targets, weights, objective)
        state = js.init(image, params, targets, weights, objective, optimizer)
        js.step(state, params, targets, weights, objective, optimizer)
        js.gram_matrix(image)
        js.content_loss(image, image)
        js.style_loss(gram, gram)
        js.total_variation(image)


def test_a_guard_against_transfers_that_the_library_makes(problem, tiny_params, tmp_path):
    image, params, targets, weights, objective, _ = problem
    path, half, key = tmp_path / "in.png", jnp.zeros((8, 12, 3)).at[:4].set(1.0), jax.random.key(0)
    loss = jnp.float32(1.0)
    mesh = js.make_mesh()
    on_mesh = js.on_mesh(objective, mesh)
    with jax.transfer_guard("disallow"), jax.debug_infs(True):
        js.white_noise(0, 4, 5), js.white_noise(key, 4, 5)
        js.resize(image, 4, 5), js.on_canvas(image, 9, 13)
        js.contact_sheet([[image]], ["row"], ["column"])
        js.style_mosaic(0, [image], 4, 5), js.style_mosaic(key, [image], 4, 5)
        js.regions_of(image, half, [image])
        js.balance(image, image, params, targets, objective, 0.5, weights)
        js.init_params(key, (4, 4, 8, 8, 8))
        js.save_image(path, image, recipe={})
        js.load_image(path, min_side=1), js.load_mask(path), js.read_recipe(path)
        js.gather(js.shard(image, mesh, on_mesh).pixels), js.replicated(params, mesh)
        for optimizer in (js.lbfgs(2), js.adam(), js.averaged(js.adam())):
            optimizer.update(image, optimizer.init(image), image, value=loss)
        result = js.stylize(image, image, params=tiny_params, steps=2, **_shallow())
        assert jax.config.jax_transfer_guard_host_to_device == "disallow"
        assert jax.config.jax_debug_infs
    assert result.evaluations == 2


@pytest.mark.parametrize(
    "variant",
    [
        {"precision": "default", "algorithm": "winograd", "style_loss": "wasserstein"},
        {"neighbor_layers": ("relu2_1",), "bank_size": 8, "style_loss": "wasserstein", "matrix_root": "newton-schulz"},
    ],
    ids=["winograd", "neighbors"],
)
def test_the_precision_of_products_is_the_librarys(tiny_params, variant):
    """A program's own default changes no program: precision is a part of the objective."""
    objective = dataclasses.replace(OBJECTIVE, **variant)
    image, style = js.white_noise(0, 40, 48), js.white_noise(1, 40, 36)
    optimizer = js.lbfgs(2, precondition="pyramid")

    def program(image):
        targets = js.whiten(js.make_targets(tiny_params, image, [js.resize(style, 40, 40)], objective))
        state = js.init(image, tiny_params, targets, js.LossWeights(), objective, optimizer)
        return js.step(state, tiny_params, targets, js.LossWeights(), objective, optimizer)

    programs = set()
    for precision in ("highest", "bfloat16"):
        with jax.default_matmul_precision(precision):
            programs.add(str(jax.make_jaxpr(program)(image)))
    assert len(programs) == 1
    assert "dot_general" in programs.pop()


WIDE = {
    "gram": ({}, js.lbfgs(2)),
    "windows": ({"window": 32, "neighbor_layers": ("relu2_1",), "bank_size": 8}, js.lbfgs(2, precondition="pyramid")),
    "replicate": ({"padding": "replicate", "edges": True}, js.averaged(js.adam())),
    "wasserstein": ({"style_loss": "wasserstein", "matrix_root": "newton-schulz"}, js.lbfgs(2)),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_types_and_strict_promotion(tiny_params, name):
    """With `jax_enable_x64` positions and counts would be int64 by default; all tests promote strictly."""
    variant, optimizer = WIDE[name]
    objective = dataclasses.replace(OBJECTIVE, **variant)
    image, style = (js.on_canvas(js.white_noise(k, 36, 40), 48, 48) for k in range(2))
    step = functools.partial(js.step, objective=objective, optimizer=optimizer)
    with jax.enable_x64(True):
        targets = js.make_targets(tiny_params, image, [style], objective)
        weights = js.LossWeights(1.0, 1e3, 1.0, edges=float(objective.edges))
        state = js.init(image.pixels, tiny_params, targets, weights, objective, optimizer)
        stepped = jax.eval_shape(step, state, tiny_params, targets, weights)
    types = {leaf.dtype for leaf in jax.tree.leaves(stepped)}
    assert types <= {np.dtype(name) for name in ("float32", "int32", "bool")}


def test_no_tracer_leaks(problem):
    with jax.checking_leaks():
        js.step(js.init(*problem), *problem[1:])


def test_without_jit(problem):
    expected = js.value_and_grad(*problem[:5])[0]
    with jax.disable_jit():
        state = js.step(js.init(*problem), *problem[1:])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), state.losses, expected)


def test_a_step_is_exported(problem):
    """As the docstring of `step` says; symbolic sizes are not supported."""
    exported = jax.export.export(jax.jit(js.step, static_argnames=("objective", "optimizer")))(
        js.init(*problem), *problem[1:]
    )
    found, expected = (
        call(js.init(*problem), *problem[1:4], *rest) for call, rest in ((exported.call, ()), (js.step, problem[4:]))
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), found, expected)


def test_forward_mode_is_refused_by_jax(problem):
    """And the docstrings say so."""
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(js.gram_matrix, (problem[0],), (problem[0],))
    for function in (js.features, js.gram_matrix, js.value_and_grad):
        assert "reverse mode" in " ".join(function.__doc__.lower().split())
    jax.jvp(js.total_variation, (problem[0],), (problem[0],))
