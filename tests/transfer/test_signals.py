"""Signals that end a process: a flag during a run, nothing during a write."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import jaxstyle
from jaxstyle.cli import stylize as commands
from jaxstyle.cli.app import main
from jaxstyle.image.io import read_recipe
from jaxstyle.minimize.status import Status
from jaxstyle.transfer.signals import EXIT_CODES, no_interrupt, replaced_handlers, stop_flag

pytestmark = pytest.mark.usefixtures("default_handlers")

DATA = Path(jaxstyle.__file__).parent / "data"


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(signal.SIGINT, Status.INTERRUPTED, 130), (signal.SIGTERM, Status.TERMINATED, 143)],
)
def test_the_first_signal_is_a_flag_and_the_second_what_it_was(number, status, code, capfd):
    before = signal.getsignal(number)
    with stop_flag() as stop:
        assert stop.status is None
        os.kill(os.getpid(), number)
        assert stop.status is status
        assert signal.getsignal(number) is before
    assert EXIT_CODES[status] == code
    assert "stopping after the running steps" in capfd.readouterr().err


REPEATED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


@pytest.mark.parametrize("number", REPEATED)
def test_signals_that_come_again_by_themselves_end_no_run_at_once(number):
    """A closed terminal is reported by the shell and by the kernel; SIGXCPU comes every second."""
    with stop_flag() as stop:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.status is Status.TERMINATED
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize(
    "context", [stop_flag, no_interrupt, lambda: replaced_handlers({signal.SIGINT: signal.SIG_DFL})]
)
@pytest.mark.parametrize("number", [signal.SIGINT, *REPEATED])
def test_an_ignored_signal_stays_ignored(context, number):
    """Ctrl-C of a job in the background of a script, SIGHUP under nohup."""
    signal.signal(number, signal.SIG_IGN)
    with context() as stop:
        assert signal.getsignal(number) is signal.SIG_IGN
        os.kill(os.getpid(), number)
    assert getattr(stop, "status", None) is None
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("context", [stop_flag, no_interrupt])
def test_a_handler_that_is_not_pythons_stays(context, monkeypatch):
    """Of a program that embeds Python, which has no name for it and could not install it again."""
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGINT else known(number))
    with context():
        assert known(signal.SIGINT) is signal.default_int_handler
    assert known(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", REPEATED)
def test_a_run_that_such_a_signal_ends_saves_picture_and_checkpoint(
    number, tiny_weights, tmp_path, unchecked, monkeypatch
):
    output, checkpoint = tmp_path / "out.png", tmp_path / "run"
    monkeypatch.setattr(commands, "progress_line", lambda *_: os.kill(os.getpid(), number) or {})
    words = ["stylize", str(DATA / "china.jpg"), str(DATA / "starry_night.jpg"), "-o", str(output), "--size", "48"]
    words += ["--preset", "gram", "--steps", "100000", "--tolerance", "0", "--weights", tiny_weights]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--checkpoint", str(checkpoint)])
    assert ended.value.code == 143
    assert read_recipe(output)["status"] == "terminated"
    assert checkpoint.exists()


def test_handlers_are_what_they_were_afterwards():
    with stop_flag():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_programs_own_handler_of_sigterm_stays():
    came = []
    signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    with stop_flag() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert (came, stop.status) == ([1], None)


def in_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.mark.parametrize("context", [stop_flag, no_interrupt])
def test_off_the_main_thread_no_handler_is_installed(context):
    def work():
        with context():
            return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert in_thread(work) == [signal.default_int_handler, signal.SIG_DFL]


def test_off_the_main_thread_a_command_runs_and_saves(tiny_weights, tmp_path, unchecked):
    output = tmp_path / "out.png"
    words = ["stylize", str(DATA / "china.jpg"), str(DATA / "starry_night.jpg"), "-o", str(output), "--size", "48"]
    words += ["--preset", "gram"]
    words += ["--steps", "2", "--weights", tiny_weights, "--compile-cache", "off"]
    with pytest.raises(SystemExit) as ended:
        in_thread(lambda: main(words))
    assert ended.value.code == 0
    assert output.exists()


def test_a_signal_waits_until_a_write_is_done():
    written = []

    def write():
        with no_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            written.append(1)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert written == [1]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with stop_flag() as stop:
        with no_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status is Status.TERMINATED


def test_nobody_has_to_read_that_it_stops():
    before = os.dup(2)
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 2)
    try:
        with stop_flag() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status is Status.TERMINATED
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(writer)
