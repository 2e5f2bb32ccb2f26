"""Optax transforms that record how they were made, so that a checkpoint recognizes them in another process."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax


class NamedTransform(optax.GradientTransformationExtraArgs):
    """An optax transform with the name and the arguments of its factory.

    Attributes:
        name: name of the factory; empty for a modified copy, which is another transform.
        arguments: arguments of the factory by parameter name.
    """

    name: str = ""
    arguments: Mapping[str, Any] = {}


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
        def make(*arguments: Any) -> NamedTransform:
            transform = NamedTransform(*factory(*arguments))
            transform.name, transform.arguments = name, dict(zip(parameters, arguments, strict=True))
            return transform

        return make

    return decorate
