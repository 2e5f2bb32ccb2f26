"""Memory before anything runs: the compiler's figure for the run's own program, and the window chosen from it."""

import contextlib
import dataclasses
import math
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest

import jaxstyle as js
from jaxstyle.errors import InputError
from jaxstyle.minimize.loop import run
from jaxstyle.objective.base import broadcast_weights
from jaxstyle.transfer import memory
from jaxstyle.transfer.program import StageShape, lower_steps, lower_style

# Optax's Adam raises a float to an int32 power.
pytestmark = pytest.mark.usefixtures("lenient_promotion")

# Compiles in a second.
SHALLOW = js.Objective(content_layers=("relu1_2",), style_layers=("relu1_1", "relu2_1"), algorithm="direct")
OPTIMIZER = js.adam(0.02)
STEPS = "jit(run_steps)"


@pytest.fixture
def with_free_memory(monkeypatch):
    """Set the bytes of free memory; None for unknown."""
    return lambda free: monkeypatch.setattr(memory, "free_memory", lambda: free)


def shape_of(height, width, **options):
    return StageShape((height, width), SHALLOW, OPTIMIZER, **options)


@pytest.mark.parametrize(
    ("objective", "optimizer"), [(js.Objective(), js.lbfgs(3)), (dataclasses.replace(SHALLOW, window=32), OPTIMIZER)]
)
def test_the_estimate_is_what_the_compiler_reports_for_the_arrays_of_a_run(tiny_params, objective, optimizer):
    content, style, weights = js.white_noise(1, 48, 64), js.white_noise(2, 40, 32), js.LossWeights()
    targets = js.make_targets(tiny_params, content, [style], objective)
    targets = js.whiten(targets) if optimizer is js.lbfgs(3) else targets
    state = js.init(content, tiny_params, targets, weights, objective, optimizer)
    arguments = state, tiny_params, targets, broadcast_weights(weights, objective), objective, optimizer, np.int32(1)
    expected = run.lower(*arguments).compile().memory_analysis()
    found = memory.memory(StageShape((48, 64), objective, optimizer, ((40, 32),), params=tiny_params))
    # The losses of 20 steps, and the arrays' addresses, are all the output that does not reuse the state's memory.
    assert 20 * 5 * 4 <= found.temporary - expected.temp_size_in_bytes < 1000
    for part, arrays in ((found.state, state), (found.targets, targets), (found.parameters, tiny_params)):
        assert part == sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
    assert found.images == 48 * 48 * 64 + 24 * 40 * 32


def test_what_is_held_is_counted_by_hand():
    found = memory.memory(StageShape((96, 128), SHALLOW, js.lbfgs(7)))
    pixels, floats = 96 * 128, 4
    assert found.images == 48 * pixels
    # The content's features; the Gram matrices, their eigenvectors and gains.
    assert found.targets == floats * (64 * pixels + 3 * (64**2 + 128**2))
    pairs = found.state - memory.memory(StageShape((96, 128), SHALLOW, js.lbfgs(6))).state
    assert pairs == pytest.approx(24 * pixels, abs=100)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, {}),
        ({"window": 32, "strength": 0.5}, {}),
        ({"optimizer": js.lbfgs(2)}, {"optimizer": js.lbfgs(2)}),
        ({"mesh": (2, 1)}, {"mesh": (2, 1)}),
        ({"regions": True}, {"regions": 2}),
        ({"edge_weight": 1.0}, {}),
        ({"mesh": (2, 1), "edge_weight": 1.0}, {"mesh": (2, 1)}),
    ],
    ids=["plain", "windows", "lbfgs", "mesh", "regions", "edges", "edges on a mesh"],
)
def test_a_run_compiles_the_steps_once(tiny_params, compiled, options, shape):
    """The program whose memory is estimated is that of the run."""
    content, style = js.white_noise(1, 48, 64), js.white_noise(2, 40, 32)
    options, shape = dict(options), {"params": tiny_params} | shape
    if "mesh" in options:
        options["mesh"] = shape["mesh"] = js.make_mesh(*options["mesh"])
    if "regions" in options:
        mask = np.zeros((48, 64, 2), np.float32)
        mask[:20, :, 0] = mask[20:, :, 1] = 1
        options["regions"] = js.Regions(mask, [np.ones(2, np.float32)])
    objective = dataclasses.replace(SHALLOW, edges="edge_weight" in options)
    stage = shape_of(48, 64)._replace(objective=objective, **shape)
    if "mesh" in options:
        stage = stage._replace(objective=js.on_mesh(objective, options["mesh"]))
    assert math.isfinite(memory.memory(stage.in_windows(options.get("window"))).peak)
    # None if another test has compiled the same.
    compiled.clear()
    options = {"objective": SHALLOW, "optimizer": OPTIMIZER, "window": None} | options
    js.stylize(content, style, params=tiny_params, steps=2, **options, preset="gram")
    assert STEPS not in compiled


