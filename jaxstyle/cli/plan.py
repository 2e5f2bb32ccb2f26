"""`jaxstyle plan`: estimate the memory, work and time of a run, and list the windows with which it fits."""

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.cli.validate import LIMITS, MAX_SIDE, check_between, check_layers
from jaxstyle.objective.base import Objective
from jaxstyle.transfer import cost, presets
from jaxstyle.transfer.memory import (
    USABLE,
    Memory,
    fits,
    largest,
    memory,
    process_bytes,
    shard_size,
    usable_memory,
    windows_below,
    windows_for,
)
from jaxstyle.transfer.program import Size, StageShape
from jaxstyle.transfer.pyramid import Scale, ScaleCount
from jaxstyle.transfer.validate import check_window
from jaxstyle.vgg import network

# Of one step that L-BFGS stores.
BYTES_PER_PIXEL = 24
# Paintings and regions beyond this many are typing errors.
MAX_COUNT = 100
# Options of `jaxstyle stylize` with the same meaning here.
SHARED = (
    *("steps", "finish", "scales", "share", "content_layers", "style_layers", "precision", "algorithm", "optimizer"),
    *("memory_size", "mesh", "batch", "supersample"),
)


# The stages at full size in the windows of a line of the table, and the memory of the largest.
Row = tuple[list[StageShape], Memory]


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
    finish: int = presets.preset().finish
    """Number of steps of the finish of each scale, 0 to 1000000."""
    scales: Annotated[ScaleCount, arg(metavar="auto|NUMBER")] = presets.preset().scales
    """Maximum number of sizes to optimize at, from coarse to fine, 1 to 16; 1 is the full size alone."""
    share: float = presets.preset().share
    """Fraction of --steps for the full size if there are several scales, above 0, at most 1."""
    supersample: float = presets.preset().supersample
    """Make a picture of a long side below 512 pixels at this many times its size, 1 to 4."""
    paintings: int = 1
    """Number of paintings, each of the picture's size, 1 to 100."""
    regions: int = 0
    """Number of regions with styles of their own (colors of --content-mask), 0 to 100."""
    batch: int = 1
    """Number of pictures to make together, 1 to 4096."""
    mesh: Annotated[str, arg(metavar="auto|ROWSxCOLUMNS")] = "1x1"
    """Divide the picture over a grid of devices, such as 4x2; auto uses all devices."""
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
    algorithm: network.Algorithm = "auto"
    """Algorithm of the convolutions: direct, winograd (a quarter of the multiplications), or auto: the faster one."""

    def run(self) -> int:
        """Print the table; return the exit code, 1 if nothing fits."""
        check_backend()
        options = defaults("default", Stylize, Path(), Path(), Path())
        options = dataclasses.replace(options, **{name: getattr(self, name) for name in SHARED})
        self._check(options)
        size = self.height, self.width
        paintings = (size,) * self.paintings
        stages = options.stage_shapes(size, paintings, batch=self.batch, regions=self.regions)
        scales = options.scales_of(size, paintings)
        usable = usable_memory(stages[0])
        rows, process = self._rows(stages)
        self._print_table(rows, process, usable, scales)
        # The largest window that fits; if none does, the smallest.
        stages, needs = next((row for row in rows if fits(row[1], usable)), rows[-1])
        print(_details(stages[0], needs, process, usable))
        print("Times are estimated from the number of operations, without running a step; windows can be faster.")
        if not fits(needs, usable):
            print(self._advice(stages, needs, usable))
            return 1
        print(f"Fits with --window {stages[0].objective.window or 'whole'}.")
        return 0

    def _check(self, options: Stylize) -> None:
        check_layers(self.content_layers, self.style_layers)
        check_window("window", self.window)
        min_side = options.settings().min_side
        check_between("WIDTH", self.width, min_side, MAX_SIDE)
        check_between("HEIGHT", self.height, min_side, MAX_SIDE)
        check_between("--paintings", self.paintings, 1, MAX_COUNT)
        check_between("--regions", self.regions, 0, MAX_COUNT)
        check_between("--batch", self.batch, *LIMITS["batch"])

    def _rows(self, stages: Sequence[StageShape]) -> tuple[list[Row], int]:
        """Return all rows, and the bytes of the process."""
        windows = windows_for(stages[0])
        if self.window != "auto":
            # A window as large as the picture is the whole picture.
            whole = self.window == "whole" or self.window >= max(stages[0].size)
            windows = (None if whole else int(self.window),)
        rows, process = [], 0
        for window in tqdm(windows, desc="compiling", leave=False):
            rows.append(_row(stages, window))
            # With what the compiler uses for one window: a run compiles no others.
            process = process or process_bytes()
        return rows, process

    def _print_table(self, rows: list[Row], process: int, usable: float, scales: Sequence[Scale]) -> None:
        """Print the devices and all rows."""
        device, shape = jax.devices()[0], rows[0][0][0]
        name = f"CPU, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind
        rate = cost.calibrated_rate(dataclasses.replace(shape.objective, shards=(1, 1)))
        if shape.mesh is not None and device.platform != "cpu":
            name, rate = f"{shape.mesh.size} x {name}", rate * shape.mesh.size
        count, steps = f"{self.batch} times " if self.batch > 1 else "", self.steps + self.finish * len(scales)
        height, width = shape.size
        larger = "" if shape.size == (self.height, self.width) else f", made at {width}x{height}"
        print(f"{count}{self.width}x{self.height} pixels{larger} ({width * height / 1e6:.3g} megapixels) on {name}")
        print(f"{'window':>8}{'memory':>12}{'work a step':>14}{'time a step':>14}{f'{steps} steps':>16}  fits")
        for (shape, *finish), needs in rows:
            window, flops = shape.objective.window or "whole", _flops(shape, shape.size)
            total = 0.0
            for scale in scales:
                size = scale.height, scale.width
                total += scale.steps * _flops(shape, size) + sum(self.finish * _flops(stage, size) for stage in finish)
            memory_text = _gigabytes(needs.peak + process, 1)
            print(
                f"{window:>8}{memory_text:>12}{flops / 1e12:>8.2f} TFLOP{flops / rate:>12.1f} s"
                f"{_long_time(total / rate):>16}  {'yes' if fits(needs, usable) else 'no'}"
            )

    def _advice(self, stages: Sequence[StageShape], needs: Memory, usable: float) -> str:
        """Return a sentence with other settings that fit, near those that need the least memory so far."""
        shape = stages[0]
        for smaller in windows_below(shape.objective.window or max(shape.size)):
            if fits(_row(stages, smaller)[1], usable):
                return f"Does not fit with these options; fits with --window {smaller}."
        excess, window = needs.peak - usable, shape.objective.window or "whole"
        if not math.isfinite(excess):
            return "Nothing fits: free some memory."
        # Of the number of pixels.
        fraction = max(0.0, 1 - excess / (needs.peak - needs.parameters))
        if self.batch * fraction >= 1:
            return f"Fits with --window {window} --batch {int(self.batch * fraction)}."
        # CPU devices share their memory.
        devices = 1 if shape.mesh is None or jax.devices()[0].platform == "cpu" else shape.mesh.size
        pair_bytes = BYTES_PER_PIXEL * self.batch * math.prod(shape.size) / devices
        memory_size = self.memory_size - math.ceil(excess / pair_bytes)
        if self.optimizer == "lbfgs" and memory_size >= 1:
            return f"Fits with --window {window} --memory-size {memory_size}."
        scale = math.sqrt(fraction)
        if scale * min(shape.size) < shape.objective.min_side:
            return "Nothing fits: free some memory."
        return f"Nothing fits at this size; {self.width * scale:.0f}x{self.height * scale:.0f} pixels would."


