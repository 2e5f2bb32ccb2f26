"""Broken and strange input of every kind: each case ends in a result or in one sentence, never in anything else.

The tests run some of each kind. A campaign, whose summary is committed:

    python tests/fuzzing.py --cases 12000 --json benchmarks/results/fuzz.json
"""

import argparse
import collections
import contextlib
import dataclasses
import io as streams
import json
import os
import random
import struct
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms

from jaxstyle.cli import app
from jaxstyle.cli import stylize as commands
from jaxstyle.cli.rerun import Rerun
from jaxstyle.cli.serialize import options_to_json
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.errors import InputError
from jaxstyle.files import checksum
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file
from jaxstyle.minimize.restore import load_snapshot
from jaxstyle.minimize.status import Status
from jaxstyle.objective.base import Losses, LossWeights
from jaxstyle.transfer.pyramid import Scale
from jaxstyle.transfer.result import Result
from jaxstyle.vgg import tensors as layout
from jaxstyle.vgg import weights

# No case may take longer: a hang is a failure, too.
SECONDS = 20.0
GOOD, REFUSED = "result", "refused in one sentence"


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Data with something wrong, somewhere."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        start = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 200) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 64, 1000))
        kind = rng.randrange(7)
        if kind == 0:
            del data[start:]
        elif kind == 1:
            del data[start : start + length]
        elif kind == 2:
            data[start:start] = rng.randbytes(length)
        elif kind == 3:
            data[start : start + length] = data[start : start + length] * 2
        elif kind == 4:
            data[start : start + length] = bytes(min(length, len(data) - start))
        elif kind == 5:
            data[start : start + 4] = rng.choice(
                (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\0", struct.pack("<I", 2**31))
            )
        else:
            for k in range(start, min(start + length, len(data))):
                data[k] ^= 1 << rng.randrange(8)
    return bytes(data)


def picture_file(rng: random.Random, sides: tuple[int, ...] = (1, 2, 31, 32, 33, 40, 64, 100)) -> bytes:
    """A sound picture file: any format, mode, size, orientation and color profile."""
    width, height = (rng.choice(sides) for _ in range(2))
    mode = rng.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"))
    values = np.frombuffer(rng.randbytes(width * height * 4), np.uint8).reshape(height, width, 4)
    base = PIL.Image.fromarray(np.ascontiguousarray(values), "RGBA")
    if mode == "LAB":
        # Pillow converts to Lab by profiles alone; pixels of any value do here.
        picture = PIL.Image.merge("LAB", base.split()[:3])
    elif mode in ("I;16", "I", "F"):
        deep = values[:, :, 0].astype(np.uint16) * 257
        scaled = {"I;16": deep, "I": deep.astype(np.int32), "F": (deep / 65535).astype(np.float32)}[mode]
        picture = PIL.Image.fromarray(scaled)
    else:
        picture = base.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "P") else base.convert(mode)
    options: dict = {}
    if rng.random() < 0.4:
        exif = PIL.Image.Exif()
        exif[0x0112] = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 255, 65535))
        exif[0x010E] = rng.choice(("words", "", "\x00", "{}", '{"settings": 5}', "x" * 5000))
        options["exif"] = exif.tobytes()
    if rng.random() < 0.4:
        space = rng.choice(("sRGB", "LAB", "XYZ"))
        profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile(space)).tobytes()
        options["icc_profile"] = rng.choice((profile, damaged(rng, profile), b"", b"no profile", profile[:128]))
    format_ = rng.choice(("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"))
    for attempt in (picture, picture.convert("RGB") if mode != "LAB" else base.convert("RGB")):
        stream = streams.BytesIO()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            attempt.save(stream, format_, **options)
            return stream.getvalue()
    stream = streams.BytesIO()
    base.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def bomb(rng: random.Random) -> bytes:
    """A small file that says that it is huge, or nothing."""
    width, height = (rng.choice((0, 1, 5, 70_000, 2**20, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    if rng.random() < 0.3:
        return b"P6 %d %d 255\n" % (width, height) + rng.randbytes(100)
    if rng.random() < 0.3:
        return b"BM" + struct.pack(
            "<IIIIiiHHIIiiII", 100, 0, 54, 40, width % 2**31, height % 2**31, 1, 24, 0, 0, 0, 0, 0, 0
        )

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    text = chunk(b"zTXt", b"jaxstyle\0\0" + zlib.compress(b"x" * 10_000_000)) if rng.random() < 0.3 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + text + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def sentence(call) -> str:
    """What a call came to: anything but a result or a good error is raised."""
    try:
        call()
    except InputError as error:
        text = str(error)
        if "\n" in text.strip() or not 10 < len(text) < 2000:
            raise AssertionError(f"not one sentence: {text!r}") from error
        return REFUSED
    return GOOD


def check_picture(path: Path) -> None:
    pixels = np.asarray(io.read_picture(path, min_side=1, max_pixels=1_000_000).pixels)
    assert pixels.dtype == np.float32
    assert pixels.ndim == 3
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    io.read_recipe(path)


def pictures(rng: random.Random, folder: Path) -> str:
    """A picture file, sound or damaged, is read."""
    data = picture_file(rng)
    (folder / "picture").write_bytes(damaged(rng, data) if rng.random() < 0.8 else data)
    return sentence(lambda: check_picture(folder / "picture"))


def bombs(rng: random.Random, folder: Path) -> str:
    """A file that would unpack to more than the limit, or to nothing."""
    (folder / "bomb").write_bytes(bomb(rng))
    return sentence(lambda: check_picture(folder / "bomb"))


def tiny_weights() -> bytes:
    """A sound file of weights, narrow."""
    rng, tensors, channels = np.random.default_rng(0), {}, 3
    tensors["input.scale"], tensors["input.shift"] = np.ones(3, np.float32), np.zeros(3, np.float32)
    for layer in layout.LAYERS:
        width = 2 if layer.startswith(("conv1", "conv2")) else 3
        tensors[f"{layer}.kernel"] = rng.normal(0, 0.3, (3, 3, channels, width)).astype(np.float32)
        tensors[f"{layer}.bias"] = rng.normal(0, 0.1, width).astype(np.float32)
        channels = width
    return layout.encode(tensors, {})


def weight_files(rng: random.Random, folder: Path) -> str:
    """A damaged file of weights is loaded."""
    (folder / "net.safetensors").write_bytes(damaged(rng, tiny_weights()))

    def load() -> None:
        params = weights.load_params(folder / "net.safetensors")
        assert all(np.isfinite(array).all() for parts in params.values() for array in parts.values())

    return sentence(load)


def checkpoint_files(rng: random.Random, folder: Path) -> str:
    """A damaged checkpoint is read: whatever is not refused is what was written."""
    contents = checkpoint_file.Contents(
        {"state.image": np.ones((4, 5, 3), np.float32)}, {"run": {"scale": 0}, "note": {}}
    )
    path = folder / "run"
    checkpoint_file.write(path, contents)
    path.write_bytes(damaged(rng, path.read_bytes()))

    def load() -> None:
        found = checkpoint_file.read(path)
        assert found.metadata == contents.metadata
        np.testing.assert_array_equal(found.tensors["state.image"], contents.tensors["state.image"])

    return sentence(load)


def anything(rng: random.Random, depth: int = 0):
    """Any JSON."""
    plain = (None, True, 0, -1, 1.5, 1e308, 10**30, "", "x", "../../etc", "\0", "none", "content", "auto", "é\udcff")
    if depth > 2 or rng.random() < 0.7:
        return rng.choice(plain)
    if rng.random() < 0.5:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(anything(rng, 3)): anything(rng, depth + 1) for _ in range(rng.randrange(4))}


def recipes(rng: random.Random, folder: Path) -> str:
    """A picture whose recipe says strange things is to be made again: up to the run itself."""
    names = ("photo", "painting")
    for name in names:
        (folder / name).write_bytes(name.encode())
    settings = options_to_json(defaults("default", Stylize, Path("photo"), Path("painting"), Path("out.png")))
    settings |= {name: name for name in names}
    recipe = {
        "settings": settings,
        "status": "converged",
        "inputs_sha256": [checksum(folder / name) for name in names],
        "weights_sha256": weights.OXFORD_SHA256,
    }
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        where = settings if rng.random() < 0.7 else recipe
        name = rng.choice((*where, "something"))
        if rng.random() < 0.2:
            where.pop(name, None)
        else:
            where[name] = anything(rng)
    path = folder / "picture.png"
    with contextlib.suppress(InputError):
        io.save_image(path, np.zeros((32, 32, 3), np.float32), recipe=recipe)
    if not path.exists():
        io.save_image(path, np.zeros((32, 32, 3), np.float32))
    rerun = Rerun(path)
    return sentence(lambda: rerun._options(io.read_recipe(path)))


NUMBERS = (
    *("0", "1", "-1", "2", "0.5", "1e-9", "1e39", "nan", "inf", "-inf", "1000000", "99999999999999999999", "", "x"),
    *("1,2", "1e400", "0x10", "1_0"),
)
WORDS = (
    *("content", "noise", "auto", "whole", "none", "relu1_1", "conv9_9", "4x2", "0x0", "white=keep", "#ff0000=1:2"),
    *("é", "-", "--", "adam", "gram", "pyramid"),
)


def options(rng: random.Random, folder: Path) -> str:
    """A command line of any options with any values, up to the run itself, which gives a gray picture here."""
    for name in ("photo.png", "painting.png"):
        if not (folder / name).exists():
            io.save_image(folder / name, np.full((40, 48, 3), 0.5, np.float32))
    argv = [
        "stylize",
        str(folder / "photo.png"),
        str(folder / "painting.png"),
        "-o",
        str(folder / "out.png"),
        "--size",
        "48",
    ]
    fields = [
        field for field in dataclasses.fields(Stylize) if field.name not in ("photo", "painting", "more", "distributed")
    ]
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        name = rng.choice(fields).name.replace("_", "-")
        paths = (str(folder / rng.choice(("photo.png", "none.png", ""))), *NUMBERS, *WORDS)
        value = rng.choice((*NUMBERS, *WORDS, *paths[:1]))
        if name in ("output", "checkpoint", "log-json"):
            value = str(folder / rng.choice(("out.png", "out.jpg", "none/out.png", "photo.png", "out.exe", ".")))
        argv += [f"--{name}"] if name in ("force", "verbose", "quiet") else [f"--{name}={value}"]
    return command(argv, folder)


def runs(rng: random.Random, folder: Path) -> str:
    """Whole runs of a narrow network, on pictures of any mode, with any of the controls."""
    (folder / "net.safetensors").write_bytes(tiny_weights())
    for name in ("photo", "painting"):
        (folder / name).write_bytes(picture_file(rng, (40, 48)))
    out = folder / rng.choice(("out.png", "out.jpg", "out.webp", "out.tiff"))
    argv = ["stylize", str(folder / "photo"), str(folder / "painting"), "-o", str(out), "--size", "48", "--force"]
    argv += ["--weights", str(folder / "net.safetensors"), "--steps", rng.choice(("1", "3")), "--preset", "gram"]
    for chosen in rng.sample(
        (
            ["--init", rng.choice(("content", "noise", "gray", str(folder / "painting")))],
            ["--color", rng.choice(("style", "luminance", "symmetric", "cholesky", "histogram"))],
            ["--content-weight", rng.choice(("0", "1", "1e30", "1e38"))],
            ["--style-scale", rng.choice(("0.5", "1", "3"))],
            ["--checkpoint", str(folder / "run"), "--checkpoint-every", "0"],
            ["--log-json", str(folder / "log")],
            ["--content-mask", str(folder / "painting")],
            ["--strength", rng.choice(("0", "0.5", "1"))],
        ),
        rng.randrange(4),
    ):
        argv += chosen
    return command(argv, folder, real=True)


def command(argv: list[str], folder: Path, real: bool = False) -> str:
    """Run a command; what was there before must be there after it, and what is new must be whole."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    outs, errors = streams.StringIO(), streams.StringIO()
    with contextlib.redirect_stdout(outs), contextlib.redirect_stderr(errors), _stubbed(real):
        try:
            app.main(argv)
        except SystemExit as stop:
            code = stop.code
    error = errors.getvalue()
    if "Traceback" in error or code not in (0, 1, 2):
        raise AssertionError(f"exit code {code}: {error}")
    after = {path for path in folder.iterdir() if path.is_file()}
    temporary = [path for path in after if path.name.endswith(".tmp")]
    assert not temporary, temporary
    for path, data in before.items():
        assert path in after, f"{path} is gone"
        if "--force" not in argv:
            assert path.read_bytes() == data, f"{path} was changed"
    if code == 2:
        errors = [line for line in error.splitlines() if line.startswith("jaxstyle: error: ")]
        assert len(errors) == 1, error
        new = {path for path in after - set(before) if f"--log-json={path}" not in argv}
        assert not {path for path in new if path.suffix not in ("", ".log")}, "a half-written output"
        return REFUSED
    if code == 0:
        for path in after - set(before):
            if path.suffix in (".png", ".jpg", ".webp", ".tiff") and f"--log-json={path}" not in argv:
                check_picture(path)
    return GOOD if code == 0 else "failed in one sentence"


@contextlib.contextmanager
def _stubbed(real: bool):
    """Without `real`, a run is a gray picture at once."""
    before = commands.stylize

    def gray(content, *_, checkpoint=None, **__) -> Result:
        if checkpoint is not None:
            load_snapshot(checkpoint, {})
        height, width = content.shape[:2]
        losses = Losses(*(np.ones(1, np.float32) for _ in Losses._fields))
        image = np.full((height, width, 3), 0.5, np.float32)
        return Result(image, losses, 1, Status.STEP_LIMIT, 0.1, (Scale(height, width, 1.0, 1),), LossWeights())

    if not real:
        commands.stylize = gray
    try:
        yield
    finally:
        commands.stylize = before


# Kind to how many of 100 cases.
KINDS = {pictures: 45, bombs: 8, weight_files: 14, checkpoint_files: 10, recipes: 10, options: 11, runs: 2}


def case(kind, number: int) -> str:
    """One case, the same for the same number; in an empty folder."""
    rng = random.Random(f"{kind.__name__} {number}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = os.getcwd()
        os.chdir(folder)
        try:
            begin = time.perf_counter()
            came = kind(rng, Path(folder))
        finally:
            os.chdir(here)
    seconds = time.perf_counter() - begin
    # What is compiled takes its time.
    assert kind is runs or seconds < SECONDS, f"took {seconds:.1f} s"
    return came


def main() -> None:
    """Run a campaign, print a table, write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    found = {}
    begin = time.perf_counter()
    for kind, share in KINDS.items():
        ends, failures, slowest = collections.Counter(), [], 0.0
        for number in range(arguments.first, arguments.first + max(1, arguments.cases * share // 100)):
            start = time.perf_counter()
            try:
                ends[case(kind, number)] += 1
            # Anything at all is what is looked for; it is reported with its case.
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failures.append({"case": number, "error": f"{type(error).__name__}: {error}"[:500]})
            slowest = max(slowest, time.perf_counter() - start)
        found[kind.__name__] = {"cases": sum(ends.values()) + len(failures), **ends, "failures": failures}
        found[kind.__name__]["slowest_seconds"] = round(slowest, 2)
        print(kind.__name__, {**found[kind.__name__], "failures": len(failures)}, *failures[:5], sep="\n  ", flush=True)
    total = sum(each["cases"] for each in found.values())
    failed = sum(len(each["failures"]) for each in found.values())
    print(f"{total} cases, {failed} failures, {time.perf_counter() - begin:.0f} s")
    if arguments.json:
        summary = {"kinds": found, "cases": total, "failures": failed, "seconds": round(time.perf_counter() - begin)}
        summary |= {"software": io.software(), "python": sys.version.split()[0], "pillow": PIL.__version__}
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
