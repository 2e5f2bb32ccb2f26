"""Errors of usage, from what tyro prints."""

import pytest

from jaxstyle.cli.app import COMMANDS
from jaxstyle.cli.usage import usage_error

FRAMED = """\
╭─ Required options ───────────────────────────────╮
│ Missing from jaxstyle plan:                      │
│     HEIGHT                                       │
│         Height of the picture in pixels, up to   │
│         65536. (required)                        │
│ ──────────────────────────────────────────────── │
│ For full helptext, run:                          │
│     jaxstyle plan --help                         │
╰──────────────────────────────────────────────────╯
"""


@pytest.mark.parametrize(
    "box", [FRAMED, FRAMED.translate(dict.fromkeys(map(ord, "╭╮╰╯│"), " ") | {ord("─"): "-"})], ids=["utf-8", "ascii"]
)
def test_a_terminal_without_frames_gets_the_same_sentence(box):
    assert usage_error(box, ["plan", "10"], COMMANDS) == "expected also HEIGHT; see jaxstyle plan --help"
