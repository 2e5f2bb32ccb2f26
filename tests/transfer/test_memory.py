"""Memory before anything runs: the compiler's figure, the estimate, and the window chosen from it."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

import jaxstyle as js
from jaxstyle import compiler
from jaxstyle.errors import InputError
from jaxstyle.image.canvas import Canvas
from jaxstyle.minimize import loop
from jaxstyle.objective import targets
from jaxstyle.objective.base import broadcast_weights
from jaxstyle.transfer import memory


@pytest.mark.parametrize(
    ("side", "window"),
    [(512, None), *(pytest.param(*each, marks=pytest.mark.long) for each in ((1024, 256), (4096, 512)))],
)
def test_the_estimate_is_the_compilers_figure_within_a_sixth(side, window):
    objective = js.Objective(window=window)
    compiled = memory.memory(side, side * 3 // 4, objective, js.lbfgs())
    estimated = memory.estimate(side, side * 3 // 4, objective, js.lbfgs())
    assert estimated._replace(temporary=0) == compiled._replace(temporary=0)
    assert estimated.peak == pytest.approx(compiled.peak, rel=1 / 6)


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize(("side", "window", "factor"), [(256, None, 1.5), (192, 64, 3.5)])
def test_the_estimate_is_an_upper_bound_with_and_without_the_compilers_option(
    monkeypatch, optimized, side, window, factor
):
    """Within a factor of the compiler's figure; in small windows the model's constant is most of it."""
    objective, optimizer = js.Objective(window=window), js.lbfgs()
    params, held, state = memory.step_shapes(side, side, objective, optimizer)
    weights, length = broadcast_weights(js.LossWeights(), objective), jax.ShapeDtypeStruct((), jnp.int32)
    program = jax.jit(loop.run_steps, static_argnames=("objective", "optimizer"), donate_argnames="state")
    lowered = program.lower(state, params, held, weights, objective, optimizer, length)
    options = compiler.COMPILER_OPTIONS if optimized else {}
    compiled = lowered.compile(options).memory_analysis().temp_size_in_bytes
    monkeypatch.setattr(compiler, "MEMORY_OPTIMIZED", optimized)
    estimated = memory.estimate(side, side, objective, optimizer).temporary
    assert compiled <= estimated <= factor * compiled


def test_what_is_held_is_counted_by_hand():
    found = memory.estimate(96, 128, js.Objective(), js.lbfgs(7))
    pixels, floats = 96 * 128, 4
    assert found.images == 48 * pixels
    # The content at stride 8; the Gram matrices, their eigenvectors and gains.
    assert found.targets == floats * (512 * pixels // 64 + 3 * (64**2 + 128**2 + 256**2 + 2 * 512**2))
    pairs = found.state - memory.estimate(96, 128, js.Objective(), js.lbfgs(6)).state
    assert pairs == pytest.approx(24 * pixels, abs=100)


def test_the_largest_window_that_fits_is_chosen():
    def choose(gigabytes, height=3000, width=4000):
        return memory.choose_window(height, width, js.Objective(), js.lbfgs(), free=int(gigabytes * 1e9))

    chosen = [choose(gigabytes) for gigabytes in (100, 20, 12, 9.5, 0.1)]
    assert chosen[0] is None
    assert chosen[1:-1] == sorted(chosen[1:-1], reverse=True)
    assert len(set(chosen)) >= 4
    assert chosen[-1] == 128
    for gigabytes, window in zip((20, 12, 9.5), chosen[1:-1], strict=True):
        needs = memory.estimate(3000, 4000, js.Objective(window=window), js.lbfgs())
        assert needs.peak - needs.process <= 0.9e9 * gigabytes
    assert choose(0.1, 100, 120) == 128


def test_a_large_style_needs_its_forward_pass_alone():
    """Not a step of its size, with L-BFGS's pairs."""
    small = memory.estimate(400, 300, js.Objective(), js.lbfgs())
    large = memory.estimate(400, 300, js.Objective(), js.lbfgs(), styles=[(4000, 3000)])
    step = memory.estimate(4000, 3000, js.Objective(), js.lbfgs())
    assert (large.state, large.targets) == (small.state, small.targets)
    assert large.images - small.images == 24 * 4000 * 3000
    assert small.temporary < large.temporary < step.temporary
    free = int(large.peak / 2)
    window = memory.choose_window(400, 300, js.Objective(), js.lbfgs(), [(4000, 3000)], free)
    assert window is not None
    chosen = memory.estimate(400, 300, js.Objective(window=window), js.lbfgs(), [(4000, 3000)])
    assert memory.fits(chosen, free)


@pytest.mark.parametrize(("side", "window"), [(1024, None), pytest.param(4096, 256, marks=pytest.mark.long)])
def test_a_styles_forward_pass_is_the_compilers_figure(side, window):
    objective = js.Objective(window=window)
    params = jax.eval_shape(js.init_params, jax.random.key(0))
    image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    compiled = targets._compute_style_statistics.lower(params, Canvas(image), objective, None).compile()
    analysis = compiled.memory_analysis()
    assert memory.style_pass_bytes([(side, side)], objective) == pytest.approx(analysis.temp_size_in_bytes, rel=1 / 6)


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


def test_an_option_comes_before_the_choice():
    free = {"height": 64, "width": 64, "optimizer": js.lbfgs()}
    objective = js.Objective(window=32)
    assert memory.with_window(objective, "auto", **free) == objective
    assert memory.with_window(objective, None, **free).window is None
    assert memory.with_window(js.Objective(), 40, **free).window == 40
    assert memory.with_window(js.Objective(), "auto", **free).window is None
    with pytest.raises(InputError, match="window is 3, expected an integer from 32"):
        memory.with_window(js.Objective(), 3, **free)
