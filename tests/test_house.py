"""The rules of the house: who imports whom, what importing costs, what every public name documents."""

import ast
import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxstyle

PACKAGE = Path(jaxstyle.__file__).parent

# A module imports only from modules before it.
ORDER = (
    "errors",
    "typing",
    "files",
    "programs",
    "fingerprint",
    "checkpoint",
    "decoding",
    "image",
    "color",
    "sheet",
    "canvas",
    "winograd",
    "layers",
    "vgg",
    "layout",
    "hub",
    "weights",
    "statistics",
    "losses",
    "whitening",
    "roots",
    "distances",
    "guides",
    "masks",
    "tiling",
    "blocks",
    "windows",
    "objective",
    "mesh",
    "distributed",
    "targets",
    "start",
    "evaluate",
    "balance",
    "preconditioners",
    "optimizers",
    "averaging",
    "step",
    "scales",
    "presets",
    "descent",
    "plan",
    "memory",
    "signals",
    "resuming",
    "result",
    "settings",
    "job",
    "transfer",
    "together",
    "batch",
    "io",
    "logs",
    "outputs",
    "reports",
    "buckets",
    "folder",
    "options",
    "checks",
    "stored",
    "inputs",
    "commands",
    "again",
    "cells",
    "sweep",
    "planning",
    "cli",
    "__main__",
)


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path):
    """Full names of everything that a file imports, wherever the statement stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(name):
    """Modules of the package that a module imports: `jaxstyle.a.b` is the longest prefix that is a module."""
    found = set()
    for full in imports(MODULES[name]):
        if full.split(".")[0] == "jaxstyle":
            parts = full.split(".")[1:]
            while ".".join(parts) not in MODULES:
                parts = parts[:-1]
            found.add(".".join(parts))
    return found


def test_every_module_has_its_place():
    assert set(ORDER) == set(MODULES) - {""}
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_modules_import_only_from_above(name):
    assert own_imports(name) <= set(ORDER[: ORDER.index(name)])


def test_the_import_finder_sees_imports():
    """The rules below would hold of anything if nothing were found."""
    assert own_imports("transfer") >= {"image", "objective", "step", "weights"}
    assert own_imports("evaluate") >= {"statistics"}
    assert "flax.linen" in imports(MODULES["vgg"])


def test_only_vgg_imports_flax():
    assert [name for name in MODULES if any(full.split(".")[0] == "flax" for full in imports(MODULES[name]))] == ["vgg"]


def test_files_know_nothing_of_networks():
    assert own_imports("io") <= {"errors", "typing", "image", "files", "decoding"}
    for name in ("files", "decoding"):
        assert own_imports(name) <= {"errors", "typing", "files"}


def test_only_the_command_line_and_the_hub_know_their_libraries():
    users = {
        library: {name for name in MODULES if any(full.split(".")[0] == library for full in imports(MODULES[name]))}
        for library in ("tyro", "PIL", "huggingface_hub", "safetensors", "matplotlib", "torch")
    }
    assert users["tyro"] <= {"cli", "options", "commands", "again", "planning", "sweep"}
    assert users["PIL"] <= {"io", "decoding", "files", "sheet"}
    assert users["huggingface_hub"] <= {"hub", "weights"}
    assert users["safetensors"] <= {"layout", "weights", "checkpoint"}
    assert users["matplotlib"] == users["torch"] == set()


def test_importing_is_free():
    """No heavy library, no device, no network, no setting of JAX, nothing printed."""
    script = """
import sys
connections = []
sys.addaudithook(lambda event, arguments: connections.append(event) if event.startswith("socket.connect") else None)
import jax
before = dict(jax.config.values)
import jaxstyle
from jax._src import xla_bridge
heavy = {"tyro", "matplotlib", "torch", "tensorflow", "pandas", "scipy.optimize"} & set(sys.modules)
assert not heavy, heavy
assert not xla_bridge.backends_are_initialized()
assert not connections
assert dict(jax.config.values) == before
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_public_names_are_sorted_and_exist():
    assert list(jaxstyle.__all__) == sorted(jaxstyle.__all__)
    assert all(hasattr(jaxstyle, name) for name in jaxstyle.__all__)


def section(docstring, title):
    """The lines below `title:`, up to the next section; None if there is none."""
    lines = docstring.splitlines()
    if f"{title}:" not in lines:
        return None
    body = lines[lines.index(f"{title}:") + 1 :]
    end = next((i for i, line in enumerate(body) if line and not line.startswith(" ")), len(body))
    return "\n".join(body[:end])


def documents(body, names):
    """Those of the names that the section has no line for."""
    entries = {
        line.split(":")[0].strip() for line in (body or "").splitlines() if line.startswith("    ") and ":" in line
    }
    return [name for name in names if name not in entries]


@pytest.mark.parametrize("name", jaxstyle.__all__)
def test_public_names_are_documented(name):
    thing = inspect.unwrap(getattr(jaxstyle, name))
    docstring = inspect.getdoc(thing)
    assert docstring, f"{name} has no docstring"
    summary, *rest = docstring.splitlines()
    assert summary.endswith((".", "`")), f"the summary of {name} is one line that ends"
    assert not rest or rest[0] == "", f"the summary of {name} is followed by an empty line"
    if inspect.isclass(thing):
        fields = (
            [field.name for field in dataclasses.fields(thing)]
            if dataclasses.is_dataclass(thing)
            else list(getattr(thing, "_fields", ()))
        )
        assert documents(section(docstring, "Attributes"), fields) == []
        return
    signature = inspect.signature(thing)
    assert documents(section(docstring, "Args"), signature.parameters) == []
    if signature.return_annotation not in (None, "None", inspect.Signature.empty):
        assert section(docstring, "Returns"), f"{name} does not say what it returns"
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name}) has no type"


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))
