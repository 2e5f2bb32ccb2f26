"""The architecture: which package imports which, the cost of importing, and the documentation of public names."""

import ast
import dataclasses
import graphlib
import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from docstring_parser import parse_from_object

import jaxstyle

PACKAGE = Path(jaxstyle.__file__).parent

LEAVES = ("errors", "fields", "typing", "files", "distributed", "compiler", "guards", "sharding_types")
PACKAGES = (
    "image",
    "vgg",
    "losses",
    "optim",
    "objective",
    "minimize",
    "transfer",
    "feed_forward",
    "serve",
    "video",
    "cli",
)
# Each imports only from those before it. Inside a package imports form no cycle.
ORDER = (*LEAVES, *PACKAGES, "__main__")


def module_name(path):
    """Name of a module inside the package, such as `image.io`; the name of the package itself is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_names(path):
    """Full names of everything that a file imports, at the top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def internal_imports(name):
    """Modules of jaxstyle that a module imports: the longest prefix of each imported name that is a module."""
    modules = set()
    for full_name in imported_names(MODULES[name]):
        if full_name.split(".")[0] == "jaxstyle":
            parts = full_name.split(".")[1:]
            while ".".join(parts) not in MODULES:
                parts = parts[:-1]
            modules.add(".".join(parts))
    return modules


def top_level(name):
    """The package, or the leaf, of a module."""
    return name.split(".")[0]


def test_the_top_level_is_packages_and_leaves():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*LEAVES, "__init__", "__main__"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(PACKAGES)
    assert {path.parent.name for path in PACKAGE.glob("*/*.py")} == set(PACKAGES)


@pytest.mark.parametrize("name", MODULES)
def test_packages_import_only_downward(name):
    if name == "":
        return
    allowed = ORDER[: ORDER.index(top_level(name)) + 1]
    # The command line is above everything else, so it may import the package's root: the version.
    root = {""} if top_level(name) in ("cli", "__main__") else set()
    assert {top_level(other) for other in internal_imports(name)} <= {*allowed, *root}


def test_imports_form_no_cycle():
    graph = graphlib.TopologicalSorter({name: internal_imports(name) - {""} for name in MODULES})
    assert len(list(graph.static_order())) == len(MODULES)


def test_the_import_finder_finds_imports():
    """Without it, the two tests above would pass for any code."""
    assert internal_imports("transfer.stylize") >= {"image.color", "objective.base", "minimize.step", "vgg.weights"}
    assert internal_imports("objective.evaluate") >= {"losses.statistics"}
    assert "vgg.hub" in internal_imports("vgg.weights"), "imports inside functions count"
    assert "flax.linen" in imported_names(MODULES["vgg.modules"])


FRONT_DOORS = {"stylize", "stylize_batch", "stylize_video", "features"}


def test_functions_have_at_most_eight_parameters():
    """Except for the public functions that take every option."""
    long = {}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
                if count > 8:
                    long[f"{name}.{node.name}"] = count
    assert {name.rsplit(".")[-1] for name in long} == FRONT_DOORS, long


def shadowed_modules(package):
    """Modules of a package that its namespace has replaced, or could replace, by something else of their name."""
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    others = {name for name, value in vars(package).items() if not inspect.ismodule(value)}
    return modules & (others | set(getattr(package, "__all__", ())))


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_no_public_name_shadows_a_module(name):
    """`jaxstyle.step` is a function, so there can be no module `jaxstyle/step.py`; the same in every package."""
    assert shadowed_modules(importlib.import_module(f"jaxstyle.{name}".rstrip("."))) == set()