@pytest.mark.parametrize("sizes", [[(48, 64)] * 2, [(48, 64), (40, 60)]], ids=["equal", "padded"])
def test_a_batch_compiles_the_steps_once(tiny_params, compiled, sizes):
    contents = [js.white_noise(k, *size) for k, size in enumerate(sizes)]
    options = {"params": tiny_params, "objective": SHALLOW, "optimizer": OPTIMIZER, "steps": 2}
    js.stylize_batch(contents, js.white_noise(5, 40, 32), **options, window="auto", preset="gram")
    assert compiled.count(STEPS) <= 1
    compiled.clear()
    found = memory.memory(shape_of(48, 64, batch=2, padded=len(set(sizes)) > 1, params=tiny_params))
    assert STEPS not in compiled
    single = memory.memory(shape_of(48, 64, params=tiny_params))
    assert found.state == pytest.approx(2 * single.state, abs=100)
    assert 1.5 * single.temporary < found.temporary < 3 * single.temporary


def test_coarse_scales_are_whole_if_the_full_size_is(tiny_params, compiled, with_free_memory):
    """Only the full size is compiled ahead; all programs once."""
    with_free_memory(10**11)
    options = {"params": tiny_params, "objective": SHALLOW, "optimizer": OPTIMIZER, "steps": 30, "scales": 2}
    first = []
    js.stylize(
        js.white_noise(1, 96, 96),
        js.white_noise(2, 96, 96),
        **options,
        callback=lambda progress: first.append(compiled.count(STEPS)),
        preset="gram",
    )
    assert first[0] == 2
    assert compiled.count(STEPS) == 2


def test_the_largest_window_that_fits_is_chosen(with_free_memory):
    shape = shape_of(1500, 2000)
    needs = {window: memory.memory(shape.in_windows(window)).peak for window in memory.windows_for(shape)}
    assert list(needs) == [None, 1024, 512, 256, 128]
    assert sorted(needs.values(), reverse=True) == list(needs.values())
    for window, peak in needs.items():
        # In whole MB.
        with_free_memory(int(peak / memory.USABLE) + 2 * 10**6)
        assert memory.with_window(shape).objective.window == window
    with_free_memory(1)
    assert memory.with_window(shape).objective.window == 128
    with_free_memory(None)
    assert memory.with_window(shape).objective.window is None


def test_the_shards_of_cpu_devices_share_memory():
    mesh = js.make_mesh(2, 2)
    objective, optimizer = js.on_mesh(SHALLOW, mesh), OPTIMIZER
    whole, sharded = (
        memory.memory(shape_of(256, 256)),
        memory.memory(StageShape((256, 256), objective, optimizer, mesh=mesh)),
    )
    assert sharded.parameters == 4 * whole.parameters
    assert sharded.state == pytest.approx(whole.state, rel=1e-3)
    assert whole.temporary < sharded.temporary < 2 * whole.temporary


