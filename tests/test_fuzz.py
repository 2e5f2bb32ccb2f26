"""Some cases of each kind of `fuzzing.py`, whose long campaign is in docs/reliability.md."""

import collections

import fuzzing
import pytest

# Bad input must meet the library's own messages, and strange files may be warned about.
pytestmark = pytest.mark.usefixtures("unchecked")

COUNTS = {
    "pictures": 150,
    "bombs": 30,
    "weight_files": 30,
    "checkpoint_files": 60,
    "recipes": 60,
    "options": 40,
    "runs": 3,
}
# From here on: the campaign's cases come before.
FIRST = 1_000_000


@pytest.mark.parametrize("kind", fuzzing.KINDS, ids=lambda kind: kind.__name__)
def test_every_case_is_a_result_or_one_sentence(kind):
    ends = collections.Counter(fuzzing.case(kind, FIRST + k) for k in range(COUNTS[kind.__name__]))
    assert set(ends) <= {fuzzing.GOOD, fuzzing.REFUSED, "failed in one sentence"}
    # Both ends have to come up, so that the cases are neither all sound nor all hopeless.
    assert ends[fuzzing.REFUSED] > 0 or kind is fuzzing.runs
    assert ends[fuzzing.GOOD] > 0 or kind in (fuzzing.weight_files, fuzzing.checkpoint_files)


def test_anything_else_would_be_noticed():
    def broken():
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        fuzzing.sentence(broken)
    with pytest.raises(AssertionError, match="not one sentence"):
        fuzzing.sentence(lambda: (_ for _ in ()).throw(fuzzing.InputError("two\nlines")))
