"""The documentation site: what its build does not check."""

import re
from pathlib import Path

import jaxstyle as js

DOCS = Path(__file__).parents[1] / "docs"
ALIASES = {"Preset": js.Settings, "spread": js.shard}


def test_every_public_name_is_on_one_reference_page():
    text = "".join(path.read_text() for path in sorted((DOCS / "reference").glob("*.md")))
    names = re.findall(r"^\.\. auto(?:function|class|exception):: jaxstyle\.(\S+)$", text, re.MULTILINE)
    assert len(names) == len({*names})
    assert {*names} == {*js.__all__} - {*ALIASES} | {"distributed.initialize"}
    for alias, value in ALIASES.items():
        assert getattr(js, alias) is value
        assert f"`{alias}`" in text


def test_every_page_is_in_the_contents():
    """Sphinx warns of the others; this fails without a build."""
    entries = set(re.findall(r"^([\w/]+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    pages = {
        str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*") if path.suffix in (".md", ".ipynb")
    }
    assert entries == pages - {"index"}
