"""JAX's settings from the environment, as far as they can end a run."""

import os

import jax

from jaxstyle.errors import InputError

# What installs each platform; others are installed by packages of their own.
EXTRAS = {"cuda": "cuda", "gpu": "cuda", "tpu": "tpu"}


def check_backend() -> None:
    """Refuse a platform that is not there. With several hosts, call it after they have joined.

    Raises:
        InputError: naming the platform.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        # JAX's own text, if there is one, can name a driver or a library.
        name, value = _requested()
        reason = f" ({str(error).splitlines()[0].partition(' (set JAX')[0]})" if str(error) else ""
        extra = EXTRAS.get(value.lower())
        install = f"install it (pip install 'jaxstyle[{extra}]')" if extra else "install it"
        raise InputError(
            f"{name} is {value!r}, a platform that JAX does not find here{reason}: {install}, or unset {name} to use "
            "what there is, such as the CPU"
        ) from error


def _requested() -> tuple[str, str]:
    """The variable that names the platform, and its value."""
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        value = os.environ.get(name, "")
        if value not in ("", "cpu"):
            return name, value
    # Set by a program.
    return "jax_platforms", str(jax.config.jax_platforms)  # pyright: ignore[reportAttributeAccessIssue]
