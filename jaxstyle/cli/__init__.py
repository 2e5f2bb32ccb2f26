"""The command line. `jaxstyle --help` lists the commands."""


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 the run failed, 2 input that cannot be used, 130 Ctrl-C, 143 SIGTERM.

    Args:
        argv: the words after `jaxstyle`; the process's own if None.
    """
    # Here, so that the package costs nothing to import.
    from jaxstyle.cli import app

    app.main(argv)