@pytest.mark.parametrize(
    ("source", "shadowed"),
    [
        ("from shadowing.step import step", {"step"}),
        ("__all__ = ['step']", {"step"}),
        ("def init(): pass", {"init"}),
        ("import shadowing.step", set()),
        ("from shadowing.step import step as do_step", set()),
    ],
)
def test_shadowed_modules_are_found(tmp_path, monkeypatch, source, shadowed):
    package = tmp_path / "shadowing"
    (package / "init").mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (package / "init" / "__init__.py").touch()
    (package / "step.py").write_text("def step(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert shadowed_modules(importlib.import_module("shadowing")) == shadowed
    finally:
        sys.modules.pop("shadowing", None)
        sys.modules.pop("shadowing.step", None)


def users_of(library):
    return {
        name for name in MODULES if any(top_level(full_name) == library for full_name in imported_names(MODULES[name]))
    }


def test_only_the_networks_import_flax():
    assert users_of("flax") == {"vgg.modules", "feed_forward.modules"}


def test_image_files_do_not_depend_on_the_network():
    for name in ("files", "image.io", "image.source", "image.decode", "image.encode", "image.mask_files"):
        assert {top_level(other) for other in internal_imports(name)} <= {
            "errors",
            "typing",
            "files",
            "guards",
            "image",
        }


def test_libraries_for_terminals_files_and_the_network_are_confined():
    assert {top_level(name) for name in users_of("tyro")} == {"cli"}
    assert {name for name in users_of("tqdm") if top_level(name) != "cli"} == {"vgg.hub"}
    assert {top_level(name) for name in users_of("PIL")} == {"image"}
    assert users_of("pillow_heif") == {"image.source"}
    assert users_of("huggingface_hub") == {"vgg.hub"}
    assert users_of("safetensors") <= {"vgg.weights", "minimize.checkpoint_file", "feed_forward.network_file"}
    assert users_of("orbax") | users_of("etils") == {"minimize.checkpoint_shards"}
    assert users_of("cv2") == {"video.flow"}
    assert users_of("matplotlib") == users_of("torch") == set()


def test_importing_is_free():
    """No library that only some runs need, no device, no network, no setting of JAX, no output."""
    script = """
import sys
connections = []
sys.addaudithook(lambda event, arguments: connections.append(event) if event.startswith("socket.connect") else None)
import jax
before = dict(jax.config.values)
import jaxstyle
from jax._src import xla_bridge
command_line = {"tyro", "docstring_parser", "tqdm", "jaxstyle.cli"}
network = {"huggingface_hub", "httpx", "httpx2", "requests", "jaxstyle.vgg.hub"}
heavy = {"matplotlib", "torch", "cv2", "tensorflow", "pandas", "scipy.optimize", "orbax.checkpoint", "tensorstore"}
imported = (command_line | network | heavy) & set(sys.modules)
assert not imported, imported
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


def test_the_version_is_that_of_the_installed_package():
    assert jaxstyle.__version__ == importlib.metadata.version("jaxstyle")


def test_public_names_are_sorted():
    assert list(jaxstyle.__all__) == sorted(set(jaxstyle.__all__))


@pytest.mark.parametrize("name", jaxstyle.__all__)
def test_public_names_can_be_imported(name):
    value = getattr(importlib.import_module("jaxstyle"), name)
    assert not inspect.ismodule(value)
    assert value.__module__.startswith("jaxstyle.")


def test_nothing_else_is_public():
    names = {name for name, value in vars(jaxstyle).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert names == set(jaxstyle.__all__)


def section(docstring, title):
    """Lines below `title:`, up to the next section; None without such a section."""
    lines = docstring.splitlines()
    if f"{title}:" not in lines:
        return None
    body = lines[lines.index(f"{title}:") + 1 :]
    end = next((i for i, line in enumerate(body) if line and not line.startswith(" ")), len(body))
    return "\n".join(body[:end])


def undocumented(body, names):
    """Names without a line in a section."""
    entries = {
        line.split(":")[0].strip() for line in (body or "").splitlines() if line.startswith("    ") and ":" in line
    }
    return [name for name in names if name not in entries]


@pytest.mark.parametrize("name", jaxstyle.__all__)
def test_public_names_are_documented(name):
    value = inspect.unwrap(getattr(jaxstyle, name))
    docstring = inspect.getdoc(value)
    assert docstring, f"{name} has no docstring"
    summary, *rest = docstring.splitlines()
    assert summary.endswith((".", "`")), f"the summary of {name} is not one sentence in one line"
    assert not rest or rest[0] == "", f"the summary of {name} is not followed by an empty line"
    if inspect.isclass(value):
        fields = (
            [field.name for field in dataclasses.fields(value)]
            if dataclasses.is_dataclass(value)
            else list(getattr(value, "_fields", ()))
        )
        # Below each field, or in the docstring.
        bases = [base for base in inspect.getmro(value) if base.__module__.startswith("jaxstyle")]
        texts = {text.arg_name for base in bases for text in parse_from_object(base).params}
        assert [name for name in fields if name not in texts] == []
        return
    signature = inspect.signature(value)
    assert undocumented(section(docstring, "Args"), signature.parameters) == []
    if signature.return_annotation not in (None, "None", inspect.Signature.empty):
        assert section(docstring, "Returns"), f"{name} does not document its result"
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name}) has no type"


@pytest.mark.parametrize("name", MODULES)
def test_modules_have_docstrings(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))
