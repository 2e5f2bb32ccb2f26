"""The command line: parse, call, print. `jaxstyle --help` lists the commands."""

import contextlib
import itertools
import logging
import re
import signal
import sys
from io import StringIO, TextIOWrapper
from typing import Annotated, Any

import jax
import tyro
from tyro.conf import subcommand

from jaxstyle import distributed
from jaxstyle.cli import logs
from jaxstyle.cli.demo import Demo
from jaxstyle.cli.plan import Plan
from jaxstyle.cli.rerun import Rerun
from jaxstyle.cli.resume import Resume
from jaxstyle.cli.stylize import Stylize, defaults
from jaxstyle.cli.sweep import Sheet, Sweep, read_axes
from jaxstyle.cli.weights import Weights
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.transfer import presets
from jaxstyle.transfer.memory import OUT_OF_MEMORY
from jaxstyle.transfer.signals import replaced_handlers

log = logging.getLogger(__name__)

COMMANDS = ("stylize", "sweep", "resume", "rerun", "demo", "plan", "weights")


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 the run failed, 2 input that cannot be used, 130 Ctrl-C, 143 SIGTERM.

    Args:
        argv: the words after `jaxstyle`; the process's own if None.
    """
    argv = sys.argv[1:] if argv is None else argv
    # Outside a run there is nothing to save, so Ctrl-C just ends the process; an exception could be lost in a callback.
    with replaced_handlers({signal.SIGINT: signal.SIG_DFL}), logs.shown():
        code = _run(argv)
    raise SystemExit(code)


def _run(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # File names may hold bytes that the terminal's encoding has no characters for.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if argv in (["--version"], ["-V"]):
        print(io.software())
        return 0
    try:
        return _parse(argv).run()
    except InputError as error:
        log.error("%s", error)
        distributed.abort(str(error), 2)
        return 2
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        log.error("out of memory: jaxstyle plan WIDTH HEIGHT tells what fits")
        distributed.abort("out of memory", 1)
        return 1


def _parse(argv: list[str]) -> Stylize | Sheet | Resume | Rerun | Demo | Plan | Weights:
    """The command; of a sweep that of every cell."""
    if argv[:1] != ["sweep"]:
        return _command(argv)
    axes, cells = read_axes(argv[1:])
    found = [_command(["sweep", *words]) for words in cells]
    return Sheet(found[0], axes, found)


def _command(argv: list[str]) -> Any:
    named = (word.removeprefix("--preset=") for word in argv if word.startswith("--preset="))
    following = (after for word, after in itertools.pairwise(argv) if word == "--preset")
    name = next((name for name in (*named, *following) if name in presets.PRESETS), "default")
    commands = (
        Annotated[Stylize, subcommand("stylize", default=defaults(name))]
        | Annotated[Sweep, subcommand("sweep", default=defaults(name, Sweep))]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Rerun, subcommand("rerun")]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Plan, subcommand("plan")]
        | Annotated[Weights, subcommand("weights")]
    )
    told = StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                commands,  # pyright: ignore[reportArgumentType]
                prog="jaxstyle",
                description="Neural style transfer: a photo takes on the style of a painting.",
                args=argv,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        named = " ".join(["jaxstyle", *(word for word in argv[:1] if word in COMMANDS)])
        raise InputError(f"{_first_words(told.getvalue())}; {named} --help lists what there is") from None


def _first_words(box: str) -> str:
    """Of a usage error in a box, with a title above and help below a line, the error itself, without colors."""
    lines = [line.strip().strip("│").rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    inside = [line for line in lines if line.strip()][1:]
    ruled = itertools.dropwhile(_is_rule, inside)
    # What is far in explains what is before it.
    words = [line.strip() for line in itertools.takewhile(lambda line: not _is_rule(line), ruled) if line[:8].strip()]
    return " ".join(words).rstrip(".") or "the command line cannot be understood"


def _is_rule(line: str) -> bool:
    return set(line) <= set("╭╮╰╯─- ")
