"""Parts of a clip: all of its frames, once, that begin where scenes do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from video.clips import gradient

from jaxstyle.errors import InputError
from jaxstyle.video.parts import frames_of, parse_part, scene_starts


@given(st.sets(st.integers(1, 199), max_size=20), st.integers(1, 8))
def test_parts_are_all_frames_once_and_begin_at_scenes(cuts, count):
    starts = [0, *sorted(cuts)]
    if count > len(starts):
        with pytest.raises(InputError, match=rf"the clip has {len(starts)} scenes, expected at least one for each of"):
            frames_of((1, count), starts, 200)
        return
    parts = [frames_of((number, count), starts, 200) for number in range(1, count + 1)]
    assert [number for part in parts for number in part] == list(range(200))
    assert all(len(part) and part[0] in starts for part in parts)


def test_parts_are_as_even_as_scenes_allow():
    starts = [0, 10, 24, 26, 49, 75]
    assert [len(frames_of((k, 4), starts, 100)) for k in (1, 2, 3, 4)] == [24, 25, 26, 25]


def test_scenes_start_at_cuts():
    frames = [gradient(k) / 255 if k in (0, 1, 5) else 1 - gradient(k)[::-1] / 255 for k in range(6)]
    assert scene_starts(frames) == [0, 2, 5]
    assert scene_starts(iter(frames[:1])) == [0]


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "1/1001", "-1/2", "1/2/3", "a/b", "1.0/2", " 1/2", "1/2\n"]
)
def test_wrong_parts_are_one_sentence(text):
    with pytest.raises(InputError, match=r"part is .*, expected K/N with K from 1 to N and N up to 1000, such as 1/4"):
        parse_part(text)
