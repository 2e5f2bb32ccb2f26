"""Compiled programs that later runs find."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.compiler import Compiled, enable_compilation_cache
from jaxstyle.errors import InputError


@pytest.fixture
def enabled(monkeypatch, tmp_path):
    """JAX's settings as a user has them, restored afterwards."""
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "cache"))
    names = "jax_enable_compilation_cache", "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    names = (*names, "jax_compilation_cache_max_size")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_enable_compilation_cache", True)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_stored_in_the_users_cache(enabled):
    assert enable_compilation_cache() == enabled / "cache" / "programs"
    assert jax.config.jax_compilation_cache_dir == str(enabled / "cache" / "programs")
    assert enable_compilation_cache("off") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_the_option_precedes_jaxs_setting_which_precedes_the_default(enabled):
    jax.config.update("jax_compilation_cache_dir", str(enabled / "jax"))
    assert enable_compilation_cache() == enabled / "jax"
    assert enable_compilation_cache(str(enabled / "option")) == enabled / "option"
    assert (enabled / "option").is_dir()


@pytest.mark.usefixtures("unchecked")
def test_a_folder_that_cannot_be_made_is_refused_or_only_warned_of(enabled, monkeypatch, caplog):
    (enabled / "file").touch()
    with pytest.raises(InputError, match=r"compiled programs cannot be stored in .*file.below: .*expected a folder"):
        enable_compilation_cache(str(enabled / "file" / "below"))
    for wrong in (None, 3, b"folder", "a\0b"):
        with pytest.raises(InputError, match="expected a folder, auto, or off"):
            enable_compilation_cache(wrong)
    monkeypatch.setenv("JAXSTYLE_CACHE", str(enabled / "file"))
    assert enable_compilation_cache() is None
    assert "every run compiles its own" in caplog.text


def test_without_a_home_nothing_is_stored(enabled, monkeypatch, caplog):
    monkeypatch.setattr("jaxstyle.compiler.cache_folder", lambda: None)
    caplog.set_level("INFO")
    assert enable_compilation_cache() is None
    assert "this user has no home: set JAXSTYLE_CACHE to a folder" in caplog.text
    assert enable_compilation_cache(str(enabled / "option")) == enabled / "option"


@pytest.mark.long
def test_a_second_run_compiles_nothing_and_makes_the_same_picture(tmp_path, tiny_weights):
    data = os.path.join(os.path.dirname(js.__file__), "data")
    # The programs of a narrow network compile fast, and are small.
    code = (
        "import jax, sys; from jaxstyle import compiler; compiler.MIN_COMPILE_SECONDS = 0.0\n"
        "jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)\n"
        "from jaxstyle.cli import main; main(sys.argv[1:])"
    )
    words = ["stylize", f"{data}/china.jpg", f"{data}/starry_night.jpg", "--size", "48", "--steps", "3"]
    words += ["--preset", "gram"]
    words += ["--weights", str(tiny_weights), "--compile-cache", str(tmp_path / "programs")]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "true"}

    def stored(output):
        command = [sys.executable, "-c", code, *words, "-o", str(tmp_path / output)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return {path.name for path in (tmp_path / "programs").glob("*-cache")}

    first = stored("a.png")
    assert any(name.startswith("jit_run_steps-") for name in first)
    assert stored("b.png") == first
    np.testing.assert_array_equal(*(js.load_image(tmp_path / name) for name in ("a.png", "b.png")))


def test_the_programs_used_least_recently_are_removed(tmp_path):
    """Also in a folder that was filled without a limit."""
    script = """
import sys, jax
from jaxstyle import compiler
compiler.MIN_COMPILE_SECONDS, compiler.MAX_CACHE_BYTES = 0.0, int(sys.argv[1])
assert compiler.enable_compilation_cache(sys.argv[2])
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
for power in map(int, sys.argv[3:]):
    jax.jit(lambda x, power=power: x**power)(float(power))
"""

    def stored(limit, *powers):
        words = [sys.executable, "-W", "error", "-c", script, *map(str, (limit, tmp_path, *powers))]
        environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "true"}
        subprocess.run(words, env=environment, check=True, capture_output=True)
        return {path.name: path.stat().st_size for path in tmp_path.glob("*-cache")}

    unlimited = stored(10**9, 2, 3, 4)
    for stamp in tmp_path.glob("*-atime"):
        stamp.unlink()
    limit = sum(unlimited.values())
    after = stored(limit, 2, 3, 4, 5)
    assert sum(after.values()) <= limit
    # The newest program took the place of an older one.
    assert after.keys() - unlimited.keys()
    assert unlimited.keys() - after.keys()


def test_a_compiled_function_may_be_part_of_another():
    """Also where JAX allows no options of the compiler."""
    double = Compiled(lambda x: 2 * x)
    ones = np.ones(3, np.float32)
    for function in (double, jax.jit(double), jax.vmap(double), jax.jit(lambda _: double(ones))):
        np.testing.assert_array_equal(function(ones), 2 * ones)
    np.testing.assert_array_equal(jax.jit(lambda: double(ones))(), 2 * ones)
    assert jax.grad(double)(1.0) == 2.0
    assert jax.jit(jax.grad(double))(1.0) == 2.0
