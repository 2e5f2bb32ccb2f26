"""One size: ends of chunks, and reasons to stop. Whole runs are in `transfer/test_stylize.py`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxstyle as js
from jaxstyle.minimize.loop import Limits, Problem, initial_run_state, minimize
from jaxstyle.minimize.status import PATIENCE, Status
from jaxstyle.minimize.status import verdict as judge


@pytest.fixture(scope="module")
def problem(tiny_params):
    settings = js.preset("gram")
    targets = js.make_targets(tiny_params, js.white_noise(1, 33, 48), [js.white_noise(2, 40, 37)], settings.objective)
    return Problem(tiny_params, targets, settings.weights, settings.objective, settings.transform)


@given(st.integers(1, 50), st.integers(1, 30), st.integers(0, 100))
def test_chunks_end_at_every_multiple_and_at_the_limit(problem, steps, every, before):
    seen = []
    state = js.init(js.white_noise(1, 33, 48), *problem)
    limits = Limits(steps, 0.0, every, before)
    _, (history,), (status,) = minimize(
        initial_run_state(state), lambda _: problem, limits, lambda run_state: seen.append(run_state.done)
    )
    assert len(history) == steps
    assert status is Status.STEP_LIMIT
    assert seen == sorted(set(seen))
    assert set(seen) >= {steps, *(k for k in range(1, steps + 1) if (before + k) % every == 0)}
    assert max(np.diff([0, *seen])) <= PATIENCE


def test_the_answer_ends_the_descent(problem):
    state = js.init(js.white_noise(1, 33, 48), *problem)
    limits = Limits(50, 0.0, 4)

    def stop_at_eight(run_state):
        return Status.STOPPED if run_state.done >= 8 else None

    _, (history,), (status,) = minimize(initial_run_state(state), lambda _: problem, limits, stop_at_eight)
    assert (len(history), status) == (8, Status.STOPPED)


def verdict(totals, num_nonfinite=0, tolerance=1e-3, objective_start=0):
    history = np.repeat(np.float32(totals)[:, None], len(js.Losses._fields), axis=1)
    return judge(num_nonfinite, history, tolerance, on_surrogate=False, objective_start=objective_start)


def test_converged_is_too_small_a_fall_of_the_best_over_20():
    """Per evaluation 1e-3 of the loss, so 2 % over 20."""
    flat, falling = np.append(1.1, np.full(39, 1.0)), np.linspace(1.0, 0.9, 40)
    assert verdict(flat) is Status.CONVERGED
    assert verdict(falling) is None
    assert verdict(falling, tolerance=0.1) is Status.CONVERGED
    # Judged at multiples of 20, and never without 20 evaluations before.
    assert verdict(flat[:39]) is None
    assert verdict(flat[:20]) is None
    # The best counts: neither noise above it nor what is not finite.
    assert verdict(np.where(np.arange(40) % 2, falling, 5.0)) is None
    assert verdict(np.where(np.arange(40) % 2, flat, np.nan)) is Status.CONVERGED


def test_no_progress_is_none_better_than_the_first():
    """The same flatness after a fall is convergence; a loss of nothing cannot fall."""
    assert verdict(np.append(1.0, np.full(39, 2.0))) is Status.STUCK
    assert verdict(np.full(40, 1.0)) is Status.STUCK
    assert verdict(np.append([1.0, 0.9], np.full(38, 2.0))) is Status.CONVERGED
    assert verdict(np.zeros(40)) is Status.CONVERGED
    assert verdict(np.append(1.0, np.full(19, 2.0))) is None


def test_a_second_objective_is_judged_from_its_start_and_progress_from_the_first():
    falling, flat = np.linspace(2.0, 1.0, 40), np.append(1.0, np.full(39, 1.5))
    assert verdict(np.append(falling, flat), objective_start=40) is Status.CONVERGED
    assert verdict(np.append(falling, flat[:20]), objective_start=40) is None
    assert verdict(np.append(np.full(40, 1.0), flat), objective_start=40) is Status.STUCK
    assert verdict(np.append(falling, np.nan), num_nonfinite=1, objective_start=40) is Status.NOT_FINITE


def test_not_finite_is_the_first_or_20_in_a_row():
    """Judged where convergence is, so that it is the same wherever chunks end."""
    assert verdict([np.nan], num_nonfinite=1) is Status.NOT_FINITE
    assert verdict([np.nan] * 3, num_nonfinite=3) is None
    assert verdict([1.0, np.nan], num_nonfinite=1) is None
    assert verdict(np.append(np.ones(9), np.full(20, np.inf)), num_nonfinite=20) is None
    assert verdict(np.append(np.ones(9), np.full(31, np.inf)), num_nonfinite=31) is Status.NOT_FINITE
