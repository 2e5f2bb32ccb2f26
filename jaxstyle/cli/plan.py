"""The command that tells what a run would cost: memory, work, seconds, and with which windows it fits."""

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import optax
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle.cli.validate import MAX_SIDE, check_window
from jaxstyle.errors import InputError
from jaxstyle.objective.base import Objective
from jaxstyle.optim.adam import adam
from jaxstyle.optim.lbfgs import lbfgs
from jaxstyle.transfer import cost, presets
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.transfer.memory import OUT_OF_MEMORY, USABLE, Memory, estimate, fits, memory, windows_below
from jaxstyle.transfer.validate import MAX_STEPS
from jaxstyle.vgg import network

GB = 1e9
# Bytes a pixel of one of L-BFGS's pairs.
PAIR = 24


@dataclass(frozen=True)
class Plan:
    """Tell whether a picture of this size fits, in which windows, and how long a step takes. Nothing is optimized."""

    width: Annotated[Positional[int], arg(metavar="WIDTH")]
    """Of the picture in pixels."""
    height: Annotated[Positional[int], arg(metavar="HEIGHT")]
    """Of the picture in pixels."""
    window: Literal["auto", "whole"] | int = "auto"
    """One kind of evaluation: whole, or a window's side in pixels; auto lists all."""
    steps: int = presets.preset().steps
    """Evaluations of the run whose time is told."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS, or Adam, which needs less memory."""
    memory_size: int = 10
    """Pairs that L-BFGS remembers; each takes 24 bytes a pixel."""
    content_layers: tuple[str, ...] = Objective().content_layers
    """Layers that keep the photo's features."""
    style_layers: tuple[str, ...] = Objective().style_layers
    """Layers that take the style's Gram matrices."""
    precision: network.Precision = "highest"
    """Of the convolutions."""

    def run(self) -> int:
        """Print the table; returns the exit code, 1 if nothing fits."""
        objective = Objective(self.content_layers, self.style_layers, precision=self.precision)
        for name, layers in (("content", self.content_layers), ("style", self.style_layers)):
            if not layers:
                raise InputError(f"--{name}-layers names no layer, expected at least one")
        check_window(self.window)
        for name, value, least, most in (
            ("WIDTH", self.width, objective.min_side, MAX_SIDE),
            ("HEIGHT", self.height, objective.min_side, MAX_SIDE),
            ("--steps", self.steps, 1, MAX_STEPS),
        ):
            if not least <= value <= most:
                raise InputError(f"{name} is {value}, expected {least} to {most}")
        optimizer = {"lbfgs": lbfgs(self.memory_size), "adam": adam(0.02)}[self.optimizer]
        longest = max(self.height, self.width)
        windows: tuple[int | None, ...] = (None, *windows_below(longest))
        if self.window != "auto":
            # A window that holds the picture is the whole picture.
            windows = (None if self.window == "whole" or self.window >= longest else self.window,)
        settings = [dataclasses.replace(objective, window=window) for window in windows]
        free = free_memory()

        rows = []
        for each in tqdm(settings, desc="compiling", leave=False):
            needs = self._memory(each, optimizer)
            rows.append((each, needs, cost.flops(self.height, self.width, each), fits(needs, free)))
        rate = cost.calibrated_rate(objective)

        device = jax.devices()[0]
        where = f"CPU, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind
        print(f"{self.width}x{self.height} pixels ({self.width * self.height / 1e6:.3g} megapixels) on {where}")
        print(f"{'window':>8}{'memory':>12}{'work a step':>14}{'time a step':>14}{f'{self.steps} steps':>16}  fits")
        for each, needs, work, fit in rows:
            seconds = work / rate
            print(
                f"{each.window or 'whole':>8}{needs.peak / GB:>9.1f} GB{work / 1e12:>8.2f} TFLOP{seconds:>12.1f} s"
                f"{_long(seconds * self.steps):>16}  {'yes' if fit else 'no'}"
            )
        # The largest that fits; if none does, the one that needs least.
        each, needs, _, fit = next((row for row in rows if row[3]), rows[-1])
        print(self._details(each, needs, free))
        print("Times are by the count of operations, compiling apart; windows can be faster than that.")
        print(
            f"Fits with --window {each.window or 'whole'}." if fit else self._advice(needs, each, optimizer, free or 0)
        )
        return 0 if fit else 1

    def _memory(self, objective: Objective, optimizer: optax.GradientTransformation) -> Memory:
        # With a painting of the picture's size.
        size = self.height, self.width
        try:
            return memory(*size, objective, optimizer, [size])
        except jax.errors.JaxRuntimeError as error:
            # Some compilers refuse what is far beyond the device.
            if not OUT_OF_MEMORY.search(str(error)):
                raise
        return estimate(*size, objective, optimizer, [size])

    def _details(self, objective: Objective, needs: Memory, free: int | None) -> str:
        how = f"in windows of {objective.window}" if objective.window else "whole"
        parts = ", ".join(f"{name} {size / GB:.2f}" for name, size in needs._asdict().items())
        known = "unknown" if free is None else f"{free / GB:.1f} GB, of which a run may use {USABLE:.0%}"
        held = " (the process is in memory already)" if needs.process else ""
        return f"{needs.peak / GB:.2f} GB, {how}: {parts}{held}.\nFree: {known}."

    def _advice(self, needs: Memory, objective: Objective, optimizer: optax.GradientTransformation, free: int) -> str:
        """What would fit, from the settings that need least."""
        smaller = windows_below(objective.window or max(self.height, self.width))
        for window in smaller:
            if fits(self._memory(dataclasses.replace(objective, window=window), optimizer), free):
                return f"Does not fit so; fits with --window {window}."
        excess = needs.peak - needs.process - USABLE * free
        pairs = self.memory_size - math.ceil(excess / (PAIR * self.width * self.height))
        if self.optimizer == "lbfgs" and pairs >= 1:
            return f"Fits with --window {objective.window or 'whole'} --memory-size {pairs}."
        growing = needs.peak - needs.process - needs.parameters
        share = math.sqrt(max(0.0, USABLE * free - needs.parameters) / growing)
        if share * min(self.width, self.height) < objective.min_side:
            return "Nothing fits: free some memory."
        return f"Nothing fits: a picture of about {self.width * share:.0f}x{self.height * share:.0f} pixels would."


def _long(seconds: float) -> str:
    """Minutes, hours or days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.1f} min"