def test_a_large_style_needs_its_forward_pass_alone():
    """Before there is a state: not a step of its size."""
    small, large = memory.memory(shape_of(100, 75)), memory.memory(shape_of(100, 75, styles=((1000, 750),)))
    forward = lower_style(shape_of(100, 75), (1000, 750)).compile().memory_analysis().temp_size_in_bytes
    assert (large.state, large.targets) == (small.state, small.targets)
    assert large.images - small.images == 24 * 1000 * 750
    assert large.temporary == pytest.approx(forward - large.state, rel=1e-3)
    assert small.temporary < large.temporary < memory.memory(shape_of(1000, 750)).temporary


@pytest.mark.parametrize("window", [None, pytest.param(128, marks=pytest.mark.long)])
def test_the_forward_pass_of_a_style_of_twice_the_pixels_needs_less_than_a_step(window):
    shape = StageShape((256, 256), js.Objective(window=window), js.adam(0.02))
    forward = lower_style(shape, (256, 256 * memory.SMALL_STYLE)).compile().memory_analysis().temp_size_in_bytes
    assert forward < lower_steps(shape).compile().memory_analysis().temp_size_in_bytes


def test_a_program_that_is_refused_does_not_fit_and_one_of_unknown_memory_does():
    def refuse():
        raise jax.errors.JaxRuntimeError(message)

    message = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm"
    needs = memory.memory(shape_of(32, 32))
    refused = needs._replace(temporary=memory._temporary_bytes(SimpleNamespace(compile=refuse)))
    assert not memory.fits(refused, 1e15)
    assert not memory.fits(refused, math.inf)
    silent = SimpleNamespace(compile=lambda: SimpleNamespace(memory_analysis=lambda: None))
    unknown = needs._replace(temporary=memory._temporary_bytes(silent))
    assert memory.fits(unknown, 1.0)
    assert memory.fits(needs, math.inf)
    assert not memory.fits(needs, needs.peak)
    message = "INTERNAL: broken"
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        memory._temporary_bytes(SimpleNamespace(compile=refuse))


def test_the_process_is_what_is_not_an_array():
    before = memory.process_bytes()
    array = jax.block_until_ready(jax.numpy.ones(2**26))
    assert psutil.Process().memory_info().rss > array.nbytes
    assert memory.process_bytes() == pytest.approx(before, abs=2**26)
    # With the programs that are still to be compiled.
    assert memory.process_bytes(3) - memory.process_bytes() == pytest.approx(3 * memory.PROGRAMS_BYTES, abs=2**26)


def test_less_memory_is_tried_once():
    seen = []

    def work(objective):
        seen.append(objective.window)
        raise jax.errors.JaxRuntimeError(message)

    message = "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"
    for begin, retry, tried in (
        (None, True, [None, 512]),
        (512, True, [512, 256]),
        (128, True, [128]),
        (None, False, [None]),
    ):
        seen.clear()
        warned = pytest.warns(UserWarning, match="retrying with windows of")
        with contextlib.nullcontext() if len(tried) == 1 else warned, pytest.raises(jax.errors.JaxRuntimeError):
            memory.retry_with_smaller_windows(work, js.Objective(window=begin), 600, retry)
        assert seen == tried
    message = "INTERNAL: broken"
    seen.clear()
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        memory.retry_with_smaller_windows(work, js.Objective(), 600)
    assert seen == [None]


def test_an_option_comes_before_the_choice(compiled):
    shape = shape_of(64, 64)
    assert memory.with_window(shape.in_windows(32), "auto") == shape.in_windows(32)
    assert memory.with_window(shape.in_windows(32), "whole") == shape
    assert memory.with_window(shape, 40) == shape.in_windows(40)
    assert STEPS not in compiled
    assert memory.with_window(shape, "auto") == shape
    with pytest.raises(InputError, match="window is 3, expected an integer from 32"):
        memory.with_window(shape, 3)
