"""Worker of `resolution`: time and memory of one step at one size."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax

import jaxstyle as js
from benchmarks import record, worker
from jaxstyle.minimize.step import compiled_step
from jaxstyle.transfer.memory import fits, memory, process_bytes, usable_memory
from jaxstyle.transfer.program import StageShape


def prepare(options: worker.Message) -> tuple[worker.Message, Callable[[worker.Message], worker.Message]]:
    """Measure a square image of `size`; the first answer contains everything."""
    size, settings = options["size"], js.preset()
    objective = dataclasses.replace(settings.objective, window=options["window"])
    start = time.perf_counter()
    shape = StageShape((size, size), objective, settings.transform)
    planned = memory(shape)
    compile_seconds = time.perf_counter() - start
    planned_bytes = planned.peak + process_bytes()
    runs = options["repeats"] and fits(planned, usable_memory(shape))
    seconds = _steps(size, objective, options["repeats"], options["limit"]) if runs else []
    answer = {
        "size": size,
        "window": options["window"],
        "compile_seconds": compile_seconds,
        "warm_up_seconds": seconds[0] if seconds else None,
        "seconds": seconds[1:],
        "median_seconds": statistics.median(seconds[1:]) if seconds else None,
        "temporary_bytes": planned.temporary,
        "argument_bytes": planned.parameters + planned.targets + planned.state,
        "planned_bytes": planned_bytes,
        "peak_resident_bytes": worker.peak_resident_bytes(),
        "peak_device_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }
    return {"measured": answer, "machine": record.machine()}, lambda _: {}


def _steps(size: int, objective: js.Objective, repeats: int, limit: float) -> list[float]:
    """Time steps until `repeats` or the limit in seconds, at least two."""
    settings = js.preset()
    params, content = js.load_params(), js.white_noise(1, size, size)
    # The size of the style does not affect the step.
    targets = js.whiten(js.make_targets(params, content, [js.white_noise(2, 128, 128)], objective))
    static = objective, settings.transform
    state = js.init(content, params, targets, settings.weights, *static)
    step = compiled_step.lower(state, params, targets, settings.weights, *static).compile()
    seconds = []
    while len(seconds) < 2 or (len(seconds) <= repeats and sum(seconds) < limit):
        start = time.perf_counter()
        state = jax.block_until_ready(step(state, params, targets, settings.weights))
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    worker.serve(prepare)
