"""Optax transforms that record how they were made, so that a checkpoint recognizes them in another process."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxstyle.guards import permissive


class NamedTransform(optax.GradientTransformationExtraArgs):
    """An optax transform with the name and the arguments of its factory.

    Attributes:
        name: name of the factory; empty for a modified copy, which is another transform.
        arguments: arguments of the factory by parameter name.
        factory: the factory; None for a modified copy.
    """

    name: str = ""
    arguments: Mapping[str, Any] = {}
    factory: Callable[..., Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call of the factory: in another process, too, equal arguments make one object."""
        return (type(self), tuple(self)) if self.factory is None else (self.factory, tuple(self.arguments.values()))


def named_transform(
    name: str,
) -> Callable[[Callable[..., optax.GradientTransformationExtraArgs]], Callable[..., NamedTransform]]:
    """Decorate a factory of optax transforms: equal arguments return the same object, which records them.

    Args:
        name: the name in checkpoints, which stays when the code moves.

    Returns:
        A decorator of functions of positional, hashable arguments.
    """

    def decorate(factory: Callable[..., optax.GradientTransformationExtraArgs]) -> Callable[..., NamedTransform]:
        parameters = tuple(inspect.signature(factory).parameters)

        @functools.cache
        @functools.wraps(factory)
        def make(*arguments: Any) -> NamedTransform:
            init, update = factory(*arguments)
            transform = NamedTransform(permissive()(init), permissive()(update))
            transform.name, transform.arguments = name, dict(zip(parameters, arguments, strict=True))
            transform.factory = make
            return transform

        return make

    return decorate
