"""The scales of a run: sizes, steps, and when a picture gets fewer."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxstyle.errors import InputError
from jaxstyle.transfer import pyramid as module
from jaxstyle.transfer.pyramid import MIN_STEPS, START, completed_fraction, pyramid
from jaxstyle.transfer.validate import MAX_SCALES

SIDES = st.integers(32, 5000)
STYLES = st.lists(st.tuples(SIDES, SIDES), max_size=3)
COUNTS = st.just("auto") | st.integers(1, MAX_SCALES)
RATIOS = st.sampled_from([math.sqrt(2), 1.5, 2.0, 3.0])
SHARES = st.floats(0.01, 1.0)


@given(SIDES, SIDES, st.integers(1, 600), COUNTS, STYLES, RATIOS, SHARES)
@example(342, 512, 150, "auto", [(512, 400)], 2.0, 0.5)
@example(1000, 1000, 80, 16, [], math.sqrt(2), 0.125)
def test_every_pyramid(height, width, steps, count, styles, ratio, share):
    scales = pyramid(height, width, steps, count, styles=styles, min_side=32, ratio=ratio, share=share)
    assert scales[-1][:3] == (height, width, 1.0)
    assert sum(scale.steps for scale in scales) == steps
    # Every size is the full one times its factor, so that proportions stay; every scale is `ratio` times the former.
    for k, scale in enumerate(reversed(scales)):
        assert scale.factor == pytest.approx(ratio**-k)
        assert abs(scale.height - height * ratio**-k) <= 0.5 + 1e-9
        assert abs(scale.width - width * ratio**-k) <= 0.5 + 1e-9
    *coarse, full = (scale.steps for scale in scales)
    if coarse:
        assert full == max(1, round(share * steps))
        assert min(coarse) >= MIN_STEPS
        assert coarse == sorted(coarse)
        assert coarse[-1] - coarse[0] <= 1
    assert len(scales) == most(height, width, steps, count, styles, ratio, share)


def most(height, width, steps, count, styles, ratio, share):
    """How many scales there can be, in closed form."""
    sides = (height, width, *(side for style in styles for side in style))
    full = max(1, round(share * steps))
    limits = [
        MAX_SCALES if count == "auto" else count,
        1 + int(math.log(min(sides) / 32) / math.log(ratio) + 1e-9),
        1 + (steps - full) // MIN_STEPS,
    ]
    if count == "auto":
        limits.append(max(1, 1 + math.floor(math.log(max(height, width) / START) / math.log(ratio) + 1e-9)))
    return min(limits)


@pytest.mark.parametrize(
    ("long_side", "sizes"),
    [
        (64, [64]),
        (255, [255]),
        (256, [128, 256]),
        (320, [160, 320]),
        (512, [128, 256, 512]),
        (1000, [250, 500, 1000]),
        (1024, [128, 256, 512, 1024]),
    ],
)
def test_auto_begins_with_128_to_255_pixels(long_side, sizes):
    for height, width in ((long_side, long_side * 3 // 4), (long_side * 3 // 4, long_side)):
        assert [max(scale[:2]) for scale in pyramid(height, width, 150)] == sizes


def test_auto_has_a_least_long_side(monkeypatch):
    monkeypatch.setattr(module, "START", 200)
    assert [scale.width for scale in pyramid(300, 400, 150)] == [200, 400]
    monkeypatch.setattr(module, "START", 201)
    assert [scale.width for scale in pyramid(300, 400, 150)] == [400]
    assert [scale.width for scale in pyramid(300, 400, 150, 2)] == [200, 400], "a number is a number"


def test_a_style_that_would_be_too_small_costs_scales():
    assert len(pyramid(512, 512, 150, min_side=32)) == 3
    assert len(pyramid(512, 512, 150, min_side=32, styles=[(512, 512), (127, 300)])) == 2
    assert len(pyramid(512, 512, 150, min_side=32, styles=[(63, 300)])) == 1


@pytest.mark.parametrize(("steps", "count"), [(1, 1), (2, 1), (19, 1), (20, 2), (39, 2), (40, 3), (1000, 3)])
def test_a_scale_with_few_steps_is_left_out(steps, count):
    assert len(pyramid(512, 512, steps)) == count


@pytest.mark.parametrize("scales", [0, -1, 17, 1.5, "many", None])
def test_other_counts_are_refused(unchecked, scales):
    with pytest.raises(InputError, match=r"scales is .*, expected 'auto' or a number from 1 to 16"):
        pyramid(512, 512, 150, scales)


@pytest.mark.parametrize(
    "option",
    [{"ratio": 1.0}, {"ratio": 0.5}, {"ratio": math.nan}, {"share": 0.0}, {"share": 1.1}, {"share": math.nan}],
)
def test_numbers_out_of_range_are_refused(option):
    (name,) = option
    with pytest.raises(InputError, match=f"{name} is "):
        pyramid(512, 512, 150, **option)


def test_the_fraction_counts_pixels():
    """Against the pixels of every single step, added up."""
    scales = pyramid(300, 700, 61, share=0.4)
    assert len(scales) > 2
    steps = [(k, taken) for k, scale in enumerate(scales) for taken in range(1, scale.steps + 1)]
    total = sum(scales[k].height * scales[k].width for k, _ in steps)
    done = 0
    assert completed_fraction(scales, 0, 0) == 0
    for k, taken in steps:
        done += scales[k].height * scales[k].width
        assert completed_fraction(scales, k, taken) == pytest.approx(done / total)
    assert done == total


def test_a_scale_that_takes_more_steps_than_its_own_is_done():
    scales = pyramid(256, 256, 100)
    assert completed_fraction(scales, len(scales) - 1, 200) == 1.0
