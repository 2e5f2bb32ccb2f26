"""How programs are compiled, and how they are kept, so that only the first run of a size waits for the compiler."""

import logging
import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxstyle.errors import InputError
from jaxstyle.files import cache_folder

log = logging.getLogger(__name__)

# XLA's default scheduler on CPUs starts every operation as early as possible and so holds buffers longer than needed:
# the memory-optimized one needs up to 40% less in the same time. Other platforms accept the option and ignore it. A
# JAX from 0.13 on may not know it. The memory estimates (transfer/memory.py) depend on it.
MEMORY_OPTIMIZED = jax.__version_info__ < (0, 13)
COMPILER_OPTIONS: dict[str, str | bool] = (
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} if MEMORY_OPTIMIZED else {}
)

# Seconds of compilation from which a program is worth a file.
MIN_COMPILE_SECONDS = 0.2


def enable_compilation_cache(where: str = "auto") -> Path | None:
    """From now on, keep what this process compiles, and use what earlier ones have kept. Changes JAX's settings.

    Programs of another version, device or processor are never taken: JAX names the files by all of that.

    Args:
        where: a folder; `"auto"` is the one that JAX was told (`JAX_COMPILATION_CACHE_DIR`), or `programs` in
            jaxstyle's cache; `"off"` keeps nothing.

    Returns:
        The folder; None if nothing is kept.

    Raises:
        InputError: for a folder that cannot be made; of `"auto"` it is only a warning.
    """
    if where == "off":
        _use(None)
        return None
    if not jax.config.jax_enable_compilation_cache:  # pyright: ignore[reportAttributeAccessIssue]
        return None
    told: str | None = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if where == "auto" and told:
        return Path(told)
    folder = cache_folder() / "programs" if where == "auto" else Path(where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied", str(folder))
    except OSError as error:
        if where != "auto":
            raise InputError(
                f"compiled programs cannot be kept in {folder}: {error.strerror}; expected a folder, auto, or off"
            ) from error
        log.warning("compiled programs cannot be kept in %s (%s): every run compiles its own", folder, error.strerror)
        return None
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    _use(str(folder))
    return folder


def _use(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    # JAX keeps the folder with which it compiled first.
    compilation_cache.reset_cache()
