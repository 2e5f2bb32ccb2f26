"""Value and gradient of the objective: one signature, however it is computed."""

from jaxstyle.evaluate.whole import value_and_grad

__all__ = ["value_and_grad"]
