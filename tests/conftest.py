"""Strict set-up for every test: warnings, silent promotions and wrong array types are errors."""

import contextlib
import os
import signal

from xla_flags import FAST_COMPILE

# Before JAX is imported: the tests are about numbers, which must not depend on what hardware is there.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Two workers share the cores: threads of eigendecompositions would wait for each other, spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# No test finds what an earlier one compiled, or writes to the user's cache.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
# A flag from outside comes later and wins. Eight devices, for the tests of meshes; all others use the first one.
os.environ["XLA_FLAGS"] = f"{FAST_COMPILE} {os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

from pathlib import Path

import hypothesis
import jax
import jaxtyping
import numpy as np
import PIL.Image
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Before jaxstyle is imported: every annotation of the package is checked at every call.
jaxtyping.install_import_hook("jaxstyle", "checker.check")
# The same examples on every machine; the first one of a test compiles, which is no sign of a slow test.
hypothesis.settings.register_profile(
    "jaxstyle",
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("jaxstyle")

# Run by hand, with PyTorch, which the tests do not need; collecting doctests would import it.
collect_ignore = ["make_golden.py", "make_peers_golden.py"]

DATA = Path(__file__).parent.parent / "jaxstyle" / "data"


def pytest_configure():
    # A script starts what it runs in the background with Ctrl-C ignored, and a run leaves it ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Compiled programs are let go when there are many.

    Each has memory maps of its own, of which Linux gives a process 65530; without more XLA's compiler crashes.
    """
    yield
    with contextlib.suppress(OSError):
        if Path("/proc/self/maps").read_bytes().count(b"\n") > 12_000:
            jax.clear_caches()


@pytest.fixture
def compiled():
    """Names of the programs that are compiled from now on."""
    names = []

    def listen(event, _, fun_name="", **details):
        if event.endswith("backend_compile_duration"):
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def unchecked():
    """Array types unchecked, as for users, so that a test meets the library's own message for bad input."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def lenient_promotion():
    """For optax's own Adam, which raises a float to an int32 power."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def real_params():
    from jaxstyle.vgg.weights import load_params

    return load_params()


@pytest.fixture(scope="session")
def tiny_params():
    """The same network, narrow. Random biases, because zero ones would hide a wrong place for them.

    From NumPy, whose streams stay the same in every version.
    """
    rng, params, channels = np.random.default_rng(0), {"input": {"scale": (2.0,) * 3, "shift": (-1.0,) * 3}}, 3
    for block, (depth, width) in enumerate(zip((2, 2, 4, 4, 4), (4, 4, 8, 8, 8), strict=True), 1):
        for i in range(1, depth + 1):
            kernel = rng.normal(0, (2 / (9 * channels)) ** 0.5, (3, 3, channels, width))
            params[f"conv{block}_{i}"] = {"kernel": kernel, "bias": rng.normal(0.1, 0.1, width)}
            channels = width
    return {
        layer: {part: jax.numpy.asarray(np.float32(array)) for part, array in parts.items()}
        for layer, parts in params.items()
    }


@pytest.fixture(scope="session")
def tiny_weights(tiny_params, tmp_path_factory):
    """The tiny network as a file: quick, and the same code path as any other weights."""
    from jaxstyle.vgg import tensors as layout

    tensors = {
        f"{layer}.{part}": np.asarray(array) for layer, parts in tiny_params.items() for part, array in parts.items()
    }
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    path.write_bytes(layout.encode(tensors, {}))
    return str(path)


def _picture(name, width, height):
    with PIL.Image.open(DATA / name) as file:
        pixels = np.asarray(file.convert("RGB").resize((width, height), PIL.Image.Resampling.LANCZOS))
    return jax.numpy.asarray(pixels.astype(np.float32) / 255)


@pytest.fixture(scope="session")
def photograph():
    """A bundled picture by name, width and height."""
    return _picture


@pytest.fixture(scope="session")
def china():
    """A photograph, `(64, 96, 3)`."""
    return _picture("china.jpg", 96, 64)


@pytest.fixture(scope="session")
def starry():
    """A painting, `(80, 96, 3)`: not the photograph's size."""
    return _picture("starry_night.jpg", 96, 80)


@pytest.fixture
def default_handlers():
    """Signal handlers of a fresh process; a shell may have started this one with Ctrl-C ignored."""
    defaults = dict.fromkeys((signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU), signal.SIG_DFL)
    defaults[signal.SIGINT] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
