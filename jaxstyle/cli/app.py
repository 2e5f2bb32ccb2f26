"""The command line: parse the arguments, run the command, print errors."""

import contextlib
import itertools
import logging
import signal
import sys
from io import StringIO
from typing import Annotated, Any, Union

import jax
import tyro
from tyro.conf import subcommand

import jaxstyle
from jaxstyle import distributed
from jaxstyle.cli import logs
from jaxstyle.cli.apply import Apply
from jaxstyle.cli.demo import Demo
from jaxstyle.cli.plan import Plan
from jaxstyle.cli.rerun import Rerun
from jaxstyle.cli.resume import Resume
from jaxstyle.cli.serve import Serve
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.cli.sweep import Sheet, Sweep, read_axes
from jaxstyle.cli.usage import check_values, usage_error
from jaxstyle.cli.video import Video
from jaxstyle.cli.weights import Weights
from jaxstyle.errors import InputError
from jaxstyle.guards import permissive
from jaxstyle.transfer import presets
from jaxstyle.transfer.memory import OUT_OF_MEMORY
from jaxstyle.transfer.signals import replaced_handlers

log = logging.getLogger(__name__)

COMMANDS = {
    "stylize": Stylize,
    "sweep": Sweep,
    "video": Video,
    "apply": Apply,
    "resume": Resume,
    "rerun": Rerun,
    "demo": Demo,
    "plan": Plan,
    "serve": Serve,
    "weights": Weights,
}


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit with its code: 0 success, 1 failed run, 2 unusable input, 130 Ctrl-C, 143 another signal.

    Args:
        argv: arguments after `jaxstyle`; those of the process if None.
    """
    argv = sys.argv[1:] if argv is None else argv
    # Outside a run there is nothing to save, so Ctrl-C just ends the process; an exception could be lost in a callback.
    with replaced_handlers({signal.SIGINT: signal.SIG_DFL}), logs.shown():
        code = _run(argv)
    raise SystemExit(code)


def _run(argv: list[str]) -> int:
    if argv in (["--version"], ["-V"]):
        print(f"jaxstyle {jaxstyle.__version__}")
        return 0
    try:
        with permissive():
            return _parse(argv).run()
    except InputError as error:
        log.error("%s", error)
        distributed.abort(str(error), 2)
        return 2
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        log.error("out of memory: jaxstyle plan WIDTH HEIGHT estimates what fits")
        distributed.abort("out of memory", 1)
        return 1


def _parse(argv: list[str]) -> Stylize | Sheet | Video | Apply | Resume | Rerun | Demo | Plan | Serve | Weights:
    """Return the command; for a sweep that of all cells."""
    if "" in argv:
        # As the path of a photo it would be the current folder.
        raise InputError("an argument is empty, expected a value: is a variable of the shell not set?")
    if argv[:1] != ["sweep"]:
        return _command(argv)
    axes, cells = read_axes(argv[1:])
    commands = [_command(["sweep", *words]) for words in cells]
    return Sheet(commands[0], axes, commands)


def _command(argv: list[str]) -> Any:
    check_values(argv, Stylize)
    preset = _preset(argv)
    presets_of = {name: {"default": defaults(preset, COMMANDS[name])} for name in ("stylize", "sweep", "video")}
    commands = [Annotated[kind, subcommand(name, **presets_of.get(name, {}))] for name, kind in COMMANDS.items()]
    stderr = StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(  # pyright: ignore[reportCallIssue]
                Union[tuple(commands)],  # pyright: ignore[reportArgumentType]  # noqa: UP007
                prog="jaxstyle",
                description="Neural style transfer: a photo gets the style of a painting.",
                args=argv,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise InputError(usage_error(stderr.getvalue(), argv, COMMANDS)) from None


def _preset(argv: list[str]) -> str:
    """Name of the preset on the command line, whose settings are the defaults of the other options."""
    joined = (word.removeprefix("--preset=") for word in argv if word.startswith("--preset="))
    separate = (value for word, value in itertools.pairwise(argv) if word == "--preset")
    return next((name for name in (*joined, *separate) if name in presets.PRESETS), "default")
