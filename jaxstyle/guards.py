"""JAX's guards against transfers and infinities, as far as the library cannot do without either."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def permissive() -> Iterator[None]:
    """Ignore guards that a program can set, as a block or as a decorator.

    Arrays, and constants of code that is not compiled, are moved between host and device; states hold infinities.
    """
    with jax.transfer_guard("allow"), jax.debug_infs(False):
        yield
