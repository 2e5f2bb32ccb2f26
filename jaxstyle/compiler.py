"""Compiler options, and the cache on disk by which only the first run of a size waits for the compiler."""

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import jax
import jax.core
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from jaxstyle.errors import InputError, quote
from jaxstyle.files import cache_folder, probe

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


def _compiler_options() -> dict[str, str | bool]:
    """Return options for XLA on CPUs, which other platforms accept and ignore. A JAX from 0.13 on may not know them."""
    options: dict[str, str | bool] = {}
    if jax.__version_info__ < (0, 13):
        # The default scheduler starts every operation as early as possible and so holds buffers longer than needed:
        # this one needs up to 40% less memory in the same time.
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    if jax.__version_info__ < (0, 12):
        # YNNPACK's sums read beyond the array at some sizes, such as 86x128, and return NaN or any number. Without it
        # evaluations are as fast.
        options["xla_cpu_experimental_ynn_fusion_type"] = ""
    if jax.__version_info__ < (0, 11):
        # The emitters of fused loops keep 100 MB of the process, and their loops are no faster. Later releases have no
        # others, and refuse the option.
        options["xla_cpu_use_fusion_emitters"] = False
    return options


COMPILER_OPTIONS = _compiler_options()


# On the host: its transfer is explicit, which `jax.transfer_guard("disallow")` allows.
_ZERO = np.float32(0.0)


class Compiled(Generic[P, R]):
    """`jax.jit` with `COMPILER_OPTIONS`; where JAX allows none, inside of another transformation, without.

    Args:
        function: to compile.
        options: those of `jax.jit`.
    """

    def __init__(self, function: Callable[P, R], **options: Any):
        functools.update_wrapper(self, function)
        self._outermost = jax.jit(function, compiler_options=COMPILER_OPTIONS, **options)
        self._nested = jax.jit(function, **options)
        self.lower = self._nested.lower

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function, compiled for these shapes."""
        # While JAX compiles an outer function, every new array is a tracer.
        arrays = jax.device_put(_ZERO), *jax.tree.leaves((args, kwargs))
        is_nested = any(isinstance(array, jax.core.Tracer) for array in arrays)
        return (self._nested if is_nested else self._outermost)(*args, **kwargs)

    def _cache_size(self) -> int:
        """Return the number of compiled programs, as that of `jax.jit`, which JAX does not declare."""
        return self._outermost._cache_size()  # pyright: ignore[reportAttributeAccessIssue]


# Programs that compile faster are not stored.
MIN_COMPILE_SECONDS = 0.2
# Limit of the size of all stored programs, unless JAX has one of its own, and JAX's value for none.
MAX_CACHE_BYTES, NO_LIMIT = 2_000_000_000, -1


def enable_compilation_cache(where: str = "auto") -> Path | None:
    """Store the programs that this process compiles, and load those that are stored. Changes JAX's settings.

    The folder holds at most `MAX_CACHE_BYTES`, or JAX's own limit; programs that were not used for the longest time are
    removed. A folder of JAX's own setting keeps its own limit.

    Programs of another version, device or processor are never loaded: JAX's file names depend on these.

    Args:
        where: a folder; `"auto"` is JAX's own setting (`JAX_COMPILATION_CACHE_DIR`) or else `programs` in jaxstyle's
            cache; `"off"` stores nothing.

    Returns:
        The folder; None if nothing is stored.

    Raises:
        InputError: for a folder that cannot be created or written; with `"auto"` only a warning is logged.
    """
    if not isinstance(where, str) or "\0" in where:
        raise InputError(f"the cache of programs is {quote(where)}, expected a folder, auto, or off")
    if where == "off":
        return _store_in(None)
    if not jax.config.jax_enable_compilation_cache:  # pyright: ignore[reportAttributeAccessIssue]
        return None
    jax_folder: str | None = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if where == "auto" and jax_folder:
        return Path(jax_folder)
    cache = cache_folder()
    if where == "auto" and cache is None:
        log.info("compiled programs are not stored, since this user has no home: set JAXSTYLE_CACHE to a folder")
        return None
    folder = cache / "programs" if where == "auto" and cache is not None else Path(where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe(folder / "program")
        _stamp_programs(folder)
    except OSError as error:
        if where != "auto":
            raise InputError(
                f"compiled programs cannot be stored in {folder}: {error.strerror}; expected a folder, auto, or off"
            ) from error
        log.warning("compiled programs cannot be stored in %s (%s): every run compiles its own", folder, error.strerror)
        return None
    return _store_in(folder)


def _stamp_programs(folder: Path) -> None:
    """Write the time of last use of programs that were stored without a limit of size: JAX needs one of each."""
    for program in folder.glob("*-cache"):
        stamp = program.with_name(program.name.removesuffix("-cache") + "-atime")
        # Another process may remove the program at any moment.
        with contextlib.suppress(FileNotFoundError):
            if not stamp.exists():
                stamp.write_bytes(program.stat().st_mtime_ns.to_bytes(8, "little"))


def _store_in(folder: Path | None) -> Path | None:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    # JAX does not declare its settings.
    if jax.config.jax_compilation_cache_max_size == NO_LIMIT:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)
    jax.config.update("jax_compilation_cache_dir", folder and str(folder))
    # Otherwise JAX keeps using the folder of its first compilation.
    compilation_cache.reset_cache()
    return folder
