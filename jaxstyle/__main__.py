"""`python -m jaxstyle` is the command line."""

from jaxstyle.cli.app import main

if __name__ == "__main__":
    main()
