"""The library names parameters in its messages, the command line its options."""

import ast
import re

import pytest
from test_architecture import MODULES, top_level

from jaxstyle.cli import logs
from jaxstyle.cli.option_names import option_name, options_with_values, takes_several, with_option_names
from jaxstyle.cli.stylize import Stylize
from jaxstyle.cli.sweep import Sweep


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("raise max_pixels if you trust it", "raise --max-pixels if you trust it"),
        ("memory_size is 0, expected 1 or more", "--memory-size is 0, expected 1 or more"),
        ("use force=True to replace it, or another name", "use --force to replace it, or another name"),
        ("continue it with resume=True (or force=True)", "continue it with jaxstyle resume FILE (or --force)"),
        ("style_weights has 2 numbers", "--blend has 2 numbers"),
        ("the file exists; choose another name, or replace=True", "the file exists; choose another name, or --force"),
        ("use precision='highest'", "use --precision highest"),
        ('use init="noise", or a lower b2', "use --init noise, or a lower --beta2"),
        ("at size=512, with window=None", "at --size 512, with --window whole"),
        ("lower tolerance=1e-06.", "lower --tolerance 1e-06."),
        # English, other parameters, paths, and options that are options already.
        ("the size is 9, expected steps of at most 8", None),
        ("unknown layer 'relu9_1'", None),
        ("cannot read my_max_pixels.png or max_pixels.png or a/max_pixels or max_pixels/b", None),
        ("weights=3 and weights is no option of a loss", None),
        ("resume=False and frobnicate=True", None),
        ("raise --max-pixels, --max_pixels", None),
        ("resume it in Python with Checkpoint(resume=True)", None),
        ("XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight", None),
    ],
)
def test_parameters_become_options(message, expected):
    assert with_option_names(message) == (message if expected is None else expected)


def test_messages_and_warnings_of_the_library_are_shown_with_options(capsys):
    with logs.shown():
        logs.log.warning("%s", "lower max_pixels, or use force=True")
    assert capsys.readouterr().err == "jaxstyle: warning: lower --max-pixels, or use --force\n"


def test_options_with_values_are_read_from_the_fields():
    spellings = options_with_values(Sweep)
    assert spellings["--style-scale"] == "style_scale"
    assert spellings["-o"] == spellings["--output"] == "output"
    assert spellings["--cells"] == "cells"
    flags_and_positional = {"-v", "-q", "--force", "--verbose", "--photo", "--painting", "--more"}
    assert not flags_and_positional & set(spellings)
    assert "--cells" not in options_with_values(Stylize)


def test_several_values_are_read_from_the_fields():
    several = {name for name in options_with_values(Sweep).values() if takes_several(Sweep, name)}
    assert several == {
        *("style_scale", "content_weight", "style_weight", "blend", "style_mask", "region"),
        *("content_layers", "style_layers", "neighbor_layers", "neighbor_weight"),
    }
    assert option_name("style_scale") == "--style-scale"


def messages(path):
    """String constants, also those in f-strings, of errors, warnings and log calls of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function in ("InputError", "warnings.warn") or function.startswith("log."):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


@pytest.mark.parametrize("name", [name for name in MODULES if top_level(name) not in ("cli", "__main__", "")])
def test_the_library_names_no_option(name):
    for text in messages(MODULES[name]):
        # The flags of XLA are no options of ours.
        assert not re.search(r"--(?!xla_)[a-z]", text), text
        assert "jaxstyle resume" not in text
