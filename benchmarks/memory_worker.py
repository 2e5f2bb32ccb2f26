"""Worker of `memory`: estimate and peak of one run."""

from collections.abc import Callable

import jax

import jaxstyle as js
from benchmarks import record, worker
from jaxstyle.transfer.memory import fits, memory, process_bytes, usable_memory
from jaxstyle.transfer.program import StageShape


def prepare(options: worker.Message) -> tuple[worker.Message, Callable[[worker.Message], worker.Message]]:
    """Estimate and run `batch` square images of `size`; the first answer contains everything."""
    size, window, batch, settings = options["size"], options["window"], options["batch"], js.preset("gram")
    params = js.load_params()
    contents, style = [js.white_noise(k, size, size) for k in range(batch)], js.white_noise(batch, size, size)
    shape = StageShape((size, size), settings.objective, settings.transform, ((size, size),), batch=batch)
    shape = shape.in_windows(window)
    needs, process = memory(shape), process_bytes()
    # A run that does not fit would end this process, or others.
    runs = fits(needs, usable_memory(shape))
    if runs:
        js.stylize_batch(contents, style, settings, params=params, steps=options["steps"], window=window)
    device_peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    answer = {
        **{name: options[name] for name in ("size", "window", "batch", "steps")},
        "parts": needs._asdict(),
        "process_bytes": process,
        "peak_bytes": (device_peak or worker.peak_resident_bytes()) if runs else None,
    }
    return {"measured": answer, "machine": record.machine()}, lambda _: {}


if __name__ == "__main__":
    worker.serve(prepare)
