"""What a release consists of: sdist and wheel, versions, and the workflows that publish them."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import jaxstyle

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def build(project, target, folder):
    """Build sdist or wheel; return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    return next(folder.iterdir())


def contents(wheel):
    """Name to checksum of every file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


@pytest.mark.long
def test_the_sdist_builds_the_same_wheel(tmp_path):
    sdist = build(ROOT, "sdist", tmp_path / "sdist")
    wheel = build(ROOT, "wheel", tmp_path / "wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert contents(build(source, "wheel", tmp_path / "again")) == contents(wheel)
    # A user of the sdist has the tests, too.
    parts = {"tests", "benchmarks", "docs", "examples", ".github", "CHANGELOG.md", "CITATION.cff"}
    assert parts <= {path.name for path in source.iterdir()}
    names = contents(wheel)
    for name in ("jaxstyle/data/vgg19_oxford.safetensors", "jaxstyle/py.typed", "jaxstyle/serve/static/index.html"):
        assert name in names
    licenses = {name.split("/licenses/")[1] for name in names if "/licenses/" in name}
    assert licenses == {"LICENSE", "jaxstyle/data/CREDITS.md", "weights/README.md"}
    # No compiled code: one wheel for every platform.
    assert wheel.name.endswith("-py3-none-any.whl")


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == jaxstyle.__version__
    sections = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == jaxstyle.__version__.split(".dev")[0]


def test_actions_are_pinned():
    assert [path.stem for path in WORKFLOWS] == ["release", "tests"]
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}, path
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        actions = [step["uses"] for step in steps if "uses" in step]
        assert actions
        for action in actions:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        # Without a limit a job that hangs runs for six hours.
        assert all("timeout-minutes" in job for job in workflow["jobs"].values()), path


def test_the_workflow_selects_every_test():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    rows = workflow["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {row["select"] for row in rows} == {"not long and not browser", "long", "browser"}
    oldest = re.search(r">=([\d.]+)", (ROOT / "pyproject.toml").read_text().split("requires-python")[1])[1]
    assert oldest in {row["python"] for row in rows}
