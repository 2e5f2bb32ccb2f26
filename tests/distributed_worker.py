"""A process of tests/test_distributed.py: joins the others, runs on the devices of all, and saves its results."""

import os
import sys
import time

from xla_flags import FAST_COMPILE


def main(address: str, processes: str, index: str, folder: str, what: str, *words: str) -> None:
    # Not above: this file is imported where doctests are looked for.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{FAST_COMPILE} --xla_force_host_platform_device_count=2"
    if what in ("command", "wrong command"):
        from jaxstyle.cli import app

        if what == "wrong command" and index == "1":
            words = ("missing.jpg", *words[1:])
        app.main(["stylize", "--preset=gram", *words, "--distributed", f"{address},{processes},{index}"])
    import jax
    import numpy as np

    import jaxstyle as js

    if what == "kill":
        js.distributed.HEARTBEAT_TIMEOUT_SECONDS = 5
    js.distributed.initialize(address, int(processes), int(index), timeout=60)
    assert jax.device_count() == 2 * int(processes), jax.devices()
    params = js.init_params(jax.random.key(0), widths=(4, 4, 8, 8, 8))
    photo, painting = js.white_noise(1, 70, 50), js.white_noise(2, 64, 64)
    options = {"params": params, "steps": 8, "whitening": 1.0}
    if what.startswith("fail") and what.endswith(index):
        write_time(os.path.join(folder, "failure"))
        raise RuntimeError("this host has no disk")
    if what == "kill" and index == "1":
        write_time(os.path.join(folder, "failure"))
        os._exit(3)
    if what == "batch":
        photos = [photo, js.white_noise(3, 64, 64), js.white_noise(4, 64, 48), js.white_noise(5, 40, 70)]
        results = js.stylize_batch(photos, painting, mesh=js.make_mesh(batch=4), **options, preset="gram")
    else:
        seen = []
        mesh = js.make_mesh(2, 2)
        result = js.stylize(
            photo, painting, mesh=mesh, callback=lambda progress: seen.append(progress), **options, preset="gram"
        )
        assert seen[-1].evaluations == 8
        results = [result]
        # Stopped by one host alone, saved by the first, resumed by both.
        path, first = os.path.join(folder, "run"), index == "0"
        stop = lambda progress: first and progress.evaluations >= 3  # noqa: E731
        checkpoint = js.Checkpoint(path, every=1e6)
        # Without a limit, the run may be over before the first call: intervals depend on the time that a step takes.
        stopping = {"mesh": mesh, "callback": stop, "callback_every": 3, "checkpoint": checkpoint}
        stopped = js.stylize(photo, painting, **stopping, **options, preset="gram")
        assert 3 <= stopped.evaluations < 8
        again = js.stylize(
            photo, painting, mesh=mesh, checkpoint=js.Checkpoint(path, resume=True), **options, preset="gram"
        )
        np.testing.assert_array_equal(again.image, result.image)
        np.testing.assert_array_equal(again.losses.total, result.losses.total)
    arrays = {f"image{k}": np.asarray(result.image) for k, result in enumerate(results)}
    arrays |= {f"losses{k}": np.asarray(result.losses.total) for k, result in enumerate(results)}
    np.savez(os.path.join(folder, f"{index}.npz"), **arrays)
    print("done", flush=True)


def write_time(path: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(str(time.time()))


if __name__ == "__main__":
    main(*sys.argv[1:])
