"""One step at one size, as a worker of `resolution`: compiled, timed, its memory read."""

import statistics
import time
from collections.abc import Callable

import jax

import jaxstyle as js
from benchmarks import record, worker


def prepare(options: worker.Message) -> tuple[worker.Message, Callable[[worker.Message], worker.Message]]:
    """Measure a square picture of `size`; everything is in the answer, further requests have none."""
    size, settings = options["size"], js.preset()
    params, photo = js.load_params(), js.white_noise(1, size, size)
    # The style's own size costs nothing in a step.
    targets = js.make_targets(params, photo, [js.white_noise(2, 128, 128)], settings.objective)
    static = settings.objective, settings.optimizer
    state = js.init(photo, params, targets, settings.weights, *static)
    begin = time.perf_counter()
    step = js.step.lower(state, params, targets, settings.weights, *static).compile()
    compile_seconds = time.perf_counter() - begin
    seconds = []
    for _ in range(1 + options["repeats"]):
        begin = time.perf_counter()
        state = jax.block_until_ready(step(state, params, targets, settings.weights))
        seconds.append(time.perf_counter() - begin)
    memory = step.memory_analysis()
    assert memory is not None, "this platform's XLA does not say what memory a program needs"
    answer = {
        "size": size,
        "compile_seconds": compile_seconds,
        "warm_up_seconds": seconds[0],
        "seconds": seconds[1:],
        "median_seconds": statistics.median(seconds[1:]),
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "peak_resident_bytes": worker.peak_resident_bytes(),
        "peak_device_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }
    return {"measured": answer, "machine": record.machine()}, lambda _: {}


if __name__ == "__main__":
    worker.serve(prepare)
