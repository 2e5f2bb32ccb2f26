"""Standard streams and pipes as pictures: a run reads and writes files, since it reads some pictures twice."""

import collections
import contextlib
import dataclasses
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from jaxstyle.cli.options import AnyOptions, Options, with_inputs
from jaxstyle.errors import InputError

log = logging.getLogger(__name__)


def run_with_files(options: Sequence[AnyOptions], run: Callable[[Sequence[AnyOptions]], int]) -> int:
    """Run a command with temporary files in the place of `-` and of pipes.

    Args:
        options: of the command; of a sweep also those of its cells, which have the same pictures.
        run: makes the picture and returns the exit code.

    Returns:
        The exit code; 1 if standard output cannot be written.

    Raises:
        InputError: for options that need files.
    """
    first = options[0]
    inputs, to_stdout = first.inputs(), _is_standard(first.output)
    if not to_stdout and not any(map(is_pipe, inputs)):
        return run(options)
    _check(first)
    with tempfile.TemporaryDirectory(prefix="jaxstyle-") as name:
        folder = Path(name)
        paths = [_file_of(path, folder / str(k)) if is_pipe(path) else path for k, path in enumerate(inputs)]
        output = folder / f"stdout.{first.format}" if to_stdout else first.output
        changed = [dataclasses.replace(with_inputs(each, paths), output=output) for each in options]
        if not to_stdout:
            return run(changed)
        stdout = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            code = run(changed)
        return _written(output, stdout.buffer, code) if output.exists() else code


def _is_standard(path: Path) -> bool:
    return str(path) == "-"


def is_pipe(path: Path) -> bool:
    """Return True for standard input, and for what can be read only once, such as `<(command)` of a shell."""
    if _is_standard(path):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _check(options: Options) -> None:
    """Refuse options that need a file where a pipe is."""
    repeated = [path for path, count in collections.Counter(filter(is_pipe, options.inputs())).items() if count > 1]
    if repeated:
        raise InputError(f"{repeated[0]} is given twice, but can be read only once: save it to a file first")
    if options.checkpoint is not None:
        raise InputError("--checkpoint continues a run of files, but a picture here is - or a pipe: name files")
    if _is_standard(options.photo) and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("standard input is a terminal, expected a picture: append < FILE")
    if not _is_standard(options.output):
        return
    if os.path.isdir(options.photo):
        raise InputError(f"the output is -, one picture, but {options.photo} is a folder: expected another folder")
    if options.save_every is not None:
        raise InputError("--save-every writes numbered pictures beside the output, which is -: expected a file")
    if options.log_json is not None and _is_standard(options.log_json):
        raise InputError("the output and --log-json are both -, expected a file for one of them")
    if sys.stdout.isatty():
        raise InputError("the output is -, but standard output is a terminal: append > FILE")


def _file_of(path: Path, folder: Path) -> Path:
    """Copy what a pipe delivers to a file."""
    folder.mkdir()
    file = folder / ("stdin" if _is_standard(path) else path.name)
    if _is_standard(path) and sys.stdin is None:
        raise InputError("the picture is -, but standard input is closed: append < FILE")
    try:
        with (
            contextlib.nullcontext(sys.stdin.buffer) if _is_standard(path) else path.open("rb") as source,
            file.open("xb") as target,
        ):
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; expected a picture") from error
    return file


def _written(picture: Path, stdout: BinaryIO, code: int) -> int:
    """Write the picture to standard output; keep it if nobody reads."""
    try:
        stdout.write(picture.read_bytes())
        stdout.flush()
    except OSError as error:
        rescued = Path(tempfile.mkdtemp(prefix="jaxstyle-"), picture.name)
        shutil.move(picture, rescued)
        log.error("cannot write standard output: %s; the picture is in %s instead", error.strerror, rescued)
        return 1
    return code
