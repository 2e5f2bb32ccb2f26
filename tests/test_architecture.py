"""The rules of the house: who imports whom, what importing costs, what every public name documents."""

import ast
import dataclasses
import graphlib
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxstyle

PACKAGE = Path(jaxstyle.__file__).parent

# A package, or a leaf module, imports only from those before it. Inside a package imports form no cycle.
ORDER = (
    "errors",
    "typing",
    "files",
    "distributed",
    "compiler",
    "image",
    "vgg",
    "losses",
    "optim",
    "objective",
    "minimize",
    "transfer",
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


def package_of(name):
    return name.split(".")[0]


def test_every_module_has_its_place():
    assert {package_of(name) for name in MODULES} - {""} == set(ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_packages_import_only_downward(name):
    if name == "":
        return
    below = ORDER[: ORDER.index(package_of(name)) + 1]
    assert {package_of(other) for other in own_imports(name)} <= set(below)


def test_imports_form_no_cycle():
    graph = graphlib.TopologicalSorter({name: own_imports(name) - {""} for name in MODULES})
    assert len(list(graph.static_order())) == len(MODULES)


def test_the_import_finder_sees_imports():
    """The rules above would hold of anything if no import were found."""
    assert own_imports("transfer.stylize") >= {"image.ops", "objective.base", "minimize.step", "vgg.weights"}
    assert own_imports("objective.evaluate") >= {"losses.statistics"}
    assert "flax.linen" in imports(MODULES["vgg.network"])


def test_no_public_function_shadows_a_module():
    """`jaxstyle.step` is the function, so no module of this name may lie beside it; the same in every package."""
    for name, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        full = ".".join(("jaxstyle", name)) if name else "jaxstyle"
        children = {child.stem for child in path.parent.iterdir() if child.suffix == ".py" or child.is_dir()}
        package = importlib.import_module(full)
        for child in children & set(vars(package)):
            assert inspect.ismodule(getattr(package, child)), f"{full}.{child}"


def users_of(library):
    return {name for name in MODULES if any(full.split(".")[0] == library for full in imports(MODULES[name]))}


def test_only_the_network_imports_flax():
    assert users_of("flax") == {"vgg.network"}


def test_files_know_nothing_of_networks():
    assert own_imports("image.io") <= {"errors", "typing", "image.ops", "files", "image.decode", "image.encode"}
    for name in ("files", "image.decode"):
        assert own_imports(name) <= {"errors", "typing", "files"}


def test_only_the_command_line_and_the_hub_know_their_libraries():
    assert {package_of(name) for name in users_of("tyro")} == {"cli"}
    assert {name for name in users_of("tqdm") if package_of(name) != "cli"} == {"vgg.hub"}
    assert users_of("PIL") <= {"image.io", "image.decode", "image.encode", "image.contact_sheet"}
    assert users_of("huggingface_hub") <= {"vgg.hub", "vgg.weights"}
    assert users_of("safetensors") <= {"vgg.tensors", "vgg.weights", "minimize.checkpoint_file"}
    assert users_of("matplotlib") == users_of("torch") == set()


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
