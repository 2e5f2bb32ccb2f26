"""Errors of usage in one plain sentence: what was got, and what is expected."""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from jaxstyle.cli.option_names import hyphenated, option_names, options_with_values, takes_several, with_option_names
from jaxstyle.cli.validate import LIMITS
from jaxstyle.errors import InputError
from jaxstyle.transfer.settings import RunOptions

# Longer errors, which quote a value, are cut.
MAX_ERROR = 300
# tyro's words, and plainer ones.
PLAIN = (
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 is \2, expected a whole number"),
    (r"Error parsing (\S+): could not convert string to float: (.*)", r"\1 is \2, expected a number"),
    (r"Error parsing (\S+): .*Exceeds the limit.*", r"\1 has too many digits"),
    (
        r"Error parsing (\S+): (?:no type matching \{None\}\|\{\[FLOAT|Could not find valid parse).*?\[('.*?')\].*",
        r"\1 is \2, expected numbers separated by spaces",
    ),
    (
        r"Error parsing (\S+): no type matching (?:\{None\}\|)?(\S+) could be instantiated from \[(.*?)\]\. Got .*",
        r"\1 is \3, expected \2",
    ),
    (r"expected \{([^}]*)\}\|INT$", r"expected \1, or a whole number"),
    (r"expected INT$", "expected a whole number"),
    (r"expected FLOAT$", "expected a number"),
    (r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)", r"\2 is \1, expected one of \3"),
    (r"Missing value for argument '(-.*)'\. Expected 1 values", r"\1 has no value, expected one"),
    (r"Missing from [\w ]*: (.*)", r"expected also \1"),
    (r"(-\w [A-Z]+), --\w+ [A-Z]+", r"\1"),
    (r"Unrecognized options: (.*)", r"\1 is one argument too many"),
    (r"Expected one of \{(.*)\}", r"no command, expected one of \1"),
)


def usage_error(box: str, argv: Sequence[str], commands: Mapping[str, type]) -> str:
    """Return the sentence of an error of usage.

    Args:
        box: what tyro printed: a title, the error, a line, and help, all in a frame.
        argv: the arguments.
        commands: class of each command, by name.
    """
    command = commands.get(argv[0]) if argv else None
    known = option_names(command) if command is not None else {"--help", "--version"}
    unknown = next((word.partition("=")[0] for word in argv if _is_option(word) and _name(word) not in known), None)
    choices = re.search(r"Available subcommands: (.*)", " ".join(_lines(box)))
    if unknown is not None:
        error = f"unknown option {unknown}{_did_you_mean(_name(unknown), known)}"
    elif choices is not None:
        names = re.split(r",\s+", choices[1].partition(" For full")[0].strip("─- "))
        word = argv[0] if command is None else argv[1]
        error = f"unknown command {word}, expected one of {', '.join(names)}{_did_you_mean(word, names)}"
    else:
        error = _with_range(_sentence(box))
    return f"{error[:MAX_ERROR]}; see {' '.join(['jaxstyle', *(argv[:1] if command else [])])} --help"


def check_values(argv: Sequence[str], command: type) -> None:
    """Refuse an option of several values that has none: mostly an unquoted `#`, which begins a comment in shells.

    Args:
        argv: the arguments.
        command: class of a command that has the options.
    """
    options = options_with_values(command)
    several = {spelling for spelling, name in options.items() if takes_several(command, name)}
    for word, following in itertools.pairwise([*argv, "--"]):
        if word in several and (following.startswith("--") or following in options):
            example = ': quote a color that starts with #, such as "#ffffff=1"' if word == "--region" else ""
            raise InputError(f"{word} has no value, expected one or more{example}")


def _is_option(word: str) -> bool:
    return re.match(r"--?[A-Za-z]", word) is not None


def _name(word: str) -> str:
    return hyphenated(word.partition("=")[0])


def _did_you_mean(word: str, names: Iterable[str]) -> str:
    # Without the dashes, which all options have in common.
    by_letters = {name.lstrip("-"): name for name in sorted(names)}
    matches = difflib.get_close_matches(word.lstrip("-"), by_letters, 1)
    return f"; did you mean {by_letters[matches[0]]}?" if matches else ""


def _sentence(box: str) -> str:
    """The error in a box of tyro, in plain words."""
    below_title = itertools.dropwhile(_is_rule, _lines(box)[1:])
    # Lines that are indented far are explanations.
    sentence = " ".join(
        line.strip() for line in itertools.takewhile(lambda line: not _is_rule(line), below_title) if line[:8].strip()
    ).rstrip(".")
    for pattern, plain in PLAIN:
        sentence = re.sub(pattern, plain, sentence)
    return sentence or "the command line is not valid"


def _lines(box: str) -> list[str]:
    # Without the frame, which is blank where the terminal has no characters for it.
    lines = [line.rstrip(" │")[1:] for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    return [line for line in lines if line.strip()]


def _is_rule(line: str) -> bool:
    return set(line) <= set("╭╮╰╯─- ")


def _with_range(sentence: str) -> str:
    """Add which numbers an option takes to the sentence that a value is no number."""
    match = re.fullmatch(r"--(\S+) is '(.*)', expected (?:[\w,]+, or )?a (?:whole )?number", sentence)
    if match is None:
        return sentence
    name, value = match[1].replace("-", "_"), match[2]
    if name in LIMITS:
        return f"{sentence} from {LIMITS[name][0]} to {LIMITS[name][1]}"
    check = next((field.metadata["check"] for field in dataclasses.fields(RunOptions) if field.name == name), None)
    try:
        if check is not None:
            check(name, value)
    except InputError as error:
        return with_option_names(str(error))
    return sentence
