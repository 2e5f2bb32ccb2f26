"""Compiler options, and the cache on disk by which only the first run of a size waits for the compiler."""

import logging
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxstyle.errors import InputError, quote
from jaxstyle.files import cache_folder, probe

log = logging.getLogger(__name__)

# XLA's default scheduler on CPUs starts every operation as early as possible and so holds buffers longer than needed:
# the memory-optimized one needs up to 40% less in the same time. Other platforms accept the option and ignore it. A
# JAX from 0.13 on may not know it.
COMPILER_OPTIONS: dict[str, str | bool] = (
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} if jax.__version_info__ < (0, 13) else {}
)

# Programs that compile faster are not stored.
MIN_COMPILE_SECONDS = 0.2


def enable_compilation_cache(where: str = "auto") -> Path | None:
    """Store the programs that this process compiles, and load those that are stored. Changes JAX's settings.

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
    folder = cache_folder() / "programs" if where == "auto" else Path(where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe(folder / "program")
    except OSError as error:
        if where != "auto":
            raise InputError(
                f"compiled programs cannot be stored in {folder}: {error.strerror}; expected a folder, auto, or off"
            ) from error
        log.warning("compiled programs cannot be stored in %s (%s): every run compiles its own", folder, error.strerror)
        return None
    return _store_in(folder)


def _store_in(folder: Path | None) -> Path | None:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    jax.config.update("jax_compilation_cache_dir", folder and str(folder))
    # Otherwise JAX keeps using the folder of its first compilation.
    compilation_cache.reset_cache()
    return folder
