"""The command line: parse the arguments, run the command, print errors."""

import contextlib
import itertools
import logging
import re
import signal
import sys
from io import StringIO
from typing import Annotated, Any

import jax
import tyro
from tyro.conf import subcommand

import jaxstyle
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
from jaxstyle.transfer import presets
from jaxstyle.transfer.memory import OUT_OF_MEMORY
from jaxstyle.transfer.signals import replaced_handlers

log = logging.getLogger(__name__)

# Longer errors of usage, which quote a value, are cut.
MAX_ERROR = 300
# Python's words for a wrong value, and plainer ones.
PLAIN_ERRORS = (
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 is \2, expected a whole number"),
    (r"Error parsing (\S+): could not convert string to float: (.*)", r"\1 is \2, expected a number"),
    (
        r"Error parsing (\S+): no type matching (?:\{None\}\|)?(\S+) could be instantiated from \[(.*?)\]\. Got .*",
        r"\1 is \3, expected \2",
    ),
    (r"expected \{([^}]*)\}\|INT$", r"expected \1, or a whole number"),
    (r"Error parsing (\S+): Exceeds the limit.*", r"\1 has too many digits"),
    (r"expected INT$", "expected a whole number"),
    (r"expected FLOAT$", "expected a number"),
    (r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)", r"\2 is \1, expected one of \3"),
    (r"Missing value for argument '(.*)'\. Expected 1 values", r"\1 has no value, expected one"),
)

COMMANDS = ("stylize", "sweep", "resume", "rerun", "demo", "plan", "weights")


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit with its code: 0 success, 1 failed run, 2 unusable input, 130 Ctrl-C, 143 SIGTERM.

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


def _parse(argv: list[str]) -> Stylize | Sheet | Resume | Rerun | Demo | Plan | Weights:
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
    preset = _preset(argv)
    commands = (
        Annotated[Stylize, subcommand("stylize", default=defaults(preset))]
        | Annotated[Sweep, subcommand("sweep", default=defaults(preset, Sweep))]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Rerun, subcommand("rerun")]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Plan, subcommand("plan")]
        | Annotated[Weights, subcommand("weights")]
    )
    stderr = StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(
                commands,  # pyright: ignore[reportArgumentType]
                prog="jaxstyle",
                description="Neural style transfer: a photo gets the style of a painting.",
                args=argv,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        command = " ".join(["jaxstyle", *(word for word in argv[:1] if word in COMMANDS)])
        raise InputError(f"{_usage_error(stderr.getvalue())}; see {command} --help") from None


def _preset(argv: list[str]) -> str:
    """Name of the preset on the command line, whose settings are the defaults of the other options."""
    joined = (word.removeprefix("--preset=") for word in argv if word.startswith("--preset="))
    separate = (value for word, value in itertools.pairwise(argv) if word == "--preset")
    return next((name for name in (*joined, *separate) if name in presets.PRESETS), "default")


def _usage_error(box: str) -> str:
    """The sentence of a usage error that tyro draws as a box: a title, the error, a line, and help."""
    lines = [line.strip().strip("│").rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    below_title = itertools.dropwhile(_is_rule, [line for line in lines if line.strip()][1:])
    # Lines that are indented far are explanations.
    sentence = " ".join(
        line.strip() for line in itertools.takewhile(lambda line: not _is_rule(line), below_title) if line[:8].strip()
    ).rstrip(".")
    for pattern, plain in PLAIN_ERRORS:
        sentence = re.sub(pattern, plain, sentence)
    return sentence[:MAX_ERROR] or "the command line is not valid"


def _is_rule(line: str) -> bool:
    return set(line) <= set("╭╮╰╯─- ")