def _row(stages: Sequence[StageShape], window: int | None) -> Row:
    windowed = [stage.in_windows(window) for stage in stages]
    return windowed, largest(map(memory, windowed))


def _flops(shape: StageShape, size: Size) -> float:
    """Return the floating-point operations of a step on images of this size, on all devices."""
    objective = dataclasses.replace(shape.objective, shards=(1, 1))
    shards = math.prod(shape.objective.shards)
    return shape.batch * shards * cost.flops(*shard_size(size, shape.objective), objective)


def _details(shape: StageShape, needs: Memory, process: int, usable: float) -> str:
    """The parts of the memory, and the usable memory."""
    window = shape.objective.window
    how = f"in windows of {window} pixels" if window else "whole"
    parts = ", ".join(f"{name} {_gigabytes(size)}" for name, size in needs._asdict().items())
    process_part = f", process {_gigabytes(process)} (already in memory)" if process else ""
    available = "unknown" if math.isinf(usable) else f"{_gigabytes(usable, 1)}, {USABLE:.0%} of what is free"
    return f"{_gigabytes(needs.peak + process)}, {how}: {parts}{process_part}.\nUsable memory: {available}."


def _gigabytes(size: float, digits: int = 2) -> str:
    """Return a size in bytes as text; see `Memory.temporary` for sizes that are not finite."""
    if not math.isfinite(size):
        return "unknown" if math.isnan(size) else "too much"
    return f"{size / 1e9:.{digits}f} GB"


def _long_time(seconds: float) -> str:
    """Return a time in minutes, hours or days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.1f} min"
