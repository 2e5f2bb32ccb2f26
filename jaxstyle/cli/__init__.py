"""The command line. `jaxstyle --help` lists the commands."""


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit with its code: 0 success, 1 failed run, 2 unusable input, 130 Ctrl-C, 143 another signal.

    Args:
        argv: arguments after `jaxstyle`; those of the process if None.
    """
    # Imported here, so that importing the package stays cheap.
    from jaxstyle.cli import app

    app.main(argv)
