"""Run the command line by `python -m jaxstyle`."""

from jaxstyle.cli.app import main

if __name__ == "__main__":
    main()
