"""`jaxstyle plan`: estimate the memory, work and time of a run, and list the windows with which it fits."""

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax
import optax
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle.cli.validate import MAX_SIDE, check_between, check_layers, check_window
from jaxstyle.objective.base import Objective
from jaxstyle.optim.adam import adam
from jaxstyle.optim.lbfgs import lbfgs
from jaxstyle.transfer import cost, presets
from jaxstyle.transfer.free_memory import free_memory
from jaxstyle.transfer.memory import OUT_OF_MEMORY, USABLE, Memory, estimate, fits, memory, windows_below
from jaxstyle.transfer.validate import MAX_STEPS
from jaxstyle.vgg import network

GB = 1e9
# Of one step that L-BFGS stores.
BYTES_PER_PIXEL = 24


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        objective: with the window.
        needs: memory of the run.
        flops: of one step.
        fits: True if the free memory suffices.
    """

    objective: Objective
    needs: Memory
    flops: float
    fits: bool


@dataclass(frozen=True)
class Plan:
    """Estimate whether a picture of this size fits in memory, with which windows, and how long a step takes.

    Nothing is stylized.
    """

    width: Annotated[Positional[int], arg(metavar="WIDTH")]
    """Width of the picture in pixels, up to 65536."""
    height: Annotated[Positional[int], arg(metavar="HEIGHT")]
    """Height of the picture in pixels, up to 65536."""
    window: Annotated[Literal["auto", "whole"] | int, arg(metavar="auto|whole|PIXELS")] = "auto"
    """Side of the windows in pixels, 32 or more; whole: no windows; auto: list all choices."""
    steps: int = presets.preset().steps
    """Number of steps whose total time is estimated, 1 to 1000000."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS, or Adam, which needs less memory."""
    memory_size: int = 10
    """Number of past steps that L-BFGS stores, 1 or more; each takes 24 bytes per pixel."""
    content_layers: Annotated[tuple[str, ...], arg(metavar="LAYER ...")] = Objective().content_layers
    """VGG-19 layers of the content loss."""
    style_layers: Annotated[tuple[str, ...], arg(metavar="LAYER ...")] = Objective().style_layers
    """VGG-19 layers of the style loss."""
    precision: network.Precision = "highest"
    """Precision of the convolutions: highest (float32), default (the device's fast one), or bfloat16."""

    def run(self) -> int:
        """Print the table; return the exit code, 1 if nothing fits."""
        check_layers(self.content_layers, self.style_layers)
        objective = Objective(self.content_layers, self.style_layers, precision=self.precision)
        check_window(self.window)
        check_between("WIDTH", self.width, objective.min_side, MAX_SIDE)
        check_between("HEIGHT", self.height, objective.min_side, MAX_SIDE)
        check_between("--steps", self.steps, 1, MAX_STEPS)
        # Both are made, so that a wrong number is an error even where it is not used.
        optimizer = {"lbfgs": lbfgs(self.memory_size), "adam": adam(0.02)}[self.optimizer]
        free = free_memory()
        rows = self._rows(objective, optimizer, free)
        self._print_table(rows, cost.calibrated_rate(objective))
        # The largest window that fits; if none does, the smallest.
        best = next((row for row in rows if row.fits), rows[-1])
        print(_details(best, free))
        print("Times are estimated from the number of operations, without compiling; windows can be faster.")
        window = best.objective.window or "whole"
        print(f"Fits with --window {window}." if best.fits else self._advice(best, optimizer, free or 0))
        return 0 if best.fits else 1

    def _rows(self, objective: Objective, optimizer: optax.GradientTransformation, free: int | None) -> list[Row]:
        longest = max(self.height, self.width)
        windows: tuple[int | None, ...] = (None, *windows_below(longest))
        if self.window != "auto":
            # A window as large as the picture is the whole picture.
            windows = (None if self.window == "whole" or self.window >= longest else self.window,)
        rows = []
        for window in tqdm(windows, desc="compiling", leave=False):
            windowed = dataclasses.replace(objective, window=window)
            needs = self._memory(windowed, optimizer)
            rows.append(Row(windowed, needs, cost.flops(self.height, self.width, windowed), fits(needs, free)))
        return rows

    def _print_table(self, rows: list[Row], rate: float) -> None:
        """Print the device and all rows; `rate` is in floating-point operations per second."""
        device = jax.devices()[0]
        name = f"CPU, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind
        print(f"{self.width}x{self.height} pixels ({self.width * self.height / 1e6:.3g} megapixels) on {name}")
        print(f"{'window':>8}{'memory':>12}{'work a step':>14}{'time a step':>14}{f'{self.steps} steps':>16}  fits")
        for row in rows:
            seconds = row.flops / rate
            print(
                f"{row.objective.window or 'whole':>8}{row.needs.peak / GB:>9.1f} GB{row.flops / 1e12:>8.2f} TFLOP"
                f"{seconds:>12.1f} s{_long_time(seconds * self.steps):>16}  {'yes' if row.fits else 'no'}"
            )

    def _memory(self, objective: Objective, optimizer: optax.GradientTransformation) -> Memory:
        """Memory of a run whose painting has the picture's size."""
        size = self.height, self.width
        try:
            return memory(*size, objective, optimizer, [size])
        except jax.errors.JaxRuntimeError as error:
            # Some compilers refuse programs far beyond the device's memory.
            if not OUT_OF_MEMORY.search(str(error)):
                raise
        return estimate(*size, objective, optimizer, [size])

    def _advice(self, row: Row, optimizer: optax.GradientTransformation, free: int) -> str:
        """A sentence with other settings that fit, near those that need the least memory so far."""
        needs, objective = row.needs, row.objective
        for window in windows_below(objective.window or max(self.height, self.width)):
            if fits(self._memory(dataclasses.replace(objective, window=window), optimizer), free):
                return f"Does not fit with these options; fits with --window {window}."
        excess = needs.peak - needs.process - USABLE * free
        memory_size = self.memory_size - math.ceil(excess / (BYTES_PER_PIXEL * self.width * self.height))
        if self.optimizer == "lbfgs" and memory_size >= 1:
            return f"Fits with --window {objective.window or 'whole'} --memory-size {memory_size}."
        per_pixels = needs.peak - needs.process - needs.parameters
        scale = math.sqrt(max(0.0, USABLE * free - needs.parameters) / per_pixels)
        if scale * min(self.width, self.height) < objective.min_side:
            return "Nothing fits: free some memory."
        return f"Nothing fits at this size; {self.width * scale:.0f}x{self.height * scale:.0f} pixels would."


def _details(row: Row, free: int | None) -> str:
    """The parts of the memory, and the free memory."""
    how = f"in windows of {row.objective.window} pixels" if row.objective.window else "whole"
    parts = ", ".join(f"{name} {size / GB:.2f}" for name, size in row.needs._asdict().items())
    process = " (the process is already in memory)" if row.needs.process else ""
    available = "unknown" if free is None else f"{free / GB:.1f} GB, of which a run uses at most {USABLE:.0%}"
    return f"{row.needs.peak / GB:.2f} GB, {how}: {parts}{process}.\nFree memory: {available}."


def _long_time(seconds: float) -> str:
    """Return a time in minutes, hours or days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.1f} min"
