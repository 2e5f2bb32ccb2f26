"""The documentation site: what its build does not check."""

import contextlib
import re
from pathlib import Path

import jax
import pytest

import jaxstyle as js
from jaxstyle.cli.app import COMMANDS, _parse

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
ALIASES = {"Preset": js.Settings, "spread": js.shard}


def test_every_public_name_is_on_one_reference_page():
    text = "".join(path.read_text() for path in sorted((DOCS / "reference").glob("*.md")))
    names = re.findall(r"^\.\. auto(?:function|class|exception):: jaxstyle\.(\S+)$", text, re.MULTILINE)
    assert len(names) == len({*names})
    assert {*names} == {*js.__all__} - {*ALIASES} | {"distributed.initialize"}
    for alias, value in ALIASES.items():
        assert getattr(js, alias) is value
        assert f"`{alias}`" in text


def test_every_public_name_has_an_example():
    """They run as doctests."""
    has_no_example = [name for name in js.__all__ if ">>> " not in getattr(js, name).__doc__]
    # Written and read by one example.
    assert has_no_example == ["save_video_state"]
    assert "Example: see `load_video_state`" in js.save_video_state.__doc__


def test_every_page_is_in_the_contents():
    """Sphinx warns of the others; this fails without a build."""
    entries = set(re.findall(r"^([\w/]+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    pages = {
        str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*") if path.suffix in (".md", ".ipynb")
    }
    assert entries == pages - {"index"}


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page; those of the tutorials are executed when the site is built."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path, monkeypatch, tiny_params):
    """The names and files that the pages take as given, in an empty folder; small pictures and a tiny network."""
    monkeypatch.chdir(tmp_path)
    for module in ("", ".transfer.stylize", ".transfer.stylize_batch", ".video.stylize_video"):
        monkeypatch.setattr(f"jaxstyle{module}.load_params", lambda *_: tiny_params)
    load = js.load_image
    monkeypatch.setattr(js, "load_image", lambda path, size=None: load(path, min(size, 48)))
    photo, painting = js.white_noise(1, 36, 48), js.white_noise(2, 48, 40)
    js.save_image("photo.jpg", photo)
    js.save_image("painting.jpg", painting)
    js.save_network("starry.safetensors", js.init_network(jax.random.key(0), width=4))
    Path("out").mkdir()
    images = {"content": photo, "photo": photo, "style": painting, "painting": painting}
    return {"js": js, **images, "contents": [photo, photo[:, :40]] * 4, "frames": [photo, photo[::-1]]}


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_every_python_block_runs(page, names):
    """In the order of the page, each after those before it."""
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


def commands(page: Path) -> list[str]:
    """The arguments of every call of `jaxstyle` in the shell blocks of a page."""
    script = "\n".join(blocks(page, "sh")).replace("\\\n", "")
    return re.findall(rf"\bjaxstyle ((?:{'|'.join(COMMANDS)})\b[^\n\"#>;|]*)", script)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
@pytest.mark.usefixtures("unchecked")
def test_every_command_is_accepted(page):
    for arguments in commands(page):
        words = arguments.split()
        with pytest.raises(SystemExit, match=r"^0$") if "--help" in words else contextlib.nullcontext():
            _parse(words)
